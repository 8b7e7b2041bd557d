"""Universe rules: which instruments could be traded and were chosen, at each instant."""

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from weft.components.base import Component
from weft.foundation.arrays import BoolPanel

if TYPE_CHECKING:
    from weft.market.view import View


class Universe(Component):
    """Chooses instruments as of each row, with the ones that later died still in it."""

    kind: ClassVar[str] = "universe"

    def named(self) -> tuple[str, ...]:
        """Return the symbols that its options name, for a warning where no source brings one."""
        return ()

    @abstractmethod
    def members(self, view: "View") -> BoolPanel:
        """Return which symbols belong to the universe at each decision row (steps, symbol)."""
