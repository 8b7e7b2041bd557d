"""Records of trainings: rules, rows, results, and their counts in the ledger."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from weft.foundation.arrays import Floats
from weft.learning.judging import Comparison
from weft.ledger.ledger import Ledger

TRAINING: Final = "training"
"""Kind of the ledger rows that record trainings."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of training and judging; see `weft.config.settings.TrainingSection`."""

    shadow_share: float = 0.2
    shadow_spans_most: int = 120
    promote_above: float = 1.0
    seed: int = 7
    keep_unpromoted: int = 5


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Rows of a training; times are closes, microseconds since 1970.

    Attributes:
        first: first row to train on.
        trained_to: last row to train on.
        judged_to: last row to judge on; the first is the row after `trained_to`.
        rows: number of rows to train on.
        shadow_rows: number of rows to judge on.
    """

    first: int
    trained_to: int
    judged_to: int
    rows: int
    shadow_rows: int


@dataclass(frozen=True, slots=True)
class ChampionScore:
    """Score of the champion on the rows a challenger is judged on.

    Attributes:
        digest: digest of its artifact.
        trust: its trust so far, 0 to 1.
        loss: loss on each judging row; NaN on rows it was trained on (rows,).
        skill: gain over the baseline on the other rows.
    """

    digest: str
    trust: float
    loss: Floats
    skill: Comparison


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """Result of one training.

    Attributes:
        key: the component's key in config.
        digest: digest of the artifact.
        span: rows of the training.
        skill: gain over the baseline on the judging rows.
        against: gain over the champion on the judging rows; None without a champion.
        trust: weight of its forecasts, 0 to 1.
        promoted: whether the artifact was taken into use.
        why: reason of the decision, for users.
        seconds: duration of the training.
    """

    key: str
    digest: str
    span: TrainingRows
    skill: Comparison
    against: Comparison | None
    trust: float
    promoted: bool
    why: str
    seconds: float


@dataclass(frozen=True, slots=True)
class TrainedSoFar:
    """Trainings of one component in the ledger.

    Attributes:
        count: number of trainings.
        promoted: number of trainings whose artifact was taken into use.
        last: body of the ledger row of the latest training.
    """

    count: int
    promoted: int
    last: Mapping[str, Any]


class Trainings:
    """Trainings in a ledger, each row read once. Safe to use from several threads.

    Args:
        ledger: ledger with the trainings.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_to = 0
        self._by_key: dict[str, TrainedSoFar] = {}
        self._lock = threading.Lock()

    def by_key(self) -> dict[str, TrainedSoFar]:
        """Return the trainings of each trained component, by its key in config.

        Raises:
            StorageError: the ledger cannot be read.
        """
        with self._lock:
            for entry in self._ledger.notes(TRAINING, after=self._read_to):
                before = self._by_key.get(entry.symbol) or TrainedSoFar(0, 0, {})
                promoted = before.promoted + bool(entry.body["promoted"])
                self._by_key[entry.symbol] = TrainedSoFar(before.count + 1, promoted, entry.body)
                self._read_to = entry.seq
            return dict(self._by_key)
