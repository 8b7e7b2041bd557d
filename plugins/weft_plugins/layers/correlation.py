"""The correlation layer: what a coin's relation to Bitcoin and to its peers says about it."""

from collections.abc import Sequence
from functools import partial
from typing import Final, Self

import numpy as np
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.layer import Layer, Scores
from weft.components.needs import FeatureNeed, Need, candles, feature
from weft.foundation.arrays import FloatPanel
from weft.market.view import View

PARTS: Final = ("reversion", "sector", "momentum", "lead")


class Correlation(Layer):
    """Scores a coin by how it moved beside the benchmark and beside its sector.

    Each part lies between -1 and +1:

    - *reversion*: -tanh(z / 2), where z is how many standard deviations the coin has diverged from
      what its beta to the benchmark makes of the last `reversion_candles`: what ran ahead falls
      back, and extremes count no more than tanh lets them;
    - *sector*: the same against the mean of the other coins of its sector;
    - *momentum*: tanh(z / 2), where z is the divergence from the benchmark over the last
      `momentum_candles`, without those that *reversion* looks at: who outperformed for long goes
      on doing so;
    - *lead*: tanh of what the benchmark's last move is yet to do to the coin, in deviations of
      its residuals: the slope of the coin's returns on the benchmark's one candle before, times
      the benchmark's last return. It is damped by 1 - 4 / t^2, and 0 below that, with t the
      slope's t statistic, so that a slope two standard errors from 0 says nothing yet.

    *reversion* and *sector* hold only while the coin is tied to what it is held against: as the
    correlation falls against its own history, from one standard error to three, they fade to half.

    The score is the weighted mean of the parts that are known, times 100. The confidence is the
    share of the weight that is known, times the larger of the correlations with benchmark and
    sector, sign left out: where nothing moves together, nothing follows. A part is unknown while
    its window holds too few candles, and for the benchmark itself, which does not diverge from
    itself: it is scored by its sector and its own last move alone. Where the view has no
    benchmark, the mean of all symbols whose market never closes stands in; where a sector is not
    known, all of these but the symbol itself. With a quarter of the weight or less there is no
    opinion, nor is there one without a close on the row.

    The evidence holds each part's points, which add up to the score, and the features behind them.
    """

    name = "correlation"

    class Config(ComponentConfig):
        """Options. Only the ratios of the weights matter."""

        reversion: float = Field(default=0.35, ge=0, description="weight of falling back in line")
        sector: float = Field(default=0.25, ge=0, description="weight of that beside the sector")
        momentum: float = Field(default=0.25, ge=0, description="weight of going on")
        lead: float = Field(default=0.15, ge=0, description="weight of following the benchmark")

        benchmark: str = Field(default="BTC", description="base asset of the benchmark")
        window: int = Field(default=720, ge=20, description="candles that betas are fitted to")
        least: int = Field(default=100, ge=10, description="known pairs a window must hold")
        reversion_candles: int = Field(default=24, ge=1, description="horizon of falling back")
        momentum_candles: int = Field(default=336, ge=2, description="horizon of going on")
        recent: int = Field(default=72, ge=8, description="candles in which a tie may have broken")

        @model_validator(mode="after")
        def _options_fit(self) -> Self:
            if not any(getattr(self, part) for part in PARTS):
                raise ValueError(f"at least one of {', '.join(PARTS)} must be above 0")
            if not self.reversion_candles < self.momentum_candles <= self.window:
                raise ValueError(
                    f"momentum_candles ({self.momentum_candles}) must be more than "
                    f"reversion_candles ({self.reversion_candles}), and not more than window "
                    f"({self.window})"
                )
            if self.least > self.window:
                raise ValueError(f"least ({self.least}) must not be more than window")
            return self

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The last close, and every feature."""
        return [candles(warmup=0), *self._features.values()]

    @property
    def _features(self) -> dict[str, FeatureNeed]:
        own = self.config
        fit = partial(feature, window=own.window, least=own.least, benchmark=own.benchmark)
        near = own.reversion_candles
        return {
            "beta": fit("beta"),
            "lead": fit("lead_lag"),
            "divergence": fit("divergence", horizon=near),
            "sector_divergence": fit("divergence", horizon=near, against="sector"),
            "trend": fit("divergence", horizon=own.momentum_candles, skip=near),
            "sector_correlation": fit("sector_correlation"),
            "decorrelation": fit("decorrelation", recent=own.recent),
        }

    def score(self, view: View) -> Scores:
        """Return the weighted mean of the parts that are known."""
        found = self._found(view)
        tied = 1.0 - 0.25 * np.clip(np.nan_to_num(found["decorrelation"]) - 1.0, 0.0, 2.0)
        parts = {
            "reversion": -np.tanh(found["divergence"] / 2.0) * tied,
            "sector": -np.tanh(found["sector_divergence"] / 2.0) * tied,
            "momentum": np.tanh(found["trend"] / 2.0),
            "lead": np.tanh(found["lead"]),
        }
        open_now = ~np.isnan(view.candles().close[-view.steps :])
        weights = {part: float(getattr(self.config, part)) for part in PARTS}
        known = {part: ~np.isnan(panel) & open_now for part, panel in parts.items()}
        weight = sum((weights[p] * known[p] for p in PARTS), np.zeros(open_now.shape))
        share = weight / sum(weights.values())
        speaks = share > 0.25
        points = {
            part: np.divide(
                100.0 * weights[part] * np.nan_to_num(panel),
                weight,
                out=np.full(panel.shape, np.nan),
                where=speaks & known[part],
            )
            for part, panel in parts.items()
        }
        total = sum((np.nan_to_num(p) for p in points.values()), np.zeros(open_now.shape))
        tie = np.fmax(np.abs(found["correlation"]), np.abs(found["sector_correlation"]))
        return view.scores(
            # Rounding may carry a sum of points a hair beyond the range of a score.
            np.where(speaks, np.clip(total, -100.0, 100.0), np.nan),
            confidence=np.where(speaks, np.clip(share, 0.0, 1.0) * np.nan_to_num(tie), 0.0),
            evidence={**points, **{f"{name}_value": panel for name, panel in found.items()}},
        )

    def _found(self, view: View) -> dict[str, FloatPanel]:
        needs = self._features
        return {
            "residual": view.feature(needs["beta"], output="residual"),
            "correlation": view.feature(needs["beta"], output="correlation"),
            **{name: view.feature(need) for name, need in needs.items()},
        }
