"""Tones of texts that were read once, kept by the hash of what was read."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from weft.foundation.errors import StorageError

_MOST_HELD: Final = 500_000
_CHUNK: Final = 500
_TABLE: Final = """
create table if not exists tones (reader text, hash blob, tone real, primary key (reader, hash))
without rowid
"""


class ToneCache:
    """Asks a reader for each text once, and keeps what it said in memory and in a folder.

    Args:
        identity: what the tones depend on besides the text.
        read: gives the tone of each text, -1 to +1.
        folder: where tones are kept for other processes; None for memory alone.
    """

    def __init__(
        self,
        identity: str,
        read: Callable[[Sequence[str]], list[float]],
        folder: Path | None = None,
    ) -> None:
        self._identity = identity
        self._read = read
        self._folder = folder
        self._held: dict[bytes, float] = {}

    def of(self, texts: Sequence[str]) -> list[float]:
        """Return the tone of each text.

        Raises:
            StorageError: the folder cannot be read or written.
        """
        hashes = [_hash(text) for text in texts]
        missing = {h: text for h, text in zip(hashes, texts, strict=True) if h not in self._held}
        found = dict[bytes, float]()
        if missing and self._folder is not None:
            found = self._kept(missing)
            missing = {h: text for h, text in missing.items() if h not in found}
        if missing:
            told = dict(zip(missing, self._read(list(missing.values())), strict=True))
            if self._folder is not None:
                self._keep(told)
            found |= told
        tones = [self._held[h] if h in self._held else found[h] for h in hashes]
        if len(self._held) + len(found) > _MOST_HELD:
            self._held = {}
        self._held |= found
        return tones

    def _kept(self, wanted: Iterable[bytes]) -> dict[bytes, float]:
        found, hashes = dict[bytes, float](), list(wanted)
        with self._open() as database:
            for start in range(0, len(hashes), _CHUNK):
                some = hashes[start : start + _CHUNK]
                marks = ",".join("?" * len(some))
                query = f"select hash, tone from tones where reader = ? and hash in ({marks})"  # noqa: S608  # question marks alone
                rows = self._run(database, query, (self._identity, *some))
                # What somebody else wrote into the file is no tone.
                found |= {h: t for h, t in rows if isinstance(t, float) and -1.0 <= t <= 1.0}
        return found

    def _keep(self, tones: dict[bytes, float]) -> None:
        with self._open() as database:
            for h, tone in tones.items():
                command = "insert or replace into tones values (?, ?, ?)"
                self._run(database, command, (self._identity, h, tone))
            database.commit()

    def _open(self) -> closing[sqlite3.Connection]:
        folder = self._folder or Path()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            database = sqlite3.connect(folder / "tones.db", timeout=30.0)
        except (OSError, sqlite3.Error) as error:
            raise self._failed(error) from error
        try:
            database.execute(_TABLE)
        except sqlite3.Error as error:
            database.close()
            raise self._failed(error) from error
        return closing(database)

    def _run(
        self, database: sqlite3.Connection, command: str, values: tuple[object, ...]
    ) -> list[tuple[bytes, object]]:
        try:
            return database.execute(command, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> StorageError:
        return StorageError(
            f"the tones kept in {self._folder} cannot be used: {error}",
            where="layer sentiment",
            hint="Remove the folder, or name another one as its cache",
        )


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
