"""The ml layer: forecasts of the trained models, weighted by their trust."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.layer import Layer, Scores
from weft.components.model import RegimeState, TrustedForecast
from weft.components.needs import Need, candles, forecasts, regime
from weft.foundation.arrays import FloatPanel, Floats, ordered_sum
from weft.market.view import View


class Ml(Layer):
    """Scores a symbol by the probability of a rise that the trained models forecast.

    A model's score is ``100 * tanh(gain * (2 * probability - 1))``. The layer's score is the mean
    of these, weighted by the models' trust: 0 for a model that forecast no better than the
    unconditional distribution after its training, so that on a market without an edge this layer
    has no confidence.

    The regime adjusts the mean: a score against the trend is damped by the probability of that
    trend times `against_trend`.

    The confidence is the highest trust among the models with a forecast, times their agreement (1
    where all point the same way, 0 where they cancel out), times the regime's position multiplier.
    Without any forecast there is no opinion; where no model has trust, all have equal weights and
    the confidence is 0.
    """

    name = "ml"

    class Config(ComponentConfig):
        """Options."""

        gain: float = Field(
            default=3.0, gt=0, description="how steeply the score follows the chance of a rise"
        )
        against_trend: float = Field(
            default=0.5,
            ge=0,
            le=1,
            description="share of a score against a certain trend that is lost",
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Forecasts, the state of the market, and which symbols trade."""
        return [forecasts(), regime(), candles(warmup=0)]

    def score(self, view: View) -> Scores:
        """Return the trust-weighted mean of the models' scores."""
        forecasts = view.forecasts()
        shape = (view.steps, len(view.symbols))
        scores = {name: self._score_of(outlook) for name, outlook in forecasts.items()}
        trust = np.zeros(shape)
        for name, score in scores.items():
            trust = np.where(np.isnan(score), trust, np.maximum(trust, forecasts[name].trust))
        total, weight, size = (np.zeros(shape) for _ in range(3))
        for name, score in scores.items():
            # Where no model with a forecast has trust, all count alike, and confidence is 0.
            share = np.where(trust > 0.0, forecasts[name].trust, 1.0)
            share = np.where(np.isnan(score), 0.0, share)
            total += share * np.nan_to_num(score)
            size += share * np.abs(np.nan_to_num(score))
            weight += share
        mean = np.divide(total, weight, out=np.full(shape, np.nan), where=weight > 0.0)
        agreement = np.divide(np.abs(total), size, out=np.zeros(shape), where=size > 0.0)
        state = view.regime()
        adjusted = mean if state is None else mean * self._with_the_trend(mean, state)
        calm = np.ones(view.steps) if state is None else np.nan_to_num(state.position_multiplier)
        return view.scores(
            adjusted,
            confidence=trust * agreement * calm[:, None],
            evidence={**scores, "agreement": np.where(weight > 0.0, agreement, np.nan)},
        )

    def _score_of(self, outlook: TrustedForecast) -> FloatPanel:
        lean = 2.0 * outlook.forecast.probability_up - 1.0
        score: FloatPanel = 100.0 * np.tanh(self.config.gain * lean)
        return score

    def _with_the_trend(self, score: FloatPanel, state: RegimeState) -> FloatPanel:
        """Return the share of each score that is left after damping against the trend."""
        against = np.where(
            score > 0.0, _chance_of(state, "bear")[:, None], _chance_of(state, "bull")[:, None]
        )
        return 1.0 - self.config.against_trend * against


def _chance_of(state: RegimeState, trend: str) -> Floats:
    """Return the probability of the states named after a trend; 0 where unknown (steps,)."""
    named = [i for i, name in enumerate(state.names) if name.startswith(trend)]
    chance: Floats = np.nan_to_num(ordered_sum(state.probability[:, named], axis=1))
    return chance
