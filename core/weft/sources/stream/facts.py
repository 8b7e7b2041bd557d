"""Turns events into the frames of a `Batch`."""

from collections.abc import Iterator, Sequence

import polars as pl

from weft.domain.candles import FIELDS
from weft.domain.instruments import Scope
from weft.foundation.times import Interval
from weft.sources.stream.events import Candle
from weft.sources.stream.sums import Fact

_TIME = pl.Datetime("us", "UTC")
_CANDLES = {"symbol": pl.String(), "open_time": _TIME} | dict.fromkeys(FIELDS, pl.Float64())
_FACTS = {
    "metric": pl.String(),
    "entity": pl.String(),
    "event_time": _TIME,
    "value": pl.Float64(),
    "known_at": _TIME,
}


def candle_frame(candles: Sequence[Candle], interval: Interval) -> pl.DataFrame:
    """Return candles as a `Batch` holds them; each is known at its close."""
    rows = [(c.symbol, c.open_time, c.open, c.high, c.low, c.close, c.volume) for c in candles]
    return pl.DataFrame(rows, _CANDLES, orient="row").with_columns(interval=pl.lit(interval.name))


def candles_in(frame: pl.DataFrame) -> Iterator[Candle]:
    """Yield the candles of a `Batch`, all of them closed."""
    columns = [pl.col("symbol"), pl.col("open_time").dt.epoch("us"), *FIELDS]
    for symbol, opened, o, h, low, c, volume in frame.select(columns).iter_rows():
        yield Candle(symbol, opened, o, h, low, c, volume, closed=True)


def fact_frame(facts: Sequence[tuple[Fact, int]]) -> pl.DataFrame:
    """Return facts, each with the instant it became known at, as a `Batch` holds them."""
    rows = [(*fact, known_at) for fact, known_at in facts]
    frame = pl.DataFrame(rows, _FACTS, orient="row")
    return frame.with_columns(scope=pl.lit(Scope.INSTRUMENT.value))
