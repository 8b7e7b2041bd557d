"""Delta tables on disk or in an object store. Every commit is atomic."""

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import orjson
import polars as pl
from deltalake import (
    CommitProperties,
    DeltaTable,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError
from polars.exceptions import PolarsError

from weft.foundation.errors import StorageError
from weft.store.lock import only_one
from weft.store.tables import CANDLES, OBSERVATIONS, Table

_log = logging.getLogger(__name__)

_COMMITS_BEFORE_COMPACTION = 100
_HOURS_REPLACED_FILES_STAY = 24
"""Longer than any read: a reader may still use the files that compaction replaced."""

_FILES = WriterProperties(max_row_group_size=2**16, compression="ZSTD", compression_level=3)
"""Small row groups, so that a read skips groups with other times.

With any property set, the library compresses only where a compression is named.
"""

_READER_VERSION = 1
"""Delta protocol version; tables of later versions may contain rows marked as deleted."""

# Characters in paths with which the Delta library fails or crashes.
_UNUSABLE = re.compile(r"%[0-9A-Fa-f]{2}|[\[\]\\^|]|[\x00-\x1f\x7f]")


Query: TypeAlias = Callable[[pl.LazyFrame], pl.LazyFrame]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A table as of one commit.

    Attributes:
        table: the table.
        delta: the Delta table at that commit; None before the first commit.
    """

    table: Table
    delta: DeltaTable | None

    @property
    def version(self) -> int:
        """Number of the latest commit, from 0; -1 where there is none."""
        return -1 if self.delta is None else self.delta.version()


class Lake:
    """Append-only Delta tables below one folder or object-store URL.

    Args:
        url: a path, or a URL that `deltalake` understands (``s3://``, ``gs://``, ``az://``).

    Raises:
        StorageError: the folder cannot be made, or its path cannot be used.
    """

    def __init__(self, url: str | Path) -> None:
        self._folder = _local_folder(url)
        self.url = str(url).rstrip("/") if self._folder is None else str(self._folder)
        if self._folder is not None:
            self._make_folder(self._folder)

    def append(
        self,
        table: Table,
        rows: pl.DataFrame,
        *,
        seen: Snapshot | None = None,
        writer: str | None = None,
    ) -> bool:
        """Commit rows to a table, all or none; return whether they were committed.

        Args:
            table: the table.
            rows: rows to add.
            seen: snapshot from which the rows were derived. If another commit of the same `writer`
                came later, nothing is written and the result is False; derive the rows again.
            writer: name of the writer; for use with `seen`.

        Raises:
            StorageError: the commit failed; none of the rows can be read.
        """
        if rows.is_empty():
            return True
        with self._reporting(
            f"could not write {len(rows)} rows to {table.name}",
            "Nothing was changed; check free space and permissions, then try again",
        ):
            before = seen or self.snapshot(table)
            while not self._commit(before, rows, writer):
                if seen is not None:
                    return False
                before = self.snapshot(table)
            after = self.snapshot(table)
            self._flush(before, after)
        round_before = max(before.version, 0) // _COMMITS_BEFORE_COMPACTION
        is_due = after.version // _COMMITS_BEFORE_COMPACTION > round_before
        if is_due and self._folder is not None:
            self._compact_if_possible(table)
        return True

    def snapshot(self, table: Table) -> Snapshot:
        """Return the present snapshot of a table."""
        path = self._path(table)
        with self._reporting(f"could not read {table.name}"):
            delta = DeltaTable(path) if DeltaTable.is_deltatable(path) else None
            if delta is not None:
                self._expect_format(table, delta)
            return Snapshot(table, delta)

    def read(
        self,
        table: Table | Snapshot,
        query: Query,
        only: Mapping[str, Sequence[str]] | None = None,
    ) -> pl.DataFrame:
        """Return the result of a query over a table; no rows where nothing was written yet.

        Args:
            table: the table, or a snapshot of it.
            query: the query; it gets all columns, with rows in no defined order.
            only: wanted values of partition columns.

        Raises:
            StorageError: the table, or a file of it, cannot be read.
        """
        snapshot = table if isinstance(table, Snapshot) else self.snapshot(table)
        with self._reporting(
            f"could not read {snapshot.table.name}", "Restore the folder from a backup"
        ):
            return query(self._scan(snapshot, only or {})).collect()

    def compact(self, tables: Sequence[Table] = (CANDLES, OBSERVATIONS)) -> None:
        """Merge the small files of frequent commits. The rows stay the same.

        Files that were replaced more than a day ago are removed. Does nothing while another
        process of this machine compacts. An object store has no lock for this: there, let only
        one process compact.

        Raises:
            StorageError: compaction failed; the rows are unharmed.
        """
        for table in tables:
            if self.snapshot(table).delta is None:
                continue
            reporting = self._reporting(f"could not compact {table.name}", "No rows were lost")
            # After two compactions at once, the Delta library would keep both results, and each row
            # would be there twice.
            with reporting, self._only_one(table) as free:
                if free:
                    self._compact(table)

    def _compact(self, table: Table) -> None:
        before = self.snapshot(table)
        delta = DeltaTable(self._path(table))
        delta.optimize.compact(writer_properties=_FILES)
        delta.vacuum(
            retention_hours=_HOURS_REPLACED_FILES_STAY,
            dry_run=False,
            enforce_retention_duration=False,
        )
        self._flush(before, self.snapshot(table))

    def _expect_format(self, table: Table, delta: DeltaTable) -> None:
        """Raise if this version of Weft did not write the table."""
        if delta.protocol().min_reader_version > _READER_VERSION:
            raise StorageError(
                f"{table.name} was changed by another tool to a later version of the Delta "
                "protocol",
                where=f"lake {self.url}",
                hint="Restore it from a backup made before",
            )
        columns = {field.name for field in delta.schema().fields}
        if apart := columns.symmetric_difference(table.schema):
            raise StorageError(
                f"{table.name} was written by another version of Weft: they differ in "
                f"{', '.join(sorted(apart))}",
                where=f"lake {self.url}",
                hint="Point storage.lake at another folder, or use that version",
            )

    def _only_one(self, table: Table) -> AbstractContextManager[bool]:
        if self._folder is None:
            return nullcontext(enter_result=True)
        return only_one(self._folder / table.name / "_compacting.lock")

    def _compact_if_possible(self, table: Table) -> None:
        try:
            self.compact([table])
        except StorageError as error:
            _log.warning("%s", error)

    def _commit(self, before: Snapshot, rows: pl.DataFrame, writer: str | None) -> bool:
        """Add rows to a snapshot; return False where another commit came first."""
        try:
            self._add(before, rows, writer)
        except CommitFailedError:
            # Another process committed rows of this writer, or created the table.
            if self.snapshot(before.table).version > before.version:
                return False
            raise
        return True

    def _add(self, before: Snapshot, rows: pl.DataFrame, writer: str | None) -> None:
        table, path = before.table, self._path(before.table)
        frame = rows.select([pl.col(n).cast(t) for n, t in table.schema.items()])
        if before.delta is None:
            # If two processes create the table, the second finds it there, still empty.
            DeltaTable.create(
                path, table.schema, mode="ignore", partition_by=list(table.partitions) or None
            )
        turn = [] if writer is None else [Transaction(writer, _turn(before, writer) + 1)]
        write_deltalake(
            # A new object, because writing advances it to the new commit.
            DeltaTable(path, version=max(before.version, 0)),
            frame,
            mode="append",
            writer_properties=_FILES,
            commit_properties=CommitProperties(app_transactions=turn),
        )

    def _scan(self, snapshot: Snapshot, only: Mapping[str, Sequence[str]]) -> pl.LazyFrame:
        # pl.scan_delta looks for percent-encoded folders on a local disk.
        table = snapshot.table
        empty = pl.LazyFrame(schema=table.schema)
        if snapshot.delta is None:
            return empty
        files = pl.DataFrame(snapshot.delta.get_add_actions(flatten=True))
        files = files.select("path", pl.col(r"^partition\..*$").name.map(_without_prefix))
        for column, wanted in only.items():
            files = files.filter(pl.col(column).is_in(list(wanted)))
        stored = {n: t for n, t in table.schema.items() if n not in table.partitions}
        parts = [empty]
        for part in files.partition_by(table.partitions) if table.partitions else [files]:
            if part.is_empty():
                continue
            paths = [f"{self._path(table)}/{unquote(path)}" for path in part["path"]]
            rows = pl.scan_parquet(paths, schema=stored, glob=False, hive_partitioning=False)
            same = [pl.lit(part[c][0], pl.String).alias(c) for c in table.partitions]
            parts.append(rows.with_columns(same).select(list(table.schema)))
        return pl.concat(parts)

    def _flush(self, before: Snapshot, after: Snapshot) -> None:
        """Flush the commits between two snapshots to disk, so that they survive a loss of power.

        The Delta library leaves flushing to the operating system, which may write the log first.
        """
        if self._folder is None or os.name != "posix":
            return
        root = self._folder / after.table.name
        written = []
        for version in range(before.version + 1, after.version + 1):
            commit = root / "_delta_log" / f"{version:020}.json"
            added = (orjson.loads(line).get("add") for line in commit.read_bytes().splitlines())
            written += [commit, *(root / unquote(add["path"]) for add in added if add)]
        folders = {parent for path in written for parent in path.parents}
        for path in [*written, *(f for f in folders if f.is_relative_to(self._folder))]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    def _path(self, table: Table) -> str:
        return f"{self.url}/{table.name}"

    @contextmanager
    def _reporting(self, problem: str, hint: str | None = None) -> Iterator[None]:
        """Convert all errors of the underlying libraries to `StorageError`."""
        try:
            yield
        except BaseException as error:
            # A panic in Rust code is a BaseException; only polars documents its class.
            panicked = type(error).__name__ == "PanicException"
            if not panicked and not isinstance(error, DeltaError | PolarsError | OSError):
                raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise StorageError(f"{problem}: {lines[0]}", where=f"lake {self.url}", hint=hint) from (
                error
            )

    @staticmethod
    def _make_folder(path: Path) -> None:
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot create the folder {path}: {error.strerror}",
                where="storage.lake",
                hint="Point storage.lake at a folder that can be written",
            ) from error


def _turn(snapshot: Snapshot, writer: str) -> int:
    """Return the number of commits of a writer."""
    return (snapshot.delta and snapshot.delta.transaction_version(writer)) or 0


def _without_prefix(name: str) -> str:
    return name.removeprefix("partition.")


def _local_folder(url: str | Path) -> Path | None:
    """Return the absolute folder of a path or a file URL; None for an object store."""
    text = str(url)
    if text.startswith("file://"):
        text = url2pathname(urlsplit(text).path)
    elif "://" in text:
        return None
    path = Path(text).absolute()
    if odd := _UNUSABLE.search(str(path)):
        raise StorageError(
            f"the folder {str(path)!r} contains {odd[0]!r}, which no path of Delta tables can",
            where="storage.lake",
            hint="Choose another folder",
        )
    return path
