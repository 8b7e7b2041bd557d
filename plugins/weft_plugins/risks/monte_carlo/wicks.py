"""Wicks: how far prices reach within a candle, relative to its move from close to close."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft_plugins.risks.monte_carlo.uncertainty import long_run_mean

_CONTINUITY = 0.5826
_LEAST = 0.01


@dataclass(frozen=True, slots=True)
class Wicks:
    """Reach of candles from the close before, over their move to the close; NaN if unknown.

    Attributes:
        above: reach of the highs (row, symbol).
        below: reach of the lows (row, symbol).
    """

    above: FloatPanel
    below: FloatPanel


def wicks_of(
    high: FloatPanel, low: FloatPanel, close: FloatPanel, index: int, block: int, blocks: int
) -> Wicks:
    """Return the long-run wicks of candles on either side of the close before.

    For Brownian motion without drift the highest point of a candle has the distribution of the
    absolute move to its close, and so has the lowest (the reflection principle), whatever the
    volatility. The ratio of their means is therefore 1, also where calm and wild hours mix, and
    above 1 where prices reach out and come back before the close. Means are used instead of squares
    (Parkinson 1980, The extreme value method for estimating the variance of the rate of return),
    which a single crash would dominate for months.

    Candles whose high equals their low are skipped: they show only where prices ended.

    Args:
        high: NaN where unknown, as the others (time, symbol).
        low: (time, symbol).
        close: (time, symbol).
        index: calendar index of the last row (`Interval.index`).
        block: candles in a block of the calendar, see `long_run_mean`.
        blocks: number of blocks in the window.

    Returns:
        Wicks of all rows but the first, which has no close before it.
    """
    before = close[:-1]
    moved = np.abs(np.log(close[1:] / before))
    # A gap before the first trade is part of the move, and so of the reach.
    above = np.log(np.maximum(high[1:], before) / before)
    below = np.log(before / np.minimum(low[1:], before))
    has_range = (high[1:] > low[1:]) & np.isfinite(moved + above + below)

    def usual(panel: FloatPanel) -> FloatPanel:
        return long_run_mean(np.where(has_range, panel, np.nan), index, block, blocks)

    usual_move = usual(moved)
    return Wicks(_over(usual(above), usual_move), _over(usual(below), usual_move))


def continuity_shift(distance: Floats, wicks: Floats, path_wicks: float) -> Floats:
    """Return the distance of a level, shifted for markets whose candles reach further than paths.

    Brownian motion observed only at closes reaches a level as rarely as continuously observed
    motion reaches one that lies 0.5826 deviations further away (Broadie, Glasserman and Kou 1997, A
    continuity correction for discrete barrier options). Closes have wicks of 1/2 in the sense of
    `Wicks`, continuous motion has 1, so that a unit of wicks is worth twice 0.5826 deviations. The
    shift is a length, not a factor: a wick reaches no further because its level is far away.

    Args:
        distance: of the level, in deviations of a candle (cell,).
        wicks: of the market on the level's side; where NaN, the distance stays (cell,).
        path_wicks: wicks of the paths.
    """
    moved = np.maximum(distance - 2.0 * _CONTINUITY * (wicks - path_wicks), _LEAST)
    return np.where(np.isnan(wicks), distance, moved)


def _over(reach: FloatPanel, moved: FloatPanel) -> FloatPanel:
    known: BoolPanel = (reach > 0.0) & (moved > 0.0)
    return np.divide(reach, moved, out=np.full_like(reach, np.nan), where=known)
