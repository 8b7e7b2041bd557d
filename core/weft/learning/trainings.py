"""The trainings that the ledger has recorded, counted by component."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.learning.records import TRAINING
from weft.ledger.ledger import Ledger


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
