"""Ten thousand paths of a jump diffusion: their cost, and the sampling error of quantiles."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from weft.components.ensemble import Fusion
from weft.market.view import View
from weft.testing.history import random_history
from weft_plugins.risks.monte_carlo.merton import Merton
from weft_plugins.risks.monte_carlo.paths import simulate
from weft_plugins.risks.monte_carlo.risk import MonteCarlo
from weft_plugins.risks.monte_carlo.tails import expected_shortfall, value_at_risk

PATHS = 10_000
STEPS = 288
ROUNDS = 15
SEEDS = 300
MOST_TIMES_DRAWING = 3.0
MOST_OF_PLAIN_ERROR = 0.5
MARKET = Merton.martingale(deviation=0.002, intensity=0.005, jump_mean=-0.003, jump_deviation=0.01)
"""A five-minute candle: a day's volatility of about 4 %, and one or two jumps a day."""


def main() -> None:
    """Measure and print."""
    console = Console(highlight=False)
    _speed(console)
    _error(console)
    _component(console)


def _speed(console: Console) -> None:
    rng = np.random.default_rng(0)
    draw = partial(_draw, rng)
    simulated = partial(_simulated, rng)
    draw()
    simulated()
    spent: dict[str, list[float]] = {"draw": [], "simulate": []}
    for _ in range(ROUNDS):
        spent["draw"].append(_timed(draw))
        spent["simulate"].append(_timed(simulated))
    drawing, all_of_it = (statistics.median(spent[what]) for what in spent)
    table = Table("", "ms", "times drawing", title=f"Merton, {PATHS:,} paths of {STEPS} steps")
    table.add_row("only its normal variates, single precision", f"{drawing * 1e3:.1f}", "1.0")
    table.add_row(
        "paths, VaR, CVaR and drawdown", f"{all_of_it * 1e3:.1f}", f"{all_of_it / drawing:.2f}"
    )
    console.print(table)
    if all_of_it > MOST_TIMES_DRAWING * drawing:
        raise SystemExit(f"more than {MOST_TIMES_DRAWING:g} times drawing")


def _draw(rng: np.random.Generator) -> object:
    return rng.standard_normal((STEPS, PATHS), dtype=np.float32)


def _simulated(rng: np.random.Generator, *, stratified: bool = True) -> tuple[float, ...]:
    paths = simulate(MARKET, STEPS, PATHS, rng, stratified=stratified)
    losses = -np.expm1(paths.terminal.astype(np.float64))
    falls = -np.expm1(-paths.fall.astype(np.float64))
    return (
        value_at_risk(losses, 0.95),
        value_at_risk(losses, 0.99),
        expected_shortfall(losses, 0.95),
        expected_shortfall(losses, 0.99),
        float(np.quantile(falls, 0.5)),
        float(np.quantile(falls, 0.95)),
    )


def _error(console: Console) -> None:
    """Compare the standard errors of figures over seeds, with equal numbers of paths."""
    names = ("VaR 95", "VaR 99", "CVaR 95", "CVaR 99", "drawdown, median", "drawdown, 95 %")
    figures = {
        kind: np.array(
            [
                _simulated(np.random.default_rng([seed, int(kind)]), stratified=kind)
                for seed in range(SEEDS)
            ]
        )
        for kind in (False, True)
    }
    table = Table(
        "", "mean, plain", "mean, spread", "error, plain", "error, spread", "ratio",
        title=f"Standard error over {SEEDS} seeds",
    )  # fmt: skip
    plain, spread = figures[False].std(axis=0, ddof=1), figures[True].std(axis=0, ddof=1)
    for k, name in enumerate(names):
        means = [f"{figures[kind][:, k].mean():.5f}" for kind in (False, True)]
        ratio = f"{spread[k] / plain[k]:.2f}"
        table.add_row(name, *means, f"{plain[k]:.6f}", f"{spread[k]:.6f}", ratio)
    console.print(table)
    apart = np.abs(figures[True].mean(axis=0) - figures[False].mean(axis=0))
    if (apart > 4.0 * np.hypot(plain, spread) / np.sqrt(SEEDS)).any():
        raise SystemExit("spreading the paths moves a figure")
    if spread[1] > MOST_OF_PLAIN_ERROR * plain[1]:
        raise SystemExit("VaR 99 varies by more than half of what it does with plain paths")


def _component(console: Console) -> None:
    risk = MonteCarlo()
    history = random_history(seed=0, symbols=51, rows=3_000)
    for steps in (1, 2_000):
        view = history.view(risk.needs, steps=steps)
        fusion = _fusion(view)
        cold = _timed(partial(risk.levels, view, fusion))
        warm = _timed(partial(risk.levels, view, fusion))
        console.print(
            f"51 symbols, {steps:,} rows: {cold:.2f} s the first time, {warm:.2f} s after that."
        )


def _fusion(view: View) -> Fusion:
    nothing = np.zeros((view.steps, len(view.symbols)))
    direction = np.where(np.arange(nothing.size).reshape(nothing.shape) % 2, 1, -1)
    return Fusion(nothing, nothing, direction.astype(np.int8), {}, calibrated=False)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
