"""Least squares over sliding windows, for panels of many symbols.

Time is cut into calendar blocks as long as the window. A window reaches over the
end of one block and the beginning of the next, so that its sum is a sum from some row to the end
of the earlier block plus a sum from the beginning of the later one. Both sums only ever add: no
rounding error outlives its window, and a row's result does not depend on where the panel begins
(van Herk 1992, Pattern Recognition Letters 13).
"""

from typing import Final

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import Interval

FITTED: Final = ("beta", "residual", "correlation", "alpha", "deviation")
"""Outputs of a fit, in the order of its panels."""

_TILE: Final = 256  # columns taken together, so that their sums stay in the cache
_N, _X, _Y, _XX, _XY, _YY = range(6)
_SUMS: Final = 6
_NO_SPREAD: Final = 1e-13  # of the sum of squares: less than the sums of squares can tell apart


def fit(
    x: FloatPanel,
    y: FloatPanel,
    *,
    window: int,
    least: int,
    first_index: int,
    rows: int,
    outputs: int = len(FITTED),
) -> FloatPanel:
    """Regress y on x and a constant over the pairs within each window.

    Args:
        x: explanatory values: one column for all, or one for each (time, 1 or symbol).
        y: explained values (time, symbol); a pair counts where both are known.
        window: rows looked back over, the row itself among them.
        least: pairs a window must hold, at least 3.
        first_index: grid index of the first row of the panels.
        rows: number of last rows to return.
        outputs: number of `FITTED` to return, from the first on.

    Returns:
        The outputs (output, rows, symbol); NaN where the window holds fewer pairs, or where x
        does not vary. The residual is that of the last row, the deviation that of the residuals,
        with two degrees of freedom fewer than there are pairs.
    """
    out = np.empty((outputs, rows, y.shape[1]))
    _fit(x, y, window, least, first_index % window, len(y) - rows, out)
    return out


def sums(values: FloatPanel, *, window: int, first_index: int, rows: int) -> FloatPanel:
    """Return the number of known values in each window, and their sum, as (2, rows, symbol)."""
    out = np.empty((2, rows, values.shape[1]))
    _sums(values, window, first_index % window, len(values) - rows, out)
    return out


def grid_index(interval: Interval, last_close: int, rows: int) -> int:
    """Return the grid index of the first of `rows` rows that end at `last_close`."""
    return interval.index(last_close) - rows + 1


@njit(error_model="numpy", forceinline=True)
def _scale(count: float, x: float, squares_x: float, least: int) -> tuple[float, float, float]:
    """Return 1 / count, the spread of x, and its inverse: NaN where x does not vary enough."""
    each = 1.0 / count
    spread = squares_x - x * x * each
    fits = (count >= least) & (spread > _NO_SPREAD * squares_x)
    return each, spread, 1.0 / spread if fits else np.nan


@njit(error_model="numpy", forceinline=True)
def _line(
    x: float, y: float, products: float, each: float, over: float
) -> tuple[float, float, float]:
    """Return slope, constant, and the spread of x and y together."""
    together = products - x * y * each
    slope = together * over
    return slope, (y - slope * x) * each, together


@njit(error_model="numpy", forceinline=True)
def _quality(
    y: float, squares_y: float, together: float, slope: float, each: float, spread_x: float
) -> tuple[float, float]:
    """Return correlation, and sum of the squared residuals."""
    spread_y = squares_y - y * y * each
    varies = (spread_y > _NO_SPREAD * squares_y) & (not np.isnan(slope))
    correlation = together / np.sqrt(spread_x * spread_y)
    correlation = min(max(correlation, -1.0), 1.0)
    correlation = correlation if varies else np.nan
    left_over = spread_y - slope * together
    # A remainder below the precision of the sums of squares is an exact fit.
    left_over = left_over if left_over > _NO_SPREAD * squares_y else 0.0
    return correlation, left_over if not np.isnan(slope) else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _fit(
    x: FloatPanel,
    y: FloatPanel,
    window: int,
    least: int,
    phase: int,
    first: int,
    out: FloatPanel,
) -> None:
    common = x.shape[1] == 1 and not np.isnan(x).any()
    # Sums from each row of the finished block to its end; beyond the last one, nothing.
    tail = np.zeros((window + 1, _SUMS, min(_TILE, y.shape[1])))
    for left in range(0, y.shape[1], _TILE):
        tail[:] = 0.0
        # Trying the fast loop costs less than searching for holes first.
        complete = common and _fit_without_holes(x, y, left, window, least, phase, first, tail, out)
        if not complete:
            tail[:] = 0.0
            _fit_pairs(x, y, left, window, least, phase, first, tail, out)


@njit(cache=True, nogil=True, error_model="numpy")
def _has_no_hole(total: FloatPanel, columns: int) -> bool:
    """Return whether no unknown value is in the sums."""
    holes = 0.0
    for k in range(columns):
        holes += 1.0 if np.isnan(total[_Y, k]) else 0.0
    return holes == 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_pairs(  # noqa: PLR0913, PLR0917  # numba passes no keywords
    x: FloatPanel,
    y: FloatPanel,
    left: int,
    window: int,
    least: int,
    phase: int,
    first: int,
    tail: FloatPanel,
    out: FloatPanel,
) -> None:
    """Fit a tile of columns that have missing pairs, or an x for each column."""
    rows, columns = len(y), min(_TILE, y.shape[1] - left)
    head = np.zeros((_SUMS, tail.shape[2]))
    xs, ys = np.zeros(tail.shape[2]), np.zeros(tail.shape[2])
    for row in range(rows):
        place = (phase + row) % window
        if place == 0:
            head[:] = 0.0
            for back in range(1, window + 1):
                if row >= back:
                    _load(x, y, row - back, left, xs, ys)
                    _add(head, xs, ys)
                tail[window - back] = head
            head[:] = 0.0
        _load(x, y, row, left, xs, ys)
        _add(head, xs, ys)
        if row < first:
            continue
        rest = tail[place + 1]
        for k in range(columns):
            count, sum_x = head[_N, k] + rest[_N, k], head[_X, k] + rest[_X, k]
            sum_y, squares_x = head[_Y, k] + rest[_Y, k], head[_XX, k] + rest[_XX, k]
            each, spread, over = _scale(count, sum_x, squares_x, least)
            products = head[_XY, k] + rest[_XY, k]
            slope, constant, together = _line(sum_x, sum_y, products, each, over)
            out[0, row - first, left + k] = slope
            if out.shape[0] > 1:
                out[1, row - first, left + k] = ys[k] - constant - slope * xs[k]
            if out.shape[0] > 2:
                squares_y = head[_YY, k] + rest[_YY, k]
                quality = _quality(sum_y, squares_y, together, slope, each, spread)
                out[2, row - first, left + k] = quality[0]
                out[3, row - first, left + k] = constant
                out[4, row - first, left + k] = np.sqrt(quality[1] * (1.0 / (count - 2.0)))


@njit(cache=True, nogil=True, error_model="numpy")
def _load(x: FloatPanel, y: FloatPanel, row: int, left: int, xs: Floats, ys: Floats) -> None:
    for k in range(min(_TILE, y.shape[1] - left)):
        xs[k] = x[row, 0] if x.shape[1] == 1 else x[row, left + k]
        ys[k] = y[row, left + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _add(total: FloatPanel, xs: Floats, ys: Floats) -> None:
    for k in range(len(xs)):
        x, y = xs[k], ys[k]
        product = x * y
        known = product == product  # noqa: PLR0124  # NaN is what differs from itself
        x = x if known else 0.0
        y = y if known else 0.0
        total[_N, k] += 1.0 if known else 0.0
        total[_X, k] += x
        total[_Y, k] += y
        total[_XX, k] += x * x
        total[_XY, k] += x * y
        total[_YY, k] += y * y


@njit(cache=True, nogil=True, error_model="numpy")
def _fit_without_holes(  # noqa: C901, PLR0912, PLR0913, PLR0917  # inner loops apart are several times as fast
    x: FloatPanel,
    y: FloatPanel,
    left: int,
    window: int,
    least: int,
    phase: int,
    first: int,
    tail: FloatPanel,
    out: FloatPanel,
) -> bool:
    """Fit a tile of columns without missing pairs: the same bits as `_fit_pairs`, faster.

    Returns:
        Whether every pair is known; otherwise the outputs must be discarded.
    """
    rows, columns = len(y), min(_TILE, y.shape[1] - left)
    head = np.zeros((_SUMS, tail.shape[2]))
    sums_x, tail_x = np.zeros(3), np.zeros((window + 1, 3))
    sum_y, products, squares_y = np.zeros(_TILE), np.zeros(_TILE), np.zeros(_TILE)
    slopes, constants, together = np.zeros(_TILE), np.zeros(_TILE), np.zeros(_TILE)
    squared = out.shape[0] > 2
    for row in range(rows):
        place = (phase + row) % window
        if place == 0:
            if not _has_no_hole(head, columns):
                return False
            head[:] = 0.0
            sums_x[:] = 0.0
            for back in range(1, window + 1):
                if row >= back:
                    _add_all(head, sums_x, x[row - back, 0], y, row - back, left, squared)
                tail_x[window - back] = sums_x
                for k in range(columns):
                    tail[window - back, _Y, k] = head[_Y, k]
                    tail[window - back, _XY, k] = head[_XY, k]
                if squared:
                    tail[window - back, _YY] = head[_YY]
            head[:] = 0.0
            sums_x[:] = 0.0
        at = x[row, 0]
        _add_all(head, sums_x, at, y, row, left, squared)
        if row < first:
            continue
        rest = tail[place + 1]
        count = sums_x[_N] + tail_x[place + 1, _N]
        sum_x = sums_x[_X] + tail_x[place + 1, _X]
        squares = sums_x[2] + tail_x[place + 1, 2]
        each, spread, over = _scale(count, sum_x, squares, least)
        # Loops over few arrays each, which the compiler can prove not to overlap.
        for k in range(columns):
            sum_y[k] = head[_Y, k] + rest[_Y, k]
            products[k] = head[_XY, k] + rest[_XY, k]
        for k in range(columns):
            slopes[k], constants[k], together[k] = _line(sum_x, sum_y[k], products[k], each, over)
        for k in range(columns):
            out[0, row - first, left + k] = slopes[k]
        if out.shape[0] > 1:
            for k in range(columns):
                residual = y[row, left + k] - constants[k] - slopes[k] * at
                out[1, row - first, left + k] = residual
        if squared:
            freedom = 1.0 / (count - 2.0)
            for k in range(columns):
                squares_y[k] = head[_YY, k] + rest[_YY, k]
            for k in range(columns):
                sum_y[k], squares_y[k] = _quality(
                    sum_y[k], squares_y[k], together[k], slopes[k], each, spread
                )
            for k in range(columns):
                out[2, row - first, left + k] = sum_y[k]
                out[3, row - first, left + k] = constants[k]
            for k in range(columns):
                out[4, row - first, left + k] = np.sqrt(squares_y[k] * freedom)
    return _has_no_hole(head, columns)


@njit(cache=True, nogil=True, error_model="numpy")
def _add_all(
    total: FloatPanel,
    sums_x: Floats,
    x: float,
    y: FloatPanel,
    row: int,
    left: int,
    squared: bool,  # noqa: FBT001  # numba passes no keywords
) -> None:
    sums_x[_N] += 1.0
    sums_x[_X] += x
    sums_x[2] += x * x
    columns = min(_TILE, y.shape[1] - left)
    for k in range(columns):
        value = y[row, left + k]
        total[_Y, k] += value
        total[_XY, k] += x * value
    if squared:
        for k in range(columns):
            total[_YY, k] += y[row, left + k] * y[row, left + k]


@njit(cache=True, nogil=True, error_model="numpy")
def _sums(values: FloatPanel, window: int, phase: int, first: int, out: FloatPanel) -> None:
    rows, columns = values.shape
    tail = np.zeros((window + 1, 2, columns))
    head = np.zeros((2, columns))
    for row in range(rows):
        place = (phase + row) % window
        if place == 0:
            head[:] = 0.0
            for back in range(1, window + 1):
                if row >= back:
                    _count(head, values[row - back])
                tail[window - back] = head
            head[:] = 0.0
        _count(head, values[row])
        if row >= first:
            for k in range(columns):
                out[0, row - first, k] = head[0, k] + tail[place + 1, 0, k]
                out[1, row - first, k] = head[1, k] + tail[place + 1, 1, k]


@njit(cache=True, nogil=True, error_model="numpy")
def _count(total: FloatPanel, values: Floats) -> None:
    for k in range(len(values)):
        known = not np.isnan(values[k])
        total[0, k] += 1.0 if known else 0.0
        total[1, k] += values[k] if known else 0.0
