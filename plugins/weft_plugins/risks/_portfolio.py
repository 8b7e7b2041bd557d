"""Portfolios: correlation matrices put right, correlated paths, and what they can lose together."""

from dataclasses import dataclass

import numpy as np

from weft.arrays import FloatPanel, Floats
from weft.errors import ComponentError
from weft_plugins.risks._paths import inverse_normal, spread_points
from weft_plugins.risks._tails import expected_shortfall, value_at_risk

_WHERE = "portfolio risk"
_LEAST_EIGENVALUE = 1e-8
_TOLERANCE = 1e-12
_ROUNDS = 1000


@dataclass(frozen=True, slots=True)
class Repaired:
    """A correlation matrix that can be drawn from, and what had to be changed for it.

    Attributes:
        matrix: symmetric, unit diagonal, positive definite (asset, asset).
        least_before: smallest eigenvalue of what was given.
        least_after: smallest eigenvalue of the matrix.
        largest_change: of any entry.
        distance: Frobenius norm of all changes.
    """

    matrix: FloatPanel
    least_before: float
    least_after: float
    largest_change: float
    distance: float

    @property
    def was_repaired(self) -> bool:
        """Whether anything was changed."""
        return self.largest_change > 0.0


@dataclass(frozen=True, slots=True)
class PortfolioRisk:
    """What a portfolio can lose over a horizon, as fractions of the equity.

    Attributes:
        var_95: value at risk.
        var_99: value at risk.
        cvar_95: expected shortfall.
        cvar_99: expected shortfall.
        drawdown_median: of the deepest fall from a high, median over the paths.
        drawdown_95: of the deepest fall, exceeded on one path in twenty.
        correlation: the matrix that was drawn from.
    """

    var_95: float
    var_99: float
    cvar_95: float
    cvar_99: float
    drawdown_median: float
    drawdown_95: float
    correlation: Repaired


def repaired_correlation(matrix: FloatPanel) -> Repaired:
    """Return the nearest correlation matrix; the one given where it is one.

    By alternating projections with Dykstra's correction (Higham 2002, Computing the nearest
    correlation matrix, algorithm 3.3), so that no other positive semidefinite matrix with ones on
    its diagonal is closer; then mixed with the identity by no more than what lifts the smallest
    eigenvalue to 1e-8.

    Args:
        matrix: symmetric, ones on the diagonal, entries from -1 to 1; estimated pair by pair it
            need not be positive definite.

    Raises:
        ComponentError: it is none of this.
    """
    _expect_correlations(matrix)
    least_before = float(np.linalg.eigvalsh(matrix)[0])
    found = matrix
    if least_before < _LEAST_EIGENVALUE:
        found = _nearest(matrix)
        least = float(np.linalg.eigvalsh(found)[0])
        short = max(0.0, (_LEAST_EIGENVALUE - least) / (1.0 - least))
        found = (1.0 - short) * found + short * np.eye(len(found))
    change = found - matrix
    return Repaired(
        matrix=found,
        least_before=least_before,
        least_after=float(np.linalg.eigvalsh(found)[0]),
        largest_change=float(np.abs(change).max()),
        distance=float(np.linalg.norm(change)),
    )


def _nearest(matrix: FloatPanel) -> FloatPanel:
    found, correction = matrix.copy(), np.zeros_like(matrix)
    for _ in range(_ROUNDS):
        shifted = found - correction
        values, vectors = np.linalg.eigh(shifted)
        positive = (vectors * np.maximum(values, 0.0)) @ vectors.T
        correction = positive - shifted
        following = 0.5 * (positive + positive.T)
        np.fill_diagonal(following, 1.0)
        moved = np.abs(following - found).max()
        found = following
        if moved < _TOLERANCE:
            break
    return found


def correlated_returns(
    means: Floats,
    deviations: Floats,
    correlation: FloatPanel,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> Floats:
    """Return log returns of assets that move together (step, path, asset), by Cholesky.

    Args:
        means: of the log return of one step (asset,).
        deviations: of the log return of one step (asset,).
        correlation: positive definite; see `repaired_correlation`.
        shape: steps and paths.
        rng: all of the randomness.

    Raises:
        ComponentError: shapes do not fit, a deviation is below zero, or the matrix is not
            positive definite.
    """
    count = len(deviations)
    if means.shape != (count,) or correlation.shape != (count, count):
        raise ComponentError(
            f"means of {means.shape} and correlations of {correlation.shape} for {count} assets",
            where=_WHERE,
        )
    if not (np.isfinite(deviations).all() and (deviations >= 0.0).all()):
        raise ComponentError("a deviation is below zero or unknown", where=_WHERE)
    try:
        factor = np.linalg.cholesky(correlation)
    except np.linalg.LinAlgError as error:
        raise ComponentError(
            "the correlation matrix is not positive definite",
            where=_WHERE,
            hint="Pass it through repaired_correlation first",
        ) from error
    normals = rng.standard_normal((*shape, count))
    returns: Floats = means + (normals @ factor.T) * deviations
    return returns


def portfolio_risk(
    weights: Floats,
    deviations: Floats,
    correlation: FloatPanel,
    steps: int,
    rng: np.random.Generator,
    *,
    paths: int = 10_000,
) -> PortfolioRisk:
    """Return what a portfolio that is not traded can lose over some steps.

    Log returns are normal and without drift. The ends of the paths are spread evenly along the
    portfolio's own direction, which takes most of the noise out of its tail.

    Args:
        weights: of each asset, as a fraction of the equity; negative for a short (asset,).
        deviations: of the log return of one step (asset,).
        correlation: is repaired where it is not positive definite (asset, asset).
        steps: of each path.
        rng: all of the randomness.
        paths: how many.

    Raises:
        ComponentError: shapes do not fit, or a number is unknown.
    """
    if weights.shape != deviations.shape or not np.isfinite(weights).all():
        raise ComponentError(
            f"weights of {weights.shape} for {deviations.shape} assets, or unknown", where=_WHERE
        )
    repaired = repaired_correlation(correlation)
    covariance = repaired.matrix * np.outer(deviations, deviations)
    returns = correlated_returns(
        np.zeros(len(weights)), deviations, repaired.matrix, (steps, paths), rng
    )
    own = float(weights @ covariance @ weights)
    if own > 0.0:
        # Given where the portfolio ends, the rest of a path is as it was: tilt it there.
        ends = inverse_normal(spread_points(paths, rng)[0]) * np.sqrt(own * steps)
        missing = ends - returns.sum(axis=0) @ weights
        returns += (missing / steps)[:, None] * (covariance @ weights / own)
    equity = 1.0 + np.expm1(np.cumsum(returns, axis=0)) @ weights
    highs = np.maximum.accumulate(np.maximum(equity, 1.0), axis=0)
    losses = 1.0 - equity[-1]
    falls = (1.0 - equity / highs).max(axis=0)
    return PortfolioRisk(
        var_95=value_at_risk(losses, 0.95),
        var_99=value_at_risk(losses, 0.99),
        cvar_95=expected_shortfall(losses, 0.95),
        cvar_99=expected_shortfall(losses, 0.99),
        drawdown_median=float(np.quantile(falls, 0.5)),
        drawdown_95=float(np.quantile(falls, 0.95)),
        correlation=repaired,
    )


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
