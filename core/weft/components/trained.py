"""What is trained: kept as an artifact in safe formats, and known as of an instant."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from weft.components.base import Component
from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.foundation.arrays import Floats

if TYPE_CHECKING:
    from weft.market.view import View


NOT_TRAINED: Final = (
    "not trained yet; `weft train` trains it, `weft models list` shows a training under way"
)
"""What is said of a component that has learnt nothing, where no other reason is known."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What a training leaves behind.

    Attributes:
        files: file names and contents, in safe formats only: ``.json``, ``.ubj`` (XGBoost) and
            ``.safetensors``; no pickle, which could run code when it is read.
        card: what there is to say of it, as JSON values: features in their order, what they were
            scaled by, figures of the training.
    """

    files: Mapping[str, bytes]
    card: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedArtifact:
    """A component's artifact in use.

    Attributes:
        digest: of the artifact.
        ready: what the component's `load` made of it.
        trust: how far it has shown, on rows that came after its training, that it knows more
            than nothing: 0 to 1.
    """

    digest: str
    ready: Any
    trust: float


@dataclass(frozen=True, slots=True)
class ComposedDecisions:
    """What a composition said on the decision rows of a view, for those who act on it.

    Attributes:
        fusion: score, confidence and direction; weights of layers are left out.
        levels: entry, stop loss and take profit; figures are left out.
    """

    fusion: Fusion
    levels: Levels


class TrainingProgress(Protocol):
    """Told how far a training has come, to draw a bar with."""

    def __call__(self, done: float, total: float, **figures: float) -> None:
        """Take note that `done` of `total` parts are done, and of figures such as the loss."""


class Checkpoints(Protocol):
    """Keeps a training's state, so that one that was stopped goes on where it was."""

    def load(self) -> Mapping[str, bytes] | None:
        """Return the files saved last by a training of the same kind on the same rows, or None."""

    def save(self, files: Mapping[str, bytes]) -> None:
        """Keep these files, in place of those saved before."""


class NoCheckpoints:
    """Keeps nothing."""

    def load(self) -> None:
        """Return None: nothing was kept."""

    def save(self, files: Mapping[str, bytes]) -> None:
        """Drop the files."""


def ignore_progress(done: float, total: float, **figures: float) -> None:
    """Take no note of how far a training has come."""


@dataclass(frozen=True, slots=True)
class Training:
    """What a training is given besides its view.

    Attributes:
        rng: all of its randomness.
        horizon: decision rows from a row to the close its outcome is measured at.
        progress: told how far it has come.
        checkpoints: keep its state, for a training of more than a minute.
        opinions: what the composition said on the view's decision rows; None where the component
            does not say that it `learns_from_opinions`.
        previous: what the latest training before this one left behind, with the same options, to
            go on from or to match with; None where there is none.
    """

    rng: np.random.Generator
    horizon: int
    progress: TrainingProgress = ignore_progress
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    opinions: ComposedDecisions | None = None
    previous: Artifact | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good an artifact is on rows it was not trained on; smaller is better.

    Attributes:
        loss: of the artifact on each decision row, NaN where nothing can be said (steps,).
        baseline: of the best that can be said without it, such as how often prices rose over
            the rows it was trained on (steps,).
    """

    loss: Floats
    baseline: Floats


class Trained(Component, ABC):
    """A component that is trained on history. Its artifact reaches it as `View.learned`.

    The decision rows of the view given to `fit` are the rows to train on; nothing after them is
    in it, so an outcome that lies beyond its last row is not known, and such rows have no label.
    The same component, view and `rng` give the same artifact.

    Attributes:
        learns_from_opinions: whether `fit` and `evaluate` need `Training.opinions`.
        seconds_per_row: rough time a training takes for a row of history on two cores. Components
            that take less are trained first, and `weft guide` estimates by it until a training
            has been measured.
    """

    learns_from_opinions: bool = False
    seconds_per_row: float = 0.01

    @property
    def least_rows(self) -> int:
        """Decision rows without which no training is worth while."""
        return 1000

    @property
    def most_rows(self) -> int:
        """Decision rows beyond which older ones are left out."""
        return 20_000

    @abstractmethod
    def fit(self, view: "View", training: Training) -> Artifact:
        """Train on the decision rows of a view.

        Raises:
            TrainingError: nothing can be learnt from them, for instance because a class is
                absent, or the training diverged.
        """

    @abstractmethod
    def load(self, artifact: Artifact) -> Any:  # noqa: ANN401  # whatever the component works with
        """Return an artifact made ready for use, which views then hand out as `learned`.

        Raises:
            ArtifactError: it was made by another version, or for other features.
        """

    @abstractmethod
    def evaluate(self, view: "View", training: Training) -> Evaluation:
        """Return how good `view.learned` is on the decision rows of a view.

        Later rows of the view serve as outcomes; where an outcome lies beyond its last row the
        loss is NaN.
        """
