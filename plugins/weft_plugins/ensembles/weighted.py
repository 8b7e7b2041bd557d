"""A weighted mean of the layers: simple, explainable, and not calibrated."""

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.ensemble import Ensemble, Fusion
from weft.components.layer import Scores
from weft.foundation.arrays import FloatPanel
from weft.market.view import View


class Weighted(Ensemble):
    """Fuses layers by their base weight times their own confidence.

    The score is the mean of the layers' scores under those weights, over the layers that have an
    opinion. The confidence is the size of that score, times how far the layers agree (1 when all
    point the same way), times the coverage: the sum of base weight times own confidence, over
    the sum of all base weights, from 0 to 1. A layer of confidence 0 counts as one without an
    opinion. The confidence is a ranking, not a probability, and `calibrated` says so.
    """

    name = "weighted"

    class Config(ComponentConfig):
        """Options."""

        long_above: float = Field(
            default=15.0, ge=0, le=100, description="score from which on LONG"
        )
        short_below: float = Field(
            default=-15.0, ge=-100, le=0, description="score up to which SHORT"
        )

    config: Config

    def fuse(
        self, view: View, scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        """Return the weighted mean for each decision row and symbol."""
        shape = (view.steps, len(view.symbols))
        total, size = np.zeros(shape), np.zeros(shape)
        mass: dict[str, FloatPanel] = {}
        for name, said in scores.items():
            speaks = ~np.isnan(said.score)
            mass[name] = np.where(speaks, weights[name] * said.confidence, 0.0)
            score = np.where(speaks, said.score, 0.0)
            total += mass[name] * score
            size += mass[name] * np.abs(score)
        everything = sum(mass.values(), np.zeros(shape))
        shares = {name: _ratio(part, everything) for name, part in mass.items()}
        # Rounding can carry a mean of scores that are all 100 past 100.
        score = np.clip(_ratio(total, everything), -100.0, 100.0)
        agreement = _ratio(np.abs(total), size)
        coverage = everything / max(sum(weights.values()), 1e-12)
        direction = np.zeros(shape, dtype=np.int8)
        direction[(score >= self.config.long_above) & (score > 0.0)] = 1
        direction[(score <= self.config.short_below) & (score < 0.0)] = -1
        return Fusion(
            score=score,
            confidence=np.minimum(np.abs(score) * agreement * coverage / 100.0, 1.0),
            direction=direction,
            weights=shares,
            calibrated=False,
        )


def _ratio(part: FloatPanel, whole: FloatPanel) -> FloatPanel:
    """Return part / whole, 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0.0)
