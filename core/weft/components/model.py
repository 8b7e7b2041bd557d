"""Models and regimes: trained on history, they forecast returns and detect market states."""

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
    """A distribution of the return over the horizon (steps, symbol); NaN for no forecast.

    Attributes:
        mean: expected log return.
        probability_up: probability of a positive return, 0 to 1.
        quantiles: log return at each level, for instance 0.05, 0.5 and 0.95; never crossing.
        evidence: further panels by name, such as the spread of repeated passes.
    """

    mean: FloatPanel
    probability_up: FloatPanel
    quantiles: Mapping[float, FloatPanel]
    evidence: Mapping[str, FloatPanel] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TrustedForecast:
    """A model's forecast with the trust in its artifact.

    Attributes:
        forecast: of the model.
        trust: 0 (no better than the baseline on rows after its training) to 1.
        artifact: digest of the artifact behind the forecast.
    """

    forecast: Forecast
    trust: float
    artifact: str


@dataclass(frozen=True, slots=True)
class RegimeState:
    """Probabilities of the states of the market.

    Attributes:
        names: of the states.
        probability: of each state at each decision row, given only the past (steps, state).
        transition: probability of going from a state (row) to another (column) in one candle.
        multipliers: factor of position sizes in each state, 0 to 1 (state,).
        trust: in the artifact, 0 to 1; `probability` and `multipliers` are shrunk by it already.
    """

    names: tuple[str, ...]
    probability: FloatPanel
    transition: FloatPanel
    multipliers: Floats
    trust: float = 1.0

    def shrunk_by(self, trust: float) -> "RegimeState":
        """Return the state shrunk by a trust of 0 to 1.

        Probabilities shrink towards equal probabilities, multipliers towards 1: at a trust of 0 no
        state is likelier than another and no size changes. They do not shrink towards each state's
        share of time, because these shares come from the same untrusted fit.
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
        """Factor of position sizes at each decision row, over the mixture of states (steps,)."""
        # Mixes the reductions, so that the factor is exactly 1 where no state reduces.
        return 1.0 - _mixture(self.probability, 1.0 - self.multipliers)

    @property
    def change_probability(self) -> Floats:
        """Probability that the next candle is in another state (steps,)."""
        return _mixture(self.probability, 1.0 - np.diag(self.transition))

    @property
    def expected_duration(self) -> Floats:
        """Mean number of candles in each state once it is entered (state,)."""
        leaving = 1.0 - np.diag(self.transition)
        endless = np.full_like(leaving, np.inf)
        duration: Floats = np.divide(1.0, leaving, out=endless, where=leaving > 0.0)
        return duration

    def last(self, rows: int) -> "RegimeState":
        """Return the state at the last `rows` decision rows."""
        first = len(self.probability) - rows
        return replace(self, probability=self.probability[first:])


class Model(Trained):
    """Forecasts the return over the horizon; trained on history.

    Example::

        class BaseRate(Model):
            name = "base_rate"
            needs = [candles(warmup=0)]

            def fit(self, view, training):
                rose = outcomes(view, training.horizon) > 0
                return Artifact({"rate.json": json.dumps(rose.mean()).encode()}, {})

            def load(self, artifact):
                return json.loads(artifact.files["rate.json"])

            def predict(self, view):
                rate = np.full((view.steps, len(view.symbols)), view.learned)
                return Forecast(np.zeros_like(rate), rate, quantiles={})
    """

    kind: ClassVar[str] = "model"

    @abstractmethod
    def predict(self, view: "View") -> Forecast:
        """Return a forecast for each decision row and symbol, from the artifact `view.learned`."""

    def contributions(self, view: "View") -> Mapping[str, FloatPanel]:
        """Return the contribution of each feature to each forecast (steps, symbol), by name.

        In units of the model, such as log-odds; empty for a model without contributions.
        """
        return {}

    def evaluate(self, view: "View", training: Training) -> Evaluation:
        """Return the log loss of the probability of a rise, with that of one half as baseline."""
        from weft.components.outcomes import direction_losses  # noqa: PLC0415  # imports only for training

        return direction_losses(view, self.predict(view), training.horizon)


class Regime(Trained):
    """Detects the state of the market from the past; trained like a model."""

    kind: ClassVar[str] = "regime"

    @abstractmethod
    def detect(self, view: "View") -> RegimeState:
        """Return the filtered probability of each state at each decision row."""


def _mixture(probability: FloatPanel, values: Floats) -> Floats:
    """Return each row's mean of the states' values (steps,)."""
    # No matrix product: its last bits depend on the number of rows.
    total = np.zeros(len(probability))
    for chance, value in zip(probability.T, values, strict=True):
        total = total + chance * value
    return total
