"""Sizers and risk models: how much of a signal to hold, and what can be lost."""

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
    """Prices of a signal, in the quote currency (steps, symbol); NaN where there is none.

    Attributes:
        entry: price the signal was composed at.
        stop_loss: where the idea is wrong.
        take_profit: where it has paid.
        figures: what can be lost within `View.horizon` decision rows, as named panels, such as
            the value at risk. A figure of another horizon has that horizon in its name:
            ``var_99_24h``.
    """

    entry: FloatPanel
    stop_loss: FloatPanel
    take_profit: FloatPanel
    figures: Mapping[str, FloatPanel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each signal to hold (steps, symbol).

    Attributes:
        fraction: of equity, 0 or more; the direction gives the sign.
        evidence: what stands behind it, as named panels, such as what other rules would hold.
    """

    fraction: FloatPanel
    evidence: Mapping[str, FloatPanel] = field(default_factory=dict)

    def listened_to(self, trust: float, plain: "Sizes") -> "Sizes":
        """Return sizes between those of a sizer that has learnt nothing and these.

        Args:
            trust: how far what it learnt is listened to, 0 to 1.
            plain: what it holds without that; goes into the evidence as ``untrained``.
        """
        between = trust * self.fraction + (1.0 - trust) * plain.fraction
        told = {"untrained": plain.fraction, "trust": np.full_like(between, trust)}
        return Sizes(between, {**self.evidence, **told})


class Risk(Component):
    """Sets entry, stop loss and take profit of every signal, and states what can be lost.

    Example::

        class Percent(Risk):
            name = "percent"
            needs = [candles(warmup=0)]

            def levels(self, view, fusion):
                close = view.candles().close[-view.steps :]
                side = np.where(fusion.direction == 0, np.nan, fusion.direction)
                return Levels(close, close * (1.0 - 0.02 * side), close * (1.0 + 0.03 * side))
    """

    kind: ClassVar[str] = "risk"

    @abstractmethod
    def levels(self, view: "View", fusion: Fusion) -> Levels:
        """Return entry, stop loss and take profit for each decision row and symbol."""


class Sizer(Component):
    """Decides how much of each signal to hold. One that is trained derives from `Trained` too."""

    kind: ClassVar[str] = "sizer"

    @abstractmethod
    def size(self, view: "View", fusion: Fusion, levels: Levels) -> Sizes:
        """Return the fraction of equity to hold of each signal."""
