"""Attribution: Shapley values by definition, by their axioms, and on planted networks."""

from collections.abc import Mapping
from functools import cache
from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.special import logit

from tests.plugins.models.transformer.cases import BUILD, TINY, fit, fresh_network, market, noise
from weft.components.trained import Artifact
from weft.foundation.arrays import FloatPanel
from weft.market.view import View
from weft.testing.history import History
from weft_plugins.models.transformer.attribution import (
    attribute_window,
    coalitions,
    shapley_values,
)
from weft_plugins.models.transformer.forecast import Forecaster
from weft_plugins.models.transformer.model import Transformer
from weft_plugins.models.transformer.network import Network, draw_masks
from weft_plugins.models.transformer.windows import INPUTS

MODEL = Transformer(TINY)
OPTIONS = TINY.model_copy(update={"noise": "gaussian"})


@cache
def trained() -> Artifact:
    return fit(lively())


@cache
def lively(rows: int = 900) -> History:
    """Returns that partly revert, and a varying volume."""
    rng = np.random.default_rng(21)
    fresh = rng.normal(0.0, 0.01, (rows, 3))
    fresh[1:] -= 0.5 * fresh[:-1]
    return market(fresh, rng.lognormal(size=fresh.shape))


def view_of(history: History, steps: int) -> View:
    return history.view(MODEL.needs, steps=steps, learned=MODEL.load(trained()))


def together(parts: Mapping[str, FloatPanel]) -> FloatPanel:
    complete: FloatPanel = np.sum(list(parts.values()), axis=0)
    return complete


# Values of a game


def test_coalitions_are_complete_and_ordered() -> None:
    assert coalitions(2).tolist() == [[False, False], [True, False], [False, True], [True, True]]
    assert len({tuple(row) for row in coalitions(5).tolist()}) == 32


def test_shapley_values_of_the_glove_game() -> None:
    # One left glove, two right ones: a pair is worth 1. Shapley 1953 gives 2/3, 1/6 and 1/6.
    worth = np.array([float(left and (item or other)) for left, item, other in coalitions(3)])
    assert shapley_values(worth) == pytest.approx([2 / 3, 1 / 6, 1 / 6])


def test_shapley_values_are_the_mean_over_all_orders() -> None:
    worth = np.random.default_rng(1).normal(size=32)
    expected = np.zeros(5)
    for order in permutations(range(5)):
        number = 0
        for player in order:
            expected[player] += (worth[number + 2**player] - worth[number]) / 120
            number += 2**player
    np.testing.assert_allclose(shapley_values(worth), expected, atol=1e-12)


# Values of a network's inputs


def toy(network: Network, neutral: FloatPanel) -> Forecaster:
    masks = draw_masks(BUILD, 1, BUILD.passes, torch.Generator().manual_seed(8))
    built = Forecaster.of(BUILD, network, masks, OPTIONS, "test", neutral)
    return built.in_precision(torch.float32)


def entrances(network: Network) -> list[torch.Tensor]:
    """Input weights of a network, one column for each input."""
    weights = network.state_dict()
    return [weights["lstm.weight_ih_l0"], weights["straight.weight"]]


def test_unused_input_gets_zero_and_the_only_used_one_gets_all() -> None:
    network = fresh_network()
    inputs = np.random.default_rng(2).normal(size=(BUILD.window, BUILD.inputs))
    for weight in entrances(network):
        weight[:, [0, 1, 3, 4]] = 0.0
    forecaster = toy(network, np.full(5, 0.1))
    values = attribute_window(forecaster, inputs)
    assert values[[0, 1, 3, 4]] == pytest.approx(0.0, abs=1e-6)
    complete = forecaster.log_odds(inputs[None].astype(np.float32))[0]
    assert abs(complete - values[-1]) > 0.01
    assert values[2] == pytest.approx(complete - values[-1], abs=1e-5)


def test_inputs_with_the_same_effect_get_the_same_value() -> None:
    network = fresh_network()
    inputs = np.random.default_rng(3).normal(size=(BUILD.window, BUILD.inputs))
    inputs[:, 3] = inputs[:, 1]
    for weight in entrances(network):
        weight[:, 3] = weight[:, 1]
    values = attribute_window(toy(network, np.array([0.3, 0.2, -0.1, 0.2, 0.0])), inputs)
    assert abs(values[1]) > 0.01
    assert values[3] == pytest.approx(values[1], abs=1e-5)
    assert abs(values[1] - values[0]) > 1e-3


def test_log_odds_of_a_certain_forecast_are_finite() -> None:
    forecaster = toy(fresh_network(), np.zeros(5))
    far = 1e4 * np.random.default_rng(4).normal(size=(8, BUILD.window, BUILD.inputs))
    output = forecaster.log_odds(far.astype(np.float32))
    assert np.isfinite(output).all()
    assert np.abs(output).max() <= -np.log(1e-12)


# Values of a model's forecast


def test_contributions_add_up_to_the_log_odds() -> None:
    view = view_of(lively(), 20)
    parts = MODEL.contributions(view)
    assert tuple(parts) == (*INPUTS, "baseline")
    expected = logit(MODEL.predict(view).probability_up)
    np.testing.assert_allclose(together(parts), expected, atol=1e-5)
    assert np.abs(expected - parts["baseline"]).max() > 1e-2


def test_baseline_is_the_forecast_of_the_mean_inputs() -> None:
    view = view_of(lively(), 3)
    usual = [trained().card["input_means"][name] for name in INPUTS]
    output = view.learned.forecast(np.tile(np.array(usual), (1, TINY.window, 1)))
    np.testing.assert_allclose(
        MODEL.contributions(view)["baseline"], logit(output[0, 1]), atol=1e-5
    )


def test_single_row_equals_the_row_among_many_rows() -> None:
    alone, many = (MODEL.contributions(view_of(lively(), steps)) for steps in (1, 25))
    for name, panel in alone.items():
        assert np.array_equal(panel[0], many[name][-1])


def test_constant_volume_contributes_nothing() -> None:
    artifact = fit(noise())
    view = noise().view(MODEL.needs, steps=3, learned=MODEL.load(artifact))
    parts = MODEL.contributions(view)
    assert np.abs(parts["volume"]).max() < 1e-5 < np.abs(parts["return"]).max()


def test_contributions_are_nan_without_forecast_or_outside_the_universe() -> None:
    history = lively(200)
    candles = {name: panel.copy() for name, panel in history.candles.items()}
    for name, panel in candles.items():
        panel[195, 0] = np.nan
        if name != "volume":
            panel[150:, 1] = candles["close"][149, 1]
    view = view_of(History(history.interval, history.instruments, candles, {}), 60)
    members = np.ones((60, 3), dtype=np.bool_)
    members[-1, 2] = False
    view = view.with_universe(members)
    unknown = np.isnan(MODEL.predict(view).mean) | ~members
    assert unknown[-1].all()
    assert not unknown[:5].any()
    for panel in MODEL.contributions(view).values():
        assert (np.isnan(panel) == unknown).all()
