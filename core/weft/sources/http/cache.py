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
"""A note with a longer validity was written under a wrong clock, and is ignored."""


def notes_path(cache: Path, source: str) -> Path:
    """Return the file of a source's notes in the cache folder."""
    return cache / "standing" / f"{source}.json"


@dataclass(frozen=True, slots=True)
class Note:
    """A ban, refusal or pause with its end.

    Attributes:
        until: instant of expiry, microseconds since 1970.
        text: message of the source for the user, without secrets.
    """

    until: int
    text: str


class StandingNotes:
    """Stores the notes of a source in one small file, for later processes.

    The file is read once and always rewritten completely. If two processes write concurrently, the
    later one wins, which costs at most one more request. A broken or read-only file is ignored.

    Args:
        path: path of the file; None to store notes in memory only.
        clock: current time, to ignore expired notes.
    """

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._notes = self._load()

    @property
    def texts(self) -> tuple[str, ...]:
        """Texts of all valid notes, without duplicates, in alphabetical order."""
        return tuple(sorted({note.text for note in self._notes.values() if self._is_valid(note)}))

    def get(self, name: str) -> Note | None:
        """Return the note of a name; None if there is none or it has expired."""
        note = self._notes.get(name)
        return note if note is not None and self._is_valid(note) else None

    def put(self, name: str, note: Note) -> None:
        """Store a note under a name, and replace an earlier one."""
        self._change(lambda notes: {**notes, name: note})

    def drop(self, start: str) -> None:
        """Delete every note whose name begins with `start`."""
        if any(name.startswith(start) for name in self._notes):
            self._change(lambda notes: {n: v for n, v in notes.items() if not n.startswith(start)})

    def forget_refusals(self) -> None:
        """Delete all notes except bans."""
        if any(not name.endswith(_BAN) for name in self._notes):
            self._change(lambda notes: {n: v for n, v in notes.items() if n.endswith(_BAN)})

    def _is_valid(self, note: Note) -> bool:
        return 0 < note.until - self._clock.now() <= _LONGEST

    def _change(self, change: Callable[[dict[str, Note]], dict[str, Note]]) -> None:
        changed = change(self._load() | self._notes if self._path else self._notes)
        self._notes = {name: note for name, note in changed.items() if self._is_valid(note)}
        if self._path is None:
            return
        rows = {name: [note.until, note.text] for name, note in sorted(self._notes.items())}
        draft = self._path.with_suffix(f".{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2))
            draft.replace(self._path)
        except OSError as error:
            message = "%s: %s; bans and refusals are stored in memory only"
            _log.warning(message, self._path, type(error).__name__)
            self._path = None

    def _load(self) -> dict[str, Note]:
        if self._path is None:
            return {}
        try:
            rows = orjson.loads(self._path.read_bytes())
            notes = {str(name): Note(int(until), str(text)) for name, (until, text) in rows.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
        return {name: note for name, note in notes.items() if self._is_valid(note)}


class StandingRefusals:
    """The notes of one host and one key.

    A refusal applies to one key: with another key everything is requested again. A ban applies to
    the host, whatever the key.

    Args:
        notes: the notes of the source.
        host: name of the host.
        key: API key; its digest is part of the names of notes.
    """

    def __init__(self, notes: StandingNotes, host: str, key: SecretStr | None) -> None:
        secret = key.get_secret_value() if key else ""
        digest = hashlib.sha256(f"weft key {secret}".encode()).hexdigest()[:12]
        self._notes = notes
        self._prefix = f"{host} {digest} "
        self._ban = host + _BAN

    @property
    def ban(self) -> Note | None:
        """Valid ban of the host; None without one."""
        return self._notes.get(self._ban)

    @ban.setter
    def ban(self, note: Note) -> None:
        self._notes.put(self._ban, note)

    def get(self, name: str) -> Note | None:
        """Return the note of a name; None if there is none or it has expired."""
        return self._notes.get(self._prefix + name)

    def put(self, name: str, note: Note) -> None:
        """Store a note under a name."""
        self._notes.put(self._prefix + name, note)

    def drop(self, name: str) -> None:
        """Delete the note of a name."""
        self._notes.drop(self._prefix + name)


_T = TypeVar("_T")


_BUSY_SECONDS = 5.0
_DIGEST = 32
_TROUBLE = (OSError, sqlite3.Error, diskcache.Timeout, ValueError, TypeError, LookupError)


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """A response as the cache stores it.

    Attributes:
        fetched_at: instant of arrival or last confirmation, microseconds since 1970.
        unchanged_since: instant of the first response with this body, microseconds since 1970.
        added_age_seconds: age on arrival, as stated by caches on the way.
        headers: names in lower case; values without secrets.
        body: decompressed body.
    """

    fetched_at: int
    unchanged_since: int
    added_age_seconds: float
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


class _BytesOnly(diskcache.Disk):  # type: ignore[misc]  # its parent publishes no types
    """Stores bytes only; the parent class would unpickle rows, which may run code."""

    def put(self, key: Any) -> tuple[str, bool]:  # noqa: ANN401  # the parent's contract
        if not isinstance(key, str):
            raise TypeError(f"a cache key is a text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:  # noqa: ANN401  # the parent's contract
        if not (raw and isinstance(key, str)):
            raise ValueError("a row of the cache folder has a key of another program")
        return key

    def store(self, value: Any, read: Any, key: Any = None) -> Any:  # noqa: ANN401  # as above
        if type(value) is not bytes:
            raise TypeError(f"a cached value is bytes, not {type(value).__name__}")
        return super().store(value, read=False, key=key)

    def fetch(self, mode: Any, filename: Any, value: Any, read: Any) -> bytes:  # noqa: ANN401  # the parent's contract
        if mode not in {MODE_RAW, MODE_BINARY}:
            raise ValueError("a row of the cache folder has a value of another program")
        record = super().fetch(mode, filename, value, read=False)
        if type(record) is not bytes:
            raise ValueError("a row of the cache folder has a value of another program")
        return record


class ResponseCache:
    """Stores responses in a folder and deletes the oldest ones when it is full.

    A broken entry counts as a miss. An error of the folder is logged once and costs requests, but
    is never raised. Use the cache as an async context manager, or call `aclose`.

    Args:
        folder: folder, created with access for its owner only.
        size_limit_bytes: greatest size of the folder.
        ask_anew: whether to ignore stored responses and delete stored refusals, so that every
            source is requested. Bans stay in force.
    """

    def __init__(
        self, folder: Path, size_limit_bytes: int = 1 << 30, *, ask_anew: bool = False
    ) -> None:
        self._folder = folder
        self._size_limit = size_limit_bytes
        self._disk: Any = None
        self._ask_anew = ask_anew
        self._notes: dict[str, StandingNotes] = {}
        self._warned = False
        # SQLite must not block the event loop, and has one connection to close with one thread.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="weft-http-cache")

    async def get(self, key: str) -> CachedResponse | None:
        """Return the response stored under a key, or None."""
        if self._ask_anew:
            return None
        record = await self._do(lambda disk: disk.get(key))
        if not isinstance(record, bytes):
            return None
        try:
            return _unpack(key, record)
        except (ValueError, TypeError, LookupError):
            return None

    async def put(self, key: str, response: CachedResponse) -> None:
        """Store a response under a key."""
        record = _pack(key, response)
        await self._do(lambda disk: disk.set(key, record))

    def notes(self, source: str, clock: Clock) -> StandingNotes:
        """Return the bans, refusals and pauses of a source."""
        if source not in self._notes:
            notes = StandingNotes(notes_path(self._folder, source), clock)
            if self._ask_anew:
                notes.forget_refusals()
            self._notes[source] = notes
        return self._notes[source]

    async def aclose(self) -> None:
        """Close the files; the cache is unusable afterwards."""
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
                    # A larger number would empty a folder of a few large responses.
                    cull_limit=2,
                )
            return act(self._disk)
        except _TROUBLE as error:
            if not self._warned:
                hint = "responses are not cached; delete the folder if this persists"
                _log.warning("cache %s: %s; %s", self._folder, type(error).__name__, hint)
            self._warned = True
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


def _pack(key: str, response: CachedResponse) -> bytes:
    head = {name: value for name, value in asdict(response).items() if name != "body"}
    content = orjson.dumps(head | {"key": key}) + b"\n" + response.body
    return hashlib.sha256(content).digest() + content


def _unpack(key: str, record: bytes) -> CachedResponse:
    content = record[_DIGEST:]
    if hashlib.sha256(content).digest() != record[:_DIGEST]:
        raise ValueError("the record is incomplete or was changed")
    line, _, body = content.partition(b"\n")
    head = orjson.loads(line)
    if head.pop("key") != key:
        raise ValueError("the record belongs to another request")
    return CachedResponse(**head, body=body)
