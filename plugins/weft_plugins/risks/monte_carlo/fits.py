"""Volatility and jumps of each cell, fitted to the candles before it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft_plugins.risks.monte_carlo.barriers import Shape, shapes_around
from weft_plugins.risks.monte_carlo.merton import Merton, fit_into
from weft_plugins.risks.monte_carlo.uncertainty import uncertainty_of

_FEWEST_RETURNS = 50
_LEAST_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Fits:
    """The jump diffusion of each cell, per candle (steps, symbol); NaN where unknown.

    Attributes:
        deviation: of the log return, jumps included.
        pace: see `paces`; 1 where the market never closes.
        intensity: expected number of jumps.
        jump_mean: of a jump's log return; NaN where there are none.
        jump_deviation: of a jump's log return; NaN where there are none.
        uncertainty: deviation of the logarithm of the volatility over the horizon.
        known: whether the panels above are known.
        horizon: decision rows ahead that `pace` and `uncertainty` are of.
        weights: weight of each lattice point in each cell, for the points that occur.
    """

    deviation: FloatPanel
    pace: FloatPanel
    intensity: FloatPanel
    jump_mean: FloatPanel
    jump_deviation: FloatPanel
    uncertainty: FloatPanel
    known: BoolPanel
    horizon: int
    weights: Mapping[Shape, FloatPanel]

    @property
    def width(self) -> FloatPanel:
        """Deviation of one step of the paths, which have a step for each row (steps, symbol)."""
        return self.deviation * self.pace


@dataclass(frozen=True, slots=True)
class Spans:
    """Windows of the estimates, in candles.

    Attributes:
        jumps: window of the jumps.
        uncertainty: window of the uncertainty of the volatility.
        horizon: how far ahead the volatility is expected.
        refit: candles between two fits.
    """

    jumps: int
    uncertainty: int
    horizon: int
    refit: int


def fit_cells(
    change: FloatPanel,
    closed: BoolPanel,
    volatility: FloatPanel,
    pace: FloatPanel,
    index: int,
    spans: Spans,
) -> Fits:
    """Return the fit of each cell of the decision rows.

    The deviation is the volatility expected at each row. Jumps are fitted to returns divided by the
    volatility known a candle before, so that a rise of volatility does not look like jumps; the
    uncertainty is estimated over horizons that have ended (`uncertainty_of`). Both use candles up
    to the latest one whose calendar index is a multiple of `refit`. Rows while a market is closed
    are skipped.

    Args:
        change: log returns, decision rows last (time, symbol).
        closed: whether the market is closed (time, symbol).
        volatility: expected of the log returns that follow, with as many rows or fewer (time,
            symbol).
        pace: see `paces` (steps, symbol).
        index: calendar index of the last row (`Interval.index`).
        spans: windows of the estimates.
    """
    steps = len(pace)
    rows = min(len(change), len(volatility)) - 1
    kept = slice(-rows - 1, None)
    intensity, jump_mean, jump_deviation, unsure = (np.full(pace.shape, np.nan) for _ in range(4))
    weights: dict[Shape, FloatPanel] = {}
    anchors = (index - np.arange(steps - 1, -1, -1)) // spans.refit * spans.refit
    for column in range(change.shape[1]):
        market = _Market.of(change[kept, column], closed[kept, column], volatility[kept, column])
        for anchor in np.unique(anchors):
            stop = max(0, rows - (index - int(anchor)))
            fit = market.fit(max(0, stop - spans.jumps), stop, spans.jumps)
            if fit is None:
                continue
            at = anchors == anchor
            unsure[at, column] = market.uncertainty(
                max(0, stop - spans.uncertainty), stop, spans.horizon
            )
            # The expected volatility sets the scale: scaled returns are wider than 1 in calm times
            # and narrower in wild ones, and their overall scale is mostly that of the calm times.
            wide = np.sqrt(fit.cumulants[1])
            intensity[at, column] = fit.intensity
            if fit.intensity > 0.0:
                jump_mean[at, column] = fit.jump_mean / wide
                jump_deviation[at, column] = fit.jump_deviation / wide
            for point, weight in shapes_around(fit).items():
                weights.setdefault(point, np.zeros(pace.shape))[at, column] = weight
    now = np.where(volatility[-steps:] > 0.0, volatility[-steps:], np.nan)
    now = np.where(closed[-steps:], np.nan, now)
    known_now = ~np.isnan(unsure * now * pace)
    return Fits(
        deviation=np.where(known_now, now, np.nan),
        pace=pace,
        intensity=np.where(known_now, intensity, np.nan),
        jump_mean=jump_mean * now,
        jump_deviation=jump_deviation * now,
        uncertainty=np.where(known_now, unsure, np.nan),
        known=known_now,
        horizon=spans.horizon,
        # In a fixed order, so that sums of a cell do not depend on which other cells there are.
        weights={
            point: panel
            for point in sorted(weights)
            if (panel := np.where(known_now, weights[point], 0.0)).any()
        },
    )


@dataclass(frozen=True, slots=True)
class _Market:
    """The rows of one symbol on which its market was open.

    Attributes:
        rows: number of the row; -1 for the row of the first volatility (candle,).
        change: log returns (candle,).
        scaled: log returns over the volatility known a candle before (candle,).
        volatility: expected after the candle's return (candle,).
    """

    rows: NDArray[np.int64]
    change: Floats
    scaled: Floats
    volatility: Floats

    @classmethod
    def of(cls, change: Floats, closed: NDArray[np.bool_], volatility: Floats) -> "_Market":
        """Return the open rows of a market; the first row gives only a volatility."""
        rows = np.flatnonzero(~closed)
        change, volatility = change[rows], volatility[rows]
        before = np.concatenate([[np.nan], volatility[:-1]])
        return cls(rows - 1, change, change / np.where(before > 0.0, before, np.nan), volatility)

    def fit(self, start: int, stop: int, window: int) -> Merton | None:
        """Return the jump diffusion between two rows; None where too little is known."""
        scaled = self.scaled[self._between(start, stop)]
        share = len(scaled) / max(stop - start, 1)
        if share < 1.0:
            # The volatility before the first candle may lie before the panel.
            scaled = scaled[1:]
        known = scaled[np.isfinite(scaled)]
        if len(known) < max(_FEWEST_RETURNS, _LEAST_SHARE * window * share):
            return None
        fitted = np.empty(5)
        fit_into(known, fitted)
        return Merton(*fitted.tolist()) if fitted[1] > 0.0 else None

    def uncertainty(self, start: int, stop: int, horizon: int) -> float:
        """Return the uncertainty of the volatility over a horizon, between two rows."""
        inside = self._between(start, stop)
        change = self.change[inside]
        candles = max(1, round(horizon * len(change) / max(stop - start, 1)))
        return uncertainty_of(change, self.volatility[inside], candles)

    def _between(self, start: int, stop: int) -> slice:
        first, last = np.searchsorted(self.rows, (start, stop))
        return slice(int(first), int(last))
