"""Blocks of the calendar: the state of a feature restarts one warm-up before each block."""

from weft.foundation.times import DAY, WEEK, Interval

BLOCK = 2048
"""Candles from one restart of a feature's state to the next."""

# A market with sessions trades in at least every tenth hour of a year (four hours on 243 days),
# and in two of three days, with no closure longer than twelve days.
_CLOSED_DAYS = 12
_ROWS_PER_INTRADAY_CANDLE = 10


def block_end(index: int) -> int:
    """Return the grid index after the last candle of the block that holds `index`."""
    return (index // BLOCK + 1) * BLOCK


def first_row_needed(first_index: int, warmup: int, sessions: Interval | None = None) -> int:
    """Return the grid index of the first candle that a value at `first_index` depends on.

    Args:
        first_index: grid index of the first value wanted (`Interval.index` of its time).
        warmup: the feature's warm-up, in candles that traded.
        sessions: the interval, for a market that closes; None for one that never does.
    """
    rows = warmup if sessions is None else rows_spanned(warmup, sessions)
    return first_index // BLOCK * BLOCK - rows


def rows_spanned(candles: int, interval: Interval) -> int:
    """Return a number of rows in which a market with sessions trades at least so many candles."""
    if interval.micros < DAY:
        return candles * _ROWS_PER_INTRADAY_CANDLE + _CLOSED_DAYS * DAY // interval.micros
    if interval.micros < WEEK:
        return candles + candles // 2 + _CLOSED_DAYS
    return candles
