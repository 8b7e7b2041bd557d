"""The trades of one minute, which add up exactly to its candle."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import MINUTE
from weft_sandbox.market.bars import Bars
from weft_sandbox.market.draws import Integers, split


@dataclass(frozen=True, slots=True)
class Trades:
    """Trades of one market and symbol, oldest first.

    Attributes:
        number: number since the opening of the market, without gaps.
        time: microseconds since 1970, whole milliseconds.
        price: price in ticks.
        size: size in steps.
        taker_buys: whether the buyer was the taker (trades,).
        quote: value in ticks times steps; the sums equal those of the candle.
    """

    number: Integers
    time: Times
    price: Integers
    size: Integers
    taker_buys: NDArray[np.bool_]
    quote: Integers

    def __len__(self) -> int:
        return len(self.number)

    def rows(self, keep: "slice | NDArray[np.bool_]") -> "Trades":
        """Return a selection of the trades."""
        return Trades(
            self.number[keep],
            self.time[keep],
            self.price[keep],
            self.size[keep],
            self.taker_buys[keep],
            self.quote[keep],
        )

    def bar(self, opening: int) -> Bars:
        """Return all trades as one candle."""
        buys = self.taker_buys
        cells = (
            opening,
            self.price[0],
            self.price.max(),
            self.price.min(),
            self.price[-1],
            self.size.sum(),
            self.quote.sum(),
            self.size[buys].sum(),
            self.quote[buys].sum(),
            len(self),
        )
        return Bars(*(np.array([cell], np.int64) for cell in cells))


def make_trades(bar: Bars, first_number: int, rng: np.random.Generator) -> Trades:
    """Return the trades of a one-minute candle.

    Args:
        bar: one candle, with at least five trades and steps.
        first_number: number of its first trade.
        rng: random generator of this minute only.
    """
    count, opening = int(bar.trades[0]), int(bar.open_time[0])
    # The first trade is in the first millisecond: the open is the price at the start.
    free = np.sort(rng.integers(1, MINUTE // 1_000, count - 1))
    time = opening + np.concatenate([[0], free]) * 1_000
    price = _path(bar, count, rng)
    buys = np.zeros(count, np.bool_)
    taken = int(bar.taker[0])
    share = taken / int(bar.volume[0])
    how_many = min(max(round(count * share), 1), count - 1)
    # Takers buy while prices rise: rising steps come first, the rest in random order.
    rise = np.diff(price, prepend=price[0]) + rng.normal(0.0, 1.0, count)
    buys[np.argsort(-rise, kind="stable")[:how_many]] = True
    weight = rng.standard_exponential(count) ** 1.5 + 0.05
    size = np.empty(count, np.int64)
    size[buys] = split(taken - how_many, weight[buys]) + 1
    rest = count - how_many
    size[~buys] = split(int(bar.volume[0]) - taken - rest, weight[~buys]) + 1
    quote = np.empty(count, np.int64)
    bought = int(bar.taker_quote[0])
    for side, total in ((buys, bought), (~buys, int(bar.quote[0]) - bought)):
        quote[side] = split(total, (price[side] * size[side]).astype(np.float64))
    return Trades(first_number + np.arange(count), time, price, size, buys, quote)


def _path(bar: Bars, count: int, rng: np.random.Generator) -> Integers:
    open_, high, low, close = (int(c[0]) for c in (bar.open, bar.high, bar.low, bar.close))
    first, second = np.sort(rng.choice(np.arange(1, count - 1), 2, replace=False))
    turns = (high, low) if rng.random() < 0.5 else (low, high)
    line = np.interp(np.arange(count), [0, first, second, count - 1], [open_, *turns, close])
    noise: Floats = rng.normal(0.0, 0.12 * (high - low), count)
    price = np.clip(np.rint(line + noise), low, high).astype(np.int64)
    price[[0, first, second, count - 1]] = [open_, *turns, close]
    return price
