"""Find candles far off their neighbours: a slipped decimal, another unit, a redenomination.

Prices move within a candle; the next candle opens near its close. A price that is `FAR` times off
both the close before and the open after it is an error. If all later prices agree with it, the
source may count in another unit from then on, and only a person can decide that.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import polars as pl

FAR: Final = 50.0
"""Factor by which a price cannot change from one candle to the next; cents for dollars is 100."""

ALONE: Final = f"{FAR:g} times off the close before and the open after it"
WAITS: Final = f"{FAR:g} times off the close before, until the next one agrees with it"
SHIFTED: Final = (
    f"kept, although {FAR:g} times off the close before: redenominated, or in another unit"
)
WICK: Final = f"kept, although its high or low is {FAR:g} times beyond its open and close"


class LastClose(NamedTuple):
    """Open time and close of the newest stored candle of a symbol."""

    open_time: int
    close: float


def far_off(rows: pl.DataFrame, before: Mapping[str, LastClose]) -> pl.Series:
    """Return the fault of each candle: `ALONE`, `WAITS`, `SHIFTED`, `WICK` or null.

    Rows marked `ALONE` or `WAITS` must not be stored.

    Args:
        rows: candles with prices above zero, sorted by symbol and open_time.
        before: the newest stored candle of each symbol; compared with the first row of the symbol
            if that row opens later.
    """
    rows = _between(rows.select("symbol", "open_time", "open", "high", "low", "close"), before)
    open_, close, previous, following = (
        pl.col(name) for name in ("open", "close", "previous", "following")
    )
    jumps = _far(open_, previous) | _far(close, previous)
    outer = pl.max_horizontal("open", "close"), pl.min_horizontal("open", "close")
    wick = _above(pl.col("high"), outer[0]) | _above(outer[1], pl.col("low"))
    if not rows.select((jumps | wick).any()).item():
        return pl.repeat(None, len(rows), dtype=pl.String, eager=True)
    slip = pl.any_horizontal(
        (_above(price, previous) & _above(price, following))
        | (_above(previous, price) & _above(following, price))
        for price in (open_, close)
    )
    rows = rows.with_row_index("row").with_columns(slip=slip)
    # The candle after a slipped one is compared with the candle before it.
    rest = _between(rows.filter(~pl.col("slip")), before).select(
        "row",
        fault=pl.when(jumps & following.is_null())
        .then(pl.lit(WAITS))
        .when(_far(open_, previous))
        .then(pl.lit(SHIFTED))
        .when(wick)
        .then(pl.lit(WICK)),
    )
    joined = rows.join(rest, on="row", how="left", maintain_order="left")
    return joined.select(pl.when("slip").then(pl.lit(ALONE)).otherwise("fault")).to_series()


def last_closes(rows: pl.DataFrame) -> dict[str, LastClose]:
    """Return the newest candle of each symbol; rows are sorted by symbol and open_time."""
    last = rows.group_by("symbol").agg(
        pl.col("open_time").last().to_physical(), pl.col("close").last()
    )
    return {symbol: LastClose(opened, close) for symbol, opened, close in last.iter_rows()}


def _between(rows: pl.DataFrame, before: Mapping[str, LastClose]) -> pl.DataFrame:
    """Add to each row the close before it and the open after it; null where there is none."""
    symbol = pl.col("symbol")
    rows = rows.with_columns(
        previous=pl.when(symbol == symbol.shift(1)).then(pl.col("close").shift(1)),
        following=pl.when(symbol == symbol.shift(-1)).then(pl.col("open").shift(-1)),
    )
    if before:
        rows = rows.with_columns(previous=pl.col("previous").fill_null(_earlier(rows, before)))
    return rows


def _earlier(rows: pl.DataFrame, before: Mapping[str, LastClose]) -> pl.Series:
    stored = pl.DataFrame(
        [(symbol, *close) for symbol, close in before.items()],
        {"symbol": pl.String(), "stored_open": pl.Int64(), "stored": pl.Float64()},
        orient="row",
    )
    joined = rows.join(stored, on="symbol", how="left", maintain_order="left")
    follows = pl.col("stored_open") < pl.col("open_time")
    return joined.select(pl.when(follows).then(pl.col("stored"))).to_series()


def _above(price: pl.Expr, other: pl.Expr) -> pl.Expr:
    return (price >= FAR * other).fill_null(value=False)


def _far(price: pl.Expr, other: pl.Expr) -> pl.Expr:
    return _above(price, other) | _above(other, price)
