"""Models and regimes: what is trained on history, and says what is ahead or what is now."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from weft.components.trained import Evaluation, Trained, Training
from weft.foundation.arrays import FloatPanel, Floats, read_only

if TYPE_CHECKING:
    from weft.market.view import View


@dataclass(frozen=True, slots=True)
class Forecast:
    """A distribution of the return over the horizon (steps, symbol); NaN where none is given.

    Attributes:
        mean: expected log return.
        probability_up: chance that the return is positive, 0 to 1.
        quantiles: log return at each level, for instance 0.05, 0.5 and 0.95; never crossing.
        evidence: further named panels, such as how far repeated passes disagree.
    """

    mean: FloatPanel
    probability_up: FloatPanel
    quantiles: Mapping[float, FloatPanel]
    evidence: Mapping[str, FloatPanel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrustedForecast:
    """A model's forecast, and how far it has earned to be listened to.

    Attributes:
        forecast: what it says.
        trust: 0 (not better than knowing nothing, on what came after its training) to 1.
        artifact: digest of the artifact it says it with.
    """

    forecast: Forecast
    trust: float
    artifact: str


@dataclass(frozen=True, slots=True)
class RegimeState:
    """Where the market stands.

    Attributes:
        names: one for each state.
        probability: of each state at each decision row, given the past alone (steps, state).
        transition: chance of going from a state (row) to another (column) within one candle.
        multipliers: what each state does to position sizes, 0 to 1 (state,).
        trust: how far it has earned to be listened to, 0 to 1; chances and multipliers are as far
            from those of a market in which nothing is known.
    """

    names: tuple[str, ...]
    probability: FloatPanel
    transition: FloatPanel
    multipliers: Floats
    trust: float = 1.0

    def listened_to(self, trust: float) -> "RegimeState":
        """Return the state weighed by a trust of 0 to 1.

        Probabilities are shrunk towards equal ones, multipliers towards 1: at a trust of 0 no state
        is likelier than another, and no size changes. Equal probabilities and not the share of time
        in each state, because those shares come from the same fit that is not trusted.
        """
        equal = 1.0 / len(self.names)
        return replace(
            self,
            probability=read_only(trust * self.probability + (1.0 - trust) * equal),
            multipliers=read_only(1.0 - trust * (1.0 - self.multipliers)),
            trust=trust,
        )

    @property
    def position_multiplier(self) -> Floats:
        """What the mixture of states does to position sizes at each decision row (steps,)."""
        # What is taken off, so that the result is 1 to the last bit where no state takes any.
        return 1.0 - _mixture(self.probability, 1.0 - self.multipliers)

    @property
    def change_probability(self) -> Floats:
        """Chance that the next candle is in another state than this one (steps,)."""
        return _mixture(self.probability, 1.0 - np.diag(self.transition))

    @property
    def expected_duration(self) -> Floats:
        """Candles each state lasts on average once it is entered (state,)."""
        leaving = 1.0 - np.diag(self.transition)
        endless = np.full_like(leaving, np.inf)
        duration: Floats = np.divide(1.0, leaving, out=endless, where=leaving > 0.0)
        return duration

    def last(self, rows: int) -> "RegimeState":
        """Return the state at the last `rows` decision rows."""
        kept = self.probability[len(self.probability) - rows :]
        return replace(self, probability=kept)


class Model(Trained):
    """Something that is trained on history and forecasts returns."""

    kind: ClassVar[str] = "model"

    @abstractmethod
    def predict(self, view: "View") -> Forecast:
        """Return a forecast for each decision row and symbol, by `view.learned`."""

    def contributions(self, view: "View") -> Mapping[str, FloatPanel]:
        """Return what each feature adds to the forecast of each decision row and symbol.

        In the model's own units, such as log-odds; empty where the model cannot say.
        """
        return {}

    def evaluate(self, view: "View", training: Training) -> Evaluation:
        """Return the log loss of the chance of a rise, and that of saying one half."""
        from weft.components.outcomes import direction_losses  # noqa: PLC0415  # made when training

        return direction_losses(view, self.predict(view), training.horizon)


class Regime(Trained):
    """Tells the state of the market. Trained like a model; inferred without looking ahead."""

    kind: ClassVar[str] = "regime"

    @abstractmethod
    def detect(self, view: "View") -> RegimeState:
        """Return the filtered probability of each state at each decision row."""


def _mixture(probability: FloatPanel, values: Floats) -> Floats:
    """Return each row's mean of the states' values (steps,)."""
    # One state after the other: a matrix product has other last bits for other numbers of rows.
    total = np.zeros(len(probability))
    for chance, value in zip(probability.T, values, strict=True):
        total = total + chance * value
    return total
