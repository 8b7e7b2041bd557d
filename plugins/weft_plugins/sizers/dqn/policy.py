"""Policy of a trained network in numpy, and its artifact."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from weft.components.trained import Artifact
from weft.foundation.arrays import Floats
from weft.foundation.errors import ArtifactError
from weft_plugins.checkpoints import STATE as STATE_FILE
from weft_plugins.checkpoints import sealed_file, unpack_tensors
from weft_plugins.sizers.dqn.config import SHARES, STATE

POLICY: Final = "policy.safetensors"
"""File of an artifact with the weights that choose shares."""

AGENT: Final = "agent.safetensors"
"""File of an artifact with networks, optimizer and replay, for the next training."""

_WHERE: Final = "sizer dqn"
_HINT: Final = "Train it again with `weft train`"
_BATCH: Final = 4096


@dataclass(frozen=True, slots=True)
class Policy:
    """Choice of the share with the highest value.

    Sums have one fixed order, number by number, so the values of a state are the same bits whatever
    other states are evaluated with it. A matrix product would not guarantee that.

    Attributes:
        layers: weights (outputs, inputs) and biases of the hidden layers.
        value: weights and bias of V.
        advantage: weights and biases of A.
        horizon: longest holding time of a trade in training, rows.
        best_constant: index of the share with the highest total reward on the training trades.
        is_constant: whether the policy chooses the same share for all training trades.
    """

    layers: tuple[tuple[Floats, Floats], ...]
    value: tuple[Floats, Floats]
    advantage: tuple[Floats, Floats]
    horizon: int
    best_constant: int = len(SHARES) - 1
    is_constant: bool = False

    def values(self, states: Floats) -> Floats:
        """Return Q of each share (n, 5) for states (n, 7)."""
        parts = [
            self._values(states[start : start + _BATCH]) for start in range(0, len(states), _BATCH)
        ]
        return np.concatenate(parts) if parts else np.empty((0, len(SHARES)))

    def choices(self, states: Floats) -> NDArray[np.int64]:
        """Return the action with the highest value (n,); among equal ones the smallest share."""
        best: NDArray[np.int64] = self.values(states).argmax(axis=1)
        return best

    def _values(self, states: Floats) -> Floats:
        hidden = states.astype(np.float32).astype(np.float64)
        for weights, bias in self.layers:
            hidden = np.maximum(_affine(hidden, weights, bias), 0.0)
        advantage = _affine(hidden, *self.advantage)
        # Added one by one: numpy's mean may group terms differently for another length.
        total = advantage[:, 0]
        for action in range(1, advantage.shape[1]):
            total = total + advantage[:, action]
        mean = total / advantage.shape[1]
        values: Floats = _affine(hidden, *self.value) + advantage - mean[:, None]
        return values


def policy_of(tensors: Mapping[str, NDArray[Any]], horizon: int) -> Policy:
    """Return the policy with the weights of a network.

    Raises:
        KeyError: a tensor is missing.
        ValueError: shapes do not fit together, or a value is not finite.
    """
    depth = sum(name.startswith("hidden.") and name.endswith(".weight") for name in tensors)
    names = [*(f"hidden.{number}" for number in range(depth)), "value", "advantage"]
    pairs = []
    for name in names:
        weights, bias = (tensors[f"{name}.{part}"].astype(np.float64) for part in _PARTS)
        if not (np.isfinite(weights).all() and np.isfinite(bias).all()):
            raise ValueError(f"{name} has a value that is not finite")
        pairs.append((weights, bias))
    *layers, value, advantage = pairs
    width = len(STATE)
    for weights, bias in layers:
        _expect(weights, bias, (len(bias), width))
        width = len(bias)
    _expect(*value, (1, width))
    _expect(*advantage, (len(SHARES), width))
    if len(tensors) != 2 * len(pairs):
        raise ValueError(f"{len(tensors)} tensors, expected {2 * len(pairs)}")
    return Policy(tuple(layers), value, advantage, horizon)


def load_policy(artifact: Artifact, schema: Mapping[str, Any]) -> Policy:
    """Return the policy of an artifact.

    Args:
        artifact: artifact of a training.
        schema: `schema_of` the options of the sizer.

    Raises:
        ArtifactError: the artifact is damaged, or of another version or other options.
    """
    _expect_schema(artifact.card.get("schema"), schema)
    for name in (AGENT, STATE_FILE):
        sealed_file(artifact, name, _WHERE)
    content = sealed_file(artifact, POLICY, _WHERE)
    horizon = artifact.card.get("horizon")
    if not isinstance(horizon, int) or horizon < 1:
        raise ArtifactError(
            f"its card has horizon {horizon!r}, expected a number of rows", where=_WHERE, hint=_HINT
        )
    try:
        policy = policy_of(unpack_tensors(content, POLICY, _WHERE), horizon)
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{POLICY} is damaged: {error}", where=_WHERE, hint=_HINT) from error
    return _with_habits(policy, artifact.card.get("habits"))


def _expect_schema(schema: object, expected: Mapping[str, Any]) -> None:
    if not isinstance(schema, Mapping):
        raise ArtifactError("its card has no schema", where=_WHERE, hint=_HINT)
    if dict(schema) != dict(expected):
        differing = [name for name in expected if schema.get(name) != expected[name]]
        raise ArtifactError(
            f"was trained with another {', '.join(differing) or 'schema'}", where=_WHERE, hint=_HINT
        )


def _with_habits(policy: Policy, habits: object) -> Policy:
    """Return a policy with the habits on its card."""
    best = habits.get("best_constant") if isinstance(habits, Mapping) else None
    if not isinstance(habits, Mapping) or best not in SHARES:
        raise ArtifactError(
            f"its card has the best constant share {best!r}, expected one of {SHARES}",
            where=_WHERE,
            hint=_HINT,
        )
    constant = habits.get("constant") is not None
    return replace(policy, best_constant=SHARES.index(best), is_constant=constant)


_PARTS = ("weight", "bias")


def _expect(weights: Floats, bias: Floats, shape: tuple[int, int]) -> None:
    if weights.shape != shape or bias.shape != shape[:1]:
        raise ValueError(f"weights {weights.shape} and bias {bias.shape}, expected {shape}")


def _affine(inputs: Floats, weights: Floats, bias: Floats) -> Floats:
    result = np.broadcast_to(bias, (len(inputs), len(bias))).copy()
    for number in range(inputs.shape[1]):
        result += inputs[:, number : number + 1] * weights[:, number]
    return result
