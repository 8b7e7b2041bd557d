"""The forward filter against hmmlearn, statsmodels, and a sum over all paths."""

from itertools import permutations, product

import numpy as np
import pytest
from hmmlearn.hmm import GaussianHMM  # type: ignore[import-untyped]  # hmmlearn ships no types
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from statsmodels.tsa.regime_switching.markov_regression import (  # type: ignore[import-untyped]  # nor does statsmodels
    MarkovRegression,
)

from tests.plugins.regimes.hmm.planted import TRANSITION, observations, truth
from weft.foundation.arrays import FloatPanel, Floats
from weft_plugins.regimes.hmm.filter import ForwardFilter
from weft_plugins.regimes.hmm.parameters import stationary


def random_model(
    seed: int, states: int = 4, features: int = 4
) -> tuple[Floats, FloatPanel, FloatPanel, Floats]:
    """Start, transition, means and covariances of some model."""
    rng = np.random.default_rng(seed)
    square = rng.normal(size=(states, features, features))
    covariances = square @ np.swapaxes(square, 1, 2) + 0.3 * np.eye(features)
    return (
        rng.dirichlet(np.ones(states)),
        rng.dirichlet(np.ones(states), states),
        rng.normal(size=(states, features)),
        covariances,
    )


def peer(start: Floats, transition: FloatPanel, means: FloatPanel, covariances: Floats) -> object:
    """hmmlearn's model of the same parameters."""
    model = GaussianHMM(len(start), covariance_type="full")
    model.startprob_, model.transmat_ = start, transition
    model.means_, model.covars_ = means, covariances
    return model


@pytest.mark.parametrize("seed", range(5))
def test_log_likelihood_equals_the_score_of_hmmlearn(seed: int) -> None:
    parameters = random_model(seed)
    observed = np.random.default_rng(seed).normal(0, 1.5, (400, 4))
    _, log_density = ForwardFilter.of(*parameters).run(observed)
    expected = peer(*parameters).score(observed)  # type: ignore[attr-defined]  # untyped
    assert log_density.sum() == pytest.approx(expected, rel=1e-10)


def test_filtered_probabilities_are_sums_over_all_paths() -> None:
    start, transition, means, covariances = random_model(3, states=3, features=2)
    observed = np.random.default_rng(3).normal(0, 1.5, (6, 2))
    density = np.stack(
        [multivariate_normal(m, c).pdf(observed) for m, c in zip(means, covariances, strict=True)],
        axis=1,
    )
    result, log_density = ForwardFilter.of(start, transition, means, covariances).run(observed)
    likelihood = 1.0
    for row in range(6):
        weight = np.zeros(3)
        for path in product(range(3), repeat=row + 1):
            chance = start[path[0]] * density[0, path[0]]
            for k in range(1, row + 1):
                chance *= transition[path[k - 1], path[k]] * density[k, path[k]]
            weight[path[-1]] += chance
        np.testing.assert_allclose(result[row], weight / weight.sum(), rtol=1e-10)
        assert np.exp(log_density[row]) == pytest.approx(weight.sum() / likelihood, rel=1e-10)
        likelihood = weight.sum()


def test_filtered_probabilities_equal_those_of_statsmodels() -> None:
    rng = np.random.default_rng(0)
    observed = np.concatenate([rng.normal(0.5, 0.4, 120), rng.normal(-0.8, 1.3, 120)])
    transition = np.array([[0.95, 0.05], [0.1, 0.9]])
    peers = MarkovRegression(observed, k_regimes=2, switching_variance=True)
    # p[0->0], p[1->0], both means, both variances.
    known = peers.filter(np.array([0.95, 0.1, 0.5, -0.8, 0.16, 1.69]))
    model = ForwardFilter.of(
        stationary(transition),
        transition,
        np.array([[0.5], [-0.8]]),
        np.array([[[0.16]], [[1.69]]]),
    )
    result, log_density = model.run(observed[:, None])
    np.testing.assert_allclose(result, known.filtered_marginal_probabilities, atol=1e-10)
    assert log_density.sum() == pytest.approx(known.llf, rel=1e-10)


def test_gap_moves_probabilities_by_the_transition_matrix() -> None:
    start, transition, means, covariances = random_model(1)
    observed = np.random.default_rng(1).normal(size=(30, 4))
    observed[10:15] = np.nan
    observed[20, 2] = np.nan
    result, log_density = ForwardFilter.of(start, transition, means, covariances).run(observed)
    for steps in range(1, 6):
        moved = result[9] @ np.linalg.matrix_power(transition, steps)
        np.testing.assert_allclose(result[9 + steps], moved, rtol=1e-12)
    np.testing.assert_allclose(result[20], result[19] @ transition, rtol=1e-12)
    assert np.isnan(log_density[10:15]).all()
    assert np.isnan(log_density[20])
    assert np.isfinite(np.delete(log_density, [*range(10, 15), 20])).all()


def test_leading_unknown_rows_are_nan_and_change_nothing() -> None:
    parameters = random_model(2)
    observed = np.random.default_rng(2).normal(size=(20, 4))
    model = ForwardFilter.of(*parameters)
    late, _ = model.run(np.vstack([np.full((7, 4), np.nan), observed]))
    assert np.isnan(late[:7]).all()
    np.testing.assert_array_equal(late[7:], model.run(observed)[0])
    assert np.isnan(model.run(np.full((5, 4), np.nan))[0]).all()


@given(seed=st.integers(0, 10_000), scale=st.sampled_from([1e-8, 1.0, 1e6, 1e200]))
def test_probabilities_add_up_to_one_in_extreme_markets(seed: int, scale: float) -> None:
    observed = np.random.default_rng(seed).standard_t(2, (40, 4)) * scale
    observed[0] = 0.0
    result, _ = ForwardFilter.of(*random_model(seed)).run(observed)
    assert ((result >= 0.0) & (result <= 1.0)).all()
    np.testing.assert_allclose(result.sum(axis=1), 1.0, atol=1e-12)


@given(cut=st.integers(1, 79), seed=st.integers(0, 1000))
def test_later_rows_change_no_bit_of_the_filter(cut: int, seed: int) -> None:
    observed = np.random.default_rng(seed).normal(size=(80, 4))
    model = ForwardFilter.of(*random_model(seed))
    complete, _ = model.run(observed)
    np.testing.assert_array_equal(model.run(observed[:cut])[0], complete[:cut])


def test_order_of_states_does_not_change_the_likelihood() -> None:
    start, transition, means, covariances = random_model(8)
    observed = np.random.default_rng(8).normal(size=(50, 4))
    result, _ = ForwardFilter.of(start, transition, means, covariances).run(observed)
    for order in map(list, permutations(range(4))):
        turned = ForwardFilter.of(
            start[order], transition[np.ix_(order, order)], means[order], covariances[order]
        )
        np.testing.assert_allclose(turned.run(observed)[0], result[:, order], atol=1e-12)


def test_smoothed_probabilities_use_later_rows() -> None:
    observed, states = observations(4000, seed=4)
    planted = truth()
    parts = (stationary(TRANSITION), TRANSITION, planted.means, planted.covariances)
    filtered, _ = ForwardFilter.of(*parts).run(observed)
    smoothed = peer(*parts).predict_proba(observed)  # type: ignore[attr-defined]  # untyped
    right = (filtered.argmax(axis=1) == states).mean()
    assert right > 0.93
    assert (smoothed.argmax(axis=1) == states).mean() > right
    assert np.abs(filtered[:-1] - smoothed[:-1]).max() > 0.3
    # On the last row both agree.
    np.testing.assert_allclose(filtered[-1], smoothed[-1], atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_stationary_distribution_is_a_fixed_point(seed: int) -> None:
    transition = random_model(seed)[1]
    settled = stationary(transition)
    np.testing.assert_allclose(settled @ transition, settled, atol=1e-12)
    np.testing.assert_allclose(stationary(np.eye(3)), 1 / 3)
    swapping = np.array([[0.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(stationary(swapping), 0.5)
