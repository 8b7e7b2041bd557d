"""Allocators, executors and sinks: what happens to signals once they are composed."""

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
    """Turns all signals of an instant into target weights, looking at them together."""

    kind: ClassVar[str] = "allocator"

    @abstractmethod
    def allocate(self, view: "View", fusion: Fusion, sizes: FloatPanel) -> FloatPanel:
        """Return signed fractions of equity for each decision row and symbol (steps, symbol)."""


class Executor(Component):
    """Carries target positions to a paper or live venue, behind limits it cannot loosen."""

    kind: ClassVar[str] = "executor"

    @abstractmethod
    async def execute(self, targets: Mapping[str, float]) -> None:
        """Move the account towards `targets`, signed fractions of equity by symbol."""


class Sink(Component):
    """Carries signals out: an alert, a webhook, a file."""

    kind: ClassVar[str] = "sink"

    @abstractmethod
    async def emit(self, signals: "Sequence[Signal]") -> None:
        """Deliver the signals of one composition, or raise to have the failure recorded."""
