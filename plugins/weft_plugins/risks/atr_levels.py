"""Stop loss and take profit in units of the average true range."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.needs import Need, candles, feature
from weft.components.risk import Levels, Risk
from weft.market.view import View


class AtrLevels(Risk):
    """Puts the stop and the target a fixed number of average true ranges from the close.

    The average true range is Wilder's (1978). Prices stay positive: a stop or target below zero
    is cut off at a hundredth of the entry.
    """

    name = "atr_levels"

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=14, ge=2, description="candles the range is averaged over")
        stop_atr: float = Field(
            default=2.0, gt=0, description="distance of the stop loss, in ranges"
        )
        target_atr: float = Field(
            default=3.0, gt=0, description="distance of the take profit, in ranges"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """The last close and its average true range."""
        return [candles(warmup=0), feature("atr", window=self.config.window)]

    def levels(self, view: View, fusion: Fusion) -> Levels:
        """Return levels on the side the signal points to; NaN for NEUTRAL and closed markets."""
        close = view.candles().close[-view.steps :]
        reach = view.feature("atr", window=self.config.window)
        side = np.where(fusion.direction == 0, np.nan, fusion.direction)
        least = 0.01 * close
        return Levels(
            entry=close,
            stop_loss=np.maximum(close - side * self.config.stop_atr * reach, least),
            take_profit=np.maximum(close + side * self.config.target_atr * reach, least),
        )
