"""Layers: each scores every symbol from -100 to +100 and says why."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from weft.components.base import Component
from weft.foundation.arrays import FloatPanel

if TYPE_CHECKING:
    from weft.market.view import View


@dataclass(frozen=True, slots=True)
class Scores:
    """What a layer says; build it with `View.scores`.

    Attributes:
        score: -100 (surely down) to +100 (surely up); NaN for no opinion (steps, symbol).
        confidence: how much the layer trusts its score, 0 to 1 (steps, symbol).
        evidence: named panels behind the score (steps, symbol).
    """

    score: FloatPanel
    confidence: FloatPanel
    evidence: Mapping[str, FloatPanel] = field(default_factory=dict)


class Layer(Component):
    """Scores every symbol of a view.

    One implementation serves live and history: compute over the time axis, hand everything to
    `View.scores`, and the last `view.steps` rows are kept. No row may depend on a later one;
    `weft.testing.check_layer` proves that none does.
    """

    kind: ClassVar[str] = "layer"

    @abstractmethod
    def score(self, view: "View") -> Scores:
        """Return scores for the view's decision rows."""
