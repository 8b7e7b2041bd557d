"""Every figure of a signal's risk is of the signal's horizon, and the signal names that horizon."""

from pathlib import Path

import numpy as np
import pytest

from tests.plugins.risks.monte_carlo.test_coverage import WARMUP, planted
from tests.support import ALONE, fetch, make_engine
from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.domain.signal import Signal
from weft.foundation.arrays import Floats
from weft_plugins.risks.monte_carlo.risk import MonteCarlo

STEPS = 200


def first_exit_below(below: Floats, above: Floats, variance: Floats) -> Floats:
    """Return the chance that driftless Brownian motion leaves an interval at its lower end.

    Only an exit before the time of the motion is up counts. This solves the heat equation with two
    absorbing barriers by separation of variables.

    Args:
        below: distance of the lower barrier, above 0.
        above: distance of the upper barrier, above 0.
        variance: of the motion at the end of the time it has.
    """
    width = below + above
    chance = above / width
    for n in range(1, 200):
        decay = np.exp(-0.5 * (n * np.pi / width) ** 2 * variance)
        chance = chance - 2.0 / (n * np.pi) * np.sin(n * np.pi * below / width) * decay
    return chance


def levels_within(horizon: int, side: int) -> Levels:
    """Return levels in markets of a constant volatility of 1 % a candle, without wicks."""
    returns = 0.01 * np.random.default_rng(5).normal(size=(WARMUP + STEPS, 6))
    risk = MonteCarlo(MonteCarlo.Config(most_stopped=1.0, stop_atr=4.0, target_atr=6.0))
    view = planted(returns).view(risk.needs, steps=STEPS, horizon=horizon)
    zeros = np.zeros((STEPS, 6))
    direction = np.full(zeros.shape, side, dtype=np.int8)
    return risk.levels(view, Fusion(zeros, zeros, direction, {}, calibrated=False))


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("horizon", [6, 12, 48])
def test_chances_are_those_of_brownian_motion_up_to_the_horizon(horizon: int, side: int) -> None:
    levels = levels_within(horizon, side)
    figures = levels.figures
    without_jumps = figures["jump_intensity"] == 0.0
    assert without_jumps.sum() > 500
    stop, target = (
        np.abs(np.log(level / levels.entry))[without_jumps]
        for level in (levels.stop_loss, levels.take_profit)
    )
    # The volatility is lognormal around the expected one: Gauss-Hermite quadrature over it.
    nodes, weights = np.polynomial.hermite_e.hermegauss(21)
    unsure, volatility = (
        figures[name][without_jumps] for name in ("volatility_uncertainty", "volatility")
    )
    for name, near, far in (("stop_first", stop, target), ("target_first", target, stop)):
        expected = np.zeros_like(stop)
        for node, weight in zip(nodes, weights / weights.sum(), strict=True):
            width = volatility * np.exp(unsure * node - unsure**2)
            expected += weight * first_exit_below(near, far, width**2 * horizon)
        np.testing.assert_allclose(figures[name][without_jumps], expected, atol=0.025, err_msg=name)
        assert figures[name][without_jumps].mean() == pytest.approx(expected.mean(), abs=0.01)


def test_within_a_longer_horizon_levels_are_reached_more_often_and_more_is_lost() -> None:
    short, long = (levels_within(horizon, 1).figures for horizon in (6, 24))
    for name in ("stop_first", "target_first", "var_99", "drawdown_95"):
        assert (short[name] < long[name]).all(), name


@pytest.mark.parametrize("horizon", [3, 12])
def test_a_signal_names_the_horizon_of_its_risk(tmp_path: Path, horizon: int) -> None:
    signals = composed(
        tmp_path, f"horizon_candles={horizon}", "risk.use=monte_carlo", "risk.paths=200"
    )
    for signal in signals:
        assert signal.risk["horizon"] == signal.horizon == f"{horizon}h"
        assert isinstance(signal.risk["var_99"], float)


def test_a_signal_without_risk_figures_names_no_horizon(tmp_path: Path) -> None:
    assert all(signal.risk == {} for signal in composed(tmp_path, "risk.use=atr_levels"))


def composed(tmp_path: Path, *options: str) -> tuple[Signal, ...]:
    engine = fetch(make_engine(tmp_path, *ALONE, *options))
    try:
        signals = engine.report(engine.compose(engine.view())).signals
    finally:
        engine.close()
    assert signals
    return signals
