"""Portfolios: correlations come back, are put right where needed, and losses fit closed forms."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from weft.foundation.errors import ComponentError
from weft_plugins.risks.portfolio.simulation import (
    correlated_returns,
    portfolio_risk,
    repaired_correlation,
    shock_losses,
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


def test_highams_example() -> None:
    # Higham 2002, section 4: distance 0.5278, entries 0.7607 and 0.1573.
    broken = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    found = repaired_correlation(broken)
    assert found.was_repaired
    assert found.distance == pytest.approx(0.5278, abs=1e-4)
    expected = [[1.0, 0.7607, 0.1573], [0.7607, 1.0, 0.7607], [0.1573, 0.7607, 1.0]]
    np.testing.assert_allclose(found.matrix, expected, atol=1e-4)
    assert found.least_before < 0.0
    assert found.largest_change == pytest.approx(0.2393, abs=1e-4)


@given(seed=st.integers(0, 10_000), size=st.integers(2, 7))
def test_a_repaired_matrix_can_be_drawn_from_and_is_close(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    broken = rng.uniform(-1, 1, (size, size))
    broken = np.triu(broken, 1)
    broken += broken.T + np.eye(size)
    found = repaired_correlation(broken)
    np.testing.assert_array_equal(np.diag(found.matrix), 1.0)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)
    assert found.least_after > 0.0
    np.linalg.cholesky(found.matrix)
    # Cutting eigenvalues off and scaling back to the diagonal is a correlation matrix too.
    values, vectors = np.linalg.eigh(broken)
    cut = (vectors * np.maximum(values, 1e-8)) @ vectors.T
    scale = np.sqrt(np.diag(cut))
    clipped = cut / np.outer(scale, scale)
    assert found.distance <= np.linalg.norm(clipped - broken) + 1e-5


def test_a_sound_matrix_is_left_alone() -> None:
    found = repaired_correlation(THREE)
    assert not found.was_repaired
    np.testing.assert_array_equal(found.matrix, THREE)


def test_losses_of_one_asset_are_those_of_the_lognormal() -> None:
    found = portfolio_risk(
        np.array([1.0]), np.array([0.01]), np.eye(1), 25, np.random.default_rng(0)
    )
    for level, came in ((0.95, found.var_95), (0.99, found.var_99)):
        assert came == pytest.approx(1 - np.exp(0.05 * norm.ppf(1 - level)), rel=0.002)
    shortfall = 1 - np.exp(0.05**2 / 2) * norm.cdf(norm.ppf(0.01) - 0.05) / 0.01
    assert found.cvar_99 == pytest.approx(shortfall, rel=0.003)
    assert found.drawdown_95 > found.drawdown_median > 0.0


def test_losses_of_a_portfolio_are_those_of_its_variance() -> None:
    weights, deviations = np.array([0.5, 0.3, -0.2]), np.array([0.002, 0.003, 0.001])
    wide = np.sqrt(weights @ (THREE * np.outer(deviations, deviations)) @ weights * 25)
    found = portfolio_risk(weights, deviations, THREE, 25, np.random.default_rng(1), paths=4000)
    assert found.var_99 == pytest.approx(wide * norm.ppf(0.99), rel=0.02)
    assert found.var_95 == pytest.approx(wide * norm.ppf(0.95), rel=0.02)


def test_what_moves_together_hedges_and_what_does_not_spreads() -> None:
    deviations = np.array([0.01, 0.01])
    rng = np.random.default_rng(2)
    alike = np.array([[1.0, 1.0], [1.0, 1.0]])
    hedged = portfolio_risk(np.array([1.0, -1.0]), deviations, alike, 9, rng, paths=500)
    assert hedged.var_99 < 1e-4
    assert hedged.correlation.was_repaired
    half = np.array([0.5, 0.5])
    apart = portfolio_risk(half, deviations, np.eye(2), 9, rng, paths=2000)
    together = portfolio_risk(half, deviations, alike, 9, rng, paths=2000)
    assert apart.var_99 == pytest.approx(together.var_99 / 2**0.5, rel=0.05)
    nothing = portfolio_risk(np.zeros(2), deviations, np.eye(2), 9, rng, paths=500)
    assert nothing.var_99 == nothing.drawdown_95 == 0.0


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((2, 3)),
        np.zeros((0, 0)),
        np.array([[1.0, 0.5], [0.4, 1.0]]),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.array([[0.5, 0.0], [0.0, 1.0]]),
        np.array([[1.0, np.nan], [np.nan, 1.0]]),
    ],
)
def test_what_are_no_correlations_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ComponentError, match="correlations"):
        repaired_correlation(matrix)


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
        portfolio_risk(np.array([np.nan, 1.0]), two, np.eye(2), 1, rng)
    with pytest.raises(ComponentError, match="weights"):
        portfolio_risk(np.ones(3), two, np.eye(2), 1, rng)


@pytest.mark.parametrize("weight", [1e308, -1e308, 1e200])
def test_a_position_whose_losses_are_no_numbers_is_named(weight: float) -> None:
    weights, deviations = np.array([0.5, weight]), np.full(2, 0.01)
    with pytest.raises(ComponentError, match=f"number 2 of 2, is {re.escape(f'{weight:g}')} times"):
        portfolio_risk(weights, deviations, np.eye(2), 9, np.random.default_rng(0), paths=500)


def test_shocks_whose_losses_are_no_numbers_are_refused() -> None:
    with pytest.raises(ComponentError, match=r"number 1 of 3, is 1\.7e\+308 times"):
        shock_losses(np.full(3, 1.7e308), np.zeros(3, dtype=bool))
    small = shock_losses(np.array([1.0, -1.0]), np.array([True, True]))
    assert all(loss == 0.0 for loss in small.values())
