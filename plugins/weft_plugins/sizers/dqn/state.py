"""State of a signal: seven numbers, all known at the row of the signal."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.market.view import View
from weft_plugins.sizers.dqn.baselines import Expected, expected_return
from weft_plugins.sizers.dqn.config import DqnConfig
from weft_plugins.sizers.volatility_target import volatility_sizes

StatePanel: TypeAlias = NDArray[np.float64]

LOWEST = np.array([0.0, 0.0, -3.0, -2.0, 0.0, 0.0, 0.0])
"""Lower bound of each number of a state."""

HIGHEST = np.array([1.0, 1.0, 3.0, 2.0, 1.0, 1.0, 5.0])
"""Upper bound of each number of a state."""


@dataclass(frozen=True, slots=True)
class Situation:
    """Situation of the signals of a view; panels are (steps, symbol).

    Attributes:
        candle_volatility: volatility of one candle; NaN where unknown.
        volatility_target: size of a constant volatility, as a fraction of equity.
        full_size: `volatility_target` times the regime's position multiplier; a share of 1.
        expected: return that the models expect.
        multiplier: the regime's position multiplier, 1 where unknown.
        change: probability that the regime changes with the next candle, 0 where unknown.
    """

    candle_volatility: FloatPanel
    volatility_target: FloatPanel
    full_size: FloatPanel
    expected: Expected
    multiplier: FloatPanel
    change: FloatPanel

    @property
    def is_signal(self) -> BoolPanel:
        """Where a signal can be sized: with a direction, an entry and a volatility above 0."""
        return (self.full_size > 0.0) & (self.candle_volatility > 0.0)


def situation_of(view: View, fusion: Fusion, levels: Levels, config: DqnConfig) -> Situation:
    """Return the situation of the signals of a view."""
    shape = (view.steps, len(view.symbols))
    target = volatility_sizes(
        view,
        fusion,
        levels,
        window=config.window,
        target=config.target,
        largest=config.largest,
    )
    regime = view.regime()
    multiplier, change = np.ones(shape), np.zeros(shape)
    if regime is not None:
        known = np.isfinite(regime.position_multiplier)[:, None]
        multiplier = np.where(known, regime.position_multiplier[:, None], multiplier)
        change = np.where(known, regime.change_probability[:, None], change)
    return Situation(
        candle_volatility=view.feature("volatility", window=config.window),
        volatility_target=target,
        full_size=target * multiplier,
        expected=expected_return(view.forecasts(), shape),
        multiplier=multiplier,
        change=change,
    )


def states(
    view: View,
    fusion: Fusion,
    levels: Levels,
    situation: Situation,
    config: DqnConfig,
    horizon: int,
) -> StatePanel:
    """Return the state of every signal (steps, symbol, 7), clipped to `LOWEST` and `HIGHEST`.

    ===================  ===========================================================  ==========
    number               meaning                                                      if unknown
    ===================  ===========================================================  ==========
    conviction           abs(score) / 100                                             0
    confidence           confidence of the fused score                                0
    edge                 return the models expect in the signal's direction, over     0
                         the volatility of `horizon` candles
    volatility_ratio     log of the recent volatility over the slow one               0
    position_multiplier  multiplier of sizes in the regime                            1
    regime_change        probability that the regime changes with the next candle     0
    reward_risk          distance to the target over distance to the stop             0
    ===================  ===========================================================  ==========
    """
    candle_volatility = situation.candle_volatility
    moving = np.where(candle_volatility > 0.0, candle_volatility, np.nan)
    slow = view.feature("volatility", window=config.slow_window)
    risk = np.abs(levels.entry - levels.stop_loss)
    columns = (
        np.abs(fusion.score) / 100.0,
        fusion.confidence,
        fusion.direction * situation.expected.mean / (moving * np.sqrt(horizon)),
        np.log(moving / np.where(slow > 0.0, slow, np.nan)),
        situation.multiplier,
        situation.change,
        np.abs(levels.take_profit - levels.entry) / np.where(risk > 0.0, risk, np.nan),
    )
    stacked = np.stack([np.where(np.isfinite(column), column, 0.0) for column in columns], axis=-1)
    clipped: StatePanel = np.clip(stacked, LOWEST, HIGHEST)
    return clipped
