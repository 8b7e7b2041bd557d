"""Ensembles: fuse what layers and models say into one direction and one confidence."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from weft.components.base import Component
from weft.components.layer import Scores
from weft.foundation.arrays import FloatPanel, IntPanel

if TYPE_CHECKING:
    from weft.market.view import View


@dataclass(frozen=True, slots=True)
class Fusion:
    """What the ensemble made of the layers.

    Attributes:
        score: -100 to +100, 0 where no layer has an opinion (steps, symbol).
        confidence: 0 to 1 (steps, symbol).
        direction: +1 long, -1 short, 0 neutral (steps, symbol).
        weights: each layer's share of the score, rows of which add up to 1 (steps, symbol).
        calibrated: whether `confidence` was fitted to outcomes, so that 0.7 means seven in ten.
    """

    score: FloatPanel
    confidence: FloatPanel
    direction: IntPanel
    weights: Mapping[str, FloatPanel]
    calibrated: bool


class Ensemble(Component):
    """Fuses layer scores."""

    kind: ClassVar[str] = "ensemble"

    @abstractmethod
    def fuse(
        self, view: "View", scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        """Return one fused opinion for each decision row and symbol.

        Args:
            view: what was known; its rows are those of the scores.
            scores: the layers that answered, by name.
            weights: the base weight config gives to every enabled layer, answered or not.
        """
