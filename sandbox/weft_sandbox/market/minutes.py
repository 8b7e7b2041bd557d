"""The minutes of a day, drawn to match the hours of the skeleton."""

import numpy as np

from weft.foundation.arrays import Floats
from weft.foundation.times import DAY, HOUR, MINUTE
from weft_sandbox.market.bars import Bars
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import Integers, generator, split
from weft_sandbox.market.skeleton import Skeleton

MINUTES_A_DAY = DAY // MINUTE
FEWEST_TRADES = 5
"""Least trades in a minute: open, high, low and close need one each."""
_FEWEST_STEPS = 4
"""A trade holds on average, so that a minute's volume can be cut into its trades."""


def make_minutes(skeleton: Skeleton, column: int, day: int) -> Bars:
    """Return the minutes of one coin on one day.

    Args:
        skeleton: hours of the market.
        column: column of the coin.
        day: days since the opening.
    """
    coin = skeleton.coins[column]
    hours = skeleton.until(OPENING + (day + 1) * DAY)
    rows = slice(day * 24, day * 24 + 24)
    ends = hours.close[rows, column]
    before = hours.close[day * 24 - 1, column] if day else skeleton.opening[column]
    starts = np.concatenate([[before], ends[:-1]])
    rng = generator(skeleton.seed, ("minutes", coin.name), day)
    width = (hours.deviation[rows, column] / np.sqrt(60))[:, None]
    change = rng.standard_t(5, (24, 60)) * width * np.sqrt(3 / 5)
    # The remaining move to the hour's close falls on a few minutes, as after news.
    few = rng.standard_exponential((24, 60)) ** 2
    change += few / few.sum(axis=1, keepdims=True) * (ends - starts - change.sum(axis=1))[:, None]
    path = starts[:, None] + np.cumsum(change, axis=1)
    path[:, -1] = ends
    log_close = path.ravel()
    log_open = np.concatenate([[before], log_close[:-1]])
    wick = rng.standard_exponential((2, MINUTES_A_DAY)) * np.repeat(width.ravel(), 60) * 0.45
    log_high = np.maximum(log_open, log_close) + wick[0]
    log_low = np.minimum(log_open, log_close) - wick[1]
    open_, high, low, close = (
        np.maximum(np.rint(np.exp(level) / coin.tick), 1).astype(np.int64)
        for level in (log_open, log_high, log_low, log_close)
    )
    moves = np.abs(change).ravel() / np.repeat(width.ravel(), 60)
    bustle = (0.35 + 0.6 * moves) * np.exp(rng.normal(0.0, 0.4, MINUTES_A_DAY))
    total = np.diff(hours.trades[rows, column], prepend=_trades_before(skeleton, column, day))
    spare = total - 60 * FEWEST_TRADES
    trades = (split(spare, bustle.reshape(24, 60)) + FEWEST_TRADES).ravel()
    activity = np.repeat(hours.activity[rows, column], 60)
    dollars = coin.turnover * activity * bustle
    volume = np.rint(dollars / (close * coin.tick) / coin.step).astype(np.int64)
    volume = np.maximum(volume, _FEWEST_STEPS * trades)
    lean = np.tanh(0.45 * change.ravel() / np.repeat(width.ravel(), 60))
    share = 0.5 + 0.22 * lean + rng.normal(0.0, 0.06, MINUTES_A_DAY)
    return finished(
        _open_times(day),
        (open_, high, low, close),
        volume,
        (open_ + high + low + close) / 4 + (close - open_) * 0.1,
        share,
        trades,
    )


def finished(
    open_time: Integers,
    prices: tuple[Integers, ...],
    volume: Integers,
    mean_price: Floats,
    taker_share: Floats,
    trades: Integers,
) -> Bars:
    """Return consistent candles: mean price within the range, taker volume possible."""
    open_, high, low, close = prices
    mean = np.clip(np.rint(mean_price).astype(np.int64), low, high)
    taker = np.rint(volume * np.clip(taker_share, 0.05, 0.95)).astype(np.int64)
    taker = np.clip(taker, trades, volume - trades)
    return Bars(
        open_time, open_, high, low, close, volume, mean * volume, taker, mean * taker, trades
    )


def _trades_before(skeleton: Skeleton, column: int, day: int) -> int:
    hours = skeleton.until(OPENING + (day + 1) * DAY)
    return int(hours.trades[day * 24 - 1, column]) if day else 0


def trades_before(skeleton: Skeleton, coin: Coin, hour_open: int) -> int:
    """Return the number of trades from the opening to the start of an hour."""
    column = skeleton.column(coin)
    row = (hour_open - OPENING) // HOUR
    return int(skeleton.until(hour_open).trades[row - 1, column]) if row > 0 else 0


def _open_times(day: int) -> Integers:
    return OPENING + day * DAY + np.arange(MINUTES_A_DAY, dtype=np.int64) * MINUTE
