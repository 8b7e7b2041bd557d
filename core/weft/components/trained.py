"""Trained components: fit, stored as artifacts in safe formats, used as of an instant."""

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
"""Message for a trained component without an artifact, where no other reason is known."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """The result of a training.

    Attributes:
        files: contents by file name, in safe formats only: ``.json``, ``.ubj`` (XGBoost) and
            ``.safetensors``; no pickle, which could run code when it is loaded.
        card: description as JSON values by name, such as the order of features, their scales and
            figures of the training.
    """

    files: Mapping[str, bytes]
    card: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoadedArtifact:
    """The artifact in use of a component.

    Attributes:
        digest: of the artifact.
        ready: result of the component's `load`.
        trust: 0 (no better than the baseline on rows after its training) to 1.
    """

    digest: str
    ready: Any
    trust: float


@dataclass(frozen=True, slots=True)
class ComposedDecisions:
    """Decisions of a composition on the rows of a training, for components that learn from them.

    Attributes:
        fusion: score, confidence and direction; without weights of layers.
        levels: entry, stop loss and take profit; without figures.
    """

    fusion: Fusion
    levels: Levels


class TrainingProgress(Protocol):
    """Callback with the progress of a training."""

    def __call__(self, done: float, total: float, **figures: float) -> None:
        """Report that `done` of `total` parts are done, with figures such as the loss."""


class Checkpoints(Protocol):
    """Stores the state of a training, so that an interrupted training can resume."""

    def load(self) -> Mapping[str, bytes] | None:
        """Return the files saved last by a training with the same options and rows, or None."""

    def save(self, files: Mapping[str, bytes]) -> None:
        """Save files in place of those saved before."""


class NoCheckpoints:
    """Checkpoints that store nothing."""

    def load(self) -> None:
        """Return None: there is nothing to resume."""

    def save(self, files: Mapping[str, bytes]) -> None:
        """Discard the files."""


def ignore_progress(done: float, total: float, **figures: float) -> None:
    """Discard a report of progress."""


@dataclass(frozen=True, slots=True)
class Training:
    """The inputs of a training besides its view.

    Attributes:
        rng: the only source of randomness.
        horizon: decision rows from a row to the close of its outcome.
        progress: callback with the progress.
        checkpoints: for a training of more than a minute.
        decisions: decisions of the composition on the view's decision rows; None unless the
            component sets `learns_from_decisions`.
        previous: artifact of the latest earlier training with the same options, to continue from;
            None for the first.
    """

    rng: np.random.Generator
    horizon: int
    progress: TrainingProgress = ignore_progress
    checkpoints: Checkpoints = field(default_factory=NoCheckpoints)
    decisions: ComposedDecisions | None = None
    previous: Artifact | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Losses of an artifact on rows after its training; smaller is better.

    Attributes:
        loss: of the artifact on each decision row, NaN where unknown (steps,).
        baseline: of the best answer without the artifact on each decision row, such as the base
            rate of a rise in the training rows (steps,).
    """

    loss: Floats
    baseline: Floats


class Trained(Component, ABC):
    """A component that is trained on history; its loaded artifact is `View.learned`.

    `fit` trains on the decision rows of its view, which contains nothing after them: rows whose
    outcome lies beyond the last row have no label. The same component, view and `rng` must give
    the same artifact.

    Attributes:
        learns_from_decisions: whether `fit` and `evaluate` need `Training.decisions`.
        seconds_per_row: rough training time for a row of history on two cores, in seconds. The
            fastest components are trained first; `weft guide` uses it until a training was timed.
    """

    learns_from_decisions: bool = False
    seconds_per_row: float = 0.01

    @property
    def least_rows(self) -> int:
        """Smallest number of decision rows for a training."""
        return 1000

    @property
    def most_rows(self) -> int:
        """Largest number of decision rows for a training; older rows are left out."""
        return 20_000

    @abstractmethod
    def fit(self, view: "View", training: Training) -> Artifact:
        """Train on the decision rows of a view.

        Raises:
            TrainingError: the rows allow no training, for instance because a class is absent, or
                the training diverged.
        """

    @abstractmethod
    def load(self, artifact: Artifact) -> Any:  # noqa: ANN401  # any object of the component
        """Return the object that views give the component as `learned`.

        Raises:
            ArtifactError: the artifact is of another version, or for other features.
        """

    @abstractmethod
    def evaluate(self, view: "View", training: Training) -> Evaluation:
        """Return the losses of `view.learned` on the decision rows of a view.

        A row whose outcome lies beyond the last row has a loss of NaN.
        """
