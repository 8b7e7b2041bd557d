"""The policy in use: the network's arithmetic in numpy, the same for one row and for many."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import Floats
from weft_plugins.sizers.dqn.config import SHARES, STATE

_MOST_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Policy:
    """Chooses the share that is worth most.

    Sums are taken in one fixed order, number by number, so that a state's values are the same
    bits whatever other states are asked about at the same time; a matrix product is not.

    Attributes:
        layers: weights (outputs, inputs) and biases of the hidden layers.
        value: weights and bias of V.
        advantage: weights and biases of A.
        horizon: rows a trade was held at most, when the policy was trained.
        best_constant: index of the share that was worth most on all trades it was trained on.
        is_constant: whether it held the same share of each of these trades.
    """

    layers: tuple[tuple[Floats, Floats], ...]
    value: tuple[Floats, Floats]
    advantage: tuple[Floats, Floats]
    horizon: int
    best_constant: int = len(SHARES) - 1
    is_constant: bool = False

    def values(self, states: Floats) -> Floats:
        """Return Q of each share (n, 5) of states (n, 7)."""
        parts = [
            self._values(states[start : start + _MOST_AT_ONCE])
            for start in range(0, len(states), _MOST_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(SHARES)))

    def choices(self, states: Floats) -> NDArray[np.int64]:
        """Return the action that is worth most (n,); of equal ones the smallest share."""
        best: NDArray[np.int64] = self.values(states).argmax(axis=1)
        return best

    def _values(self, states: Floats) -> Floats:
        flowing = states.astype(np.float32).astype(np.float64)
        for weights, bias in self.layers:
            flowing = np.maximum(_affine(flowing, weights, bias), 0.0)
        advantage = _affine(flowing, *self.advantage)
        # Added one by one as well: numpy's mean may group them otherwise for another length.
        total = advantage[:, 0]
        for action in range(1, advantage.shape[1]):
            total = total + advantage[:, action]
        mean = total / advantage.shape[1]
        values: Floats = _affine(flowing, *self.value) + advantage - mean[:, None]
        return values


def policy_of(tensors: Mapping[str, NDArray[Any]], horizon: int) -> Policy:
    """Return the policy with a network's weights.

    Raises:
        KeyError: a tensor is missing.
        ValueError: the tensors do not fit together, or hold something that is no number.
    """
    depth = sum(name.startswith("hidden.") and name.endswith(".weight") for name in tensors)
    names = [*(f"hidden.{number}" for number in range(depth)), "value", "advantage"]
    pairs = []
    for name in names:
        weights, bias = (tensors[f"{name}.{part}"].astype(np.float64) for part in _PARTS)
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise ValueError(f"{name} holds something that is no number")
        pairs.append((weights, bias))
    *layers, value, advantage = pairs
    width = len(STATE)
    for weights, bias in layers:
        _expect(weights, bias, (len(bias), width))
        width = len(bias)
    _expect(*value, (1, width))
    _expect(*advantage, (len(SHARES), width))
    if len(tensors) != 2 * len(pairs):
        raise ValueError(f"there are {len(tensors)} tensors, expected {2 * len(pairs)}")
    return Policy(tuple(layers), value, advantage, horizon)


_PARTS = ("weight", "bias")


def _expect(weights: Floats, bias: Floats, shape: tuple[int, int]) -> None:
    if weights.shape != shape or bias.shape != shape[:1]:
        raise ValueError(f"weights of {weights.shape} and {bias.shape}, expected {shape}")


def _affine(inputs: Floats, weights: Floats, bias: Floats) -> Floats:
    result = np.broadcast_to(bias, (len(inputs), len(bias))).copy()
    for number in range(inputs.shape[1]):
        result += inputs[:, number : number + 1] * weights[:, number]
    return result
