"""Simulated losses of a portfolio against closed forms."""

import re

import numpy as np
import pytest
from scipy.stats import norm

from weft.foundation.errors import ComponentError
from weft_plugins.risks.portfolio.simulation import (
    correlated_returns,
    shock_losses,
    simulated_losses,
)

THREE = np.array([[1.0, 0.8, -0.3], [0.8, 1.0, 0.1], [-0.3, 0.1, 1.0]])


def test_drawn_returns_have_the_correlations_asked_for() -> None:
    deviations = np.array([0.01, 0.03, 0.002])
    means = np.array([0.001, 0.0, -0.001])
    drawn = correlated_returns(means, deviations, THREE, (50, 2000), np.random.default_rng(0))
    flat = drawn.reshape(-1, 3)
    np.testing.assert_allclose(np.corrcoef(flat.T), THREE, atol=4 / 100_000**0.5)
    np.testing.assert_allclose(flat.std(axis=0), deviations, rtol=0.01)
    np.testing.assert_array_less(np.abs(flat.mean(axis=0) - means), 4 * deviations / 100_000**0.5)


def test_losses_of_one_asset_are_those_of_the_lognormal() -> None:
    found = simulated_losses(
        np.array([1.0]), np.array([0.01]), np.eye(1), 25, np.random.default_rng(0)
    )
    for level, came in ((0.95, found.value_at_risk[0.95]), (0.99, found.value_at_risk[0.99])):
        assert came == pytest.approx(1 - np.exp(0.05 * norm.ppf(1 - level)), rel=0.002)
    shortfall = 1 - np.exp(0.05**2 / 2) * norm.cdf(norm.ppf(0.01) - 0.05) / 0.01
    assert found.expected_shortfall[0.99] == pytest.approx(shortfall, rel=0.003)
    assert found.drawdown[0.95] > found.drawdown[0.5] > 0.0


def test_losses_of_a_portfolio_are_those_of_its_variance() -> None:
    weights, deviations = np.array([0.5, 0.3, -0.2]), np.array([0.002, 0.003, 0.001])
    wide = np.sqrt(weights @ (THREE * np.outer(deviations, deviations)) @ weights * 25)
    found = simulated_losses(weights, deviations, THREE, 25, np.random.default_rng(1), paths=4000)
    assert found.value_at_risk[0.99] == pytest.approx(wide * norm.ppf(0.99), rel=0.02)
    assert found.value_at_risk[0.95] == pytest.approx(wide * norm.ppf(0.95), rel=0.02)


def test_what_moves_together_hedges_and_what_does_not_spreads() -> None:
    deviations = np.array([0.01, 0.01])
    rng = np.random.default_rng(2)
    alike = np.array([[1.0, 1.0], [1.0, 1.0]])
    hedged = simulated_losses(np.array([1.0, -1.0]), deviations, alike, 9, rng, paths=500)
    assert hedged.value_at_risk[0.99] < 1e-4
    assert hedged.correlation.was_repaired
    half = np.array([0.5, 0.5])
    apart = simulated_losses(half, deviations, np.eye(2), 9, rng, paths=2000)
    together = simulated_losses(half, deviations, alike, 9, rng, paths=2000)
    assert apart.value_at_risk[0.99] == pytest.approx(
        together.value_at_risk[0.99] / 2**0.5, rel=0.05
    )
    nothing = simulated_losses(np.zeros(2), deviations, np.eye(2), 9, rng, paths=500)
    assert nothing.value_at_risk[0.99] == nothing.drawdown[0.95] == 0.0


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    two = np.zeros(2)
    with pytest.raises(ComponentError, match="for 2 assets"):
        correlated_returns(np.zeros(3), two, np.eye(2), (1, 1), rng)
    with pytest.raises(ComponentError, match="below zero"):
        correlated_returns(two, np.array([0.1, -0.1]), np.eye(2), (1, 1), rng)
    with pytest.raises(ComponentError, match="not positive definite"):
        correlated_returns(two, two, np.array([[1.0, 1.0], [1.0, 0.5]]), (1, 1), rng)
    with pytest.raises(ComponentError, match="weights"):
        simulated_losses(np.array([np.nan, 1.0]), two, np.eye(2), 1, rng)
    with pytest.raises(ComponentError, match="weights"):
        simulated_losses(np.ones(3), two, np.eye(2), 1, rng)


@pytest.mark.parametrize("weight", [1e308, -1e308, 1e200])
def test_a_position_whose_losses_are_no_numbers_is_named(weight: float) -> None:
    weights, deviations = np.array([0.5, weight]), np.full(2, 0.01)
    with pytest.raises(ComponentError, match=f"number 2 of 2, is {re.escape(f'{weight:g}')} times"):
        simulated_losses(weights, deviations, np.eye(2), 9, np.random.default_rng(0), paths=500)


def test_shocks_whose_losses_are_no_numbers_are_refused() -> None:
    with pytest.raises(ComponentError, match=r"number 1 of 3, is 1\.7e\+308 times"):
        shock_losses(np.full(3, 1.7e308), np.zeros(3, dtype=bool))
    small = shock_losses(np.array([1.0, -1.0]), np.array([True, True]))
    assert all(loss == 0.0 for loss in small.values())
