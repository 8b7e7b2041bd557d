"""Stop and target in average true ranges."""

import numpy as np
import pytest

from weft.components.ensemble import Fusion
from weft.components.risk import Risk
from weft.market.view import View
from weft.testing import random_history
from weft_plugins.risks.atr_levels import AtrLevels
from weft_plugins.risks.monte_carlo.risk import MonteCarlo


def seen(rule: AtrLevels) -> View:
    return random_history(seed=3, rows=1200, flaws=False).view(rule.needs, steps=4)


def fusion_of(view: View, direction: int) -> Fusion:
    panel = np.zeros((view.steps, len(view.symbols)))
    return Fusion(panel, panel, np.full(panel.shape, direction, np.int8), {}, calibrated=False)


@pytest.mark.parametrize("side", [1, -1])
def test_levels_lie_on_their_sides_at_the_distances_asked_for(side: int) -> None:
    rule = AtrLevels(AtrLevels.Config(stop_atr=1.5, target_atr=4.5))
    view = seen(rule)
    levels = rule.levels(view, fusion_of(view, side))
    reach = view.feature("atr", window=14)
    np.testing.assert_array_equal(levels.entry, view.candles().close[-4:])
    coins = slice(0, -1)
    np.testing.assert_allclose(
        (levels.entry - levels.stop_loss)[:, coins], side * 1.5 * reach[:, coins]
    )
    np.testing.assert_allclose(
        (levels.take_profit - levels.entry)[:, coins], side * 4.5 * reach[:, coins]
    )


def test_a_neutral_signal_has_no_stop_and_no_target() -> None:
    rule = AtrLevels()
    view = seen(rule)
    levels = rule.levels(view, fusion_of(view, 0))
    assert np.isnan(levels.stop_loss).all()
    assert np.isnan(levels.take_profit).all()


def test_prices_stay_above_zero() -> None:
    rule = AtrLevels(AtrLevels.Config(stop_atr=1e6, target_atr=1e6))
    view = seen(rule)
    for side in (1, -1):
        levels = rule.levels(view, fusion_of(view, side))
        prices = np.stack([levels.stop_loss, levels.take_profit])
        assert (prices[~np.isnan(prices)] > 0).all()


@pytest.mark.parametrize("rule", [AtrLevels(), MonteCarlo(MonteCarlo.Config(paths=200))])
def test_where_nothing_moves_there_is_nothing_to_act_on(rule: Risk) -> None:
    history = random_history(seed=3, rows=1200, flaws=False).after(0, np.ones_like)
    view = history.view(rule.needs, steps=4)
    levels = rule.levels(view, fusion_of(view, 1))
    for panel in (levels.entry, levels.stop_loss, levels.take_profit):
        assert np.isnan(panel).all()
