"""The series have the documented leads and lags."""

import re

import numpy as np
import pytest

from weft.foundation.times import DAY, HOUR, parse_time
from weft_sandbox.market import recipes
from weft_sandbox.market.coins import OPENING
from weft_sandbox.market.recipes import RECIPES
from weft_sandbox.market.world import World

INDEX = np.arange(24 * 120, 24 * 365 * 6)
TIMES = OPENING + INDEX * HOUR
LEADS = sorted(name for name, r in RECIPES.items() if r.hours)


def measured(world: World, name: str) -> float:
    """Return the rank correlation over coins, at hours that do not overlap."""
    hours = RECIPES[name].hours
    found = []
    for coin in world.coins[:10]:
        told = world.series_maker.window_return(coin, INDEX, hours)
        values = world.series(name, coin.name, TIMES)
        spread = np.log(values) if RECIPES[name].shape == "positive" else values
        found.append(np.corrcoef(spread, told)[0, 1])
    return float(np.mean(found))


@pytest.mark.parametrize("name", LEADS)
def test_a_series_has_the_correlation_of_its_recipe(world: World, name: str) -> None:
    recipe = RECIPES[name]
    # Windows overlap: the number of independent ones, shared by ten coins.
    windows = len(INDEX) / abs(recipe.hours)
    tolerance = 0.035 + 1.6 / np.sqrt(windows) / 2
    assert measured(world, name) == pytest.approx(recipe.correlation, abs=tolerance)


def test_a_leading_series_leads_and_does_not_lag(world: World) -> None:
    values = np.concatenate(
        [world.series("exchange_netflow", c.name, TIMES) / c.supply for c in world.coins[:10]]
    )
    ahead, behind = (
        np.concatenate([world.series_maker.window_return(c, INDEX, h) for c in world.coins[:10]])
        for h in (24, -24)
    )
    assert np.corrcoef(values, ahead)[0, 1] < -0.15
    assert abs(np.corrcoef(values, behind)[0, 1]) < 0.03


@pytest.mark.parametrize("name", ["fees", "hash_rate", "a_name_nobody_knows"])
def test_noise_has_no_correlation(world: World, name: str) -> None:
    values = np.concatenate([world.series(name, c.name, TIMES) for c in world.coins[:10]])
    for hours in (24, -24):
        told = [world.series_maker.window_return(c, INDEX, hours) for c in world.coins[:10]]
        assert abs(np.corrcoef(values, np.concatenate(told))[0, 1]) < 0.03


def test_series_keep_their_bounds(world: World) -> None:
    for name, recipe in RECIPES.items():
        values = world.series(name, None, TIMES)
        assert np.all(np.isfinite(values)), name
        if recipe.shape == "positive":
            assert np.all(values > 0), name
        if recipe.shape == "bounded":
            assert np.all((values > recipe.low) & (values < recipe.high)), name
        assert values.std() > 0, name


def test_the_documented_table_equals_the_recipes() -> None:
    stated = re.findall(r"\| (\w+) \| ([+-]\d+) \| ([+-]\d\.\d+) ", recipes.__doc__ or "")
    assert len(stated) > 25
    for name, hours, correlation in stated:
        assert (RECIPES[name].hours, RECIPES[name].correlation) == (int(hours), float(correlation))


def test_news_follow_past_and_future_returns_as_documented(world: World) -> None:
    start = parse_time("2022-01-01T00:00:00Z")
    items = world.news(start, start + 100 * DAY)
    assert 3_000 < len(items) < 7_000
    assert len({item.number for item in items}) == len(items)
    mood = np.array([item.sentiment for item in items])
    for hours, low in ((-6, 0.15), (12, 0.06)):
        told = [
            world.series_maker.window_return(
                world.coin[i.coin], np.array([(i.time - OPENING) // HOUR]), hours
            )[0]
            for i in items
        ]
        assert np.corrcoef(mood, told)[0, 1] > low
    one = world.news(start, start + DAY, "BTC")
    assert one
    assert {item.coin for item in one} == {"BTC"}
