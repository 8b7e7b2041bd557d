"""Sizes that aim at a constant volatility."""

from collections.abc import Sequence

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.needs import Need, feature
from weft.components.risk import Levels, Sizer, Sizes
from weft.market.view import View
from weft_plugins.sizers._volatility import OPEN_HOURS, volatility_sizes


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
