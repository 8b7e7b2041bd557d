"""Delta tables: the warm tier. A commit is written whole or not at all."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import DeltaError

from weft.errors import StorageError

_FILES_BEFORE_COMPACTION = 100

UTC_MICROS = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Table:
    """One kind of fact and its columns.

    Attributes:
        name: folder below the lake.
        schema: columns and types; `partitions` among them.
        partitions: columns that split the table into folders.
    """

    name: str
    schema: pl.Schema
    partitions: tuple[str, ...] = ()


CANDLES = Table(
    "candles",
    pl.Schema(
        {
            "source": pl.String,
            "interval": pl.String,
            "symbol": pl.String,
            "open_time": UTC_MICROS,
            "open": pl.Float64,
            "high": pl.Float64,
            "low": pl.Float64,
            "close": pl.Float64,
            "volume": pl.Float64,
            "known_at": UTC_MICROS,
        }
    ),
    ("source", "interval"),
)
OBSERVATIONS = Table(
    "observations",
    pl.Schema(
        {
            "source": pl.String,
            "metric": pl.String,
            "scope": pl.String,
            "entity": pl.String,
            "event_time": UTC_MICROS,
            "known_at": UTC_MICROS,
            "value": pl.Float64,
        }
    ),
    ("source", "metric"),
)
INSTRUMENTS = Table(
    "instruments",
    pl.Schema(
        {
            "source": pl.String,
            "symbol": pl.String,
            "described": pl.String,
            "recorded_at": UTC_MICROS,
        }
    ),
)
CURSORS = Table(
    "cursors",
    pl.Schema(
        {
            "source": pl.String,
            "interval": pl.String,
            "cursor": pl.String,
            "recorded_at": UTC_MICROS,
        }
    ),
)


class Lake:
    """Append-only Delta tables below one folder or object-store URL.

    Args:
        url: a path, or a URL that `deltalake` understands (``s3://``, ``gs://``, ``az://``).
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url)
        self._appends: dict[str, int] = {}
        if "://" not in self.url:
            self._make_folder(Path(self.url))

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

    def append(self, table: Table, rows: pl.DataFrame) -> None:
        """Commit rows to a table, all of them or none.

        Raises:
            StorageError: the commit failed; nothing of it can be read.
        """
        if rows.is_empty():
            return
        frame = rows.select([pl.col(n).cast(t) for n, t in table.schema.items()])
        try:
            write_deltalake(
                self._path(table),
                frame,
                mode="append",
                partition_by=list(table.partitions) or None,
            )
        except (DeltaError, OSError) as error:
            raise StorageError(
                f"could not write {len(rows)} rows to {table.name}: {error}",
                where=f"lake {self.url}",
                hint="Nothing was changed; check free space and permissions, then try again",
            ) from error
        self._compact_now_and_then(table)

    def scan(self, table: Table) -> pl.LazyFrame:
        """Return a table as a lazy frame; an empty one where nothing was ever written."""
        path = self._path(table)
        try:
            if not DeltaTable.is_deltatable(path):
                return pl.LazyFrame(schema=table.schema)
            return pl.scan_delta(path).select(list(table.schema))
        except (DeltaError, OSError) as error:
            raise StorageError(
                f"could not read {table.name}: {error}", where=f"lake {self.url}"
            ) from error

    def compact(self, tables: Sequence[Table] = (CANDLES, OBSERVATIONS)) -> None:
        """Join the small files that frequent commits leave behind. Contents stay the same."""
        for table in tables:
            if DeltaTable.is_deltatable(self._path(table)):
                DeltaTable(self._path(table)).optimize.compact()

    def _compact_now_and_then(self, table: Table) -> None:
        self._appends[table.name] = self._appends.get(table.name, 0) + 1
        if self._appends[table.name] % _FILES_BEFORE_COMPACTION == 0:
            self.compact([table])

    def _path(self, table: Table) -> str:
        return f"{self.url.rstrip('/')}/{table.name}"
