"""Candles in integer ticks and steps, and the grids on which they open."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from weft.foundation.arrays import Times
from weft.foundation.times import MINUTE, SECOND, WEEK, Interval
from weft_sandbox.market.draws import Integers

_MONDAY = 4 * 24 * 3600 * SECOND
_MONTH = 30 * 24 * 3600 * SECOND


@dataclass(frozen=True, slots=True)
class Bars:
    """Candles of one market and symbol, oldest first; holes are left out.

    All numbers are integers, so that sums do not depend on their order.

    Attributes:
        open_time: microseconds since 1970.
        open: price in ticks.
        high: price in ticks.
        low: price in ticks.
        close: price in ticks.
        volume: volume in steps.
        quote: value in ticks times steps.
        taker: volume bought by takers, in steps.
        taker_quote: value bought by takers, in ticks times steps.
        trades: number of trades.
    """

    open_time: Times
    open: Integers
    high: Integers
    low: Integers
    close: Integers
    volume: Integers
    quote: Integers
    taker: Integers
    taker_quote: Integers
    trades: Integers

    def __len__(self) -> int:
        return len(self.open_time)

    def rows(self, keep: "slice | Integers") -> "Bars":
        """Return a selection of the candles."""
        return Bars(*(getattr(self, field.name)[keep] for field in fields(self)))

    def between(self, first: int, end: int) -> "Bars":
        """Return the candles that open from `first` to before `end`."""
        a, b = np.searchsorted(self.open_time, [first, end])
        return self.rows(slice(int(a), int(b)))

    @staticmethod
    def joined(parts: Sequence["Bars"]) -> "Bars":
        """Return the candles of ordered parts, one after the other."""
        names = [field.name for field in fields(Bars)]
        return Bars(*(np.concatenate([getattr(p, n) for p in parts]) for n in names))

    @staticmethod
    def none() -> "Bars":
        """Return no candles."""
        return Bars(*(np.empty(0, np.int64) for _ in fields(Bars)))

    def on(self, grid: "Grid") -> "Bars":
        """Return the candles aggregated to longer ones."""
        if not len(self):
            return self
        opens = grid.floor(self.open_time)
        first = np.flatnonzero(np.diff(opens, prepend=opens[0] - 1))
        last = np.append(first[1:], len(self)) - 1
        sums = (self.volume, self.quote, self.taker, self.taker_quote, self.trades)
        return Bars(
            opens[first],
            self.open[first],
            np.maximum.reduceat(self.high, first),
            np.minimum.reduceat(self.low, first),
            self.close[last],
            *(np.add.reduceat(column, first) for column in sums),
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """The opening times of candles: aligned to 1970 UTC, weeks to Monday, months to the first.

    Attributes:
        micros: length; thirty days for a month.
        months: whether the candles are calendar months.
        zone: offset of local midnight before midnight UTC, in microseconds.
    """

    micros: int
    months: bool = False
    zone: int = 0

    @staticmethod
    def of(text: str, zone: int = 0) -> "Grid":
        """Return the grid of an interval such as ``5m`` or ``1w``, or of months, ``1M``."""
        return (
            Grid(_MONTH, months=True, zone=zone)
            if text == "1M"
            else Grid(Interval.parse(text).micros, zone=zone)
        )

    def floor(self, times: Times) -> Times:
        """Return the last opening at or before each instant."""
        if self.months:
            local = (times + self.zone).astype("datetime64[us]").astype("datetime64[M]")
            return local.astype("datetime64[us]").astype(np.int64) - self.zone
        offset = (_MONDAY if self.micros % WEEK == 0 else 0) - self.zone
        return (times - offset) // self.micros * self.micros + offset

    def open_of(self, instant: int) -> int:
        """Return the last opening at or before an instant."""
        return int(self.floor(np.array([instant], np.int64))[0])

    def shifted(self, opening: int, by: int) -> int:
        """Return the opening a number of candles later, or earlier if negative."""
        if not self.months:
            return opening + by * self.micros
        month = np.datetime64(opening + self.zone, "us").astype("datetime64[M]") + by
        return int(month.astype("datetime64[us]").astype(np.int64)) - self.zone

    def ceil(self, instant: int) -> int:
        """Return the first opening at or after an instant."""
        opening = self.open_of(instant)
        return opening if opening == instant else self.shifted(opening, 1)


MINUTES = Grid(MINUTE)
