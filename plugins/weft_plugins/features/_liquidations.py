"""The book of assumed leveraged positions, stepped forward candle by candle.

Each leverage and side has a queue of its own, so that one comparison with the level that is closest
to the price tells whether a candle can have touched any of it. What shrinks all positions alike is
kept as one factor, by which stored masses are multiplied when they are read.
"""

from typing import Final, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, Floats

OUTPUTS: Final = ("balance", "above", "below", "nearest_above", "nearest_below", "tracked")
"""What is measured, in the order of the panels."""

_BALANCE, _ABOVE, _BELOW, _NEAREST_ABOVE, _NEAREST_BELOW, _TRACKED = range(6)
_FAINT: Final = 1e-100  # a factor below this is multiplied into the masses before it underflows

_Book: TypeAlias = tuple[FloatPanel, FloatPanel, NDArray[np.int64], Floats]
"""Levels and masses (queue, position), their number (queue,), and the closest levels (queue,).

Queues are by leverage, each with longs first, then shorts. Levels of longs are kept with a minus,
so that on both sides the smallest is touched first. The closest is inf where there is none.
"""


@njit(cache=True, nogil=True, error_model="numpy")
def follow(  # noqa: PLR0913, PLR0917  # numba passes no structures
    candles: NDArray[np.float64],
    interest: FloatPanel,
    unit: FloatPanel,
    longs: FloatPanel,
    distances: Floats,
    shares: Floats,
    fade: float,
    reach: float,
    width: float,
    first: int,
    out: NDArray[np.float64],
) -> None:
    """Open, fade and close positions from the first row on, and measure them from `first` on.

    Args:
        candles: high, low and close (3, time, symbol); NaN where there is none.
        interest: open interest, above 0 (time, symbol); NaN where unknown.
        unit: which of several measures of open interest it is (time, symbol), 1 or more. From one
            to another the positions are scaled alike.
        longs: share of what is opened that is long, 0 to 1 (time, symbol).
        distances: of a level from the price of opening, a share of it, by leverage.
        shares: of what is opened, by leverage; they sum to 1.
        fade: what is left of a position a candle later, above 0.
        reach: distance from the close within which levels count, a share of it.
        width: of a cluster, likewise.
        first: row of the first output.
        out: filled (6, time - first, symbol), in the order of `OUTPUTS`; NaN where the candle or
            the open interest is unknown.
    """
    rows, columns = interest.shape
    leverages = len(distances)
    queues = 2 * leverages
    signed, masses = np.empty((queues, rows)), np.empty((queues, rows))
    counts, closest = np.zeros(queues, dtype=np.int64), np.empty(queues)
    book = (signed, masses, counts, closest)
    clusters = np.zeros((2, 2, int(np.ceil(reach / width))))
    for k in range(columns):
        counts[:] = 0
        closest[:] = np.inf
        scale, expected, measure = 1.0, np.nan, 0.0
        for row in range(rows):
            high, low, close = candles[0, row, k], candles[1, row, k], candles[2, row, k]
            now = interest[row, k]
            if row >= first:
                out[:, row - first, k] = np.nan
            if np.isnan(close):
                continue
            # An empty book is one that was never opened, wherever the panel begins.
            scale = scale * fade if counts.any() else 1.0
            if scale < _FAINT:
                masses *= scale
                scale = 1.0
            expected -= scale * _close_touched(book, high, low)
            if np.isnan(now):
                continue
            if measure == unit[row, k] and now > expected:
                opened = (now - expected) / scale
                price = (high + low + close) / 3.0
                _open(book, opened, price, longs[row, k], distances, shares)
            elif measure > 0.0 and expected > 0.0:
                scale *= now / expected
            expected, measure = now, unit[row, k]
            if row >= first:
                _measure(book, scale / now, close, reach, width, clusters, out[:, row - first, k])


@njit(cache=True, nogil=True, error_model="numpy")
def _open(
    book: _Book, opened: float, price: float, long: float, distances: Floats, shares: Floats
) -> None:
    signed, masses, counts, closest = book
    for queue in range(len(counts)):
        side, leverage = queue % 2, queue // 2
        mass = opened * shares[leverage] * (1.0 - long if side else long)
        if mass > 0.0:
            sign = 1.0 if side else -1.0
            level = sign * price * (1.0 + sign * distances[leverage])
            signed[queue, counts[queue]], masses[queue, counts[queue]] = level, mass
            counts[queue] += 1
            closest[queue] = min(closest[queue], level)


@njit(cache=True, nogil=True, error_model="numpy")
def _close_touched(book: _Book, high: float, low: float) -> float:
    """Remove the positions whose level a candle reached, and return their stored mass."""
    signed, masses, counts, closest = book
    closed = 0.0
    for queue in range(len(counts)):
        edge = high if queue % 2 else -low
        if closest[queue] > edge:
            continue
        kept, smallest = 0, np.inf
        for i in range(counts[queue]):
            level, mass = signed[queue, i], masses[queue, i]
            if level <= edge:
                closed += mass
                continue
            signed[queue, kept], masses[queue, kept] = level, mass
            smallest = min(smallest, level)
            kept += 1
        counts[queue], closest[queue] = kept, smallest
    return closed


@njit(cache=True, nogil=True, error_model="numpy")
def _measure(
    book: _Book,
    scale: float,
    close: float,
    reach: float,
    width: float,
    clusters: NDArray[np.float64],
    out: Floats,
) -> None:
    signed, masses, counts, closest = book
    clusters[:] = 0.0
    near, tracked = np.zeros(2), 0.0
    for queue in range(len(counts)):
        side = queue % 2
        for i in range(counts[queue]):
            tracked += masses[queue, i]
        sign = 1.0 if side else -1.0
        if closest[queue] / close - sign >= reach:
            continue
        for i in range(counts[queue]):
            distance = signed[queue, i] / close - sign
            if 0.0 < distance < reach:
                mass = masses[queue, i]
                near[side] += mass * (1.0 - distance / reach)
                place = min(int(distance / width), clusters.shape[2] - 1)
                clusters[side, 0, place] += mass
                clusters[side, 1, place] += mass * distance
    out[_BELOW], out[_ABOVE] = scale * near[0], scale * near[1]
    both = near[0] + near[1]
    out[_BALANCE] = (near[1] - near[0]) / both if both > 0.0 else np.nan
    out[_NEAREST_BELOW] = _heaviest(clusters[0])
    out[_NEAREST_ABOVE] = _heaviest(clusters[1])
    out[_TRACKED] = scale * tracked


@njit(cache=True, nogil=True, error_model="numpy")
def _heaviest(clusters: FloatPanel) -> float:
    """Return the mean distance in the cluster of most mass; of equals in the closest."""
    heaviest = np.argmax(clusters[0])
    mass = clusters[0, heaviest]
    return float(clusters[1, heaviest] / mass) if mass > 0.0 else np.nan
