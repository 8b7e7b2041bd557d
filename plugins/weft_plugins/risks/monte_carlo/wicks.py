"""How far prices go within a candle, against how far its close ends up."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft_plugins.risks.monte_carlo.uncertainty import long_run_mean

_CONTINUITY = 0.5826
_LEAST = 0.01


@dataclass(frozen=True, slots=True)
class Wicks:
    """How far candles go from the close before, as multiples of how far they end up from it.

    NaN where unknown.

    Attributes:
        above: how far their highs go (row, symbol).
        below: how far their lows go (row, symbol).
    """

    above: FloatPanel
    below: FloatPanel


def wicks_of(
    high: FloatPanel, low: FloatPanel, close: FloatPanel, index: int, block: int, blocks: int
) -> Wicks:
    """Return how far candles go to either side of the close before, in the long run.

    Of a Brownian motion without drift the highest point over a candle is distributed as the size of
    the move to its close, and so is the lowest (the reflection principle), whatever the candle's
    volatility. So the mean of the one over the mean of the other is 1, in a market of calm and wild
    hours, too; where prices reach out and come back before the close, it is more. Of means and not
    of squares (Parkinson 1980, The extreme value method for estimating the variance of the rate of
    return), as those are for months what a single crash makes them.

    A candle whose high is its low counts for nothing: it tells only where prices ended.

    Args:
        high: NaN where unknown, as the others (time, symbol).
        low: (time, symbol).
        close: (time, symbol).
        index: place of the last row in the calendar (`Interval.index`).
        block: candles in a block of it, see `long_run_mean`.
        blocks: how many are looked back over.

    Returns:
        One row less than was given: of the first nothing is known.
    """
    before = close[:-1]
    moved = np.abs(np.log(close[1:] / before))
    # A gap before the first trade is part of the move, and so of how far prices go.
    above = np.log(np.maximum(high[1:], before) / before)
    below = np.log(before / np.minimum(low[1:], before))
    told = (high[1:] > low[1:]) & np.isfinite(moved + above + below)

    def usual(panel: FloatPanel) -> FloatPanel:
        return long_run_mean(np.where(told, panel, np.nan), index, block, blocks)

    usual_move = usual(moved)
    return Wicks(_over(usual(above), usual_move), _over(usual(below), usual_move))


def continuity_shift(distance: Floats, wicks: Floats, own: float) -> Floats:
    """Return how far a level is for paths whose candles go less far than those of the market.

    Seen at closes alone, a Brownian motion reaches a level as seldom as one that lies 0.5826
    deviations further off and is seen at all times (Broadie, Glasserman and Kou 1997, A continuity
    correction for discrete barrier options). Closes have wicks of 1/2 in the sense of `Wicks`, the
    whole motion of 1, so that each unit of wicks is worth twice that. It is a length and no factor:
    prices that come back before the close reach no further for having come from far away.

    Args:
        distance: of the level, in deviations of a candle (cell,).
        wicks: of the market on the level's side; where NaN, the distance stays (cell,).
        own: those of the paths.
    """
    moved = np.maximum(distance - 2.0 * _CONTINUITY * (wicks - own), _LEAST)
    return np.where(np.isnan(wicks), distance, moved)


def _over(reach: FloatPanel, moved: FloatPanel) -> FloatPanel:
    known: BoolPanel = (reach > 0.0) & (moved > 0.0)
    return np.divide(reach, moved, out=np.full_like(reach, np.nan), where=known)
