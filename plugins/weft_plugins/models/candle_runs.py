"""Runs of candles: each symbol's candles one after the other, with no hole between them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.domain.candles import Candles, Presence
from weft.foundation.arrays import BoolPanel

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """The candles of a panel, counted symbol by symbol: rows on which a market was closed do not.

    Attributes:
        number: of the latest candle at or before each row, from 0; -1 for none (time, symbol).
        row: of each symbol's candles, by their numbers (time, symbol).
        hole: latest row at or before each row on which a candle is missing, -1 for none
            (time, symbol).
    """

    number: Rows
    row: Rows
    hole: Rows

    @classmethod
    def of(cls, candles: Candles, usable: BoolPanel) -> "Runs":
        """Return the runs of a candle panel; a candle that is not usable counts as missing."""
        traded = (candles.presence == Presence.TRADED) & usable
        broken = ~traded & (candles.presence != Presence.CLOSED)
        number = np.cumsum(traded, axis=0, dtype=np.int64) - 1
        row = np.zeros_like(number)
        rows, columns = np.nonzero(traded)
        row[number[rows, columns], columns] = rows
        at = np.where(broken, np.arange(len(traded), dtype=np.int64)[:, None], -1)
        return cls(number, row, np.maximum.accumulate(at, axis=0))

    def whole(self, length: int, reach: int) -> BoolPanel:
        """Return on which rows a candle ends a run of `length` candles (time, symbol).

        Args:
            length: candles of the run, the row's own among them.
            reach: rows the run may span before its last one. Without it, whether there is a run
                would depend on where the panel begins.
        """
        index = np.arange(len(self.number), dtype=np.int64)[:, None]
        # A row that has a candle is that candle's.
        ends = (self.number >= length - 1) & (self._row_of(self.number) == index)
        first = self._row_of(self.number - (length - 1))
        found: BoolPanel = ends & (first > self.hole) & (index - first <= reach)
        return found

    def back(self, rows: Rows, columns: Rows, length: int) -> Rows:
        """Return the rows of the `length` candles that end on each of some rows (n, length)."""
        numbers = self.number[rows, columns][:, None] + np.arange(1 - length, 1)
        found: Rows = self.row[numbers, columns[:, None]]
        return found

    def _row_of(self, number: Rows) -> Rows:
        return np.take_along_axis(self.row, np.maximum(number, 0), axis=0)
