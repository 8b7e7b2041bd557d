"""Windows of candles: the inputs and targets of the transformer, in units of volatility."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weft.domain.calendar import rows_spanned
from weft.domain.candles import Candles, Presence
from weft.foundation.arrays import BoolPanel, FloatPanel, Floats, ordered_sum

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Runs:
    """Candles of a panel, counted symbol by symbol; rows of a closed market do not count.

    Attributes:
        number: number of the latest candle at or before each row, from 0; -1 for none (time,
            symbol).
        row: row of each symbol's candle with that number (time, symbol).
        hole: latest row at or before each row on which a candle is missing; -1 for none (time,
            symbol).
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

    def complete(self, length: int, reach: int) -> BoolPanel:
        """Return on which rows a run of `length` candles without a gap ends (time, symbol).

        Args:
            length: candles of the run, including the one on the row.
            reach: rows the run may span before its last row. Without this bound, the result would
                depend on where the panel begins.
        """
        index = np.arange(len(self.number), dtype=np.int64)[:, None]
        # A run ends on a row with a candle only.
        ends = (self.number >= length - 1) & (self._row_of(self.number) == index)
        first = self._row_of(self.number - (length - 1))
        complete: BoolPanel = ends & (first > self.hole) & (index - first <= reach)
        return complete

    def back(self, rows: Rows, columns: Rows, length: int) -> Rows:
        """Return the rows of the `length` candles that end on each given row (n, length)."""
        numbers = self.number[rows, columns][:, None] + np.arange(1 - length, 1)
        runs: Rows = self.row[numbers, columns[:, None]]
        return runs

    def _row_of(self, number: Rows) -> Rows:
        return np.take_along_axis(self.row, np.maximum(number, 0), axis=0)


INPUTS: Final = ("return", "range", "close_location", "volume", "path")
"""Inputs of each candle, in the order of the network.

*return* and *range* (log of high over low) are in units of the window's volatility. *path* is the
log distance to the window's last close in units of volatility times the root of the window's
length. All three pass through asinh, which is linear for small values and compresses large ones.
*close_location* goes from -1 (close at the low) to 1 (close at the high). *volume* is
log(1 + volume over the window's mean).
"""


@dataclass(frozen=True, slots=True)
class Cells:
    """Ends of windows: rows and columns of a candle panel, each (n,)."""

    rows: Rows
    columns: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, which: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Cells":
        """Return the selected cells, in the given order."""
        return Cells(self.rows[which], self.columns[which])


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of `length` candles, and the close before each, over one candle panel.

    Rows of a closed market are skipped. Every number of a window follows from the candles of the
    window only, so it does not depend on where the panel begins or ends.

    Attributes:
        length: candles of a window.
        runs: candles, symbol by symbol.
        log_close: logarithm of the close (time, symbol).
        log_mark: logarithm of the close, or of the last close where the market is closed.
        log_range: logarithm of high over low.
        location: position of the close between low (-1) and high (1); 0 where both are equal.
        volume: traded quantity.
        complete: whether a window without a missing candle ends here.
    """

    length: int
    runs: Runs
    log_close: FloatPanel
    log_mark: FloatPanel
    log_range: FloatPanel
    location: FloatPanel
    volume: FloatPanel
    complete: BoolPanel

    @classmethod
    def of(cls, candles: Candles, length: int) -> "Windows":
        """Return the windows of a candle panel."""
        known = np.isfinite(candles.open + candles.high + candles.low + candles.close)
        known &= np.isfinite(candles.volume)
        high, low = candles.high, candles.low
        reach = np.where(high > low, high - low, 1.0)
        location = np.where(high > low, (2.0 * candles.close - high - low) / reach, 0.0)
        runs = Runs.of(candles, known)
        return cls(
            length=length,
            runs=runs,
            log_close=np.log(candles.close),
            log_mark=np.log(candles.marked_close()),
            log_range=np.log(high / low),
            location=np.clip(location, -1.0, 1.0),
            volume=candles.volume,
            complete=runs.complete(length + 1, rows_spanned(length, candles.interval)),
        )

    def inputs(self, cells: Cells) -> tuple[FloatPanel, Floats]:
        """Return the inputs and the volatility of windows.

        Args:
            cells: ends of the windows; each must be `complete`.

        Returns:
            `INPUTS` of each candle (n, length, inputs), and the volatility of each window, the root
            mean square of its log returns (n,). Where volatility is 0, all inputs are 0.
        """
        at = (self.runs.back(cells.rows, cells.columns, self.length + 1), cells.columns[:, None])
        close = self.log_close[at]
        inside = (at[0][:, 1:], at[1])
        change = np.diff(close, axis=1)
        volatility: Floats = np.sqrt(ordered_sum(change**2, axis=1) / self.length)
        unit = np.where(volatility > 0.0, volatility, np.inf)[:, None]
        volume = self.volume[inside]
        mean_volume = ordered_sum(volume, axis=1)[:, None] / self.length
        share = np.divide(volume, mean_volume, out=np.zeros_like(volume), where=mean_volume > 0.0)
        path = (close[:, 1:] - close[:, -1:]) / (unit * np.sqrt(self.length))
        inputs = (
            np.arcsinh(change / unit),
            np.arcsinh(self.log_range[inside] / unit),
            self.location[inside],
            np.log1p(share),
            np.arcsinh(path),
        )
        moved = volatility[:, None, None] > 0.0
        return np.where(moved, np.stack(inputs, axis=-1), 0.0), volatility

    def targets(self, cells: Cells, volatility: Floats, horizon: int) -> FloatPanel:
        """Return the log return to each of the next `horizon` rows (n, horizon).

        Returns are in units of the window's volatility times the root of the rows ahead. A row of
        a closed market takes the last close.
        """
        ahead = np.arange(1, horizon + 1)
        later = self.log_mark[cells.rows[:, None] + ahead, cells.columns[:, None]]
        now = self.log_close[cells.rows, cells.columns][:, None]
        targets: FloatPanel = (later - now) / (volatility[:, None] * np.sqrt(ahead))
        return targets

    def labelled(self, horizon: int) -> BoolPanel:
        """Return where the next `horizon` rows have a candle and no gap (time, symbol)."""
        labelled = np.zeros_like(self.complete)
        index = np.arange(len(labelled), dtype=np.int64)[:, None]
        known = self.runs.hole[horizon:] <= index[:-horizon]
        labelled[:-horizon] = known & (self.runs.number[horizon:] > self.runs.number[:-horizon])
        return labelled

    def moves(self, cells: Cells) -> NDArray[np.bool_]:
        """Return in which windows the close changes (n,)."""
        number, columns = self.runs.number, np.arange(self.log_close.shape[1])
        before = self.log_close[self.runs.row[np.maximum(number - 1, 0), columns], columns]
        changed = np.cumsum(np.abs(self.log_close - before) > 0.0, axis=0)
        first = number[cells.rows, cells.columns] - self.length
        opened = self.runs.row[first, cells.columns]
        moves: NDArray[np.bool_] = (
            changed[cells.rows, cells.columns] > changed[opened, cells.columns]
        )
        return moves


def cells_where(chosen: BoolPanel, first: int = 0) -> Cells:
    """Return the cells that are True, row by row; `first` is added to their rows."""
    rows, columns = np.nonzero(chosen)
    return Cells(rows.astype(np.int64) + first, columns.astype(np.int64))
