"""Tails of losses: golden values, and what a coherent figure has to fulfil."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import norm

from weft.foundation.errors import ComponentError
from weft_plugins.risks.monte_carlo.tails import expected_shortfall, value_at_risk

SAMPLES = arrays(np.float64, st.integers(1, 60), elements=st.floats(-10, 10, width=32))
LEVELS = st.sampled_from([0.5, 0.9, 0.95, 0.975, 0.99])


@pytest.mark.parametrize(("level", "golden"), [(0.95, 2.06271), (0.99, 2.66521)])
def test_expected_shortfall_of_a_normal(level: float, golden: float) -> None:
    assert norm.pdf(norm.ppf(level)) / (1.0 - level) == pytest.approx(golden, abs=5e-6)
    evenly = norm.ppf((np.arange(200_000) + 0.5) / 200_000)
    assert expected_shortfall(evenly, level) == pytest.approx(golden, abs=2e-4)
    assert value_at_risk(evenly, level) == pytest.approx(norm.ppf(level), abs=2e-4)


def test_the_loss_at_the_edge_counts_with_its_fraction() -> None:
    losses = np.array([10.0, 5.0, 1.0, 0.0])
    # The worst 30 % of four cases is one case and a fifth of the next.
    assert expected_shortfall(losses, 0.7) == pytest.approx((10.0 + 0.2 * 5.0) / 1.2)
    assert expected_shortfall(losses, 0.5) == pytest.approx(7.5)
    # Less than one case: the worst there is.
    assert expected_shortfall(losses, 0.9) == pytest.approx(10.0)


def test_value_at_risk_is_the_smallest_loss_exceeded_rarely_enough() -> None:
    losses = np.arange(1.0, 101.0)
    assert value_at_risk(losses, 0.95) == 95.0
    assert value_at_risk(losses, 0.99) == 99.0
    assert value_at_risk(losses, 0.999) == 100.0


@given(losses=SAMPLES, level=LEVELS)
def test_value_at_risk_keeps_to_its_definition(losses: np.ndarray, level: float) -> None:
    found = value_at_risk(losses, level)
    assert found in losses
    assert (losses > found).mean() <= 1.0 - level + 1e-9
    below = losses[losses < found]
    if len(below):
        assert (losses > below.max()).mean() > 1.0 - level - 1e-9


@given(losses=SAMPLES, level=LEVELS)
def test_expected_shortfall_is_the_optimum_of_rockafellar_and_uryasev(
    losses: np.ndarray, level: float
) -> None:
    # t + E[max(L - t, 0)] / (1 - level) is convex and bends at losses alone.
    optimum = min(t + np.maximum(losses - t, 0.0).mean() / (1.0 - level) for t in losses)
    assert expected_shortfall(losses, level) == pytest.approx(optimum, abs=1e-9)


@given(data=st.data(), level=LEVELS)
def test_together_no_more_is_lost_than_apart(data: st.DataObject, level: float) -> None:
    count = data.draw(st.integers(2, 40))
    one, other = (
        data.draw(arrays(np.float64, count, elements=st.floats(-5, 5, width=32))) for _ in range(2)
    )
    apart = expected_shortfall(one, level) + expected_shortfall(other, level)
    assert expected_shortfall(one + other, level) <= apart + 1e-9


@pytest.mark.parametrize("figure", [value_at_risk, expected_shortfall])
@pytest.mark.parametrize(
    ("losses", "level"),
    [
        (np.array([]), 0.9),
        (np.array([1.0, np.nan]), 0.9),
        (np.array([[1.0]]), 0.9),
        (np.array([1.0]), 1.0),
        (np.array([1.0]), 0.0),
    ],
)
def test_losses_that_are_none_are_refused(figure: object, losses: np.ndarray, level: float) -> None:
    with pytest.raises(ComponentError, match="expected"):
        figure(losses, level)  # type: ignore[operator]  # one of two functions
