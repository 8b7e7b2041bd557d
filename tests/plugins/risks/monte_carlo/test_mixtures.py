"""Paths of an unknown volatility against integrals over it."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import norm

from weft_plugins.risks.monte_carlo.barriers import NO_JUMPS, shape_table
from weft_plugins.risks.monte_carlo.mixtures import UNCERTAINTIES, look_up, mixed, place

STEPS = 64
TABLE = shape_table(NO_JUMPS, STEPS, 10_000, 7)


def averaged(chance_at: Callable[[float], float], uncertainty: float) -> float:
    """The mean of a function of the volatility, which is lognormal with a mean square of 1."""
    if uncertainty == 0.0:
        return float(chance_at(1.0))

    def weighed(z: float) -> float:
        scale = np.exp(uncertainty * z - uncertainty**2)
        return float(norm.pdf(z) * chance_at(scale))

    return float(quad(weighed, -8.0, 8.0)[0])


def quantile(chance: float, uncertainty: float) -> float:
    """How far a normal of unknown volatility is exceeded with a chance."""
    return float(
        brentq(lambda x: averaged(lambda s: norm.sf(x / s), uncertainty) - chance, 0.0, 30.0)
    )


@pytest.mark.parametrize("level", range(len(UNCERTAINTIES)))
def test_tails_are_those_of_normals_mixed_over_the_volatility(level: int) -> None:
    uncertainty = float(UNCERTAINTIES[level])
    for chance, error in ((0.05, 0.01), (0.01, 0.03)):
        expected = quantile(chance, uncertainty) * STEPS**0.5
        at = int(chance * 10_000)
        assert -TABLE.worst[level, at] == pytest.approx(expected, rel=error)
        assert TABLE.best[level, -at] == pytest.approx(expected, rel=error)


@pytest.mark.parametrize("uncertainty", [0.0, 0.2, 0.5])
def test_mixing_keeps_mean_and_variance(uncertainty: float) -> None:
    depths = norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    np.random.default_rng(0).shuffle(depths)
    found = mixed(depths, uncertainty)
    assert found.mean() == pytest.approx(0.0, abs=0.01)
    assert found.var() == pytest.approx(1.0, rel=0.02)
    # The fourth moment is that of the volatility, exp(4 u^2), times that of a normal.
    assert (found**4).mean() == pytest.approx(3.0 * np.exp(4.0 * uncertainty**2), rel=0.15)


@pytest.mark.parametrize("level", range(len(UNCERTAINTIES)))
@pytest.mark.parametrize("distance", [2.0, 8.0, 20.0])
def test_a_level_is_reached_as_often_as_the_reflection_principle_says(
    level: int, distance: float
) -> None:
    far, side = float(TABLE.distances[-1]), np.array([distance])
    for panel, below, above in (
        (TABLE.down_first, side, np.array([far])),
        (TABLE.up_first, np.array([far]), side),
    ):
        found = look_up(panel, TABLE.distances, below, above, UNCERTAINTIES[level : level + 1])
        expected = averaged(
            lambda s: 2.0 * norm.cdf(-distance / STEPS**0.5 / s), float(UNCERTAINTIES[level])
        )
        # The farthest level is reached first by one path in many, if volatility may be high.
        assert found[0] == pytest.approx(expected, abs=0.02)


def test_losses_grow_with_the_uncertainty_and_chances_fall_far_from_the_tail() -> None:
    assert (np.diff(-TABLE.worst[:, 50]) > 0).all()
    near = TABLE.down_first[:, 20, 20] + TABLE.up_first[:, 20, 20]
    assert (np.diff(near) < 0).all()


def test_between_levels_chances_are_interpolated_and_beyond_them_held() -> None:
    distances = np.geomspace(1.0, 8.0, 4)
    table = np.add.outer(np.arange(4.0), 10.0 * np.arange(4.0))
    both = np.stack([table, table + 100.0])
    below, above = np.array([2.0, 2.0**1.5, 0.1, 99.0]), np.array([4.0, 1.0, 1.0, 99.0])
    expected = np.array([21.0, 1.5, 0.0, 33.0])
    for uncertainty, more in ((0.0, 0.0), (0.0875, 50.0), (0.175, 100.0), (9.0, 100.0)):
        at = look_up(both, distances, below, above, np.full(4, uncertainty))
        np.testing.assert_allclose(at, expected + more)
    unknown = look_up(both, distances, np.array([np.nan]), np.ones(1), np.zeros(1))
    assert np.isnan(unknown).all()


def test_uncertainties_are_evenly_apart_as_the_place_among_them_needs() -> None:
    np.testing.assert_allclose(np.diff(UNCERTAINTIES), UNCERTAINTIES[1])
    for k, uncertainty in enumerate(UNCERTAINTIES):
        which, share = place(uncertainty, len(UNCERTAINTIES))
        assert which + share == pytest.approx(k)
