"""Portfolios: correlation matrices put right, correlated paths, and what they can lose together.

Matrix products are in place here: a figure is one of the whole portfolio, so there are no rows that
must not depend on each other, and none of the figures stands in a signal.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft.foundation.errors import ComponentError
from weft_plugins.risks.monte_carlo.paths import spread_points
from weft_plugins.risks.monte_carlo.shocks import SHOCKS
from weft_plugins.risks.monte_carlo.tails import expected_shortfall, quantile_index, value_at_risk

_WHERE = "portfolio risk"
_LEAST_EIGENVALUE = 1e-8
_TOLERANCE = 1e-12
_ROUNDS = 1000
_AT_ONCE = 2_000_000


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
        contributions: of each asset to `cvar_95`: its mean loss on the paths that make it up,
            below zero for a hedge (asset,). They add up to `cvar_95`.
        correlation: the matrix that was drawn from.
    """

    var_95: float
    var_99: float
    cvar_95: float
    cvar_99: float
    drawdown_median: float
    drawdown_95: float
    contributions: Floats
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
    portfolio's own direction, which takes most of the noise out of its tail; across it, each path
    has a mirror image, which does the same for the contributions of assets that hedge each other.

    Args:
        weights: of each asset, as a fraction of the equity; negative for a short (asset,).
        deviations: of the log return of one step (asset,).
        correlation: is repaired where it is not positive definite (asset, asset).
        steps: of each path.
        rng: all of the randomness.
        paths: how many; rounded up to an even number.

    Raises:
        ComponentError: shapes do not fit, a number is unknown, or a position is so large that its
            losses are no finite numbers.
    """
    if weights.shape != deviations.shape or not np.isfinite(weights).all():
        raise ComponentError(
            f"weights of {weights.shape} for {deviations.shape} assets, or unknown", where=_WHERE
        )
    repaired = repaired_correlation(correlation)
    # What does not fit into a number is refused below, with the position it comes from.
    with np.errstate(over="ignore", invalid="ignore"):
        losses, falls = _simulated(
            weights, deviations, repaired.matrix, steps, (paths + 1) // 2, rng
        )
    _expect_finite(losses, falls, weights)
    total = losses.sum(axis=1)
    return PortfolioRisk(
        var_95=value_at_risk(total, 0.95),
        var_99=value_at_risk(total, 0.99),
        cvar_95=expected_shortfall(total, 0.95),
        cvar_99=expected_shortfall(total, 0.99),
        drawdown_median=float(np.quantile(falls, 0.5)),
        drawdown_95=float(np.quantile(falls, 0.95)),
        contributions=_contributions(losses, total, 0.95),
        correlation=repaired,
    )


def shock_losses(weights: Floats, bitcoin: BoolPanel) -> Mapping[str, float]:
    """Return what a portfolio loses if a fall of the market in the past came again, by its name.

    Fractions of the equity; below zero for a gain. Every asset but Bitcoin falls as far as the
    typical other coin did, stablecoins and stocks included.

    Args:
        weights: of each asset, as a fraction of the equity; negative for a short (asset,).
        bitcoin: which of them are Bitcoin (asset,).

    Raises:
        ComponentError: a position is so large that its losses are no finite numbers.
    """
    found = {}
    for shock in SHOCKS:
        with np.errstate(over="ignore", invalid="ignore"):
            losses = -weights * np.where(bitcoin, shock.bitcoin, shock.others)
            total = losses.sum()
        _expect_finite(losses[None], np.array([total]), weights)
        found[shock.name] = float(total) + 0.0
    return found


def _simulated(
    weights: Floats,
    deviations: Floats,
    correlation: FloatPanel,
    steps: int,
    pairs: int,
    rng: np.random.Generator,
) -> tuple[FloatPanel, Floats]:
    """Return the loss of each asset (path, asset), and the portfolio's deepest fall (path,)."""
    covariance = correlation * np.outer(deviations, deviations)
    own = float(weights @ covariance @ weights)
    along = covariance @ weights / own if own > 0.0 else np.zeros_like(weights)
    ends = ndtri(spread_points(pairs, rng)[0]) * np.sqrt(max(own, 0.0) * steps)
    losses, falls = [], []
    # A part at a time: all paths of many assets would not fit into memory.
    for some in np.array_split(ends, -(-pairs * steps * len(weights) // _AT_ONCE)):
        shape = (steps, len(some))
        drawn = correlated_returns(np.zeros(len(weights)), deviations, correlation, shape, rng)
        for returns in (drawn, -drawn):
            # Given where the portfolio ends, the rest of a path is as it was: tilt it there.
            missing = some - returns.sum(axis=0) @ weights
            tilted = returns + (missing / steps)[:, None] * along
            growth = np.expm1(np.cumsum(tilted, axis=0))
            equity = 1.0 + growth @ weights
            highs = np.maximum.accumulate(np.maximum(equity, 1.0), axis=0)
            losses.append(-growth[-1] * weights)
            falls.append((1.0 - equity / highs).max(axis=0))
    return np.concatenate(losses), np.concatenate(falls)


def _contributions(losses: FloatPanel, total: Floats, level: float) -> Floats:
    """Return each asset's part in the expected shortfall, by the paths that make it up.

    The derivative by the size of the position times that size, which for a figure that grows with
    the portfolio adds up to the whole (Tasche 1999, Risk contributions and performance
    measurement, section 6).
    """
    at = quantile_index(len(total), level)
    worst = losses[np.argsort(total, kind="stable")[at:]]
    share = (1.0 - level) * len(total)
    found: Floats = (worst[1:].sum(axis=0) + (share - len(worst) + 1) * worst[0]) / share
    return found


def _expect_finite(losses: FloatPanel, falls: Floats, weights: Floats) -> None:
    if np.isfinite(losses).all() and np.isfinite(falls).all():
        return
    largest = int(np.abs(weights).argmax())
    raise ComponentError(
        f"losses are no finite numbers; the largest position, number {largest + 1} of "
        f"{len(weights)}, is {weights[largest]:g} times the equity",
        where=_WHERE,
        hint="Make that position smaller",
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
