"""Divergence from the benchmark or sector, loss of correlation, lead of the benchmark."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from weft.components.feature import PanelFeature
from weft.components.needs import Need, candles
from weft.foundation.arrays import FloatPanel
from weft.market.view import View
from weft_plugins.features.beta import FitConfig, fitted
from weft_plugins.features.regression import sums
from weft_plugins.features.returns import benchmark_returns, log_returns, shifted

_MOST: Final = 1.0 - 1e-6


class Divergence(PanelFeature):
    """Cumulated residual of a symbol against the benchmark, in standard deviations.

    The residuals of the last `horizon` candles without the last `skip` are summed, under the beta
    and alpha that `beta` fits over the window. Divided by the deviation of the residuals and
    the root of their number, the sum has about unit variance where residuals are independent.
    It is the s-score of Avellaneda and Lee (2010, Quantitative Finance 10, section 3), but over a
    stated horizon instead of a fitted speed of return.

    Outputs:
        score: the sum in standard deviations; positive for a symbol that outperformed. NaN where
            less than half of the horizon is known, or the residuals are all 0.
        change: the sum, a log return.
    """

    name = "divergence"
    outputs = ("score", "change")

    class Config(FitConfig):
        """Options."""

        horizon: int = Field(default=24, ge=1, description="candles back to where the sum begins")
        skip: int = Field(default=0, ge=0, description="latest candles that are left out of it")

        @model_validator(mode="after")
        def _horizon_fits(self) -> Self:
            if not self.skip < self.horizon <= self.window:
                raise ValueError(
                    f"horizon ({self.horizon}) must be more than skip ({self.skip}), and not more "
                    f"than window ({self.window})"
                )
            return self

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The closes of a window, and the one before it."""
        return [candles(warmup=self.config.window)]

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        """Return the divergence of each symbol."""
        config = self.config
        y = log_returns(view.candles())
        x = benchmark_returns(view, y, config.against, config.benchmark)
        line = fitted(view, x, y, config)
        length = config.horizon - config.skip
        paired = np.where(np.isnan(x * y), np.nan, 1.0)
        known, moved = self._sums(view, y * np.where(np.isnan(x), np.nan, 1.0), length)
        _, led = self._sums(view, x * paired, length)
        change = moved - known * line["alpha"] - line["beta"] * led
        change = np.where(2.0 * known >= length, change, np.nan)
        noise = line["deviation"] * np.sqrt(known)
        score = np.divide(change, noise, out=np.full_like(change, np.nan), where=noise > 0.0)
        return {"score": score, "change": change}

    def _sums(self, view: View, values: FloatPanel, length: int) -> FloatPanel:
        late = shifted(values, self.config.skip)
        first = view.interval.index(int(view.candles().times[0]))
        return sums(late, window=length, first_index=first, rows=view.steps)


class SectorCorrelation(PanelFeature):
    """Correlation of a coin with the other coins of its sector.

    Outputs:
        correlation: of its log returns with the mean of its peers', -1 to 1, over the last
            `window` candles. Peers and unknown values are those of `beta`.
    """

    name = "sector_correlation"
    outputs = ("correlation",)

    class Config(FitConfig):
        """Options."""

        against: Literal["sector"] = Field(default="sector", description="always the sector")

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The closes of a window, and the one before it."""
        return [candles(warmup=self.config.window)]

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        """Return the correlations."""
        returns = log_returns(view.candles())
        peers = benchmark_returns(view, returns, "sector", self.config.benchmark)
        return {"correlation": fitted(view, peers, returns, self.config)["correlation"]}


class Decorrelation(PanelFeature):
    """Fall of a symbol's correlation with the benchmark, against its history.

    The correlation of the last `recent` candles is compared with that of the `window` candles
    before by Fisher's transformation (1921, Metron 1): atanh of a correlation of n pairs is about
    normal with variance 1 / (n - 3), so that the difference over the root of the summed variances
    is about standard normal while nothing changes. Fat-tailed returns widen it.

    Outputs:
        score: positive where the correlation fell, in standard deviations.
        recent: correlation of the last candles.
        before: correlation of the window before.
    """

    name = "decorrelation"
    outputs = ("score", "recent", "before")

    class Config(FitConfig):
        """Options."""

        recent: int = Field(default=72, ge=8, description="latest candles that are compared")

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The closes of both windows, and the one before them."""
        return [candles(warmup=self.config.window + self.config.recent)]

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        """Return the fall of each correlation."""
        config = self.config
        y = log_returns(view.candles())
        x = benchmark_returns(view, y, config.against, config.benchmark)
        late_x, late_y = shifted(x, config.recent), shifted(y, config.recent)
        recent = fitted(view, x, y, config, window=config.recent)["correlation"]
        before = fitted(view, late_x, late_y, config)["correlation"]
        pairs = np.where(np.isnan(x * y), np.nan, 1.0)
        first = view.interval.index(int(view.candles().times[0]))
        now, _ = sums(pairs, window=config.recent, first_index=first, rows=view.steps)
        then, _ = sums(
            shifted(pairs, config.recent), window=config.window, first_index=first, rows=view.steps
        )
        variance = 1.0 / np.maximum(now - 3.0, 1.0) + 1.0 / np.maximum(then - 3.0, 1.0)
        # A correlation of 1 has no finite transform.
        fall = np.arctanh(np.clip(before, -_MOST, _MOST)) - np.arctanh(
            np.clip(recent, -_MOST, _MOST)
        )
        return {"score": fall / np.sqrt(variance), "recent": recent, "before": before}


class LeadLag(PanelFeature):
    """Forecast of a symbol's next return from the benchmark's past returns.

    The symbol's returns are regressed on the benchmark's returns `lag` candles before (lead-lag in
    the sense of Lo and MacKinlay 1990, When are contrarian profits due to stock market
    overreaction?), and the slope is applied to the benchmark's return `lag - 1` candles ago. For
    the benchmark this is the persistence of its returns.

    Outputs:
        score: slope times that return, in deviations of the residuals, damped by 1 - 4 / t^2 and
            0 where t^2 is below 4: a slope within two standard errors of 0 is no evidence.
        slope: of the lagged regression.
        t_statistic: slope over its standard error.
    """

    name = "lead_lag"
    outputs = ("score", "slope", "t_statistic")

    class Config(FitConfig):
        """Options."""

        lag: int = Field(
            default=1, ge=1, description="candles by which the benchmark comes before the symbol"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The closes of a window, the one before it, and the lag."""
        return [candles(warmup=self.config.window + self.config.lag)]

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        """Return the forecast of each symbol's next return."""
        y = log_returns(view.candles())
        x = benchmark_returns(view, y, self.config.against, self.config.benchmark)
        earlier = shifted(x, self.config.lag)
        line = fitted(view, earlier, y, self.config)
        pairs = np.where(np.isnan(earlier * y), np.nan, 1.0)
        first = view.interval.index(int(view.candles().times[0]))
        known, _ = sums(pairs, window=self.config.window, first_index=first, rows=view.steps)
        square = np.clip(line["correlation"] ** 2, 0.0, _MOST)
        t_squared = square * (known - 2.0) / (1.0 - square)
        damping = np.maximum(1.0 - 4.0 / np.maximum(t_squared, 4.0), 0.0)
        pull = line["beta"] * shifted(x, self.config.lag - 1)[-view.steps :] * damping
        noise = line["deviation"]
        return {
            "score": np.divide(pull, noise, out=np.full_like(pull, np.nan), where=noise > 0.0),
            "slope": line["beta"],
            "t_statistic": np.sign(line["beta"]) * np.sqrt(t_squared),
        }
