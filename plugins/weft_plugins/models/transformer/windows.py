"""What the transformer looks at: windows of candles, in units known at each window's end."""

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


INPUTS: Final = ("return", "range", "close_location", "volume", "path")
"""What is said of each candle, in the order of the network's inputs.

*return* and *range* (log high over low) are in units of the window's volatility, *path* is the log
distance to the window's last close in units of volatility over the whole window; all three pass
through asinh, which keeps small ones as they are and large ones ordered. *close_location* goes
from -1 (closed at the low) to 1 (at the high). *volume* is log(1 + volume over the window's mean).
"""


@dataclass(frozen=True, slots=True)
class Cells:
    """Ends of windows: rows and columns of a candle panel (n,)."""

    rows: Rows
    columns: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def pick(self, which: NDArray[np.int64] | NDArray[np.bool_] | slice) -> "Cells":
        """Return some of them, in the order given."""
        return Cells(self.rows[which], self.columns[which])


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of `length` candles, and the close before each, over one candle panel.

    Rows on which a market is closed are passed over. Every number of a window is computed from
    its own candles alone, so that it does not depend on where the panel begins or ends.

    Attributes:
        length: candles of a window.
        runs: the candles, symbol by symbol.
        log_close: logarithm of the close (time, symbol).
        log_mark: the same, and on rows on which the market is closed that of the close before.
        log_range: logarithm of high over low.
        location: where the close lies between low (-1) and high (1); 0 where they are the same.
        volume: traded quantity.
        complete: whether a window ends here, and none of its candles is missing.
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
            complete=runs.whole(length + 1, rows_spanned(length, candles.interval)),
        )

    def inputs(self, cells: Cells) -> tuple[FloatPanel, Floats]:
        """Return windows and the unit their returns are in.

        Args:
            cells: where they end; each must be `complete`.

        Returns:
            `INPUTS` of each candle (n, length, inputs), and the root mean square of each window's
            log returns, its volatility (n,). Where that is 0, the market did not move at all and
            there is no unit to measure in; all of its inputs are 0.
        """
        at = (self.runs.back(cells.rows, cells.columns, self.length + 1), cells.columns[:, None])
        close = self.log_close[at]
        inside = (at[0][:, 1:], at[1])
        change = np.diff(close, axis=1)
        volatility: Floats = np.sqrt(ordered_sum(change**2, axis=1) / self.length)
        unit = np.where(volatility > 0.0, volatility, np.inf)[:, None]
        volume = self.volume[inside]
        usual = ordered_sum(volume, axis=1)[:, None] / self.length
        share = np.divide(volume, usual, out=np.zeros_like(volume), where=usual > 0.0)
        path = (close[:, 1:] - close[:, -1:]) / (unit * np.sqrt(self.length))
        found = (
            np.arcsinh(change / unit),
            np.arcsinh(self.log_range[inside] / unit),
            self.location[inside],
            np.log1p(share),
            np.arcsinh(path),
        )
        moved = volatility[:, None, None] > 0.0
        return np.where(moved, np.stack(found, axis=-1), 0.0), volatility

    def targets(self, cells: Cells, volatility: Floats, horizon: int) -> FloatPanel:
        """Return the log return to each of the next `horizon` rows (n, horizon).

        In units of the window's volatility times the root of the rows ahead. Where the market is
        closed on a row, its last close stands for it.
        """
        ahead = np.arange(1, horizon + 1)
        later = self.log_mark[cells.rows[:, None] + ahead, cells.columns[:, None]]
        now = self.log_close[cells.rows, cells.columns][:, None]
        found: FloatPanel = (later - now) / (volatility[:, None] * np.sqrt(ahead))
        return found

    def labelled(self, horizon: int) -> BoolPanel:
        """Return where the next `horizon` rows are known, and bring a candle (time, symbol)."""
        found = np.zeros_like(self.complete)
        index = np.arange(len(found), dtype=np.int64)[:, None]
        whole = self.runs.hole[horizon:] <= index[:-horizon]
        found[:-horizon] = whole & (self.runs.number[horizon:] > self.runs.number[:-horizon])
        return found

    def moves(self, cells: Cells) -> NDArray[np.bool_]:
        """Return in which windows the close changes at all (n,)."""
        number, columns = self.runs.number, np.arange(self.log_close.shape[1])
        before = self.log_close[self.runs.row[np.maximum(number - 1, 0), columns], columns]
        changed = np.cumsum(np.abs(self.log_close - before) > 0.0, axis=0)
        first = number[cells.rows, cells.columns] - self.length
        opened = self.runs.row[first, cells.columns]
        found: NDArray[np.bool_] = (
            changed[cells.rows, cells.columns] > changed[opened, cells.columns]
        )
        return found


def cells_where(chosen: BoolPanel, first: int = 0) -> Cells:
    """Return the cells that are True, row by row, with rows counted on from `first`."""
    rows, columns = np.nonzero(chosen)
    return Cells(rows.astype(np.int64) + first, columns.astype(np.int64))
