"""The correlation layer: scores from a coin's relation to Bitcoin and to its sector."""

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
    """Scores a coin by its moves relative to the benchmark and to its sector.

    Each part lies between -1 and +1:

    - *reversion*: -tanh(z / 2), where z is the `divergence` from the benchmark over the last
      `reversion_candles`, in standard deviations: a coin that ran ahead of its beta falls back
      (Avellaneda and Lee 2010, Statistical arbitrage in the US equities market);
    - *sector*: the same against the mean of the other coins of its sector;
    - *momentum*: tanh(z / 2), where z is the divergence from the benchmark over the last
      `momentum_candles`, without those of *reversion*: long-run outperformance continues
      (Jegadeesh and Titman 1993, Returns to buying winners and selling losers);
    - *lead*: tanh of the `lead_lag` score: the coin's next return as forecast from the benchmark's
      last one (Lo and MacKinlay 1990), 0 where the slope is within two standard errors of 0.

    *reversion* and *sector* presume that the coin still follows the benchmark or sector: as the
    correlation falls below its history by one standard error to three, they fade to half.

    The score is the weighted mean of the parts that are known, times 100. The confidence is the
    share of the weight that is known, times the larger absolute correlation with benchmark and
    sector: a symbol that moves alone cannot be scored by the others. A part is unknown while its
    window holds too few candles; the benchmark, which cannot diverge from itself, is scored only by
    its sector and its last return. Where the view has no benchmark, the mean of all symbols whose
    market never closes replaces it; where a sector is unknown, the mean of all these without the
    symbol. With a quarter of the weight or less, or without a close on the row, there is no
    opinion.

    The evidence holds each part's points, which add up to the score, and the features behind them.
    """

    name = "correlation"

    class Config(ComponentConfig):
        """Options. Only the ratios of the weights matter."""

        reversion: float = Field(
            default=0.35, ge=0, description="weight of reversion to the benchmark"
        )
        sector: float = Field(default=0.25, ge=0, description="weight of reversion to the sector")
        momentum: float = Field(default=0.25, ge=0, description="weight of momentum")
        lead: float = Field(default=0.15, ge=0, description="weight of following the benchmark")

        benchmark: str = Field(default="BTC", description="base asset of the benchmark")
        window: int = Field(default=720, ge=20, description="candles that betas are fitted to")
        least: int = Field(default=100, ge=10, description="known pairs a window must hold")
        reversion_candles: int = Field(default=24, ge=1, description="candles of the reversion")
        momentum_candles: int = Field(default=336, ge=2, description="candles of the momentum")
        recent: int = Field(
            default=72, ge=8, description="latest candles whose correlation is compared"
        )

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
        config = self.config
        fit = partial(feature, window=config.window, least=config.least, benchmark=config.benchmark)
        near = config.reversion_candles
        return {
            "beta": fit("beta"),
            "lead": fit("lead_lag"),
            "divergence": fit("divergence", horizon=near),
            "sector_divergence": fit("divergence", horizon=near, against="sector"),
            "trend": fit("divergence", horizon=config.momentum_candles, skip=near),
            "sector_correlation": fit("sector_correlation"),
            "decorrelation": fit("decorrelation", recent=config.recent),
        }

    def score(self, view: View) -> Scores:
        """Return the weighted mean of the parts that are known."""
        features = self._panels(view)
        still_correlated = 1.0 - 0.25 * np.clip(
            np.nan_to_num(features["decorrelation"]) - 1.0, 0.0, 2.0
        )
        parts = {
            "reversion": -np.tanh(features["divergence"] / 2.0) * still_correlated,
            "sector": -np.tanh(features["sector_divergence"] / 2.0) * still_correlated,
            "momentum": np.tanh(features["trend"] / 2.0),
            "lead": np.tanh(features["lead"]),
        }
        open_now = ~np.isnan(view.candles().close[-view.steps :])
        weights = {part: float(getattr(self.config, part)) for part in PARTS}
        known = {part: ~np.isnan(panel) & open_now for part, panel in parts.items()}
        weight = sum((weights[p] * known[p] for p in PARTS), np.zeros(open_now.shape))
        share = weight / sum(weights.values())
        is_known = share > 0.25
        points = {
            part: np.divide(
                100.0 * weights[part] * np.nan_to_num(panel),
                weight,
                out=np.full(panel.shape, np.nan),
                where=is_known & known[part],
            )
            for part, panel in parts.items()
        }
        total = sum((np.nan_to_num(p) for p in points.values()), np.zeros(open_now.shape))
        correlation = np.fmax(
            np.abs(features["correlation"]), np.abs(features["sector_correlation"])
        )
        return view.scores(
            # Rounding may carry a sum of points a hair beyond the range of a score.
            np.where(is_known, np.clip(total, -100.0, 100.0), np.nan),
            confidence=np.where(
                is_known, np.clip(share, 0.0, 1.0) * np.nan_to_num(correlation), 0.0
            ),
            evidence={**points, **{f"{name}_value": panel for name, panel in features.items()}},
        )

    def _panels(self, view: View) -> dict[str, FloatPanel]:
        needs = self._features
        return {
            "residual": view.feature(needs["beta"], output="residual"),
            "correlation": view.feature(needs["beta"], output="correlation"),
            **{name: view.feature(need) for name, need in needs.items()},
        }
