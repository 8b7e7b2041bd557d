"""What was known, and since when: rows are only ever added, a correction is a newer row.

Every row has three times: when it was true (`open_time`, `event_time`), when it became known to
whoever watched its source (`known_at`), and when it was written here (`recorded_at`). The second
decides what a view of history may see; the third tells what this store could see when a signal was
composed from it.
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
from weft.store.editions import EDITION, Editions
from weft.store.lake import Lake, Query, Snapshot
from weft.store.news import news, on_schema
from weft.store.tables import CANDLES, CURSORS, INSTRUMENTS, OBSERVATIONS, TEXTS, Table

TEXT_VALUES: Final = ("title", "summary", "url", "feed", "assets", "credibility")
_TRIES: Final = 20
"""Of writing what another process may be writing too."""


def _in_order(rows: pl.LazyFrame) -> pl.LazyFrame:
    return rows.sort("open_time", "known_at", "source", "symbol")


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the rows handed to the store.

    Attributes:
        rows: those that were added, as stored.
        is_new: for each of them, whether it is a fact not known before.
        was: what was stored of each before, in columns like ``was_close``; null where it is new.
        new: how many are.
        restated: facts known with another value; kept beside it, known from now on.
        unchanged: rows already there.
    """

    rows: pl.DataFrame
    is_new: pl.Series
    was: pl.DataFrame
    new: int
    restated: int
    unchanged: int


class Span(NamedTuple):
    """From where to where a series reaches, microseconds since 1970."""

    first: int
    last: int

    def joined(self, other: "Span") -> "Span":
        """Return the span over both."""
        return Span(min(self.first, other.first), max(self.last, other.last))


class Store:
    """The bitemporal store of one lake. Safe to use from several threads.

    Args:
        lake: where the tables are.
        clock: tells when a row is written.
        recorded_by: rows written later, microseconds since 1970, do not show; None for all.
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
        """Under which name the rows of each source are kept now, or were at that instant."""
        if self._known_editions is None:
            kept = pl.col("interval") == EDITION
            recorded = pl.lit(value=True)
            if self._recorded_by is not None:
                recorded = pl.col("recorded_at") <= to_datetime(self._recorded_by)
            rows = self.lake.read(
                CURSORS,
                lambda rows: rows.filter(kept & recorded).group_by("source").len(),
            )
            numbers = zip(rows["source"], rows["len"], strict=True)
            self._known_editions = Editions({source: count + 1 for source, count in numbers})
        return self._known_editions

    def start_over(self, source: str) -> int:
        """Begin a new edition of a source, and return its number.

        From now on only what the source brings from now on is read. Stores as of an earlier
        instant read what was kept before, so that what was composed from it can be made again.
        Other processes see the new edition when they open the lake anew.
        """
        row = (source, EDITION, "", self._stamp())
        self.lake.append(CURSORS, pl.DataFrame([row], CURSORS.schema, orient="row"))
        self._known_editions = None
        return self._editions.number(source)

    def as_recorded(self, instant: int) -> "Store":
        """Return the store as it was at an instant, to read from."""
        return Store(self.lake, self._clock, instant)

    def mark(self) -> int:
        """Return an instant that lies after all rows written through this object so far.

        Rows written later are recorded after it. Of a store as it was at an instant, that one.
        """
        if self._recorded_by is not None:
            return self._recorded_by
        with self._lock:
            self._latest = max(self._clock.now(), self._latest)
            return self._latest

    def _stamp(self) -> int:
        """Return the instant at which rows are recorded that are about to be written."""
        if self._recorded_by is not None:
            raise StorageError("the store of an earlier instant is only read from")
        with self._lock:
            self._latest = max(self._clock.now(), self._latest + 1)
            return self._latest

    def append_candles(self, source: str, frame: pl.DataFrame) -> Appended:
        """Add candles that are new or restated; handing the same ones in again changes nothing.

        A new candle is kept as known when its `known_at` says, in every version that is brought.
        Where some version of a candle is there already, only the latest known of those brought
        counts: if it says something else, it is kept as known from the next instant on, so that
        what was read as of any instant before stays as it was.

        Args:
            source: under which name they are kept.
            frame: checked candles of one interval (see `weft.collect.checks.clean`).

        Raises:
            SchemaError: a column is missing, or there are several intervals.
            StorageError: they could not be written; none of them was.
        """
        partition = {"source": self._editions.kept_as(source)}
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
        partition = {"source": self._editions.kept_as(source)}
        return self._append(OBSERVATIONS, frame, partition, key, ("value",))

    def append_texts(self, source: str, frame: pl.DataFrame) -> Appended:
        """Add texts that are new, or were changed by whoever published them."""
        partition = {"source": self._editions.kept_as(source)}
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

        They come in the order of their open times, the versions of one earliest known first.

        Args:
            sources: which source to take which symbols from.
            interval: length of the candles.
            since: earliest open time, microseconds since 1970; None for all.
            until: latest open time; None for all.
            narrow: what to ask of them, instead of putting them all in order.
            ends: for some pairs of source and symbol, the open time from which on they are not
                wanted.
            seen: which state of the table to read (see `candles_seen`); None for the present one.
        """
        kept_as = self._editions.kept_as
        wanted = pl.any_horizontal(
            pl.lit(value=False),
            *(
                (pl.col("source") == kept_as(source)) & pl.col("symbol").is_in(list(symbols))
                for source, symbols in sources.items()
            ),
        )
        if since is not None:
            wanted &= pl.col("open_time") >= to_datetime(since)
        if until is not None:
            wanted &= pl.col("open_time") <= to_datetime(until)
        for (source, symbol), end in ends.items():
            one = (pl.col("source") == kept_as(source)) & (pl.col("symbol") == symbol)
            wanted &= ~(one & (pl.col("open_time") >= to_datetime(end)))
        return self._read(
            seen or CANDLES,
            lambda rows: narrow(rows.filter(wanted)),
            {"source": list(sources), "interval": [interval.name]},
        )

    def candles_seen(self) -> Snapshot:
        """Return the present state of all candles, for reads that must agree with one another."""
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
            sources: whose.
            interval: length of the candles.
            late: whether a version became known too late to be seen.
            since: earliest open time looked at, microseconds since 1970; None for all.
        """
        key = ["source", "symbol", "open_time"]
        reached = pl.lit(value=True) if since is None else pl.col("open_time") >= to_datetime(since)

        def query(rows: pl.LazyFrame) -> pl.LazyFrame:
            rows = rows.filter(reached)
            found = rows.filter(late)
            versions = rows.join(found.select(key).unique(), on=key, how="semi")
            first = versions.group_by(key).agg(first=pl.col("known_at").min())
            later = found.join(first, on=key).filter(pl.col("known_at") > pl.col("first"))
            return later.group_by(key).agg(pl.col("known_at").min()).sort(key)

        return self._read(CANDLES, query, {"source": list(sources), "interval": [interval.name]})

    def observations(
        self,
        metric: str,
        sources: Sequence[str],
        until: int | None = None,
        since: int | None = None,
    ) -> pl.DataFrame:
        """Return every version of a metric's facts, in the order of their event times.

        The versions of one come earliest known first.

        Args:
            metric: which one.
            sources: whose.
            until: only what was known by then, microseconds since 1970; None for all.
            since: only what became known after that, and of each series the newest fact that was
                known by then; None for all.
        """
        known = pl.lit(value=True) if until is None else pl.col("known_at") <= to_datetime(until)

        def query(rows: pl.LazyFrame) -> pl.LazyFrame:
            rows = rows.filter(known)
            if since is not None:
                later = pl.col("known_at") > to_datetime(since)
                held = rows.filter(~later).sort("event_time", "known_at")
                held = held.unique(["source", "scope", "entity"], keep="last", maintain_order=True)
                rows = pl.concat([held, rows.filter(later)])
            return rows.sort("event_time", "known_at", "source", "scope", "entity")

        return self._read(OBSERVATIONS, query, {"metric": [metric], "source": list(sources)})

    def texts(self, sources: Sequence[str], since: int, until: int) -> pl.DataFrame:
        """Return every version of the texts published from `since` on and known by `until`.

        They come in the order in which they became known.
        """
        return self._read(
            TEXTS,
            lambda rows: rows.filter(
                pl.col("event_time") >= to_datetime(since), pl.col("known_at") <= to_datetime(until)
            ).sort("known_at", "source", "id"),
            {"source": list(sources)},
        )

    def known_facts(self, source: str) -> dict[FactKey, Span]:
        """Return the event times between which each series of a source's observations lies."""
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
        """Record what a source says about its instruments, where that is news."""
        rows, kept_as = self._described(source), self._editions.kept_as(source)
        known = dict(zip(rows["symbol"], rows["described"], strict=True))
        told = {i.symbol: orjson.dumps(asdict(i)).decode() for i in instruments}
        news = {symbol: text for symbol, text in told.items() if known.get(symbol) != text}
        self.lake.append(
            INSTRUMENTS,
            pl.DataFrame(
                {
                    "source": [kept_as] * len(news),
                    "symbol": list(news),
                    "described": list(news.values()),
                    "recorded_at": [self._after(rows["recorded_at"])] * len(news),
                },
                schema=INSTRUMENTS.schema,
            ),
        )

    def instruments(self, source: str) -> list[Instrument]:
        """Return the instruments of a source as last described, by symbol."""
        return [self._parse_instrument(text) for text in self._described(source)["described"]]

    def cursor(self, source: str, interval: Interval) -> str | None:
        """Return what `save_cursor` last kept for a source, or None."""
        rows = self._last_cursor(source, interval)
        return None if rows.is_empty() else str(rows["cursor"][0])

    def save_cursor(self, source: str, interval: Interval, cursor: str) -> None:
        """Keep a provider's note of how far it has read, where it is not the one kept already."""
        last = self._last_cursor(source, interval)
        if not last.is_empty() and last["cursor"][0] == cursor:
            return
        kept_as = self._editions.kept_as(source)
        row = (kept_as, interval.name, cursor, self._after(last["recorded_at"]))
        self.lake.append(CURSORS, pl.DataFrame([row], CURSORS.schema, orient="row"))

    def _read(
        self,
        table: Table | Snapshot,
        query: Query,
        only: Mapping[str, Sequence[str]] | None = None,
    ) -> pl.DataFrame:
        if only and "source" in only:
            only = {**only, "source": [self._editions.kept_as(s) for s in only["source"]]}
        if self._recorded_by is None:
            rows = self.lake.read(table, query, only)
        else:
            recorded = pl.col("recorded_at") <= to_datetime(self._recorded_by)
            rows = self.lake.read(table, lambda rows: query(rows.filter(recorded)), only)
        return self._editions.as_asked(rows)

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
            added, is_new, was = news(rows, latest, key, values, self._clock.now())
            added = added.with_columns(recorded_at=pl.lit(stamp).cast(UTC_MICROS))
            if self.lake.append(table, added, seen=seen, writer=partition["source"]):
                new = int(is_new.sum())
                added = self._editions.as_asked(added)
                return Appended(added, is_new, was, new, len(added) - new, len(rows) - len(added))
        raise StorageError(
            f"could not write {len(rows)} rows to {table.name}: others kept writing rows of "
            f"{partition['source']}",
            where=f"lake {self.lake.url}",
            hint="Let one process at a time collect from a source, then try again",
        )

    def _described(self, source: str) -> pl.DataFrame:
        """Return the latest description of each instrument of a source, by symbol."""
        source = self._editions.kept_as(source)
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
        source = self._editions.kept_as(source)
        return self._read(
            CURSORS,
            lambda rows: rows.filter(
                pl.col("source") == source, pl.col("interval") == interval.name
            ).top_k(1, by="recorded_at"),
        )

    def _after(self, recorded_at: pl.Series) -> int:
        """Return the present instant, or one after all of `recorded_at` where the clock lags."""
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
                f"an instrument is described in a way this Weft does not know: {error}",
                where=f"lake {self.lake.url}",
                hint="Upgrade Weft, or point storage.lake at another folder",
            ) from error
