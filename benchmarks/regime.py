"""A step of the forward filter, against hmmlearn on the same rows, and a live detection."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from hmmlearn.hmm import GaussianHMM  # type: ignore[import-untyped]  # the package has no types
from rich.console import Console
from rich.table import Table

from weft.components.trained import Training
from weft.foundation.arrays import FloatPanel
from weft.testing.history import random_history
from weft_plugins.regimes.hmm.detector import HiddenMarkov
from weft_plugins.regimes.hmm.filter import ForwardFilter

ROWS = 20_000
ROUNDS = 7
MOST_MICROSECONDS = 5.0
TOLERANCE = 1e-10


@dataclass(frozen=True)
class Pair:
    """The same model in Weft and in hmmlearn."""

    ours: ForwardFilter
    peers: GaussianHMM


def main() -> None:
    """Measure and print."""
    console = Console(highlight=False)
    pair, observed = _pair()
    difference = _difference(pair, observed)
    if difference > TOLERANCE:
        raise SystemExit(f"log likelihoods differ by {difference:.1e}")
    ours = _median(partial(pair.ours.run, observed)) / ROWS * 1e6
    row = observed[:1]
    table = Table("", "microseconds a row", title=f"4 states, 4 features, {ROWS:,} rows")
    table.add_row("Weft, filtered", f"{ours:.3f}")
    table.add_row("Weft, one row", f"{_median(partial(pair.ours.run, row), 2000) * 1e6:.3f}")
    peers = _median(partial(pair.peers.predict_proba, observed)) / ROWS * 1e6
    table.add_row("hmmlearn, smoothed: looks ahead", f"{peers:.3f}")
    console.print(table)
    console.print(f"Log likelihoods agree to {difference:.0e}.")
    if ours > MOST_MICROSECONDS:
        raise SystemExit(f"a step takes {ours:.1f} microseconds, at most {MOST_MICROSECONDS}")
    _component(console)


def _pair() -> tuple[Pair, FloatPanel]:
    rng = np.random.default_rng(0)
    transition = 0.03 * np.ones((4, 4)) + 0.88 * np.eye(4)
    square = rng.normal(size=(4, 4, 4))
    covariances = square @ np.swapaxes(square, 1, 2) + np.eye(4)
    means = rng.normal(size=(4, 4))
    peers = GaussianHMM(4, covariance_type="full")
    peers.startprob_, peers.transmat_ = np.full(4, 0.25), transition
    peers.means_, peers.covars_ = means, covariances
    ours = ForwardFilter.of(np.full(4, 0.25), transition, means, covariances)
    return Pair(ours, peers), rng.normal(size=(ROWS, 4))


def _difference(pair: Pair, observed: FloatPanel) -> float:
    _, log_density = pair.ours.run(observed)
    expected = float(pair.peers.score(observed))
    return abs(float(log_density.sum()) - expected) / abs(expected)


def _median(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Return the median time in seconds, after compilation."""
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _component(console: Console) -> None:
    regime = HiddenMarkov()
    history = random_history(seed=0, symbols=51, rows=12_000)
    start = time.perf_counter()
    artifact = regime.fit(
        history.view(regime.needs, steps=8000), Training(np.random.default_rng(0), horizon=12)
    )
    console.print(f"Fitted to 8,000 rows in {time.perf_counter() - start:.1f} s.")
    learned = regime.load(artifact)
    for steps in (1, 8000):
        view = history.view(regime.needs, steps=steps, learned=learned)
        spent = _median(partial(regime.detect, view), 3)
        console.print(f"50 symbols, {steps:,} rows detected in {spent * 1e3:.1f} ms.")
