"""Sizes that hold a constant volatility, for the sizers that begin there."""

import numpy as np

from weft.arrays import FloatPanel, Floats
from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.market.view import View
from weft.times import HOUR, YEAR

_SESSION_HOURS_A_YEAR = 252 * 6.5


def volatility_sizes(
    view: View, fusion: Fusion, levels: Levels, *, window: int, target: float, largest: float
) -> FloatPanel:
    """Return min(largest, target / realised volatility a year) of equity (steps, symbol).

    0 for NEUTRAL, and where the volatility or the entry is not known; `largest` where prices
    have not moved at all.

    Args:
        view: declares the feature ``volatility`` with this window.
        fusion: whose direction says where there is a signal.
        levels: whose entry says where one could act on it.
        window: candles the volatility is measured over.
        target: volatility a year aimed at.
        largest: largest fraction of equity.
    """
    a_candle = view.feature("volatility", window=window)
    a_year = a_candle * np.sqrt(candles_a_year(view))
    known = np.isfinite(a_year) & np.isfinite(levels.entry) & (fusion.direction != 0)
    wanted = np.divide(target, a_year, out=np.full_like(a_year, np.inf), where=a_year > 0.0)
    sizes: FloatPanel = np.where(known, np.minimum(wanted, largest), 0.0)
    return sizes


def candles_a_year(view: View) -> Floats:
    """Return how many candles of each symbol's market fit into a year of trading (symbol,).

    A year has 8,766 trading hours where the market never closes, and 252 sessions of 6.5 hours
    where it does.
    """
    always = np.array([instrument.always_open for instrument in view.instruments])
    hours = np.where(always, YEAR / HOUR, _SESSION_HOURS_A_YEAR)
    daily_or_longer = view.interval.micros >= 24 * HOUR
    length = view.interval.micros / HOUR
    if daily_or_longer:
        return np.where(always, YEAR / HOUR / length, 252.0 * 24.0 / length)
    return hours / length
