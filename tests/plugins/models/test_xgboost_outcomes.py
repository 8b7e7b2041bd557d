"""From chances of classes to one distribution."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from weft_plugins.models._outcome_table import LEVELS, OutcomeTable

THRESHOLD = 0.01


def table(seed: int = 0, size: int = 40_000) -> tuple[OutcomeTable, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    returns = rng.standard_t(4, size) * 0.015 + 0.001
    classes = np.digitize(returns, (-THRESHOLD, THRESHOLD))
    return OutcomeTable.measured(returns, classes, np.ones(size), 3), returns, classes


TABLE, RETURNS, CLASSES = table()


@given(
    raw=arrays(np.float64, (7, 3), elements=st.floats(0.0, 1.0)),
    levels=st.lists(st.floats(0.001, 0.999), min_size=1, max_size=6, unique=True).map(sorted),
)
def test_quantiles_never_cross_and_lie_in_the_right_class(
    raw: np.ndarray, levels: list[float]
) -> None:
    chance = (raw + 1e-9) / (raw + 1e-9).sum(axis=1, keepdims=True)
    found = TABLE.mixed(chance, levels)
    assert (np.diff(found, axis=1) >= 0.0).all()
    reached = np.cumsum(chance, axis=1)
    for k, level in enumerate(levels):
        # A quantile within 2 % of a class's edge may be read from the gap between the two.
        down = level < reached[:, 0] * 0.98
        up = level > 1 - (1 - reached[:, 1]) * 0.98
        assert (found[down, k] <= -THRESHOLD + 1e-3).all()
        assert (found[up, k] >= THRESHOLD - 1e-3).all()


@pytest.mark.parametrize("chance", [(0.6, 0.3, 0.1), (0.2, 0.2, 0.6), (0.02, 0.96, 0.02)])
def test_mixture_agrees_with_returns_drawn_from_it(chance: tuple[float, float, float]) -> None:
    """Weighting each return by its class's chance, and sorting, is the definition."""
    counts = np.bincount(CLASSES)
    weights = np.array(chance)[CLASSES] / counts[CLASSES]
    order = np.argsort(RETURNS)
    passed = np.cumsum(weights[order])
    expected = [RETURNS[order][np.searchsorted(passed, level)] for level in LEVELS]
    shares = np.array([chance])
    np.testing.assert_allclose(TABLE.mixed(shares)[0], expected, rtol=0.03, atol=5e-4)
    assert TABLE.mean(shares)[0] == pytest.approx((weights * RETURNS).sum(), abs=1e-12)
    assert TABLE.probability_up(shares)[0] == pytest.approx(weights[RETURNS > 0].sum(), abs=1e-12)


def test_the_usual_chances_give_back_what_usually_came() -> None:
    usual = np.bincount(CLASSES)[None] / len(CLASSES)
    expected = np.quantile(RETURNS, LEVELS)
    np.testing.assert_allclose(TABLE.mixed(usual)[0], expected, rtol=0.02, atol=2e-4)
    assert TABLE.mean(usual)[0] == pytest.approx(RETURNS.mean())


def test_a_sure_class_keeps_to_its_range() -> None:
    for k, (low, high) in enumerate([(-9, -THRESHOLD), (-THRESHOLD, THRESHOLD), (THRESHOLD, 9)]):
        found = TABLE.mixed(np.eye(3)[k : k + 1])
        assert ((found >= low) & (found <= high)).all()


def test_weights_count() -> None:
    returns = np.array([-0.03, -0.02, 0.0, 0.001, 0.02, 0.04])
    classes = np.array([0, 0, 1, 1, 2, 2])
    weights = np.array([3.0, 1.0, 1.0, 1.0, 1.0, 3.0])
    made = OutcomeTable.measured(returns, classes, weights, 3)
    np.testing.assert_allclose(made.means, [-0.0275, 0.0005, 0.035])
    np.testing.assert_allclose(made.rose, [0.0, 0.5, 1.0])


def test_it_survives_json() -> None:
    kept = OutcomeTable.from_json(json.loads(json.dumps(TABLE.to_json())))
    np.testing.assert_array_equal(kept.quantiles, TABLE.quantiles)
    np.testing.assert_array_equal(kept.means, TABLE.means)
    np.testing.assert_array_equal(kept.rose, TABLE.rose)
