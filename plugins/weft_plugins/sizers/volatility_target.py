"""Sizes that aim at a constant volatility."""

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
    """Holds the fraction of equity whose volatility, going by the recent past, is the target's.

    size = min(largest, target / realised volatility), both a year; 0 for NEUTRAL, and where the
    volatility is not known. A year has 8,766 trading hours where the market never closes; where it
    does, as many as it was open in the weeks before.
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
        """Realised volatility, and when the market was open."""
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


_COUNTED = 60

OPEN_HOURS: Final[CandleNeed] = candles(warmup=_COUNTED, traded=True)
"""What tells how much of a week a market is open."""


def volatility_sizes(
    view: View, fusion: Fusion, levels: Levels, *, window: int, target: float, largest: float
) -> FloatPanel:
    """Return min(largest, target / realised volatility a year) of equity (steps, symbol).

    0 for NEUTRAL, and where the volatility or the entry is not known; `largest` where prices
    have not moved at all.

    Args:
        view: declares the feature ``volatility`` with this window, and `OPEN_HOURS`.
        fusion: whose direction says where there is a signal.
        levels: whose entry says where one could act on it.
        window: candles the volatility is measured over.
        target: volatility a year aimed at.
        largest: largest fraction of equity.
    """
    a_candle = view.feature("volatility", window=window)
    a_year = a_candle * np.sqrt(candles_a_year(view.candles(), view.steps))
    known = np.isfinite(a_year) & np.isfinite(levels.entry) & (fusion.direction != 0)
    wanted = np.divide(target, a_year, out=np.full_like(a_year, np.inf), where=a_year > 0.0)
    sizes: FloatPanel = np.where(known, np.minimum(wanted, largest), 0.0)
    return sizes


def candles_a_year(panel: Candles, steps: int) -> FloatPanel:
    """Return how many candles of each symbol's market a year brings (steps, symbol).

    As many as there is time for where the market never closes. Otherwise by the share of whole
    weeks before each row in which it was open, those of extended hours included; NaN where there
    was none.

    Args:
        panel: decision rows last, and what `OPEN_HOURS` asks for before them.
        steps: decision rows.
    """
    interval = panel.interval
    found = np.full((steps, len(panel.symbols)), YEAR / interval.micros)
    sessions = panel.closable > 0
    if not sessions.any():
        return found
    week = max(1, WEEK // interval.micros)
    rows = max(week, rows_spanned(_COUNTED, interval) // week * week)
    presence = panel.presence[-rows - steps + 1 :, sessions]
    there, open_ = (
        np.concatenate([np.zeros((1, presence.shape[1])), np.cumsum(which, axis=0)])
        for which in (presence != Presence.HOLE, presence == Presence.TRADED)
    )
    ends = np.arange(len(presence) - steps, len(presence)) + 1
    starts = np.maximum(ends - rows, 0)
    known = there[ends] - there[starts]
    share = np.divide(
        open_[ends] - open_[starts], known, out=np.full(known.shape, np.nan), where=known > 0.0
    )
    found[:, sessions] *= np.where(share > 0.0, share, np.nan)
    return found
