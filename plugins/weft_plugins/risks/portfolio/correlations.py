"""Correlation matrices that paths can be drawn from."""

from dataclasses import dataclass

import numpy as np

from weft.foundation.arrays import FloatPanel
from weft.foundation.errors import ComponentError

_WHERE = "portfolio risk"
_LEAST_EIGENVALUE = 1e-8
_TOLERANCE = 1e-12
_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class RepairedCorrelation:
    """A positive definite correlation matrix, and how far it is from the one given.

    Attributes:
        matrix: symmetric, unit diagonal, positive definite (asset, asset).
        least_before: smallest eigenvalue of the matrix given.
        least_after: smallest eigenvalue of `matrix`.
        largest_change: largest absolute change of an entry.
        distance: Frobenius norm of all changes.
    """

    matrix: FloatPanel
    least_before: float
    least_after: float
    largest_change: float
    distance: float

    @property
    def was_repaired(self) -> bool:
        """Whether any entry was changed."""
        return self.largest_change > 0.0


def repaired_correlation(matrix: FloatPanel) -> RepairedCorrelation:
    """Return the nearest positive definite correlation matrix; the given one where it is that.

    By alternating projections with Dykstra's correction (Higham 2002, Computing the nearest
    correlation matrix, algorithm 3.3): no other positive semidefinite matrix with ones on its
    diagonal is closer. The result is mixed with the identity just enough to lift its smallest
    eigenvalue to 1e-8.

    Args:
        matrix: symmetric, ones on the diagonal, entries from -1 to 1; estimated pair by pair it
            need not be positive definite.

    Raises:
        ComponentError: the matrix is not of this form.
    """
    _expect_correlations(matrix)
    least_before = float(np.linalg.eigvalsh(matrix)[0])
    repaired = matrix
    if least_before < _LEAST_EIGENVALUE:
        repaired = _nearest(matrix)
        least = float(np.linalg.eigvalsh(repaired)[0])
        share = max(0.0, (_LEAST_EIGENVALUE - least) / (1.0 - least))
        repaired = (1.0 - share) * repaired + share * np.eye(len(repaired))
    change = repaired - matrix
    return RepairedCorrelation(
        matrix=repaired,
        least_before=least_before,
        least_after=float(np.linalg.eigvalsh(repaired)[0]),
        largest_change=float(np.abs(change).max()),
        distance=float(np.linalg.norm(change)),
    )


def _nearest(matrix: FloatPanel) -> FloatPanel:
    nearest, correction = matrix.copy(), np.zeros_like(matrix)
    for _ in range(_ROUNDS):
        shifted = nearest - correction
        values, vectors = np.linalg.eigh(shifted)
        positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = positive - shifted
        following = 0.5 * (positive + positive.T)
        np.fill_diagonal(following, 1.0)
        moved = np.abs(following - nearest).max()
        nearest = following
        if moved < _TOLERANCE:
            break
    return nearest


def _expect_correlations(matrix: FloatPanel) -> None:
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ComponentError(f"correlations of {matrix.shape}, expected a square", where=_WHERE)
    sound = (
        np.isfinite(matrix).all()
        and np.allclose(matrix, matrix.T, atol=1e-10)
        and np.allclose(np.diag(matrix), 1.0, atol=1e-10)
        and (np.abs(matrix) <= 1.0 + 1e-10).all()
    )
    if not sound:
        raise ComponentError(
            "no correlations: expected a symmetric matrix of numbers from -1 to 1 with ones on "
            "its diagonal",
            where=_WHERE,
        )
