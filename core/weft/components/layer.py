"""Layers: score every symbol from -100 to +100, with evidence."""

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
    """The answer of a layer; build it with `View.scores`.

    Attributes:
        score: -100 (surely down) to +100 (surely up), NaN for no opinion (steps, symbol).
        confidence: 0 to 1 (steps, symbol).
        evidence: panels behind the score, by name (steps, symbol).
    """

    score: FloatPanel
    confidence: FloatPanel
    evidence: Mapping[str, FloatPanel] = field(default_factory=dict)


class Layer(Component):
    """Scores every symbol of a view.

    The same implementation serves live and history: compute over the time axis, and `View.scores`
    keeps the last `view.steps` rows. No row may depend on a later row; `weft.testing.check_layer`
    tests that.

    Example::

        class Trend(Layer):
            name = "trend"
            needs = [feature("ema", window=48), candles(warmup=0)]

            def score(self, view):
                close, ema = view.candles().close[-view.steps :], view.feature("ema", window=48)
                return view.scores(100 * np.tanh(20 * (close / ema - 1)), evidence={"ema": ema})
    """

    kind: ClassVar[str] = "layer"

    @abstractmethod
    def score(self, view: "View") -> Scores:
        """Return scores for each decision row and symbol."""
