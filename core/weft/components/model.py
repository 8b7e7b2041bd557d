"""Models and regimes: what is trained, kept as an artifact, and known as of an instant."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from weft.arrays import FloatPanel
from weft.components.base import Component

if TYPE_CHECKING:
    from weft.market.view import View


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a training leaves behind.

    Attributes:
        files: file names and contents, in safe formats only: UBJ, safetensors, JSON; no pickle.
        card: data span, features, config, code version, metrics and seed, as JSON values.
    """

    files: Mapping[str, bytes]
    card: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Forecast:
    """A distribution of the return over the horizon (steps, symbol); NaN where none is given.

    Attributes:
        mean: expected log return.
        probability_up: chance that the return is positive, 0 to 1.
        quantiles: log return at each level, for instance 0.05, 0.5 and 0.95.
    """

    mean: FloatPanel
    probability_up: FloatPanel
    quantiles: Mapping[float, FloatPanel]


@dataclass(frozen=True, slots=True)
class RegimeState:
    """Where the market stands.

    Attributes:
        names: one for each state.
        probability: of each state at each decision row, given the past alone (steps, state).
        transition: chance of going from a state (row) to another (column) within one candle.
        position_multiplier: what each decision row's state does to position sizes (steps,).
    """

    names: tuple[str, ...]
    probability: FloatPanel
    transition: FloatPanel
    position_multiplier: FloatPanel


class Model(Component):
    """Something that is trained on history and forecasts returns."""

    kind: ClassVar[str] = "model"

    @abstractmethod
    def fit(self, view: "View", rng: np.random.Generator) -> Artifact:
        """Train on the rows of `view`, drawing all randomness from `rng`."""

    @abstractmethod
    def predict(self, view: "View", artifact: Artifact) -> Forecast:
        """Return a forecast for each decision row and symbol."""


class Regime(Component):
    """Tells the state of the market. Trained like a model; inferred without looking ahead."""

    kind: ClassVar[str] = "regime"

    @abstractmethod
    def fit(self, view: "View", rng: np.random.Generator) -> Artifact:
        """Train on the rows of `view`, drawing all randomness from `rng`."""

    @abstractmethod
    def detect(self, view: "View", artifact: Artifact) -> RegimeState:
        """Return the filtered probability of each state at each decision row."""
