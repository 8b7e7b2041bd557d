"""Rolling regression of a coin on the benchmark or its peers: beta, residual, correlation."""

from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.feature import PanelFeature
from weft.components.needs import Need, candles
from weft.foundation.arrays import FloatPanel
from weft.market.view import View
from weft_plugins.features.regression import FITTED, fit
from weft_plugins.features.returns import Against, benchmark_returns, log_returns, shifted


class FitConfig(ComponentConfig):
    """Options of a regression of a symbol's log returns on those of others."""

    window: int = Field(default=720, ge=5, description="candles each fit looks back over")
    least: int = Field(
        default=100, ge=4, description="candles of the window in which both must be known"
    )
    benchmark: str = Field(default="BTC", description="base asset of the benchmark")
    against: Against = Field(
        default="benchmark", description="the benchmark, or the mean of the symbol's sector"
    )

    @model_validator(mode="after")
    def _least_fits(self) -> Self:
        if self.least > self.window:
            raise ValueError(f"least ({self.least}) must not be more than window ({self.window})")
        return self


class Beta(PanelFeature):
    """Rolling regression of a symbol's log returns on those of the benchmark (the market model).

    Ordinary least squares with a constant (Sharpe 1963, A simplified model for portfolio analysis),
    over the pairs of the last `window` candles in which both returns are known. A return needs two
    adjacent candles, so that none spans a hole or a closed market. With fewer than `least` pairs,
    or where the benchmark has not moved, all outputs are NaN.

    The benchmark is the mean of the instruments with the base asset `benchmark`; where the view has
    none, the mean of all symbols whose market never closes. Against the ``sector`` it is the mean
    of the other coins of the symbol's sector, or of all other symbols whose market never closes
    where the sector is unknown or has no other coin in the view.

    Outputs:
        beta: slope: the symbol's expected return for a benchmark return of 1.
        residual: the last return less the fitted return; NaN where either return is missing on
            this row.
        correlation: of the pairs, -1 to 1; NaN where the symbol has not moved.
        alpha: constant, per candle.
        deviation: standard deviation of the residuals, with two degrees of freedom fewer; 0 where
            the fit is exact.
    """

    name = "beta"
    outputs = FITTED

    class Config(FitConfig):
        """Options."""

        lag: int = Field(
            default=0, ge=0, description="candles by which the benchmark comes before the symbol"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The closes of a window, the one before it, and the lag."""
        return [candles(warmup=self.config.window + self.config.lag)]

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        """Return the fit of each window."""
        returns = log_returns(view.candles())
        x = benchmark_returns(view, returns, self.config.against, self.config.benchmark)
        return fitted(view, shifted(x, self.config.lag), returns, self.config)


def fitted(
    view: View, x: FloatPanel, y: FloatPanel, config: FitConfig, window: int | None = None
) -> dict[str, FloatPanel]:
    """Return the fits of a view's rows by name, each (steps, symbol).

    Args:
        view: has candles on the rows of the panels.
        x: explanatory returns (time, 1 or symbol).
        y: explained returns (time, symbol).
        config: window and least pairs.
        window: another window; pairs may then be missing as often as in the config's.
    """
    length = config.window if window is None else window
    least = config.least if window is None else max(4, round(config.least * length / config.window))
    # The first row has no return; without it most columns have no hole.
    skip = min(1, len(y) - view.steps)
    panels = fit(
        np.ascontiguousarray(x[skip:]),
        np.ascontiguousarray(y[skip:]),
        window=length,
        least=least,
        first_index=view.interval.index(int(view.candles().times[skip])),
        rows=view.steps,
    )
    return dict(zip(FITTED, panels, strict=True))
