"""Ensembles: fuse the scores of layers into one score, direction and confidence."""

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
    """The fused opinion of all layers.

    Attributes:
        score: -100 to +100, 0 where no layer has an opinion (steps, symbol).
        confidence: 0 to 1, never NaN (steps, symbol). Signals state it as a percentage.
        direction: +1 long, -1 short, 0 neutral, as int8 (steps, symbol).
        weights: each layer's share of the score by name (steps, symbol); the shares of a cell add
            up to 1, or are all 0.
        calibrated: whether `confidence` was fitted to outcomes, so that 0.7 means seven in ten.
    """

    score: FloatPanel
    confidence: FloatPanel
    direction: IntPanel
    weights: Mapping[str, FloatPanel]
    calibrated: bool


class Ensemble(Component):
    """Fuses layer scores.

    Example::

        class Mean(Ensemble):
            name = "mean"

            def fuse(self, view, scores, weights):
                zeros = np.zeros((view.steps, len(view.symbols)))
                known = {name: ~np.isnan(answer.score) for name, answer in scores.items()}
                count = np.maximum(sum(known.values(), zeros), 1.0)
                shares = {name: where / count for name, where in known.items()}
                parts = (shares[n] * np.nan_to_num(scores[n].score) for n in scores)
                score = sum(parts, zeros)
                direction = np.sign(score).astype(np.int8)
                return Fusion(score, np.abs(score) / 100, direction, shares, calibrated=False)
    """

    kind: ClassVar[str] = "ensemble"

    @abstractmethod
    def fuse(
        self, view: "View", scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        """Return the fused opinion for each decision row and symbol.

        Args:
            view: the data; its decision rows are the rows of the scores.
            scores: of the layers that answered, by name.
            weights: base weight of every enabled layer in config, answered or not.
        """
