"""Input columns of the boosted trees."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

from weft.market.view import View
from weft.testing import History, random_history
from weft.testing.history import installed_feature
from weft_plugins.models.boosted_trees.inputs import FeatureGroup, matrix, names, needs

EVERYTHING: tuple[FeatureGroup, ...] = get_args(FeatureGroup)
METRICS = ("fear_greed", "funding_rate", "open_interest_usd", "social_volume")
STEPS = 40


def history(seed: int = 3) -> History:
    built = random_history(seed, rows=900, metrics=METRICS, flaws=False)
    usual = {"fear_greed": 50.0, "funding_rate": 1e-4}
    positive = {
        name: np.exp(panel / 50) * usual.get(name, 1e6) for name, panel in built.metrics.items()
    }
    return replace(built, metrics=positive).columns(np.array([0, 1, 2]))


def view(of: History, steps: int = STEPS) -> View:
    return of.view(needs(EVERYTHING), steps=steps, make_feature=installed_feature)


def columns(of: History, steps: int = STEPS) -> dict[str, np.ndarray[Any, np.dtype[np.float32]]]:
    seen = view(of, steps)
    count = len(seen.symbols)
    result = matrix(seen, EVERYTHING, np.ones((steps, count), dtype=np.bool_))
    return {name: result[:, k].reshape(steps, count) for k, name in enumerate(names(EVERYTHING))}


def test_groups_have_columns_with_distinct_names() -> None:
    assert len(set(names(EVERYTHING))) == len(names(EVERYTHING)) > 35
    for group in EVERYTHING:
        assert len(names([group])) >= 5


def test_columns_are_in_order_of_definition() -> None:
    assert names(("volume", "base")) == names(("base", "volume"))


@pytest.mark.parametrize("factor", [1e-6, 1e5])
def test_columns_do_not_depend_on_units_of_price_and_volume(factor: float) -> None:
    base = history()
    scaled = {
        name: panel * (factor if name != "volume" else 1.0 / factor)
        for name, panel in base.candles.items()
    }
    for name, panel in columns(replace(base, candles=scaled)).items():
        expected = columns(base)[name]
        np.testing.assert_allclose(panel, expected, rtol=2e-4, atol=2e-5, err_msg=name)


def test_returns_are_in_units_of_volatility() -> None:
    base = history()
    close = base.candles["close"]
    moves = np.log(close[1:] / close[:-1])
    last = columns(base)["return_24"][-1]
    expected = moves[-24:].sum(axis=0) / (moves[-48:].std(axis=0, ddof=1) * np.sqrt(24))
    np.testing.assert_allclose(last, expected, rtol=1e-5)


def test_metric_growth_is_the_change_of_its_logarithm() -> None:
    base = history()
    interest = base.metrics["open_interest_usd"]
    expected = np.log(interest[-1] / interest[-25])
    np.testing.assert_allclose(
        columns(base)["open_interest_usd_growth_24"][-1], expected, rtol=1e-5, atol=1e-6
    )
    social = base.metrics["social_volume"]
    expected = np.log(social[-1] / social[-169])
    np.testing.assert_allclose(
        columns(base)["social_volume_growth_168"][-1], expected, rtol=1e-5, atol=1e-6
    )


def test_hour_of_day_is_sine_and_cosine() -> None:
    result = columns(history())
    hour = np.arctan2(result["day_sine"], result["day_cosine"])[:, 0] % (2 * np.pi)
    expected = (np.arange(900 - STEPS, 900) % 24) * 2 * np.pi / 24
    np.testing.assert_allclose(np.cos(hour), np.cos(expected), atol=1e-6)
    np.testing.assert_allclose(np.sin(hour), np.sin(expected), atol=1e-6)


def test_columns_have_similar_scales() -> None:
    for name, panel in columns(history(), 600).items():
        known = panel[~np.isnan(panel)]
        assert not known.size or np.abs(known).mean() < 10.0, name


def test_single_row_equals_the_row_among_many() -> None:
    base = history()
    complete = columns(base)
    for back in (0, 5, STEPS - 1):
        single = columns(base.cut(base.rows - back), 1)
        for name, panel in single.items():
            np.testing.assert_array_equal(panel[0], complete[name][STEPS - 1 - back], err_msg=name)


def test_matrix_has_the_chosen_cells_in_reading_order() -> None:
    seen = view(history())
    cells = np.random.default_rng(0).random((STEPS, 3)) < 0.3
    everything = matrix(seen, EVERYTHING, np.ones((STEPS, 3), dtype=np.bool_))
    np.testing.assert_array_equal(matrix(seen, EVERYTHING, cells), everything[cells.ravel()])


@pytest.mark.parametrize("level", [0.0, 1e-300, 1e300, -1.0])
def test_extreme_metrics_give_no_infinity(level: float) -> None:
    base = history()
    absurd = {name: np.full((900, 3), level) for name in METRICS}
    for name, panel in columns(replace(base, metrics=absurd)).items():
        assert not np.isinf(panel).any(), name


def test_columns_of_a_new_history_are_nan() -> None:
    result = columns(history().cut(50))
    assert np.isnan(result["return_168"]).all()
    assert not np.isnan(result["return_1"][-1]).any()
