"""What was known, and since when: rows are only ever added, a correction is a newer row."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import orjson
import polars as pl

from weft.clock import Clock
from weft.market.instruments import Instrument, Kind
from weft.store.lake import CANDLES, CURSORS, INSTRUMENTS, OBSERVATIONS, UTC_MICROS, Lake, Table
from weft.times import Interval, to_datetime

_PRICES = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of the rows handed to the store.

    Attributes:
        rows: those that were added, as stored.
        new: facts not known before.
        restated: facts known with another value; kept beside it, known from now on.
        unchanged: rows already there.
    """

    rows: pl.DataFrame
    new: int
    restated: int
    unchanged: int


class Store:
    """The bitemporal store of one lake.

    Args:
        lake: where the tables are.
        clock: tells when a restatement became known.
    """

    def __init__(self, lake: Lake, clock: Clock) -> None:
        self.lake = lake
        self._clock = clock

    def append_candles(self, source: str, frame: pl.DataFrame) -> Appended:
        """Add candles that are new or restated; handing the same ones in again changes nothing.

        Args:
            source: under which name they are kept.
            frame: checked candles of one interval (see `weft.market.checks`).
        """
        partition = {"source": source, "interval": frame["interval"][0]} if len(frame) else {}
        return self._append(CANDLES, frame, partition, ("symbol", "open_time"), _PRICES)

    def append_observations(self, source: str, frame: pl.DataFrame) -> Appended:
        """Add observations that are new or restated, like `append_candles`."""
        key = ("metric", "scope", "entity", "event_time")
        return self._append(OBSERVATIONS, frame, {"source": source}, key, ("value",))

    def candles(
        self,
        sources: Mapping[str, Sequence[str]],
        interval: Interval,
        since: int | None = None,
        until: int | None = None,
    ) -> pl.DataFrame:
        """Return every version of the candles opened in a span of time, earliest known first.

        Args:
            sources: which source to take which symbols from.
            interval: length of the candles.
            since: earliest open time, microseconds since 1970; None for all.
            until: latest open time; None for all.
        """
        wanted = pl.any_horizontal(
            pl.lit(value=False),
            *(
                (pl.col("source") == source) & pl.col("symbol").is_in(list(symbols))
                for source, symbols in sources.items()
            ),
        )
        rows = self.lake.scan(CANDLES).filter(pl.col("interval") == interval.name, wanted)
        if since is not None:
            rows = rows.filter(pl.col("open_time") >= to_datetime(since))
        if until is not None:
            rows = rows.filter(pl.col("open_time") <= to_datetime(until))
        return rows.sort("known_at", maintain_order=True).collect()

    def spans(self, interval: Interval) -> pl.DataFrame:
        """Return source, symbol, first and last open_time of all candles of one interval."""
        return (
            self.lake.scan(CANDLES)
            .filter(pl.col("interval") == interval.name)
            .group_by("source", "symbol")
            .agg(first=pl.col("open_time").min(), last=pl.col("open_time").max())
            .sort("source", "symbol")
            .collect()
        )

    def observations(self, metric: str, sources: Sequence[str], until: int) -> pl.DataFrame:
        """Return every version of a metric's facts known by `until`, microseconds since 1970."""
        return (
            self.lake.scan(OBSERVATIONS)
            .filter(
                pl.col("metric") == metric,
                pl.col("source").is_in(list(sources)),
                pl.col("known_at") <= to_datetime(until),
            )
            .collect()
        )

    def describe_instruments(self, source: str, instruments: Sequence[Instrument]) -> None:
        """Record what a source says about its instruments, where that is news."""
        known = {i.symbol: i for i in self.instruments(source)}
        news = [i for i in instruments if known.get(i.symbol) != i]
        self.lake.append(
            INSTRUMENTS,
            pl.DataFrame(
                {
                    "source": [source] * len(news),
                    "symbol": [i.symbol for i in news],
                    "described": [orjson.dumps(asdict(i)).decode() for i in news],
                    "recorded_at": self._now(len(news)),
                },
                schema=INSTRUMENTS.schema,
            ),
        )

    def instruments(self, source: str) -> list[Instrument]:
        """Return the instruments of a source as last described, by symbol."""
        rows = (
            self.lake.scan(INSTRUMENTS)
            .filter(pl.col("source") == source)
            .sort("recorded_at", maintain_order=True)
            .unique("symbol", keep="last")
            .sort("symbol")
            .collect()
        )
        return [_parse_instrument(text) for text in rows["described"]]

    def cursor(self, source: str, interval: Interval) -> str | None:
        """Return what `save_cursor` last kept for a source, or None."""
        rows = (
            self.lake.scan(CURSORS)
            .filter(pl.col("source") == source, pl.col("interval") == interval.name)
            .sort("recorded_at", maintain_order=True)
            .tail(1)
            .collect()
        )
        return None if rows.is_empty() else str(rows["cursor"][0])

    def save_cursor(self, source: str, interval: Interval, cursor: str) -> None:
        """Keep a provider's note of how far it has read."""
        row = [[source], [interval.name], [cursor], self._now(1)]
        self.lake.append(
            CURSORS, pl.DataFrame(dict(zip(CURSORS.schema, row, strict=True)), CURSORS.schema)
        )

    def _append(
        self,
        table: Table,
        frame: pl.DataFrame,
        partition: Mapping[str, str],
        key: tuple[str, ...],
        values: tuple[str, ...],
    ) -> Appended:
        rows = frame.with_columns(pl.lit(v).alias(c) for c, v in partition.items())
        rows = rows.with_columns(pl.col(key[-1], "known_at").cast(UTC_MICROS))
        if rows.is_empty():
            return Appended(rows, 0, 0, 0)
        time = key[-1]
        latest = (
            self.lake.scan(table)
            .filter(
                *(pl.col(c) == v for c, v in partition.items()),
                pl.col(time).is_between(rows[time].min(), rows[time].max()),
            )
            .sort("known_at", maintain_order=True)
            .unique(key, keep="last", maintain_order=True)
            .select(*key, was_known_at="known_at", **{f"was_{v}": pl.col(v) for v in values})
            .collect()
        )
        joined = rows.join(latest, on=list(key), how="left", maintain_order="left")
        fresh = pl.col("was_known_at").is_null()
        same = pl.all_horizontal(pl.col(v) == pl.col(f"was_{v}") for v in values)
        after = pl.col("was_known_at") + pl.duration(microseconds=1)
        now = pl.lit(to_datetime(self._clock.now())).cast(UTC_MICROS)
        added = joined.filter(fresh | ~same).with_columns(
            known_at=pl.when(fresh)
            .then("known_at")
            .otherwise(pl.max_horizontal("known_at", after, now))
        )
        new = added.select(fresh.sum()).item()
        added = added.select(list(table.schema))
        self.lake.append(table, added)
        return Appended(added, new, len(added) - new, len(rows) - len(added))

    def _now(self, rows: int) -> pl.Series:
        return pl.Series([to_datetime(self._clock.now())] * rows, dtype=UTC_MICROS)


def _parse_instrument(text: str) -> Instrument:
    fields = orjson.loads(text)
    fields["kind"] = Kind(fields["kind"])
    fields["renamed_from"] = tuple(fields["renamed_from"])
    return Instrument(**fields)
