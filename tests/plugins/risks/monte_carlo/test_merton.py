"""Merton's jump diffusion against golden values, closed forms and round trips."""

from math import exp

import numpy as np
import pytest

from weft.foundation.errors import ComponentError
from weft_plugins.risks.monte_carlo.merton import Merton, call_price, fit_merton
from weft_plugins.risks.monte_carlo.paths import simulate

GOLDEN = Merton(mean=0.0, deviation=0.2, intensity=1.0, jump_mean=-0.1, jump_deviation=0.15)


def drawn(model: Merton, count: int, seed: int) -> np.ndarray:
    """Log returns of single steps, drawn jump by jump."""
    rng = np.random.default_rng(seed)
    jumps = rng.poisson(model.intensity, count)
    plain = rng.normal(model.mean, model.deviation, count)
    sums = [rng.normal(model.jump_mean, model.jump_deviation, n).sum() for n in jumps]
    return np.add(plain, sums)


def test_price_of_a_call() -> None:
    assert call_price(100, 100, 1, 0.05, GOLDEN) == pytest.approx(12.761289, abs=5e-7)


@pytest.mark.parametrize("intensity", [0.0, 1e-12])
def test_without_jumps_it_is_black_and_scholes(intensity: float) -> None:
    calm = Merton(0.0, 0.2, intensity, -0.1, 0.15)
    assert call_price(100, 100, 1, 0.05, calm) == pytest.approx(10.450584, abs=5e-7)


def test_cumulants() -> None:
    _, second, third, fourth = GOLDEN.cumulants
    assert second == pytest.approx(0.0725, abs=1e-12)
    assert third == pytest.approx(-0.00775, abs=1e-12)
    assert fourth == pytest.approx(0.00296875, abs=1e-12)
    assert third / second**1.5 == pytest.approx(-0.3970, abs=5e-5)
    assert fourth / second**2 == pytest.approx(0.5648, abs=5e-5)


@pytest.mark.parametrize("stratified", [False, True])
def test_simulated_paths_have_these_cumulants(stratified: bool) -> None:
    steps, paths = 20, 40_000
    per_step = Merton(0.01, 0.2 / steps**0.5, 1.0 / steps, -0.1, 0.15)
    ends = simulate(per_step, steps, paths, np.random.default_rng(3), stratified=stratified)
    values = ends.terminal.astype(np.float64)
    first, second, third, fourth = (c * steps for c in per_step.cumulants)
    apart = values - values.mean()
    sixth = (apart**6).mean()
    eighth = (apart**8).mean()
    assert values.mean() == pytest.approx(first, abs=4 * (second / paths) ** 0.5)
    spread = ((apart**4).mean() - second**2) / paths
    assert (apart**2).mean() == pytest.approx(second, abs=4 * spread**0.5)
    assert (apart**3).mean() == pytest.approx(third, abs=4 * (sixth / paths) ** 0.5)
    fourth_moment = fourth + 3 * second**2
    assert (apart**4).mean() == pytest.approx(fourth_moment, abs=4 * (eighth / paths) ** 0.5)


def test_a_martingale_stays_where_it_is() -> None:
    model = Merton.martingale(0.02, 0.05, -0.05, 0.1)
    grown = np.exp(drawn(model, 200_000, seed=1))
    assert grown.mean() == pytest.approx(1.0, abs=4 * grown.std() / 200_000**0.5)
    # Left out, the compensator would be seen.
    assert model.intensity * (exp(-0.05 + 0.005) - 1) < -10 * grown.std() / 200_000**0.5


@pytest.mark.parametrize("intensity", [0.01, 0.05])
@pytest.mark.parametrize("scale", [1e-4, 0.01, 1.0])
def test_a_fit_comes_back_to_what_was_drawn(intensity: float, scale: float) -> None:
    planted = Merton(0.05 * scale, scale, intensity, -2.0 * scale, 5.0 * scale)
    found = fit_merton(drawn(planted, 30_000, seed=2))
    assert found.deviation == pytest.approx(planted.deviation, rel=0.02)
    assert found.intensity == pytest.approx(intensity, rel=0.15)
    assert found.jump_mean == pytest.approx(planted.jump_mean, abs=0.7 * scale)
    assert found.jump_deviation == pytest.approx(planted.jump_deviation, rel=0.1)
    assert found.cumulants[1] == pytest.approx(planted.cumulants[1], rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_normal_returns_have_no_jumps(seed: int) -> None:
    returns = np.random.default_rng(seed).normal(0.001, 0.01, 720)
    found = fit_merton(returns)
    assert found.intensity == 0.0
    assert found.deviation == pytest.approx(returns.std(), rel=1e-12)
    assert found.mean == pytest.approx(returns.mean(), rel=1e-12)


def test_a_few_identical_jumps_leave_the_likelihood_bounded() -> None:
    returns = np.random.default_rng(0).normal(0, 0.01, 500)
    returns[::50] = 0.3
    found = fit_merton(returns)
    assert found.jump_deviation >= found.deviation * 0.99
    assert found.jump_mean == pytest.approx(0.3, abs=0.02)
    assert found.intensity == pytest.approx(0.02, abs=0.005)


def test_prices_that_stand_still_have_neither_spread_nor_jumps() -> None:
    assert fit_merton(np.zeros(100)) == Merton(0.0, 0.0)
    mostly = np.zeros(500)
    mostly[::30] = 0.01
    assert np.isfinite(fit_merton(mostly).cumulants).all()


def test_unknown_returns_are_left_out_and_too_few_refused() -> None:
    returns = np.random.default_rng(0).normal(0, 0.01, 200)
    holed = np.insert(returns, 7, [np.nan, np.inf, np.nan])
    assert fit_merton(holed) == fit_merton(returns)
    with pytest.raises(ComponentError, match="49 returns are known, expected at least 50"):
        fit_merton(returns[:49])


@pytest.mark.parametrize("bad", [(0.0, -0.1), (np.nan, 0.1), (0.0, 0.1, -1.0)])
def test_what_is_no_jump_diffusion_is_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(ComponentError, match="expected finite numbers"):
        Merton(*bad)
