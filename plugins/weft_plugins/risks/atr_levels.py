"""Stop loss and take profit in units of the average true range."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.needs import Need, candles, feature
from weft.components.risk import Levels, Risk
from weft.foundation.arrays import FloatPanel, IntPanel
from weft.market.view import View


class AtrLevels(Risk):
    """Puts the stop and the target a fixed number of average true ranges from the close.

    The average true range is that of Wilder (1978, New Concepts in Technical Trading Systems).
    Prices stay positive: a level below a hundredth of the entry is moved up to it.
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
        reach = view.feature("atr", window=self.config.window)
        close = entry_prices(view, reach)
        stop, target = levels_at(
            close, fusion.direction, self.config.stop_atr * reach, self.config.target_atr * reach
        )
        return Levels(entry=close, stop_loss=stop, take_profit=target)


def entry_prices(view: View, reach: FloatPanel) -> FloatPanel:
    """Return the closes as entry prices (steps, symbol); NaN where no stop can be placed.

    Where prices do not move, the stop would lie at the entry; just after a listing the average
    true range is not known yet.

    Args:
        view: holds the candles.
        reach: average true range (steps, symbol).
    """
    close = view.candles().close[-view.steps :]
    return np.where(reach > 0.0, close, np.nan)


def levels_at(
    close: FloatPanel, direction: IntPanel, stop: FloatPanel, target: FloatPanel
) -> tuple[FloatPanel, FloatPanel]:
    """Return stop loss and take profit at given distances from the close, on the signal's side.

    Levels below a hundredth of the close are moved up to it. NaN for NEUTRAL.

    Args:
        close: (steps, symbol).
        direction: +1 long, -1 short, 0 neutral (steps, symbol).
        stop: distance of the stop from the close, in units of price (steps, symbol).
        target: distance of the target from the close, in units of price (steps, symbol).
    """
    side = np.where(direction == 0, np.nan, direction)
    least = 0.01 * close
    return np.maximum(close - side * stop, least), np.maximum(close + side * target, least)
