"""What a hidden Markov model was fitted to, as it is kept in an artifact."""

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
_SQUARINGS = 60
_SUM_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Parameters:
    """A fitted model. Means and covariances are of standardised features.

    Attributes:
        features: names of what is observed.
        center: mean of each feature over the training rows (feature,).
        scale: standard deviation of each feature over the training rows (feature,).
        names: of the states.
        transition: chance of going from a state (row) to another (column) (state, state).
        means: (state, feature).
        covariances: (state, feature, feature).
        stateless: what the model has to beat.
        match_cost: how far its states were from those of the fit before, nats; None where there
            was none.
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
        """Means in the features' own units (state, feature)."""
        found: FloatPanel = self.center + self.scale * self.means
        return found

    @property
    def raw_covariances(self) -> Floats:
        """Covariances in the features' own units (state, feature, feature)."""
        found: Floats = self.covariances * np.outer(self.scale, self.scale)
        return found

    def standardised(self, observed: FloatPanel) -> FloatPanel:
        """Return observations in units of the training rows (time, feature)."""
        found: FloatPanel = (observed - self.center) / self.scale
        return found

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
        """Read parameters back.

        Raises:
            ArtifactError: they are damaged, of another version, or cannot be those of a model.
        """
        document = _document(content, where)
        if document.get("version") != VERSION:
            raise ArtifactError(
                f"{FILE} has version {document.get('version')!r}, expected {VERSION}",
                where=where,
                hint="Train it again",
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
        found = cls(features=features, names=names, match_cost=cost, stateless=stateless, **arrays)
        _expect_sound(found, where)
        return found


_SHAPES: Mapping[str, tuple[str, ...]] = {
    "center": ("feature",),
    "scale": ("feature",),
    "transition": ("state", "state"),
    "means": ("state", "feature"),
    "covariances": ("state", "feature", "feature"),
}


def stationary(transition: FloatPanel) -> Floats:
    """Return the distribution that a chain settles to, from all states alike (state,).

    Args:
        transition: chance of going from a state (row) to another (column) (state, state).
    """
    # Halfway between staying and moving has the same limit, and never alternates.
    power = 0.5 * (np.eye(len(transition)) + transition)
    for _ in range(_SQUARINGS):
        # Of a fixed shape, once for an artifact: no row's answer depends on the others by it.
        power = power @ power
        power /= power.sum(axis=1, keepdims=True)
    settled: Floats = power.mean(axis=0)
    settled /= settled.sum()
    return settled


def _document(content: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except ValueError as error:
        raise ArtifactError(
            f"{FILE} is no JSON document: {error}", where=where, hint="Train it again"
        ) from error
    if not isinstance(document, dict):
        raise ArtifactError(f"{FILE} holds a {type(document).__name__}", where=where)
    return document


def _texts(document: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, str) for entry in found):
        raise ArtifactError(f"{FILE}: {key} is {found!r}, expected names", where=where)
    if not found or len(set(found)) < len(found):
        raise ArtifactError(f"{FILE}: {key} is {found!r}, expected distinct names", where=where)
    return tuple(found)


def _array(document: Mapping[str, Any], key: str, shape: tuple[int, ...], where: str) -> Floats:
    try:
        found = np.array(document.get(key), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"{FILE}: {key} holds no numbers: {error}", where=where) from error
    if found.shape != shape or not np.isfinite(found).all():
        raise ArtifactError(
            f"{FILE}: {key} is {found.shape}, expected finite numbers of {shape}", where=where
        )
    return found


def _expect_sound(found: Parameters, where: str) -> None:
    """Make sure that numbers are those of a hidden Markov model.

    Raises:
        ArtifactError: they are not.
    """
    rows = found.transition.sum(axis=1)
    if (found.transition < 0.0).any() or (np.abs(rows - 1.0) > _SUM_TOLERANCE).any():
        raise ArtifactError(
            f"{FILE}: rows of transition add up to {rows.tolist()}, expected chances that add up "
            "to 1",
            where=where,
        )
    if (found.scale <= 0.0).any():
        raise ArtifactError(f"{FILE}: scale has entries of 0 or less", where=where)
    mirrored = np.swapaxes(found.covariances, 1, 2)
    if not np.allclose(found.covariances, mirrored, rtol=1e-9, atol=1e-12):
        raise ArtifactError(f"{FILE}: covariances is not symmetric", where=where)
    if (np.linalg.eigvalsh(found.covariances) <= 0.0).any():
        raise ArtifactError(f"{FILE}: covariances is not positive definite", where=where)
