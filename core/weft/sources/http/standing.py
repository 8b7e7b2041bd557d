"""Standing answers: a ban, a refused key or a refused series, kept from process to process."""

import hashlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import SecretStr

from weft.foundation.clock import Clock
from weft.foundation.times import DAY

_log = logging.getLogger(__name__)

_BAN = " ban"
_LONGEST = 31 * DAY
"""A note that claims to hold for longer was written under a wrong clock, and is passed over."""


def notes_path(cache: Path, source: str) -> Path:
    """Return the file of a source's notes below the folder of kept answers."""
    return cache / "standing" / f"{source}.json"


@dataclass(frozen=True, slots=True)
class Note:
    """What a source said once, and until when it stands.

    Attributes:
        until: microseconds since 1970; the source is asked again from then on.
        text: the source's own words for people, without secrets.
    """

    until: int
    text: str


class StandingNotes:
    """Keeps notes in one small file of a source, so that the next process knows them too.

    The file is read when the object is made and written as a whole. Where two processes write at
    once the later one wins, which costs one more request and nothing else. A file that is broken
    or cannot be written is passed over.

    Args:
        path: of the file; None to keep notes in memory alone.
        clock: says which notes have expired.
    """

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._notes = self._read()

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of all notes that hold, each once, in alphabetical order."""
        return tuple(sorted({note.text for note in self._notes.values() if self._holds(note)}))

    def get(self, name: str) -> Note | None:
        """Return the note of a name; None where there is none that still holds."""
        note = self._notes.get(name)
        return note if note is not None and self._holds(note) else None

    def put(self, name: str, note: Note) -> None:
        """Keep a note under a name, in place of an earlier one."""
        self._change(lambda notes: {**notes, name: note})

    def drop(self, start: str) -> None:
        """Forget every note whose name begins with `start`."""
        if any(name.startswith(start) for name in self._notes):
            self._change(lambda notes: {n: v for n, v in notes.items() if not n.startswith(start)})

    def forget_refusals(self) -> None:
        """Forget everything but bans."""
        if any(not name.endswith(_BAN) for name in self._notes):
            self._change(lambda notes: {n: v for n, v in notes.items() if n.endswith(_BAN)})

    def _holds(self, note: Note) -> bool:
        return 0 < note.until - self._clock.now() <= _LONGEST

    def _change(self, change: Callable[[dict[str, Note]], dict[str, Note]]) -> None:
        changed = change(self._read() | self._notes if self._path else self._notes)
        self._notes = {name: note for name, note in changed.items() if self._holds(note)}
        if self._path is None:
            return
        rows = {name: [note.until, note.text] for name, note in sorted(self._notes.items())}
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
            draft.replace(self._path)
        except OSError as error:
            told = type(error).__name__
            _log.warning("%s: %s; bans and refusals are kept in memory alone", self._path, told)
            self._path = None

    def _read(self) -> dict[str, Note]:
        if self._path is None:
            return {}
        try:
            rows = orjson.loads(self._path.read_bytes())
            notes = {str(name): Note(int(until), str(text)) for name, (until, text) in rows.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
        return {name: note for name, note in notes.items() if self._holds(note)}


class StandingRefusals:
    """The notes of one host and one key.

    Refusals hold for the key they were given to: with another key everything is asked again. A ban
    holds for the host, whatever the key.

    Args:
        notes: where they are kept.
        host: whose.
        key: sent to the host; its digest tells keys apart.
    """

    def __init__(self, notes: StandingNotes, host: str, key: SecretStr | None) -> None:
        secret = key.get_secret_value() if key else ""
        digest = hashlib.sha256(f"weft key {secret}".encode()).hexdigest()[:12]
        self._notes = notes
        self._own = f"{host} {digest} "
        self._ban = host + _BAN

    @property
    def ban(self) -> Note | None:
        """The ban that holds."""
        return self._notes.get(self._ban)

    @ban.setter
    def ban(self, note: Note) -> None:
        self._notes.put(self._ban, note)

    def get(self, name: str) -> Note | None:
        """Return the note of a name."""
        return self._notes.get(self._own + name)

    def put(self, name: str, note: Note) -> None:
        """Keep a note under a name."""
        self._notes.put(self._own + name, note)

    def drop(self, name: str) -> None:
        """Forget the note of a name."""
        self._notes.drop(self._own + name)
