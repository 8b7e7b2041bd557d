"""Tones of texts: by FinBERT with a cache, or by the lexicon where its weights are missing."""

import hashlib
import logging
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final

from weft.foundation.errors import StorageError
from weft_plugins.layers.sentiment.text.finbert import FinBert
from weft_plugins.layers.sentiment.text.reading import Read

_log = logging.getLogger(__name__)

_MOST_CACHED: Final = 500_000
_CHUNK: Final = 500
_TABLE: Final = """
create table if not exists tones (reader text, hash blob, tone real, primary key (reader, hash))
without rowid
"""


class ToneReader:
    """Gives the tone of texts; the first call decides between FinBERT and the lexicon.

    Args:
        model: of FinBERT's kind; None for the lexicon.
        revision: of the model.
        may_fail: whether the lexicon reads where the model's weights are not here.
        may_download: whether they may be fetched.
        longest_tokens: tokens read of each text.
        folder: of the cached tones; None to cache them only in memory.
    """

    def __init__(
        self,
        model: str | None,
        *,
        revision: str = "main",
        may_fail: bool = True,
        may_download: bool = False,
        longest_tokens: int = 128,
        folder: Path | None = None,
    ) -> None:
        self._finbert = model and FinBert(
            model,
            revision=revision,
            may_download=may_download,
            longest_tokens=longest_tokens,
        )
        self._may_fail = may_fail
        self._folder = folder
        self._tones: ToneCache | None = None
        self._settled = False

    @property
    def is_finbert(self) -> bool:
        """Whether FinBERT reads."""
        self._settle()
        return self._tones is not None

    def tones(self, reads: Sequence[Read], wanted: Sequence[bool]) -> list[float]:
        """Return the tone of each text that is wanted, -1 to +1, and 0 for the others.

        Raises:
            ComponentError: the model's weights cannot be loaded, and must not be missing.
            MissingDependencyError: likewise, where a package is not installed.
            StorageError: the folder of the tones cannot be used.
        """
        self._settle()
        if self._tones is None:
            return [
                read.tone if is_wanted else 0.0
                for read, is_wanted in zip(reads, wanted, strict=True)
            ]
        places = [place for place, is_wanted in enumerate(wanted) if is_wanted]
        tones_found = [0.0] * len(reads)
        tones_read = self._tones.of([reads[place].text for place in places])
        for place, tone in zip(places, tones_read, strict=True):
            tones_found[place] = tone
        return tones_found

    def _settle(self) -> None:
        if self._settled:
            return
        finbert = self._finbert
        if finbert and self._may_fail and not finbert.is_here:
            _log.info("the weights of %s are not here: the lexicon reads", finbert.model)
        elif finbert:
            self._tones = ToneCache(finbert.identity, finbert.read, self._folder)
        self._settled = True


class ToneCache:
    """Reads each text once, and caches its tone in memory and in a folder.

    Args:
        identity: of the reader: everything the tones depend on besides the text.
        read: gives the tone of each text, -1 to +1.
        folder: of the tones, shared with other processes; None to cache them only in memory.
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
        self._cached: dict[bytes, float] = {}

    def of(self, texts: Sequence[str]) -> list[float]:
        """Return the tone of each text.

        Raises:
            StorageError: the folder cannot be read or written.
        """
        hashes = [_hash(text) for text in texts]
        missing = {h: text for h, text in zip(hashes, texts, strict=True) if h not in self._cached}
        tones_found = dict[bytes, float]()
        if missing and self._folder is not None:
            tones_found = self._load(missing)
            missing = {h: text for h, text in missing.items() if h not in tones_found}
        if missing:
            tones_read = dict(zip(missing, self._read(list(missing.values())), strict=True))
            if self._folder is not None:
                self._store(tones_read)
            tones_found |= tones_read
        tones = [self._cached[h] if h in self._cached else tones_found[h] for h in hashes]
        if len(self._cached) + len(tones_found) > _MOST_CACHED:
            self._cached = {}
        self._cached |= tones_found
        return tones

    def _load(self, wanted: Iterable[bytes]) -> dict[bytes, float]:
        tones_found, hashes = dict[bytes, float](), list(wanted)
        with self._open() as database:
            for start in range(0, len(hashes), _CHUNK):
                some = hashes[start : start + _CHUNK]
                marks = ",".join("?" * len(some))
                query = f"select hash, tone from tones where reader = ? and hash in ({marks})"  # noqa: S608  # question marks alone
                rows = self._run(database, query, (self._identity, *some))
                # The file may hold other values: another program may have written to it.
                tones_found |= {h: t for h, t in rows if isinstance(t, float) and -1.0 <= t <= 1.0}
        return tones_found

    def _store(self, tones: dict[bytes, float]) -> None:
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
