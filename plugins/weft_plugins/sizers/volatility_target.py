"""Sizer that aims at a constant volatility, and its formula for other sizers."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.needs import CandleNeed, Need, candles, feature
from weft.components.risk import Levels, Sizer, Sizes
from weft.domain.calendar import rows_spanned
from weft.domain.candles import Candles, Presence
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import WEEK, YEAR
from weft.market.view import View


class VolatilityTarget(Sizer):
    """Sizer whose positions have the target volatility, estimated from recent candles.

    size = min(largest, target / realised volatility), both yearly (volatility targeting: Moreira
    and Muir 2017, Volatility-Managed Portfolios); 0 for NEUTRAL, and where volatility is unknown.
    A year has 8,766 trading hours in a market that never closes; in other markets, as many as the
    opening hours of the last weeks give.
    """

    name = "volatility_target"

    class Config(ComponentConfig):
        """Options."""

        target: float = Field(
            default=0.2, gt=0, description="yearly volatility to aim at, 0.2 for 20 %"
        )
        window: int = Field(default=48, ge=2, description="candles of the realised volatility")
        largest: float = Field(
            default=0.25, gt=0, description="largest fraction of equity in one signal"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Realised volatility, and the market's opening hours."""
        return [OPEN_HOURS, feature("volatility", window=self.config.window)]

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        """Return the fraction of equity to hold."""
        config = self.config
        return Sizes(
            volatility_sizes(
                view,
                fusion,
                levels,
                window=config.window,
                target=config.target,
                largest=config.largest,
            )
        )


_CANDLES = 60

OPEN_HOURS: Final[CandleNeed] = candles(warmup=_CANDLES, traded=True)
"""Candles that show the share of a week in which a market is open."""


def volatility_sizes(
    view: View, fusion: Fusion, levels: Levels, *, window: int, target: float, largest: float
) -> FloatPanel:
    """Return min(largest, target / realised volatility a year) of equity (steps, symbol).

    0 for NEUTRAL, and where volatility or entry is unknown; `largest` where volatility is 0.

    Args:
        view: view with the feature ``volatility`` of this window, and `OPEN_HOURS`.
        fusion: direction of each signal.
        levels: entry of each signal.
        window: candles of the realised volatility.
        target: yearly volatility to aim at.
        largest: largest fraction of equity.
    """
    per_candle = view.feature("volatility", window=window)
    yearly = per_candle * np.sqrt(candles_a_year(view.candles(), view.steps))
    known = np.isfinite(yearly) & np.isfinite(levels.entry) & (fusion.direction != 0)
    ratio = np.divide(target, yearly, out=np.full_like(yearly, np.inf), where=yearly > 0.0)
    sizes: FloatPanel = np.where(known, np.minimum(ratio, largest), 0.0)
    return sizes


def candles_a_year(panel: Candles, steps: int) -> FloatPanel:
    """Return the number of candles a year of each symbol's market (steps, symbol).

    A market that never closes has a candle in every interval. For other markets the share of open
    intervals in the full weeks before each row counts, including extended hours; NaN where no
    interval was open.

    Args:
        panel: candles of `OPEN_HOURS` with the decision rows last.
        steps: decision rows.
    """
    interval = panel.interval
    yearly = np.full((steps, len(panel.symbols)), YEAR / interval.micros)
    sessions = panel.closable > 0
    if not sessions.any():
        return yearly
    week = max(1, WEEK // interval.micros)
    rows = max(week, rows_spanned(_CANDLES, interval) // week * week)
    presence = panel.presence[-rows - steps + 1 :, sessions]
    known, traded = (
        np.concatenate([np.zeros((1, presence.shape[1])), np.cumsum(which, axis=0)])
        for which in (presence != Presence.HOLE, presence == Presence.TRADED)
    )
    ends = np.arange(len(presence) - steps, len(presence)) + 1
    starts = np.maximum(ends - rows, 0)
    count = known[ends] - known[starts]
    share = np.divide(
        traded[ends] - traded[starts], count, out=np.full(count.shape, np.nan), where=count > 0.0
    )
    yearly[:, sessions] *= np.where(share > 0.0, share, np.nan)
    return yearly
