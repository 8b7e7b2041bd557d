"""Compiled judgement of candles, in one pass over a panel; see `weft.domain.breaks`."""

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, Floats, IntPanel, RowCounts

_NEVER_CLOSED: Final = 1.3
"""Price factor between a close and the next candle that counts as a jump in a 24-hour market."""

_LEAST_SPLIT: Final = 1.4
"""Price factor below which the gap of a stock is a return: a 3-for-2 split less a day's move."""

_BEYOND_NEWS: Final = 2.5
"""Price factor from which the gap of a stock counts as a split, whatever its ratio."""

_NEAR_RATIO: Final = 0.04
"""Largest distance between the log of a gap and the log of the split ratio 3:2 or 2:1."""

_WITHIN: Final = 50.0
"""Price factor between open and close of one candle that counts as a jump."""


@njit(cache=True, nogil=True, error_model="numpy")
def judge_candles(
    prices: tuple[FloatPanel, FloatPanel, FloatPanel, FloatPanel, FloatPanel],
    idle: int,
    lead: int,
    reach: RowCounts,
    closes: NDArray[np.bool_],
    before: Floats,
    before_row: NDArray[np.int64],
    reasons: IntPanel,
) -> None:
    """Fill `reasons` with the reason to ignore each candle (time, symbol); see `judge`."""
    open_, high, low, close, volume = prices
    rows, columns = close.shape
    last, last_row = before.copy(), before_row.copy()
    run = np.zeros(columns, dtype=np.int64)
    recent = np.zeros((idle, columns), dtype=np.int64)
    for row in range(rows):
        for column in range(columns):
            price = close[row, column]
            if np.isnan(price):
                continue
            first, top, bottom = open_[row, column], high[row, column], low[row, column]
            # A panel that begins later does not contain older candles: results must not differ.
            near = row - last_row[column] <= reach[column]
            previous = last[column] if near else np.nan
            still = volume[row, column] == 0.0 and top == bottom
            if still and (np.isnan(previous) or price == previous):
                recent[run[column] % idle, column] = row
                run[column] += 1
                # `recent` is a ring buffer: its next slot holds the oldest of the last `idle` rows.
                if run[column] >= idle and row - recent[run[column] % idle, column] < lead:
                    reasons[row, column] = 2
            else:
                run[column] = 0
                wild = price >= _WITHIN * first or first >= _WITHIN * price
                if wild or _leaps(first, top, bottom, previous, closes[column]):
                    reasons[row, column] = 1
            last[column], last_row[column] = price, row


@njit(cache=True, nogil=True, error_model="numpy")
def _leaps(
    first: float,
    top: float,
    bottom: float,
    previous: float,
    closes: bool,  # noqa: FBT001  # numba passes no keywords
) -> bool:
    """Return whether the price jumped between a close and the next candle."""
    if np.isnan(previous):
        return False
    gap = max(bottom / previous, previous / top)
    if not closes:
        return gap >= _NEVER_CLOSED
    if gap < _LEAST_SPLIT:
        return False
    ratio = abs(np.log(first / previous))
    near = min(abs(ratio - np.log(1.5)), abs(ratio - np.log(2.0)))
    return gap >= _BEYOND_NEWS or near <= _NEAR_RATIO
