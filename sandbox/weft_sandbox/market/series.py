"""On-chain, sentiment and macro series of any name, at any hour, with a stated lead or lag."""

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import DAY, HOUR
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.draws import Integers, hashed, key_of
from weft_sandbox.market.recipes import Recipe, recipe_of
from weft_sandbox.market.skeleton import Skeleton

_WAVES_DAYS = (7.0, 23.0, 61.0, 190.0)
_WAVES_WEIGHT = np.array([0.3, 0.5, 0.6, 0.55])
_SLOW_SHARE = 0.25
"""Share of slow waves in the variance beside the returns."""
_NOISE_HOURS = 24


class Series:
    """Computes series from the hours of the market.

    Args:
        skeleton: hours of the market.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        self._skeleton = skeleton

    def values(self, name: str, coin: Coin | None, times: Times) -> Floats:
        """Return the values of a series, each known at the start of the hour of its instant.

        Args:
            name: name of the series; `recipes.RECIPES` has those with a lead or lag.
            coin: coin of the series; None for the market.
            times: instants, microseconds since 1970.
        """
        if not len(times):
            return np.empty(0)
        recipe = recipe_of(name)
        driver = self._driver(name, recipe, coin, (np.asarray(times) - OPENING) // HOUR)
        level = recipe.level * _unit(recipe, coin)
        if recipe.shape == "positive":
            return np.asarray(level * np.exp(recipe.spread * driver - recipe.spread**2 / 2))
        if recipe.shape == "bounded":
            share = 1 / (1 + np.exp(-1.3 * recipe.spread * driver))
            return np.asarray(recipe.low + (recipe.high - recipe.low) * share)
        return np.asarray(level + recipe.spread * _unit(recipe, coin) * driver)

    def _driver(self, name: str, recipe: Recipe, coin: Coin | None, index: Times) -> Floats:
        """Return a series of mean 0 and variance 1 at hours since the opening."""
        key = key_of("series", name, coin.name if coin else "") ^ self._skeleton.seed
        window = abs(recipe.hours) or _NOISE_HOURS
        noise = np.sqrt(1 - _SLOW_SHARE) * _moving_noise(key, index, window)
        noise = noise + np.sqrt(_SLOW_SHARE) * _waves(key, index)
        if not recipe.hours:
            return np.asarray(noise)
        signal = self.window_return(coin, index, recipe.hours)
        rest = np.sqrt(1 - recipe.correlation**2)
        return np.asarray(recipe.correlation * signal + rest * noise)

    def window_return(self, coin: Coin | None, index: Times, hours: int) -> Floats:
        """Return the volatility-scaled return of the hours after an hour, or before it if negative.

        Args:
            coin: coin of the return; None for the market factor.
            index: hours since the opening.
            hours: length of the window; the variance is about 1.
        """
        last = max(int(index.max()) + max(hours, 0) + 1, 1)
        table = self._skeleton.until(OPENING + last * HOUR)
        column = -1 if coin is None else self._skeleton.column(coin)
        ends = table.walked(column, index + max(hours, 0))
        begins = table.walked(column, index + min(hours, 0))
        return np.asarray((ends - begins) / np.sqrt(abs(hours)))


def _unit(recipe: Recipe, coin: Coin | None) -> float:
    if recipe.unit == "one":
        return 1.0
    coins, price = (coin.supply, coin.price) if coin else (2.4e12, 1.0)
    return coins if recipe.unit == "coins" else coins * price


def _moving_noise(key: int, index: Times, window: int) -> Floats:
    """Return the sum of white noise over a window, with variance 1.

    It sums integers, so the result does not depend on the first element of the sum.
    """
    first = int(index.min()) - window
    steps = np.arange(first, int(index.max()) + 1)
    white = sum(hashed(key + i, steps) for i in range(3))
    integers: Integers = np.rint((np.asarray(white) - 1.5) * 2.0**32).astype(np.int64)
    total = np.concatenate([[0], np.cumsum(integers)])
    summed = total[index - first] - total[index - first - window]
    return np.asarray(summed / 2.0**32 / np.sqrt(window / 4))


def _waves(key: int, index: Times) -> Floats:
    days = index * (HOUR / DAY)
    phases = hashed(key, np.arange(len(_WAVES_DAYS)))
    waves = [
        weight * np.sin(2 * np.pi * (days / period + phase))
        for weight, period, phase in zip(_WAVES_WEIGHT, _WAVES_DAYS, phases, strict=True)
    ]
    return np.asarray(sum(waves) / np.sqrt((_WAVES_WEIGHT**2).sum() / 2))
