"""Risk models and sizers: set the levels and the size of each signal."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from weft.components.base import Component
from weft.components.ensemble import Fusion
from weft.foundation.arrays import FloatPanel

if TYPE_CHECKING:
    from weft.market.view import View


RISK_HORIZON: Final = "horizon"
"""Key in a signal's block of risk figures under which their horizon stands; no figure's name."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Price levels of each signal in the quote currency (steps, symbol); NaN for none.

    Attributes:
        entry: price at which the signal was composed.
        stop_loss: price at which to give up.
        take_profit: price at which to take the gain.
        figures: figures of the risk within `View.horizon` decision rows by name, such as the value
            at risk. A figure of another horizon has it in its name: ``var_99_24h``.
    """

    entry: FloatPanel
    stop_loss: FloatPanel
    take_profit: FloatPanel
    figures: Mapping[str, FloatPanel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Size of each signal (steps, symbol).

    Attributes:
        fraction: of equity, 0 or more; the direction of the signal gives the sign.
        evidence: named panels behind it, such as the sizes of other rules.
        full: `fraction` before the regime and the sizer's own policy reduced it, never below
            `fraction`; None where nothing was reduced. `max_gross_exposure` limits the sum of full
            sizes, so that a reduction reduces what a row holds, also where the limit binds.
    """

    fraction: FloatPanel
    evidence: Mapping[str, FloatPanel] = field(default_factory=dict)
    full: FloatPanel | None = None

    @property
    def unreduced(self) -> FloatPanel:
        """Sizes before any reduction (steps, symbol)."""
        return self.fraction if self.full is None else self.full

    def shrunk_by(self, trust: float, plain: "Sizes") -> "Sizes":
        """Return sizes between those of the untrained sizer and these.

        Args:
            trust: weight of these sizes, 0 to 1.
            plain: sizes of the untrained sizer; the evidence names them ``untrained``.
        """
        fraction = trust * self.fraction + (1.0 - trust) * plain.fraction
        full = trust * self.unreduced + (1.0 - trust) * plain.unreduced
        evidence = {"untrained": plain.fraction, "trust": np.full_like(fraction, trust)}
        # Rounding may make either of two sums of equal numbers the larger.
        return Sizes(fraction, {**self.evidence, **evidence}, np.maximum(full, fraction))


class Risk(Component):
    """Sets the levels of every signal.

    Example::

        class Percent(Risk):
            name = "percent"
            needs = [candles(warmup=0)]

            def levels(self, view, fusion):
                close = view.candles().close[-view.steps :]
                side = np.where(fusion.direction == 0, np.nan, fusion.direction)
                return Levels(close, close * (1 - 0.02 * side), close * (1 + 0.03 * side))
    """

    kind: ClassVar[str] = "risk"

    @abstractmethod
    def levels(self, view: "View", fusion: Fusion) -> Levels:
        """Return entry, stop loss and take profit for each decision row and symbol."""


class Sizer(Component):
    """Decides the size of every signal; a trained sizer derives from `Trained` too.

    Example::

        class Tenth(Sizer):
            name = "tenth"

            def size(self, view, fusion, levels):
                return Sizes(np.where(fusion.direction == 0, 0.0, 0.1))
    """

    kind: ClassVar[str] = "sizer"

    @abstractmethod
    def size(self, view: "View", fusion: Fusion, levels: Levels) -> Sizes:
        """Return the fraction of equity of each signal."""
