"""A trained model's forecast of 1,000 symbols at one close, against the bare library."""

import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import xgboost
from rich.console import Console
from rich.table import Table

from weft.components.trained import Training
from weft.market.view import View
from weft.testing.history import History, random_history
from weft_plugins.models.boosted_trees import inputs as _features
from weft_plugins.models.boosted_trees.model import Specialist, XGBoost

SYMBOLS = 1_000
TRAINED_ON = 20
ROWS = 1_600
HORIZON = 12
ROUNDS = 200
MOST = 1.2
"""Highest ratio of a forecast to the bare library."""


def main() -> None:
    """Measure and print."""
    console = Console(highlight=False)
    history = random_history(0, symbols=SYMBOLS, rows=ROWS, flaws=False)
    model = XGBoost(XGBoost.Config(hold_out=False))
    learned = _trained(console, history, model)
    view = history.view(model.needs, steps=1, learned=learned)
    cold = _timed(lambda: model.predict(view))
    cells = ~np.isnan(view.candles().close[-1:])
    features = _features.matrix(view, model.config.features, cells)
    _expect_same(model, view, learned, features)
    rivals: dict[str, Callable[[], object]] = {
        "XGBoost, only inplace_predict": partial(learned.booster.inplace_predict, features),
        "its DMatrix and predict": lambda: learned.booster.predict(_columns(learned, features)),
        "Weft: columns, trees, mean, quantiles": lambda: model.predict(view),
        "of which the columns": lambda: _features.matrix(view, model.config.features, cells),
    }
    spent = _side_by_side(rivals)
    bare = next(iter(spent.values()))
    table = Table("", "milliseconds", "times the bare call")
    table.title = f"{len(features):,} symbols, {model.config.trees} rounds of three trees"
    for name, seconds in spent.items():
        table.add_row(name, f"{seconds * 1e3:.2f}", f"{seconds / bare:.2f}x")
    console.print(table)
    console.print(
        f"The first forecast, which computes every indicator from {ROWS:,} candles: {cold:.1f} s.\n"
    )
    ratio = spent["Weft: columns, trees, mean, quantiles"] / bare
    if ratio > MOST:
        raise SystemExit(f"a forecast takes {ratio:.2f} times as long as the bare call")


def _trained(console: Console, history: History, model: XGBoost) -> Specialist:
    some = history.columns(np.arange(TRAINED_ON)).view(model.needs, steps=ROWS - 400)
    training = Training(np.random.default_rng(0), HORIZON)
    started = time.perf_counter()
    artifact = model.fit(some, training)
    samples = sum(artifact.card["classes"].values())
    console.print(f"Trained on {samples:,} samples in {time.perf_counter() - started:.1f} s.")
    return model.load(artifact)


def _expect_same(
    model: XGBoost, view: View, learned: Specialist, features: _features.Matrix
) -> None:
    """Exit unless both forecasts agree."""
    chance = model.predict(view).evidence["probability_up"].ravel()
    bare = np.asarray(learned.booster.inplace_predict(features))[:, 2]
    if not np.allclose(chance[~np.isnan(chance)], bare, atol=1e-6):
        raise SystemExit("the forecast is not what XGBoost says")


def _columns(learned: Specialist, features: _features.Matrix) -> xgboost.DMatrix:
    return xgboost.DMatrix(features, feature_names=learned.booster.feature_names)


def _side_by_side(rivals: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the median time of each, in seconds.

    They run in turns, under the same load, in a random order, so that none always follows the
    same other one in the cache.
    """
    times: dict[str, list[float]] = {name: [] for name in rivals}
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        for name in rng.permutation(list(rivals)).tolist():
            times[name].append(_timed(rivals[name]))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
