"""Parameters of a fitted hidden Markov model, and their JSON document in an artifact."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.errors import ArtifactError
from weft_plugins.regimes.hmm.stateless import Stateless

FILE = "hmm.json"
VERSION = 2
_HINT = "Train it again with `weft train`"
_SQUARINGS = 60
_SUM_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Parameters:
    """Parameters of a fitted model; means and covariances are of standardised features.

    Attributes:
        features: names of the observations.
        center: mean of each feature over the training rows (feature,).
        scale: standard deviation of each feature over the training rows (feature,).
        names: names of the states.
        transition: probability of a move from a state (row) to another (column) (state, state).
        means: mean of each feature in each state (state, feature).
        covariances: covariance of the features in each state (state, feature, feature).
        stateless: model without states, the baseline of judging.
        match_cost: mean divergence between its states and those of the previous fit, nats; None
            where there was no previous fit.
    """

    features: tuple[str, ...]
    center: Floats
    scale: Floats
    names: tuple[str, ...]
    transition: FloatPanel
    means: FloatPanel
    covariances: Floats
    stateless: Stateless
    match_cost: float | None = None

    @property
    def raw_means(self) -> FloatPanel:
        """Means in the units of the features (state, feature)."""
        means: FloatPanel = self.center + self.scale * self.means
        return means

    @property
    def raw_covariances(self) -> Floats:
        """Covariances in the units of the features (state, feature, feature)."""
        covariances: Floats = self.covariances * np.outer(self.scale, self.scale)
        return covariances

    def standardised(self, observed: FloatPanel) -> FloatPanel:
        """Return observations standardised by the training rows (time, feature)."""
        standardised: FloatPanel = (observed - self.center) / self.scale
        return standardised

    def to_json(self) -> bytes:
        """Return the parameters as a JSON document."""
        arrays = {name: getattr(self, name).tolist() for name in _SHAPES}
        document = {
            "version": VERSION,
            "features": self.features,
            "names": self.names,
            "match_cost": self.match_cost,
            "stateless": self.stateless.to_document(),
            **arrays,
        }
        return json.dumps(document, sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, content: bytes, where: str) -> "Parameters":
        """Parse parameters from a JSON document.

        Args:
            content: document of `to_json`.
            where: component, for error messages.

        Raises:
            ArtifactError: the document is damaged, of another version, or not a valid model.
        """
        document = _document(content, where)
        if document.get("version") != VERSION:
            raise ArtifactError(
                f"{FILE} has version {document.get('version')!r}, expected {VERSION}",
                where=where,
                hint=_HINT,
            )
        features, names = _texts(document, "features", where), _texts(document, "names", where)
        sizes = {"state": len(names), "feature": len(features)}
        arrays = {
            name: _array(document, name, tuple(sizes[axis] for axis in axes), where)
            for name, axes in _SHAPES.items()
        }
        cost = document.get("match_cost")
        if cost is not None and not isinstance(cost, int | float):
            raise ArtifactError(f"match_cost is {cost!r}, expected a number", where=where)
        stateless = Stateless.from_document(document.get("stateless"), where)
        parameters = cls(
            features=features, names=names, match_cost=cost, stateless=stateless, **arrays
        )
        _expect_valid(parameters, where)
        return parameters


_SHAPES: Mapping[str, tuple[str, ...]] = {
    "center": ("feature",),
    "scale": ("feature",),
    "transition": ("state", "state"),
    "means": ("state", "feature"),
    "covariances": ("state", "feature", "feature"),
}


def stationary(transition: FloatPanel) -> Floats:
    """Return the stationary distribution of a Markov chain (state,).

    Args:
        transition: probability of a move from a state (row) to another (column) (state, state).
    """
    # The average with the identity has the same stationary distribution, and never alternates.
    power = 0.5 * (np.eye(len(transition)) + transition)
    for _ in range(_SQUARINGS):
        # Once for each artifact, and of a fixed shape, so it cannot make rows depend on each other.
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    settled: Floats = power.mean(axis=0)
    settled /= settled.sum()
    return settled


def _document(content: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ArtifactError(f"{FILE} is not JSON: {error}", where=where, hint=_HINT) from error
    if not isinstance(document, dict):
        raise ArtifactError(
            f"{FILE} holds a {type(document).__name__}, expected an object", where=where, hint=_HINT
        )
    return document


def _texts(document: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    names = document.get(key)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArtifactError(f"{FILE}: {key} is {names!r}, expected names", where=where)
    if not names or len(set(names)) < len(names):
        raise ArtifactError(f"{FILE}: {key} is {names!r}, expected distinct names", where=where)
    return tuple(names)


def _array(document: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str) -> Floats:
    try:
        array = np.array(document.get(key), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{FILE}: {key} is not numeric: {error}", where=where) from error
    if array.shape != shape or not np.isfinite(array).all():
        raise ArtifactError(
            f"{FILE}: {key} has shape {array.shape}, expected finite numbers of shape {shape}",
            where=where,
        )
    return array


def _expect_valid(parameters: Parameters, where: str) -> None:
    """Check that parameters are those of a hidden Markov model.

    Raises:
        ArtifactError: a parameter is outside its range.
    """
    rows = parameters.transition.sum(axis=1)
    if (parameters.transition < 0.0).any() or (np.abs(rows - 1.0) > _SUM_TOLERANCE).any():
        raise ArtifactError(
            f"{FILE}: rows of transition add up to {rows.tolist()}, expected probabilities "
            "that add up to 1",
            where=where,
        )
    if (parameters.scale <= 0.0).any():
        raise ArtifactError(f"{FILE}: scale has values of 0 or less", where=where)
    mirrored = np.swapaxes(parameters.covariances, 1, 2)
    if not np.allclose(parameters.covariances, mirrored, rtol=1e-9, atol=1e-12):
        raise ArtifactError(f"{FILE}: covariances is not symmetric", where=where)
    if (np.linalg.eigvalsh(parameters.covariances) <= 0.0).any():
        raise ArtifactError(f"{FILE}: covariances is not positive definite", where=where)
