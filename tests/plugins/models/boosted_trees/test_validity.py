"""Skill of boosted trees: on planted edges, and none on random walks.

Nulls and plants as in López de Prado, Advances in Financial Machine Learning (2018), chapter 7:
overlapping outcomes of a random walk look foreseeable as soon as samples are shuffled, because the
samples to train on then hold most of each outcome to test on.
"""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.plugins.models.boosted_trees.cases import HORIZON, fitted, market, walk
from weft.components.outcomes import forward_returns
from weft.learning.splits import Split, purged_folds, walk_forward
from weft.market.view import View
from weft.testing import History
from weft_plugins.models.boosted_trees.model import XGBoost

if TYPE_CHECKING:
    from weft.foundation.arrays import BoolPanel, FloatPanel

ROWS = 2200
SYMBOLS = 4
FOLDS = 4

GREEDY = XGBoost(
    XGBoost.Config(
        trees=12,
        depth=8,
        rate=0.5,
        least_leaf=0.05,
        threshold=0.01,
        hold_out=False,
        checkpoint_rounds=100,
        threads=1,
    )
)
"""Options that make trees overfit, so that any leak shows."""

SOBER = XGBoost(
    XGBoost.Config(trees=25, depth=3, rate=0.1, threshold=0.01, hold_out=False, threads=1)
)


def band(samples: int) -> float:
    """Return the bound on the correlation of independent series with overlapping outcomes.

    Of n outcomes that each span h rows, n / h tell a story of their own; their correlation with
    anything has a standard deviation of the root of h / n. Four of them make the band.
    """
    return float(4.0 * np.sqrt(HORIZON / samples))


def shuffled(starts: NDArray[np.int64]) -> Iterator[Split]:
    """Yield invalid folds: samples drawn at random."""
    order = np.random.default_rng(0).permutation(len(starts))
    for test in np.array_split(order, FOLDS):
        yield Split(np.setdiff1d(order, test), np.sort(test))


def out_of_sample(history: History, model: XGBoost, way: str) -> tuple[float, int]:
    """Return the correlation of forecasts with outcomes on held-out samples."""
    view = history.view(model.needs, steps=history.rows - 200)
    outcome = forward_returns(view.candles().close[-view.steps :], HORIZON)
    rows, symbols = np.nonzero(~np.isnan(outcome))
    splits = {
        "walk forward": walk_forward(rows, rows + HORIZON, FOLDS, HORIZON),
        "purged": purged_folds(rows, rows + HORIZON, FOLDS, HORIZON),
        "shuffled": shuffled(rows),
    }[way]
    output = np.full(outcome.shape, np.nan)
    for split in splits:
        trained_artifact = fitted(model, chosen(view, rows[split.train], symbols[split.train]))
        tested = chosen(view, rows[split.test], symbols[split.test])
        ready = tested.restricted(model.needs, "test", model.load(trained_artifact))
        mean = model.predict(ready).mean
        output = np.where(np.isnan(mean), output, mean)
    both = ~np.isnan(output) & ~np.isnan(outcome)
    return float(np.corrcoef(output[both], outcome[both])[0, 1]), int(both.sum())


def chosen(view: View, rows: NDArray[np.int64], symbols: NDArray[np.int64]) -> View:
    """Return a view whose universe is these samples only."""
    members: BoolPanel = np.zeros((view.steps, len(view.symbols)), dtype=np.bool_)
    members[rows, symbols] = True
    return view.with_universe(members)


@cache
def noise() -> History:
    return market(walk(ROWS, SYMBOLS, seed=11))


@cache
def planted(strength: float, seed: int = 21, rows: int = ROWS) -> History:
    """Return a market whose returns follow the last twelve candles."""
    rng = np.random.default_rng(seed)
    shock = rng.normal(0.0, 1.0, (rows, SYMBOLS))
    moves: FloatPanel = np.zeros_like(shock)
    for row in range(rows):
        momentum = moves[max(0, row - 12) : row].sum(axis=0) / np.sqrt(12.0)
        moves[row] = shock[row] + strength * np.tanh(momentum)
    return market(100.0 * np.exp(0.01 * np.cumsum(moves, axis=0)))


def test_random_walk_has_no_skill_walking_forward() -> None:
    result, samples = out_of_sample(noise(), GREEDY, "walk forward")
    assert samples > 6000
    assert abs(result) < band(samples) < 0.2


def test_random_walk_has_false_skill_with_shuffled_folds() -> None:
    """Shows that the other tests here can fail."""
    result, samples = out_of_sample(noise(), GREEDY, "shuffled")
    assert result > 0.4 > 2 * band(samples)


@pytest.mark.slow
def test_random_walk_has_no_skill_with_purged_folds() -> None:
    result, samples = out_of_sample(noise(), GREEDY, "purged")
    assert abs(result) < band(samples)


def test_planted_edge_has_skill() -> None:
    result, samples = out_of_sample(planted(0.3), SOBER, "walk forward")
    assert result > 1.5 * band(samples)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_random_walks_of_other_seeds_have_no_skill(seed: int) -> None:
    history = market(walk(2 * ROWS, SYMBOLS, seed=100 + seed))
    result, samples = out_of_sample(history, SOBER, "walk forward")
    assert abs(result) < band(samples)


@pytest.mark.slow
def test_skill_grows_with_the_planted_edge_up_to_its_bound() -> None:
    """The bound is the correlation of the outcome with the planted rule."""
    result: list[float] = []
    for strength in (0.05, 0.1, 0.2):
        history = planted(strength, seed=7, rows=3 * ROWS)
        close = history.candles["close"]
        momentum = np.full_like(close, np.nan)
        momentum[12:] = np.log(close[12:] / close[:-12]) / (0.01 * np.sqrt(12.0))
        outcome = forward_returns(close, HORIZON)
        both = ~np.isnan(momentum) & ~np.isnan(outcome)
        ceiling = float(np.corrcoef(np.tanh(momentum[both]), outcome[both])[0, 1])
        trained_artifact, samples = out_of_sample(history, SOBER, "walk forward")
        assert trained_artifact < ceiling + band(samples) / 2
        result.append(trained_artifact)
    assert result == sorted(result)
    assert result[-1] > 0.2


def test_attribution_names_the_planted_feature() -> None:
    """Momentum columns hold the edge; clock and volume do not."""
    history = planted(0.3)
    trained_artifact = fitted(SOBER, history.view(SOBER.needs, steps=ROWS - 200))
    view = history.view(SOBER.needs, steps=300, learned=SOBER.load(trained_artifact))
    parts = SOBER.contributions(view)
    size: dict[str, Any] = {n: np.abs(p).mean() for n, p in parts.items() if n != "baseline"}
    total = sum(size.values())
    clock = sum(size[n] for n in size if n.startswith(("day_", "week_")))
    momentum = sum(
        size[n]
        for n in size
        if n.startswith(
            ("return_", "rsi_", "macd", "ema_", "sma_", "bollinger", "directed", "vwap")
        )
    )
    assert clock < 0.15 * total
    assert momentum > 0.6 * total
