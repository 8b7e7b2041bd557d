"""Replay memory: a ring of transitions in which the newest replaces the oldest."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weft_plugins.checkpoints import Arrays


@dataclass(frozen=True, slots=True)
class Batch:
    """Transitions, one per row.

    Attributes:
        states: states before the action (n, state) float32.
        actions: actions (n,) int64.
        rewards: rewards of the actions (n,) float32.
        followers: states after the action (n, state) float32.
        terminated: 1 where the account is ruined, so that the next state has no value; 0 where the
            episode continues or was truncated (n,) float32.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float32]
    followers: NDArray[np.float32]
    terminated: NDArray[np.float32]


class Replay:
    """Ring of transitions in plain arrays.

    Args:
        capacity: transitions in the ring, at most.
        width: numbers of a state.
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

    def add(self, batch: Batch) -> None:
        """Add transitions, in their order."""
        count = len(batch.actions)
        at = (self._next + np.arange(count)) % len(self._actions)
        for ring, values in zip(self._rings(), _columns(batch), strict=True):
            ring[at] = values
        self._next = int((self._next + count) % len(self._actions))
        self._size = min(self._size + count, len(self._actions))

    def sample(self, rng: np.random.Generator, count: int) -> Batch:
        """Return transitions drawn uniformly, with replacement."""
        return self._by_age(rng.integers(0, self._size, count), self._size)

    def newest(self, count: int) -> Arrays:
        """Return up to `count` of the newest transitions, the oldest first, by name."""
        count = min(count, self._size)
        batch = self._by_age(np.arange(count), count)
        return dict(zip(_NAMES, _columns(batch), strict=True))

    def restore(self, arrays: Arrays) -> None:
        """Add the transitions that `newest` returned."""
        self.add(Batch(*(arrays[name] for name in _NAMES)))

    def _by_age(self, ages: NDArray[np.int64], oldest: int) -> Batch:
        """Return transitions by their place among the `oldest` newest ones, the oldest first.

        A restored ring starts at another place in memory; draws must not depend on that.
        """
        rows = (self._next - oldest + ages) % len(self._actions)
        return Batch(*(ring[rows] for ring in self._rings()))

    def _rings(self) -> tuple[NDArray[Any], ...]:
        return (self._states, self._actions, self._rewards, self._followers, self._terminated)


_NAMES = ("states", "actions", "rewards", "followers", "terminated")


def _columns(batch: Batch) -> tuple[NDArray[Any], ...]:
    return (batch.states, batch.actions, batch.rewards, batch.followers, batch.terminated)
