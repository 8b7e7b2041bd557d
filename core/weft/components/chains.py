"""Markov chains: where a market that moves between states is to be found in the long run."""

from typing import Final

import numpy as np

from weft.arrays import FloatPanel, Floats

_SQUARINGS: Final = 60


def stationary(transition: FloatPanel) -> Floats:
    """Return the distribution that a chain settles to, from all states alike (state,).

    Args:
        transition: chance of going from a state (row) to another (column) (state, state).
    """
    # Halfway between staying and moving has the same limit, and never alternates.
    power = 0.5 * (np.eye(len(transition)) + transition)
    for _ in range(_SQUARINGS):
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    settled: Floats = power.mean(axis=0)
    settled /= settled.sum()
    return settled
