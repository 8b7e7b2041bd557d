"""What the agent remembers: a ring of transitions in which the newest replaces the oldest."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Batch:
    """Transitions, one per row.

    Attributes:
        states: before (n, state) float32.
        actions: taken (n,) int64.
        rewards: that came of it (n,) float32.
        followers: states after (n, state) float32.
        terminated: 1 where nothing can follow, so that the state after has no value; 0 where
            the episode was only cut off there (n,) float32.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float32]
    followers: NDArray[np.float32]
    terminated: NDArray[np.float32]


class Replay:
    """A ring of transitions in plain arrays.

    Args:
        capacity: transitions that are remembered.
        width: numbers in a state.
    """

    def __init__(self, capacity: int, width: int) -> None:
        self._states = np.zeros((capacity, width), np.float32)
        self._actions = np.zeros(capacity, np.int64)
        self._rewards = np.zeros(capacity, np.float32)
        self._followers = np.zeros((capacity, width), np.float32)
        self._terminated = np.zeros(capacity, np.float32)
        self._next = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def add(self, came: Batch) -> None:
        """Remember transitions, in their order."""
        count = len(came.actions)
        at = (self._next + np.arange(count)) % len(self._actions)
        for ring, values in zip(self._rings(), _columns(came), strict=True):
            ring[at] = values
        self._next = int((self._next + count) % len(self._actions))
        self._size = min(self._size + count, len(self._actions))

    def sample(self, rng: np.random.Generator, count: int) -> Batch:
        """Return transitions drawn uniformly, with replacement."""
        return self._by_age(rng.integers(0, self._size, count), self._size)

    def newest(self, count: int) -> Tensors:
        """Return up to `count` of the newest transitions, the oldest first, by name."""
        kept = min(count, self._size)
        batch = self._by_age(np.arange(kept), kept)
        return dict(zip(_NAMES, _columns(batch), strict=True))

    def restore(self, kept: Tensors) -> None:
        """Remember what `newest` returned."""
        self.add(Batch(*(kept[name] for name in _NAMES)))

    def _by_age(self, ages: NDArray[np.int64], oldest: int) -> Batch:
        """Return transitions by their place among the `oldest` newest ones, the oldest first.

        A ring that was kept and restored lies turned in memory; what is drawn must not tell.
        """
        rows = (self._next - oldest + ages) % len(self._actions)
        return Batch(*(ring[rows] for ring in self._rings()))

    def _rings(self) -> tuple[NDArray[Any], ...]:
        return (self._states, self._actions, self._rewards, self._followers, self._terminated)


_NAMES = ("states", "actions", "rewards", "followers", "terminated")


def _columns(batch: Batch) -> tuple[NDArray[Any], ...]:
    return (batch.states, batch.actions, batch.rewards, batch.followers, batch.terminated)
