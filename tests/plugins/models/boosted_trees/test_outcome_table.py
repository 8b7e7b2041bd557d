"""Table of outcomes: from class probabilities to a distribution of returns."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft.foundation.arrays import Floats
from weft_plugins.models.boosted_trees.outcome_table import LEVELS, OutcomeTable

THRESHOLD = 0.01
SIZE = 60_000

RNG = np.random.default_rng(0)
VOLATILITY = np.exp(RNG.normal(-4.5, 0.6, SIZE))
MOVES = RNG.standard_t(4, SIZE) + 0.1
"""Returns in units of volatility, with slightly more rises than falls."""

RETURNS = MOVES * VOLATILITY
CLASSES = np.digitize(RETURNS, (-THRESHOLD, THRESHOLD))
WEIGHTS = np.ones(SIZE)
TABLE = OutcomeTable.measured(RETURNS, CLASSES, WEIGHTS, VOLATILITY)


def below(table: OutcomeTable, returns: Floats, up: Floats, volatility: Floats) -> Floats:
    """Return the share of returns below each quantile."""
    result: Floats = (returns[:, None] < table.quantiles(up, volatility)).mean(axis=0)
    return result


@given(
    up=arrays(np.float64, 9, elements=st.floats(0.0, 1.0)),
    volatility=arrays(np.float64, 9, elements=st.floats(1e-6, 10.0)),
    places=st.lists(st.floats(0.0, 1.0), min_size=5, max_size=5).map(sorted),
)
def test_quantiles_never_cross_and_their_signs_match_the_probability(
    up: Floats, volatility: Floats, places: list[float]
) -> None:
    result = replace(TABLE, places=np.array(places)).quantiles(up, volatility)
    assert (np.diff(result, axis=1) >= 0.0).all()
    falling = np.array(LEVELS) < 1.0 - up[:, None]
    assert (result[falling] <= 0.0).all()
    assert (result[~falling] >= 0.0).all()


@pytest.mark.parametrize("up", [0.2, 0.5, 0.8, 0.97])
def test_quantiles_agree_with_returns_drawn_from_the_mixture(up: float) -> None:
    """By definition: weighted falls and rises, sorted."""
    rose = MOVES > 0.0
    weights = np.where(rose, up / rose.mean(), (1.0 - up) / (~rose).mean())
    order = np.argsort(MOVES)
    passed = np.cumsum(weights[order]) / weights.sum()
    expected = [MOVES[order][np.searchsorted(passed, level)] * 0.02 for level in LEVELS]
    result = TABLE.quantiles(np.array([up]), np.array([0.02]))[0]
    np.testing.assert_allclose(result, expected, rtol=0.03, atol=5e-4)


def test_base_rate_covers_calm_and_turbulent_rows() -> None:
    up = np.full(SIZE, (RETURNS > 0.0).mean())
    for rows in (VOLATILITY < 0.008, VOLATILITY > 0.015):
        result = below(TABLE, RETURNS[rows], up[rows], VOLATILITY[rows])
        np.testing.assert_allclose(result, LEVELS, atol=0.008)


def test_quantiles_scale_with_volatility() -> None:
    up = np.array([0.4, 0.55])
    once, twice = (TABLE.quantiles(up, np.full(2, unit)) for unit in (0.01, 0.02))
    np.testing.assert_allclose(twice, 2.0 * once, rtol=1e-12)


@pytest.mark.parametrize("volatility", [0.0, np.nan, -1.0])
def test_quantiles_are_nan_without_volatility(volatility: float) -> None:
    result = TABLE.quantiles(np.array([0.5, 0.0, 1.0]), np.array([volatility] * 3))
    assert np.isnan(result).all()


@pytest.mark.parametrize("up", [0.0, 1.0])
def test_certain_direction_has_quantiles_on_one_side(up: float) -> None:
    result = TABLE.quantiles(np.array([up]), np.array([0.01]))
    assert np.isfinite(result).all()
    assert ((result > 0.0) if up else (result < 0.0)).all()


def test_probability_and_mean_without_volatility_follow_from_the_classes() -> None:
    chance = np.array([[0.6, 0.3, 0.1]])
    weights = chance[0][CLASSES] / np.bincount(CLASSES)[CLASSES]
    for unknown in (0.0, np.nan):
        mean = TABLE.mean(chance, np.array([unknown]))
        assert mean[0] == pytest.approx((weights * RETURNS).sum(), abs=1e-12)
    assert TABLE.probability_up(chance)[0] == pytest.approx(weights[RETURNS > 0].sum(), abs=1e-12)


def test_mean_equals_that_of_outcomes_at_the_same_volatility() -> None:
    chance = np.array([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    volatility = np.array([0.001, 0.02, 0.01])
    moves = RETURNS / VOLATILITY
    for up, unit, mean in zip(
        TABLE.probability_up(chance), volatility, TABLE.mean(chance, volatility), strict=True
    ):
        expected = up * moves[moves > 0].mean() + (1 - up) * moves[moves <= 0].mean()
        assert mean == pytest.approx(unit * expected, rel=1e-9)
    low, *_, high = TABLE.quantiles(TABLE.probability_up(chance), volatility).T
    result = TABLE.mean(chance, volatility)
    assert ((low < result) & (result < high)).all()


def test_single_sample_equals_the_sample_among_many() -> None:
    chance = np.random.default_rng(0).dirichlet([1.0, 1.0, 1.0], 200)
    volatility = np.random.default_rng(1).uniform(0.0, 0.02, 200)
    means, chances = TABLE.mean(chance, volatility), TABLE.probability_up(chance)
    for k in range(200):
        item = slice(k, k + 1)
        assert TABLE.mean(chance[item], volatility[item]) == means[k]
        assert TABLE.probability_up(chance[item]) == chances[k]


def test_weights_count_and_rows_without_volatility_count_for_classes_only() -> None:
    returns = np.array([-0.03, -0.02, 0.0, 0.001, 0.02, 0.04, 0.06])
    classes = np.array([0, 0, 1, 1, 2, 2, 2])
    weights = np.array([3.0, 1.0, 1.0, 1.0, 1.0, 3.0, 0.0])
    volatility = np.array([0.01, 0.01, 0.01, np.nan, 0.01, 0.02, 0.0])
    built = OutcomeTable.measured(returns, classes, weights, volatility)
    np.testing.assert_allclose(built.means, [-0.0275, 0.0005, 0.035])
    np.testing.assert_allclose(built.moves, [-(9.0 + 2.0) / 5.0, 2.0])
    np.testing.assert_allclose(built.rose, [0.0, 0.5, 1.0])
    assert built.falls[[0, -1]] == pytest.approx([-3.0, 0.0])
    np.testing.assert_allclose(built.rises, 2.0)


@pytest.mark.parametrize("volatility", [0.0, np.nan])
def test_table_without_volatility_is_refused(volatility: float) -> None:
    with pytest.raises(ValueError, match=r"0 of \d+ rows have a volatility"):
        OutcomeTable.measured(RETURNS, CLASSES, WEIGHTS, np.full(SIZE, volatility))


# Correction by out-of-fold outcomes


def test_true_probabilities_need_no_correction() -> None:
    up = np.full(SIZE, (RETURNS > 0.0).mean())
    result = TABLE.corrected(RETURNS, WEIGHTS, VOLATILITY, up)
    np.testing.assert_allclose(result.places, LEVELS, atol=1e-3)


def test_overconfident_probabilities_are_corrected() -> None:
    """The probabilities are random and far from one half."""
    rng = np.random.default_rng(1)
    up = rng.choice([0.1, 0.9], SIZE)
    seen, other = np.arange(SIZE) < SIZE // 2, np.arange(SIZE) >= SIZE // 2
    fooled = below(TABLE, RETURNS[other], up[other], VOLATILITY[other])
    assert fooled[0] > 0.1
    assert fooled[-1] < 0.9
    fixed = TABLE.corrected(RETURNS[seen], WEIGHTS[seen], VOLATILITY[seen], up[seen])
    assert fixed.places[0] < 0.03
    result = below(fixed, RETURNS[other], up[other], VOLATILITY[other])
    np.testing.assert_allclose(result[[0, -1]], (0.05, 0.95), atol=0.006)


def test_outcomes_without_forecast_or_volatility_do_not_correct() -> None:
    nothing = np.full(SIZE, np.nan)
    up = np.full(SIZE, 0.9)
    for stored in (
        TABLE.corrected(RETURNS, WEIGHTS, VOLATILITY, nothing),
        TABLE.corrected(RETURNS, WEIGHTS, nothing, up),
        TABLE.corrected(RETURNS, WEIGHTS, np.zeros(SIZE), up),
    ):
        np.testing.assert_array_equal(stored.places, LEVELS)


# JSON


def test_table_survives_json() -> None:
    stored = OutcomeTable.from_json(json.loads(json.dumps(TABLE.to_json())))
    for name in ("means", "moves", "rose", "falls", "rises", "places"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(TABLE, name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("falls", [0.0]),
        ("falls", [1.0] * 51),
        ("rises", [-1.0] * 51),
        ("rises", [float("inf")] * 51),
        ("rises", list(range(51, 0, -1))),
        ("places", [0.1, 0.2, 0.3]),
        ("places", [0.5, 0.4, 0.5, 0.6, 0.7]),
        ("places", [0.1, 0.2, 0.3, 0.4, 1.7]),
        ("rose", [0.1]),
        ("rose", [0.1, 0.2, 1.2]),
        ("means", [[0.0]]),
        ("moves", [0.1, 0.2]),
        ("moves", [-1.0]),
        ("means", [0.0, float("nan"), 0.0]),
    ],
)
def test_invalid_table_is_refused(name: str, value: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"ascend|finite|above|between|differ"):
        OutcomeTable.from_json({**TABLE.to_json(), name: value})
