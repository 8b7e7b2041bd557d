"""How a coin moves with the benchmark, or with its peers: beta, residual, correlation."""

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
from weft_plugins.features.returns import Against, log_returns, others, shifted


class FitConfig(ComponentConfig):
    """Options of what regresses a symbol's log returns on others'."""

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
    """Rolling regression of a symbol's log returns on those of the benchmark.

    The regression is by least squares with a constant, over the pairs of the last `window`
    candles in which both returns are known: a return needs two candles in a row, so that none
    reaches over a hole or a closed market. With fewer than `least` pairs, or where the benchmark
    has not moved, everything is NaN.

    The benchmark is the instrument about `benchmark` (the mean, where several are); where the view
    has none, the mean of all symbols whose market never closes. Against the ``sector`` it is the
    mean of the other coins of the symbol's sector, and of all other such symbols where the sector
    is not known or has no other coin in the view.

    Outputs:
        beta: slope; how far the symbol moves when the benchmark moves by one.
        residual: the last return less what the fit makes of the benchmark's; NaN where either
            is missing on this row.
        correlation: of the pairs, -1 to 1; NaN where the symbol has not moved.
        alpha: constant, a candle.
        deviation: standard deviation of the residuals, with two degrees of freedom less; 0 where
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
        x = others(view, returns, self.config.against, self.config.benchmark)
        return fitted(view, shifted(x, self.config.lag), returns, self.config)


def fitted(
    view: View, x: FloatPanel, y: FloatPanel, config: FitConfig, window: int | None = None
) -> dict[str, FloatPanel]:
    """Return the fits of a view's rows by name, each (steps, symbol).

    Args:
        view: whose own candles' rows the panels have.
        x: what is regressed on (time, 1 or symbol).
        y: what is explained (time, symbol).
        config: window and least pairs.
        window: another window; pairs may then be missing as often as in the config's.
    """
    length = config.window if window is None else window
    least = config.least if window is None else max(4, round(config.least * length / config.window))
    # Before the first row nothing is known; without that row most columns are whole.
    skip = min(1, len(y) - view.steps)
    found = fit(
        np.ascontiguousarray(x[skip:]),
        np.ascontiguousarray(y[skip:]),
        window=length,
        least=least,
        first_index=view.interval.index(int(view.candles().times[skip])),
        rows=view.steps,
    )
    return dict(zip(FITTED, found, strict=True))
