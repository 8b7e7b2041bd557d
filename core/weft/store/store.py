"""Bitemporal store: rows are only added; a correction is a newer row.

Every row has three times: when it was true (`open_time`, `event_time`), when somebody who watched
the source could know it (`known_at`), and when this store wrote it (`recorded_at`). `known_at`
decides what a view of history contains; `recorded_at` decides what a replay may use.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

import orjson
import polars as pl

from weft.components.provider import FactKey
from weft.domain.candles import FIELDS
from weft.domain.columns import UTC_MICROS
from weft.domain.instruments import Instrument, Kind
from weft.foundation.clock import Clock
from weft.foundation.errors import SchemaError, StorageError
from weft.foundation.times import Interval, to_datetime
from weft.store.changes import changed_rows, on_schema
from weft.store.editions import EDITION, Editions
from weft.store.lake import Lake, Query, Snapshot
from weft.store.tables import CANDLES, CURSORS, INSTRUMENTS, OBSERVATIONS, TEXTS, Table

TEXT_VALUES: Final = ("title", "summary", "url", "feed", "assets", "credibility")
_TRIES: Final = 20
"""Attempts to write while another process writes too."""


def _in_order(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.sort("open_time", "known_at", "source", "symbol")


@dataclass(frozen=True, slots=True)
class Appended:
    """Result of adding rows to the store.

    Attributes:
        rows: the added rows, as stored.
        is_new: whether each added row is a new fact.
        was: earlier stored values of each added row, in columns such as ``was_close``; null where
            the fact is new.
        new: number of new facts.
        restated: number of facts stored with another value before; both values stay.
        unchanged: number of rows that were stored already.
    """

    rows: pl.DataFrame
    is_new: pl.Series
    was: pl.DataFrame
    new: int
    restated: int
    unchanged: int


class Span(NamedTuple):
    """First and last time of a series, microseconds since 1970."""

    first: int
    last: int

    def union(self, other: "Span") -> "Span":
        """Return the span that covers both."""
        return Span(min(self.first, other.first), max(self.last, other.last))


class Store:
    """Bitemporal store over one lake. Thread-safe.

    Args:
        lake: the tables.
        clock: clock for `recorded_at`.
        recorded_by: rows recorded later are hidden, microseconds since 1970; None for no limit.
    """

    def __init__(self, lake: Lake, clock: Clock, recorded_by: int | None = None) -> None:
        self.lake = lake
        self._clock = clock
        self._recorded_by = recorded_by
        self._latest = 0
        self._lock = threading.Lock()
        self._known_editions: Editions | None = None

    @property
    def _editions(self) -> Editions:
        """Editions of all sources, now or as of `recorded_by`."""
        if self._known_editions is None:
            is_edition = pl.col("interval") == EDITION
            recorded = pl.lit(value=True)
            if self._recorded_by is not None:
                recorded = pl.col("recorded_at") <= to_datetime(self._recorded_by)
            rows = self.lake.read(
                CURSORS,
                lambda rows: rows.filter(is_edition & recorded).group_by("source").len(),
            )
            numbers = zip(rows["source"], rows["len"], strict=True)
            self._known_editions = Editions({source: count + 1 for source, count in numbers})
        return self._known_editions

    def start_over(self, source: str) -> int:
        """Begin a new edition of a source, and return its number.

        Only rows that the source brings from now on are read. Stores as of an earlier time still
        read the earlier rows, so that earlier signals can be replayed. Other processes see the new
        edition when they open the lake again.
        """
        row = (source, EDITION, "", self._stamp())
        self.lake.append(CURSORS, pl.DataFrame([row], CURSORS.schema, orient="row"))
        self._known_editions = None
        return self._editions.number(source)

    def as_recorded(self, instant: int) -> "Store":
        """Return a read-only store with the rows recorded by a time."""
        return Store(self.lake, self._clock, instant)

    def mark(self) -> int:
        """Return a time at or after that of all rows written through this object so far.

        Rows written later are recorded later. A store as of an earlier time returns that time.
        """
        if self._recorded_by is not None:
            return self._recorded_by
        with self._lock:
            self._latest = max(self._clock.now(), self._latest)
            return self._latest

    def _stamp(self) -> int:
        """Return the `recorded_at` of the next rows to write."""
        if self._recorded_by is not None:
            raise StorageError("a store as of an earlier time is read-only")
        with self._lock:
            self._latest = max(self._clock.now(), self._latest + 1)
            return self._latest

    def append_candles(self, source: str, frame: pl.DataFrame) -> Appended:
        """Add new and restated candles; adding the same candles again changes nothing.

        All versions of a new candle are stored with their `known_at`. If a version of a candle is
        stored already, only the latest of the added versions counts: with other values, it is
        stored as known from now on, so that earlier reads stay reproducible.

        Args:
            source: name of the source.
            frame: checked candles of one interval (see `weft.collect.checks.clean`).

        Raises:
            SchemaError: a column is missing, or there are several intervals.
            StorageError: they could not be written; none of them was.
        """
        partition = {"source": self._editions.stored_name(source)}
        if len(frame):
            partition["interval"] = frame["interval"][0]
            if (others := frame["interval"].n_unique() - 1) > 0:
                raise SchemaError(
                    f"expected {partition['interval']} candles alone, {others} more intervals came",
                    where=source,
                    hint="Hand in one interval at a time",
                )
        return self._append(CANDLES, frame, partition, ("symbol", "open_time"), FIELDS)

    def append_observations(self, source: str, frame: pl.DataFrame) -> Appended:
        """Add observations that are new or restated, like `append_candles`."""
        key = ("metric", "scope", "entity", "event_time")
        partition = {"source": self._editions.stored_name(source)}
        return self._append(OBSERVATIONS, frame, partition, key, ("value",))

    def append_texts(self, source: str, frame: pl.DataFrame) -> Appended:
        """Add texts that are new, or that their publisher changed."""
        partition = {"source": self._editions.stored_name(source)}
        return self._append(TEXTS, frame, partition, ("id", "event_time"), TEXT_VALUES)

    def candles(
        self,
        sources: Mapping[str, Sequence[str]],
        interval: Interval,
        since: int | None = None,
        until: int | None = None,
        narrow: Query = _in_order,
        ends: Mapping[tuple[str, str], int] = MappingProxyType({}),
        seen: Snapshot | None = None,
    ) -> pl.DataFrame:
        """Return every version of the candles opened in a span of time.

        Rows are sorted by open time, versions of one candle by the time they became known.

        Args:
            sources: symbols to read, by source.
            interval: length of the candles.
            since: earliest open time, microseconds since 1970; None for all.
            until: latest open time; None for all.
            narrow: query that replaces sorting all rows.
            ends: open time from which rows are left out, by (source, symbol).
            seen: snapshot to read (see `candles_seen`); None for the present one.
        """
        stored_name = self._editions.stored_name
        wanted = pl.any_horizontal(
            pl.lit(value=False),
            *(
                (pl.col("source") == stored_name(source)) & pl.col("symbol").is_in(list(symbols))
                for source, symbols in sources.items()
            ),
        )
        if since is not None:
            wanted &= pl.col("open_time") >= to_datetime(since)
        if until is not None:
            wanted &= pl.col("open_time") <= to_datetime(until)
        for (source, symbol), end in ends.items():
            one = (pl.col("source") == stored_name(source)) & (pl.col("symbol") == symbol)
            wanted &= ~(one & (pl.col("open_time") >= to_datetime(end)))
        return self._read(
            seen or CANDLES,
            lambda rows: narrow(rows.filter(wanted)),
            {"source": list(sources), "interval": [interval.name]},
        )

    def candles_seen(self) -> Snapshot:
        """Return a snapshot of all candles, for several reads of one state."""
        return self.lake.snapshot(CANDLES)

    def spans(self, interval: Interval) -> pl.DataFrame:
        """Return source, symbol, first and last open_time of all candles of one interval."""
        return self._read(
            CANDLES,
            lambda rows: (
                rows.group_by("source", "symbol")
                .agg(first=pl.col("open_time").min(), last=pl.col("open_time").max())
                .sort("source", "symbol")
            ),
            {"interval": [interval.name]},
        )

    def corrected(
        self, sources: Sequence[str], interval: Interval, late: pl.Expr, since: int | None = None
    ) -> pl.DataFrame:
        """Return candles corrected too late for their row, and when the correction became known.

        The columns are source, symbol, open_time and known_at.

        Args:
            sources: names of the sources.
            interval: length of the candles.
            late: expression for versions that became known too late for their row.
            since: earliest open time, microseconds since 1970; None for all.
        """
        key = ["source", "symbol", "open_time"]
        reached = pl.lit(value=True) if since is None else pl.col("open_time") >= to_datetime(since)

        def query(rows: pl.LazyFrame) -> pl.LazyFrame:
            rows = rows.filter(reached)
            late_rows = rows.filter(late)
            versions = rows.join(late_rows.select(key).unique(), on=key, how="semi")
            first = versions.group_by(key).agg(first=pl.col("known_at").min())
            later = late_rows.join(first, on=key).filter(pl.col("known_at") > pl.col("first"))
            return later.group_by(key).agg(pl.col("known_at").min()).sort(key)

        return self._read(CANDLES, query, {"source": list(sources), "interval": [interval.name]})

    def observations(
        self,
        metric: str,
        sources: Sequence[str],
        until: int | None = None,
        since: int | None = None,
    ) -> pl.DataFrame:
        """Return every version of a metric's facts, sorted by event time.

        Versions of one fact are sorted by the time they became known.

        Args:
            metric: name of the metric.
            sources: names of the sources.
            until: only facts known by then, microseconds since 1970; None for all.
            since: only facts that became known later, and the newest fact of each series known by
                then; None for all.
        """
        known = pl.lit(value=True) if until is None else pl.col("known_at") <= to_datetime(until)

        def query(rows: pl.LazyFrame) -> pl.LazyFrame:
            rows = rows.filter(known)
            if since is not None:
                later = pl.col("known_at") > to_datetime(since)
                current = rows.filter(~later).sort("event_time", "known_at")
                current = current.unique(
                    ["source", "scope", "entity"], keep="last", maintain_order=True
                )
                rows = pl.concat([current, rows.filter(later)])
            return rows.sort("event_time", "known_at", "source", "scope", "entity")

        return self._read(OBSERVATIONS, query, {"metric": [metric], "source": list(sources)})

    def texts(self, sources: Sequence[str], since: int, until: int) -> pl.DataFrame:
        """Return every version of the texts published from `since` on and known by `until`.

        Texts are sorted by the time they became known.
        """
        return self._read(
            TEXTS,
            lambda rows: rows.filter(
                pl.col("event_time") >= to_datetime(since), pl.col("known_at") <= to_datetime(until)
            ).sort("known_at", "source", "id"),
            {"source": list(sources)},
        )

    def known_facts(self, source: str) -> dict[FactKey, Span]:
        """Return first and last event time of each series of a source."""
        time = pl.col("event_time").to_physical()
        rows = self._read(
            OBSERVATIONS,
            lambda rows: rows.group_by("metric", "scope", "entity").agg(
                first=time.min(), last=time.max()
            ),
            {"source": [source]},
        )
        return {FactKey(*key): Span(first, last) for *key, first, last in rows.iter_rows()}

    def describe_instruments(self, source: str, instruments: Sequence[Instrument]) -> None:
        """Store the instruments of a source, where their description changed."""
        rows, stored_name = self._described(source), self._editions.stored_name(source)
        known = dict(zip(rows["symbol"], rows["described"], strict=True))
        described = {i.symbol: orjson.dumps(asdict(i)).decode() for i in instruments}
        changed = {symbol: text for symbol, text in described.items() if known.get(symbol) != text}
        self.lake.append(
            INSTRUMENTS,
            pl.DataFrame(
                {
                    "source": [stored_name] * len(changed),
                    "symbol": list(changed),
                    "described": list(changed.values()),
                    "recorded_at": [self._after(rows["recorded_at"])] * len(changed),
                },
                schema=INSTRUMENTS.schema,
            ),
        )

    def instruments(self, source: str) -> list[Instrument]:
        """Return the instruments of a source as last described, by symbol."""
        return [self._parse_instrument(text) for text in self._described(source)["described"]]

    def cursor(self, source: str, interval: Interval) -> str | None:
        """Return the last cursor of a source, or None."""
        rows = self._last_cursor(source, interval)
        return None if rows.is_empty() else str(rows["cursor"][0])

    def save_cursor(self, source: str, interval: Interval, cursor: str) -> None:
        """Store a provider's cursor, if it changed."""
        last = self._last_cursor(source, interval)
        if not last.is_empty() and last["cursor"][0] == cursor:
            return
        stored_name = self._editions.stored_name(source)
        row = (stored_name, interval.name, cursor, self._after(last["recorded_at"]))
        self.lake.append(CURSORS, pl.DataFrame([row], CURSORS.schema, orient="row"))

    def _read(
        self,
        table: Table | Snapshot,
        query: Query,
        only: Mapping[str, Sequence[str]] | None = None,
    ) -> pl.DataFrame:
        if only and "source" in only:
            only = {**only, "source": [self._editions.stored_name(s) for s in only["source"]]}
        if self._recorded_by is None:
            rows = self.lake.read(table, query, only)
        else:
            recorded = pl.col("recorded_at") <= to_datetime(self._recorded_by)
            rows = self.lake.read(table, lambda rows: query(rows.filter(recorded)), only)
        return self._editions.current(rows)

    def _append(
        self,
        table: Table,
        frame: pl.DataFrame,
        partition: Mapping[str, str],
        key: tuple[str, ...],
        values: tuple[str, ...],
    ) -> Appended:
        if frame.is_empty():
            nothing = pl.DataFrame(schema=table.schema)
            return Appended(nothing, pl.Series(dtype=pl.Boolean), pl.DataFrame(), 0, 0, 0)
        rows = on_schema(frame, table, partition)
        time = key[-1]
        span = pl.col(time).is_between(rows[time].min(), rows[time].max())
        only = {c: rows[c].unique().to_list() for c in table.partitions}
        for _ in range(_TRIES):
            seen = self.lake.snapshot(table)
            latest = self._read(
                seen,
                lambda stored: (
                    stored.filter(span)
                    .sort("known_at")
                    .unique(key, keep="last", maintain_order=True)
                    .select(
                        *key, was_known_at="known_at", **{f"was_{v}": pl.col(v) for v in values}
                    )
                ),
                only,
            )
            stamp = self._stamp()
            added, is_new, was = changed_rows(rows, latest, key, values, self._clock.now())
            added = added.with_columns(recorded_at=pl.lit(stamp).cast(UTC_MICROS))
            if self.lake.append(table, added, seen=seen, writer=partition["source"]):
                new = int(is_new.sum())
                added = self._editions.current(added)
                return Appended(added, is_new, was, new, len(added) - new, len(rows) - len(added))
        raise StorageError(
            f"could not write {len(rows)} rows to {table.name}: other processes write rows of "
            f"{partition['source']}",
            where=f"lake {self.lake.url}",
            hint="Let one process at a time collect from a source, then try again",
        )

    def _described(self, source: str) -> pl.DataFrame:
        """Return the latest description of each instrument of a source, sorted by symbol."""
        source = self._editions.stored_name(source)
        return self._read(
            INSTRUMENTS,
            lambda rows: (
                rows.filter(pl.col("source") == source)
                .sort("recorded_at")
                .unique("symbol", keep="last", maintain_order=True)
                .sort("symbol")
            ),
        )

    def _last_cursor(self, source: str, interval: Interval) -> pl.DataFrame:
        source = self._editions.stored_name(source)
        return self._read(
            CURSORS,
            lambda rows: rows.filter(
                pl.col("source") == source, pl.col("interval") == interval.name
            ).top_k(1, by="recorded_at"),
        )

    def _after(self, recorded_at: pl.Series) -> int:
        """Return the present time, or a time after all of `recorded_at` if the clock lags."""
        latest = recorded_at.to_physical().max()
        now = self._stamp()
        return max(now, latest + 1) if isinstance(latest, int) else now

    def _parse_instrument(self, text: str) -> Instrument:
        try:
            fields = orjson.loads(text)
            fields["kind"] = Kind(fields["kind"])
            fields["renamed_from"] = tuple(fields["renamed_from"])
            return Instrument(**fields)
        except (KeyError, TypeError, ValueError) as error:
            raise StorageError(
                f"an instrument is described in a form unknown to this Weft: {error}",
                where=f"lake {self.lake.url}",
                hint="Upgrade Weft, or point storage.lake at another folder",
            ) from error
