"""Paths against brute force, and levels reached first against closed forms."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import norm, poisson

from weft_plugins.risks.monte_carlo.barriers import (
    INTENSITIES,
    NO_JUMPS,
    SHARES,
    TILTS,
    Shape,
    shape_model,
    shape_table,
    shapes_around,
)
from weft_plugins.risks.monte_carlo.merton import Merton
from weft_plugins.risks.monte_carlo.mixtures import look_up
from weft_plugins.risks.monte_carlo.paths import poisson_quantiles, simulate
from weft_plugins.risks.monte_carlo.tails import value_at_risk

JUMPY = Merton.martingale(0.01, 0.02, -0.02, 0.04)


def brute(model: Merton, steps: int, paths: int, seed: int) -> np.ndarray:
    """Log prices of independent paths, start included (path, step)."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(model.intensity, (paths, steps))
    jumps = counts * model.jump_mean + np.sqrt(counts) * model.jump_deviation * rng.normal(
        size=(paths, steps)
    )
    returns = model.mean + model.deviation * rng.normal(size=(paths, steps)) + jumps
    return np.hstack([np.zeros((paths, 1)), np.cumsum(returns, axis=1)])


def test_poisson_quantiles_are_those_of_scipy() -> None:
    chances = np.concatenate([np.geomspace(1e-12, 0.4, 40), np.linspace(0.0005, 0.9995, 1000)])
    for expected in (1e-9, 0.01, 1.0, 7.3, 60.0, 1000.0):
        counts = poisson_quantiles(chances, expected)
        np.testing.assert_array_equal(counts, poisson.ppf(chances, expected))
        # The definition: the smallest count whose cumulative chance reaches the chance given.
        assert (poisson.cdf(counts, expected) >= chances).all()
        assert (poisson.cdf(counts - 1, expected) < chances).all()
    assert not poisson_quantiles(chances, 0.0).any()


@pytest.mark.parametrize("stratified", [False, True])
def test_falls_and_rises_are_those_of_brute_force(stratified: bool) -> None:
    steps, paths = 50, 20_000
    walked = brute(JUMPY, steps, paths, seed=1)
    falls = (np.maximum.accumulate(walked, axis=1) - walked).max(axis=1)
    rises = (walked - np.minimum.accumulate(walked, axis=1)).max(axis=1)
    found = simulate(JUMPY, steps, paths, np.random.default_rng(2), stratified=stratified)
    for expected, came in (
        (falls, found.fall),
        (rises, found.rise),
        (walked[:, -1], found.terminal),
    ):
        for level in (0.05, 0.5, 0.95):
            wide = expected.std() * 4 * (level * (1 - level) / paths) ** 0.5 / 0.1
            assert np.quantile(came, level) == pytest.approx(np.quantile(expected, level), abs=wide)
        assert came.mean() == pytest.approx(
            expected.mean(), abs=5 * expected.std() * (2 / paths) ** 0.5
        )


def test_a_path_is_what_its_normals_make_it() -> None:
    plain = Merton(0.001, 0.02)
    found = simulate(plain, 30, 300, np.random.default_rng(5), stratified=False)
    normals = np.random.default_rng(5).standard_normal((30, 300), dtype=np.float32)
    walked = np.vstack([np.zeros(300), np.cumsum(0.001 + 0.02 * normals, axis=0)])
    np.testing.assert_allclose(found.terminal, walked[-1], atol=1e-5)
    falls = (np.maximum.accumulate(walked, axis=0) - walked).max(axis=0)
    np.testing.assert_allclose(found.fall, falls, atol=1e-5)


def told(model: Merton, stratified: bool) -> np.ndarray:
    """The value at risk by many seeds."""
    return np.array(
        [
            value_at_risk(
                -simulate(
                    model, 12, 10_000, np.random.default_rng(seed), stratified=stratified
                ).terminal.astype(np.float64),
                0.99,
            )
            for seed in range(100)
        ]
    )


@pytest.mark.parametrize(
    "model", [Merton(0.0, 0.01), Merton.martingale(0.01, 0.02, -0.015, 0.03), JUMPY]
)
def test_spread_paths_halve_the_error_of_the_value_at_risk(model: Merton) -> None:
    plain, spread = told(model, False), told(model, True)
    assert spread.std() < 0.5 * plain.std()
    assert spread.mean() == pytest.approx(plain.mean(), abs=4 * plain.std() / 10)


@pytest.mark.parametrize("shape", [NO_JUMPS, (1, 0, 0), (3, 4, 1), (7, 9, 4), (7, 9, 0)])
def test_every_shape_has_mean_zero_and_variance_one(shape: Shape) -> None:
    mean, variance, _, _ = shape_model(shape).cumulants
    assert mean == pytest.approx(0.0, abs=1e-12)
    assert variance == pytest.approx(1.0, abs=1e-12)


def test_a_fit_lies_between_the_shapes_around_it() -> None:
    for i, j, k in product(range(len(INTENSITIES)), range(1, len(SHARES)), range(len(TILTS))):
        around = shapes_around(shape_model((i, j, k)))
        assert max(around, key=around.__getitem__) == (i, j, k)
        assert around[i, j, k] == pytest.approx(1.0)
    assert shapes_around(Merton(0.0, 0.02)) == {NO_JUMPS: 1.0}
    rate, share = (0.004 * 0.008) ** 0.5, 0.35
    wide = 0.02 * (share / rate) ** 0.5
    between = shapes_around(Merton(0.001, 0.02 * (1 - share) ** 0.5, rate, 0.0, wide))
    assert between == pytest.approx(dict.fromkeys(product((1, 2), (3, 4), (2,)), 0.25))
    faint = shapes_around(Merton(0.0, 1.0, 0.003, 0.0, 2.0))
    assert set(faint) == {NO_JUMPS, (0, 1, 2), (1, 1, 2)}
    assert sum(faint.values()) == pytest.approx(1.0)
    beyond = shapes_around(Merton(0.0, 1e-3, 0.9, -5.0, 1.0))
    assert beyond == {(7, 9, 0): 1.0}


TABLE = shape_table(NO_JUMPS, 64, 10_000, 7)
ERROR = 4 * 0.5 / 10_000**0.5


def chance(panel: np.ndarray, below: float, above: float) -> float:
    pair = (np.array([below]), np.array([above]))
    return float(look_up(panel, TABLE.distances, *pair, np.zeros(1))[0])


@pytest.mark.parametrize("distance", [0.5, 2.0, 5.0, 10.0, 20.0])
def test_one_level_is_reached_as_often_as_the_reflection_principle_says(distance: float) -> None:
    expected = 2.0 * norm.cdf(-distance / 64**0.5)
    far = float(TABLE.distances[-1])
    assert chance(TABLE.down_first, distance, far) == pytest.approx(expected, abs=ERROR)
    assert chance(TABLE.up_first, far, distance) == pytest.approx(expected, abs=ERROR)


@pytest.mark.parametrize(("stop", "target"), [(1.0, 1.0), (1.0, 2.0), (2.0, 1.5), (1.5, 2.5)])
def test_without_drift_the_stop_comes_first_with_chance_b_over_a_plus_b(
    stop: float, target: float
) -> None:
    stopped = chance(TABLE.down_first, stop, target)
    reached = chance(TABLE.up_first, stop, target)
    both = chance(TABLE.both, stop, target)
    assert stopped + reached + both == pytest.approx(1.0, abs=5e-3)
    assert stopped + 0.5 * both == pytest.approx(target / (stop + target), abs=ERROR)


def test_with_jumps_levels_are_reached_as_often_as_by_brute_force() -> None:
    shape = (4, 3, 0)
    table = shape_table(shape, 24, 10_000, 1)
    model = shape_model(shape)
    # Between two closes the brute force takes 40 smaller steps.
    fine = Merton(
        model.mean / 40,
        model.deviation / 40**0.5,
        model.intensity / 40,
        model.jump_mean,
        model.jump_deviation,
    )
    walked = brute(fine, 24 * 40, 4000, seed=3)
    for stop, target in ((2.0, 3.0), (4.0, 4.0), (3.0, 8.0)):
        below, above = walked <= -stop, walked >= target
        first_below = np.where(below.any(axis=1), below.argmax(axis=1), 10**6)
        first_above = np.where(above.any(axis=1), above.argmax(axis=1), 10**6)
        pair = (np.array([stop]), np.array([target]))
        down, up, both = (
            look_up(p, table.distances, *pair, np.zeros(1))[0]
            for p in (table.down_first, table.up_first, table.both)
        )
        # The finer steps still miss a little of what is touched in between.
        assert down + 0.5 * both == pytest.approx((first_below < first_above).mean(), abs=0.035)
        assert up + 0.5 * both == pytest.approx((first_above < first_below).mean(), abs=0.035)


def test_the_deepest_fall_is_that_of_brute_force_in_fine_steps() -> None:
    walked = brute(Merton(0.0, 1.0 / 50**0.5), 64 * 50, 2000, seed=4)
    falls = (np.maximum.accumulate(walked, axis=1) - walked).max(axis=1)
    np.testing.assert_allclose(TABLE.falls[0], np.quantile(falls, [0.5, 0.95]), rtol=0.04)
    np.testing.assert_allclose(TABLE.rises[0], TABLE.falls[0], rtol=0.03)


def test_ends_are_spread_over_their_distribution() -> None:
    ranks = (np.arange(len(TABLE.worst[0])) + 0.5) / 10_000
    np.testing.assert_allclose(TABLE.worst[0, 1:], 8.0 * norm.ppf(ranks[1:]), rtol=0.03)
    np.testing.assert_allclose(TABLE.best[0], -TABLE.worst[0, ::-1], rtol=0.05)
