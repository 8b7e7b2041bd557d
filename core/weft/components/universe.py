"""Universe rules: choose the instruments of each decision row."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from weft.components.base import Component
from weft.foundation.arrays import BoolPanel

if TYPE_CHECKING:
    from weft.market.view import View


class Universe(Component):
    """Chooses the instruments of each row from what was known then, later delisted ones included.

    Example::

        class Liquid(Universe):
            name = "liquid"
            needs = [candles(warmup=24)]

            def members(self, view):
                candles = view.candles()
                traded = np.nan_to_num(candles.volume * candles.close)
                windows = np.lib.stride_tricks.sliding_window_view(traded, 25, axis=0)
                return windows.sum(axis=-1)[-view.steps :] > 1e6
    """

    kind: ClassVar[str] = "universe"

    def named(self) -> tuple[str, ...]:
        """Return the symbols in its options, for a warning about symbols without a source."""
        return ()

    @abstractmethod
    def members(self, view: "View") -> BoolPanel:
        """Return the membership of each symbol at each decision row (steps, symbol)."""
