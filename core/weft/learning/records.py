"""What a training goes by and comes to: its rules, the rows it uses, and the outcome."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from weft.foundation.arrays import Floats
from weft.learning.judging import Comparison
from weft.ledger.ledger import Ledger

TRAINING: Final = "training"
"""Kind of the rows of the ledger that tell of trainings."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How trainings are judged; see `weft.config.settings.TrainingSection`."""

    shadow_share: float = 0.2
    shadow_spans_most: int = 120
    promote_above: float = 1.0
    seed: int = 7
    keep_unpromoted: int = 5


@dataclass(frozen=True, slots=True)
class TrainingRows:
    """Which rows a training uses; instants are closes, microseconds since 1970.

    Attributes:
        first: first row to train on.
        trained_to: last row to train on.
        judged_to: last row to judge on; judging begins right after `trained_to`.
        rows: rows to train on.
        shadow_rows: rows to judge on.
    """

    first: int
    trained_to: int
    judged_to: int
    rows: int
    shadow_rows: int


@dataclass(frozen=True, slots=True)
class ChampionScore:
    """How the champion does on the rows a challenger is judged on.

    Attributes:
        digest: of its artifact.
        trust: how far it has been listened to.
        loss: on each row kept for judging; NaN on those it was trained on (rows,).
        skill: its gain over the baseline on the others.
    """

    digest: str
    trust: float
    loss: Floats
    skill: Comparison


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What one training came to.

    Attributes:
        key: the component's key in config.
        digest: of the artifact.
        span: which rows were used.
        skill: its gain over the baseline on the rows that came after.
        against: its gain over the champion there; None where there was none.
        trust: how far it is to be listened to, 0 to 1.
        promoted: whether it was taken into use.
        why: in words.
        seconds: how long training took.
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
    """What the ledger tells of the trainings of one component.

    Attributes:
        count: how often it was trained.
        promoted: how often the outcome was taken into use.
        last: what was written down of the latest training.
    """

    count: int
    promoted: int
    last: Mapping[str, Any]


class Trainings:
    """Counts the trainings in a ledger, reading each row once. Safe to use from several threads.

    Args:
        ledger: where they stand.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._read_to = 0
        self._by_key: dict[str, TrainedSoFar] = {}
        self._lock = threading.Lock()

    def by_key(self) -> dict[str, TrainedSoFar]:
        """Return what there is to say of each component that was ever trained, by its key.

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
