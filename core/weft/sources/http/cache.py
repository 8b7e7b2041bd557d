"""Answers, bans and refusals on disk."""

import asyncio
import hashlib
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import diskcache  # type: ignore[import-untyped]  # they publish no types
import orjson
from diskcache.core import MODE_BINARY, MODE_RAW  # type: ignore[import-untyped]  # they publish no types
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


_T = TypeVar("_T")


_BUSY_SECONDS = 5.0
_DIGEST = 32
_TROUBLE = (OSError, sqlite3.Error, diskcache.Timeout, ValueError, TypeError, LookupError)


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """An answer as it is kept. Times are microseconds since 1970.

    Attributes:
        fetched_at: when the source gave or last confirmed it.
        unchanged_since: when this very body came first.
        added_age_seconds: age that caches on the way had added.
        headers: names in lower case, without secrets.
        body: decompressed.
    """

    fetched_at: int
    unchanged_since: int
    added_age_seconds: float
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _BytesOnly(diskcache.Disk):  # type: ignore[misc]  # its parent publishes no types
    """Stores bytes and nothing else; the parent would unpickle whatever a row claims to be."""

    def put(self, key: Any) -> tuple[str, bool]:  # noqa: ANN401  # the parent's contract
        if not isinstance(key, str):
            raise TypeError("keys are texts")
        return key, True

    def get(self, key: Any, raw: Any) -> str:  # noqa: ANN401  # the parent's contract
        if not (raw and isinstance(key, str)):
            raise ValueError("not a key written here")
        return key

    def store(self, value: Any, read: Any, key: Any = None) -> Any:  # noqa: ANN401  # as above
        if type(value) is not bytes:
            raise TypeError("values are bytes")
        return super().store(value, read=False, key=key)

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes:  # noqa: ANN401  # the parent's contract
        if mode not in {MODE_RAW, MODE_BINARY}:
            raise ValueError("not a value written here")
        found = super().fetch(mode, filename, value, read=False)
        if type(found) is not bytes:
            raise ValueError("not a value written here")
        return found


class ResponseCache:
    """Keeps answers in a folder; the oldest go when it is full.

    An entry that is broken, cut off or was written by something else is a miss; trouble with the
    folder is logged and costs requests, never an error. Use it as an async context manager, or
    call `aclose`.

    Args:
        folder: made where it is missing, for its owner alone.
        size_limit_bytes: how much it holds.
        ask_anew: whether every source is to be asked in any case: kept answers are passed over,
            and standing refusals forgotten. Bans are kept to all the same.
    """

    def __init__(
        self, folder: Path, size_limit_bytes: int = 1 << 30, *, ask_anew: bool = False
    ) -> None:
        self._folder = folder
        self._size_limit = size_limit_bytes
        self._disk: Any = None
        self._ask_anew = ask_anew
        self._notes: dict[str, StandingNotes] = {}
        self._told = False
        # One thread: SQLite never holds up the event loop, and one connection is closed for sure.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft-http-cache")

    async def get(self, key: str) -> CachedResponse | None:
        """Return what is kept under a key, or None."""
        if self._ask_anew:
            return None
        record = await self._do(lambda disk: disk.get(key))
        if not isinstance(record, bytes):
            return None
        try:
            return _unpack(key, record)
        except (ValueError, TypeError, LookupError):
            return None

    async def put(self, key: str, kept: CachedResponse) -> None:
        """Keep an answer under a key."""
        record = _pack(key, kept)
        await self._do(lambda disk: disk.set(key, record))

    def notes(self, source: str, clock: Clock) -> StandingNotes:
        """Return what a source said for a longer time: bans and standing refusals."""
        if source not in self._notes:
            notes = StandingNotes(notes_path(self._folder, source), clock)
            if self._ask_anew:
                notes.forget_refusals()
            self._notes[source] = notes
        return self._notes[source]

    async def aclose(self) -> None:
        """Close the files; the cache cannot be used any more."""
        if self._disk is not None:
            await self._do(lambda disk: disk.close())
        self._thread.shutdown()

    async def _do(self, act: Callable[[Any], _T]) -> _T | None:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._try, act)

    def _try(self, act: Callable[[Any], _T]) -> _T | None:
        try:
            if self._disk is None:
                self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._disk = diskcache.Cache(
                    str(self._folder),
                    timeout=_BUSY_SECONDS,
                    disk=_BytesOnly,
                    size_limit=self._size_limit,
                    # More at a time would empty a folder that holds a few large answers.
                    cull_limit=2,
                )
            return act(self._disk)
        except _TROUBLE as error:
            if not self._told:
                hint = "delete the folder if this stays"
                _log.warning("cache %s: %s; %s", self._folder, type(error).__name__, hint)
            self._told = True
            return None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _pack(key: str, kept: CachedResponse) -> bytes:
    told = {name: value for name, value in asdict(kept).items() if name != "body"}
    content = orjson.dumps(told | {"key": key}) + b"\n" + kept.body
    return hashlib.sha256(content).digest() + content


def _unpack(key: str, record: bytes) -> CachedResponse:
    content = record[_DIGEST:]
    if hashlib.sha256(content).digest() != record[:_DIGEST]:
        raise ValueError("cut off, or changed")
    head, _, body = content.partition(b"\n")
    told = orjson.loads(head)
    if told.pop("key") != key:
        raise ValueError("another request's")
    return CachedResponse(**told, body=body)
