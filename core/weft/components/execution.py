"""Allocators, executors and sinks: act on composed signals."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from weft.components.base import Component
from weft.components.ensemble import Fusion
from weft.foundation.arrays import FloatPanel

if TYPE_CHECKING:
    from weft.domain.signal import Signal
    from weft.market.view import View


class Allocator(Component):
    """Turns all signals of an instant together into target weights."""

    kind: ClassVar[str] = "allocator"

    @abstractmethod
    def allocate(self, view: "View", fusion: Fusion, sizes: FloatPanel) -> FloatPanel:
        """Return signed fractions of equity for each decision row and symbol (steps, symbol)."""


class Executor(Component):
    """Moves an account on a paper or live venue towards target positions."""

    kind: ClassVar[str] = "executor"

    @abstractmethod
    async def execute(self, targets: Mapping[str, float]) -> None:
        """Move the account towards `targets`: signed fractions of equity by symbol."""


class Sink(Component):
    """Delivers signals: as an alert, to a webhook, into a file.

    Example::

        class Lines(Sink):
            name = "lines"

            async def emit(self, signals):
                for signal in signals:
                    print(signal.symbol, signal.direction, signal.confidence)
    """

    kind: ClassVar[str] = "sink"

    @abstractmethod
    async def emit(self, signals: "Sequence[Signal]") -> None:
        """Deliver the signals of a composition; an exception is reported as a failed delivery."""
