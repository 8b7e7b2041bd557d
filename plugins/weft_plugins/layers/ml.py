"""The ml layer: what the trained models forecast, weighed by what they have shown they know."""

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
    """Scores a symbol by the chance of a rise that the trained models give it.

    A model's say is ``100 * tanh(gain * (2 * chance - 1))``. Says are averaged with the models'
    trust as weights: 0 for a model that was no better than knowing nothing on what came after its
    training, so that on a market without an edge this layer has no confidence at all.

    The state of the market adjusts the mean: a say against the trend is damped by the chance of
    that trend times `against_trend`.

    The confidence is the highest trust among the models that speak, times how far they agree (1
    where all point the same way, 0 where they cancel out), times what the state of the market
    does to positions. Where no model speaks there is no opinion; where none has earned trust, all
    are averaged alike, with a confidence of 0.
    """

    name = "ml"

    class Config(ComponentConfig):
        """Options."""

        gain: float = Field(
            default=3.0, gt=0, description="how steeply the score follows the chance of a rise"
        )
        against_trend: float = Field(
            default=0.5, ge=0, le=1, description="how much of a say against a sure trend is lost"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Forecasts, the state of the market, and which symbols trade."""
        return [forecasts(), regime(), candles(warmup=0)]

    def score(self, view: View) -> Scores:
        """Return the trust-weighted mean of what the models say."""
        outlooks = view.forecasts()
        shape = (view.steps, len(view.symbols))
        says = {name: self._say(outlook) for name, outlook in outlooks.items()}
        trust = np.zeros(shape)
        for name, say in says.items():
            trust = np.where(np.isnan(say), trust, np.maximum(trust, outlooks[name].trust))
        total, weight, size = (np.zeros(shape) for _ in range(3))
        for name, say in says.items():
            # Where nobody who speaks has earned trust, all count alike, and confidence is 0.
            earns = np.where(trust > 0.0, outlooks[name].trust, 1.0)
            earns = np.where(np.isnan(say), 0.0, earns)
            total += earns * np.nan_to_num(say)
            size += earns * np.abs(np.nan_to_num(say))
            weight += earns
        mean = np.divide(total, weight, out=np.full(shape, np.nan), where=weight > 0.0)
        agreement = np.divide(np.abs(total), size, out=np.zeros(shape), where=size > 0.0)
        state = view.regime()
        adjusted = mean if state is None else mean * self._with_the_trend(mean, state)
        calm = np.ones(view.steps) if state is None else np.nan_to_num(state.position_multiplier)
        return view.scores(
            adjusted,
            confidence=trust * agreement * calm[:, None],
            evidence={**says, "agreement": np.where(weight > 0.0, agreement, np.nan)},
        )

    def _say(self, outlook: TrustedForecast) -> FloatPanel:
        lean = 2.0 * outlook.forecast.probability_up - 1.0
        say: FloatPanel = 100.0 * np.tanh(self.config.gain * lean)
        return say

    def _with_the_trend(self, score: FloatPanel, state: RegimeState) -> FloatPanel:
        """Return what is left of each score after what it says against the trend is damped."""
        against = np.where(
            score > 0.0, _chance_of(state, "bear")[:, None], _chance_of(state, "bull")[:, None]
        )
        return 1.0 - self.config.against_trend * against


def _chance_of(state: RegimeState, trend: str) -> Floats:
    """Return the chance of the states whose name begins so; 0 where nothing is known (steps,)."""
    named = [i for i, name in enumerate(state.names) if name.startswith(trend)]
    chance: Floats = np.nan_to_num(ordered_sum(state.probability[:, named], axis=1))
    return chance
