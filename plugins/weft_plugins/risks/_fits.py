"""What prices of each cell are like: how wide they move, and how they jump."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weft.arrays import BoolPanel, FloatPanel
from weft_plugins.risks._barriers import Shape, shapes_around
from weft_plugins.risks._merton import Merton, fit_into
from weft_plugins.risks._uncertainty import uncertainty_of

_FEWEST_RETURNS = 50
_LEAST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Fits:
    """The jump diffusion of each cell, per candle (steps, symbol); NaN where unknown.

    Attributes:
        deviation: of the log return, jumps and all.
        intensity: expected number of jumps.
        jump_mean: of a jump's log return; NaN where there are none.
        jump_deviation: of a jump's log return; NaN where there are none.
        uncertainty: deviation of the logarithm of the volatility over the horizon.
        known: where the above are known.
        weights: for each lattice point that occurs, how much of each cell it is, 0 where not.
    """

    deviation: FloatPanel
    intensity: FloatPanel
    jump_mean: FloatPanel
    jump_deviation: FloatPanel
    uncertainty: FloatPanel
    known: BoolPanel
    weights: Mapping[Shape, FloatPanel]


@dataclass(frozen=True, slots=True)
class Spans:
    """What is looked back over, in candles.

    Attributes:
        jumps: how prices jump is told from so many.
        uncertainty: how sure the volatility is, from so many.
        horizon: over which it has to be sure.
        refit: candles between two fits.
    """

    jumps: int
    uncertainty: int
    horizon: int
    refit: int


def fit_cells(
    close: FloatPanel, volatility: FloatPanel, steps: int, index: int, spans: Spans
) -> Fits:
    """Return what each cell of the last `steps` rows is like.

    How wide prices move follows the volatility of each row. How they jump is told from returns
    divided by the volatility known a candle before, so that a market that merely moves more does
    not pass for one that jumps; how sure the volatility is, from what it came to over horizons that
    have ended (`uncertainty_of`). Both up to the latest candle whose place in the calendar is a
    multiple of `refit`.

    Args:
        close: closing prices, decision rows last (time, symbol).
        volatility: expected of the log returns that follow, with as many rows or fewer (time,
            symbol).
        steps: decision rows.
        index: place of the last row in the calendar (`Interval.index`).
        spans: what is looked back over.
    """
    rows = min(len(close) - 1, len(volatility) - 1)
    change = np.log(close[-rows:] / close[-rows - 1 : -1])
    before = volatility[-rows - 1 : -1]
    scaled = change / np.where(before > 0.0, before, np.nan)
    shape = (steps, close.shape[1])
    intensity, jump_mean, jump_deviation, unsure = (np.full(shape, np.nan) for _ in range(4))
    weights: dict[Shape, FloatPanel] = {}
    anchors = (index - np.arange(steps - 1, -1, -1)) // spans.refit * spans.refit
    for anchor in np.unique(anchors):
        stop = rows - (index - int(anchor))
        jumps = slice(max(0, stop - spans.jumps), max(0, stop))
        past = slice(max(0, stop - spans.uncertainty), max(0, stop))
        at = anchors == anchor
        for column in range(shape[1]):
            fit = _fit(scaled[jumps, column], spans.jumps)
            if fit is None:
                continue
            # The volatility of a row is what its own return leaves behind.
            unsure[at, column] = uncertainty_of(
                change[past, column], volatility[-rows:][past, column], spans.horizon
            )
            # How wide the whole moves is the volatility's to say: in calm times returns tend to be
            # wider than it, in wild ones narrower, and their mean ratio is mostly that of the calm.
            wide = np.sqrt(fit.cumulants[1])
            intensity[at, column] = fit.intensity
            if fit.intensity > 0.0:
                jump_mean[at, column] = fit.jump_mean / wide
                jump_deviation[at, column] = fit.jump_deviation / wide
            for point, weight in shapes_around(fit).items():
                weights.setdefault(point, np.zeros(shape))[at, column] = weight
    now = np.where(volatility[-steps:] > 0.0, volatility[-steps:], np.nan)
    now = np.where(np.isnan(close[-steps:]), np.nan, now)
    known_now = ~np.isnan(unsure * now)
    return Fits(
        deviation=np.where(known_now, now, np.nan),
        intensity=np.where(known_now, intensity, np.nan),
        jump_mean=jump_mean * now,
        jump_deviation=jump_deviation * now,
        uncertainty=np.where(known_now, unsure, np.nan),
        known=known_now,
        # In order, so that what is added up per cell does not depend on the other cells.
        weights={
            point: panel
            for point in sorted(weights)
            if (panel := np.where(known_now, weights[point], 0.0)).any()
        },
    )


def _fit(scaled: FloatPanel, window: int) -> Merton | None:
    known = scaled[np.isfinite(scaled)]
    if len(known) < max(_FEWEST_RETURNS, _LEAST_SHARE * window):
        return None
    found = np.empty(5)
    fit_into(known, found)
    return Merton(*found.tolist()) if found[1] > 0.0 else None
