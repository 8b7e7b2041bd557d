"""Sizes that aim at a constant volatility."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from weft.arrays import FloatPanel
from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.needs import Need, feature
from weft.components.risk import Levels, Sizer
from weft.market.view import View
from weft.times import HOUR, YEAR

_SESSION_HOURS_A_YEAR = 252 * 6.5


class VolatilityTarget(Sizer):
    """Holds the fraction of equity whose volatility, going by the recent past, is the target's.

    size = min(largest, target / realised volatility), both a year; 0 for NEUTRAL, and where the
    volatility is not known. A year has 8,766 trading hours where the market never closes, and
    252 sessions of 6.5 hours where it does.
    """

    name = "volatility_target"

    class Config(ComponentConfig):
        """Options."""

        target: float = Field(
            default=0.2, gt=0, description="volatility a year aimed at, 0.2 for 20 %"
        )
        window: int = Field(default=48, ge=2, description="candles the volatility is measured over")
        largest: float = Field(
            default=0.25, gt=0, description="largest fraction of equity in one signal"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Realised volatility."""
        return [feature("volatility", window=self.config.window)]

    def size(self, view: View, fusion: Fusion, levels: Levels) -> FloatPanel:
        """Return the fraction of equity to hold."""
        a_candle = view.feature("volatility", window=self.config.window)
        a_year = a_candle * np.sqrt(_candles_a_year(view))
        known = np.isfinite(a_year) & np.isfinite(levels.entry) & (fusion.direction != 0)
        wanted = np.divide(
            self.config.target, a_year, out=np.full_like(a_year, np.inf), where=a_year > 0.0
        )
        return np.where(known, np.minimum(wanted, self.config.largest), 0.0)


def _candles_a_year(view: View) -> FloatPanel:
    """Return how many candles of each symbol's market fit into a year of trading (symbol,)."""
    always = np.array([instrument.always_open for instrument in view.instruments])
    hours = np.where(always, YEAR / HOUR, _SESSION_HOURS_A_YEAR)
    daily_or_longer = view.interval.micros >= 24 * HOUR
    length = view.interval.micros / HOUR
    if daily_or_longer:
        return np.where(always, YEAR / HOUR / length, 252.0 * 24.0 / length)
    return hours / length
