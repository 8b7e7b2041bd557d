"""Simulated losses of a portfolio: correlated normal returns, losses, and their contributions.

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
from weft_plugins.risks.portfolio.correlations import RepairedCorrelation, repaired_correlation

_WHERE = "portfolio risk"
_AT_ONCE = 2_000_000

LEVELS = (0.95, 0.99)
"""Confidence levels of the value at risk and of the expected shortfall."""

CONTRIBUTION_LEVEL = 0.95
"""Confidence level of the expected shortfall that contributions add up to."""

_DRAWDOWNS = (0.5, 0.95)


@dataclass(frozen=True, slots=True)
class SimulatedLosses:
    """Losses of a portfolio over a horizon, as fractions of the equity.

    Attributes:
        value_at_risk: by confidence level.
        expected_shortfall: by confidence level.
        drawdown: deepest fall from a high over the paths, by probability: 0.5 for its median.
        contributions: of each asset to the expected shortfall at `CONTRIBUTION_LEVEL`: its mean
            loss on the paths that make it up, negative for a hedge (asset,). They add up to it.
        correlation: the matrix that paths were drawn from.
    """

    value_at_risk: Mapping[float, float]
    expected_shortfall: Mapping[float, float]
    drawdown: Mapping[float, float]
    contributions: Floats
    correlation: RepairedCorrelation


def correlated_returns(
    means: Floats,
    deviations: Floats,
    correlation: FloatPanel,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> Floats:
    """Return correlated normal log returns (step, path, asset), by a Cholesky factor.

    Args:
        means: mean log return of one step (asset,).
        deviations: deviation of the log return of one step (asset,).
        correlation: positive definite; see `repaired_correlation`.
        shape: number of steps and of paths.
        rng: source of all random numbers.

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


def simulated_losses(
    weights: Floats,
    deviations: Floats,
    correlation: FloatPanel,
    steps: int,
    rng: np.random.Generator,
    *,
    paths: int = 10_000,
) -> SimulatedLosses:
    """Return the losses of a portfolio that is not traded over a number of steps.

    Log returns are normal and without drift. The ends of the paths are spread evenly along the
    portfolio's direction, which removes most of the noise from its tail; across that direction each
    path has a mirror image, which does the same for the contributions of assets that hedge each
    other.

    Args:
        weights: fraction of the equity in each asset; negative for a short (asset,).
        deviations: deviation of the log return of one step (asset,).
        correlation: repaired where it is not positive definite (asset, asset).
        steps: of each path.
        rng: source of all random numbers.
        paths: number of paths; rounded up to an even number.

    Raises:
        ComponentError: shapes do not fit, a number is unknown, or a position is so large that its
            losses are no finite numbers.
    """
    if weights.shape != deviations.shape or not np.isfinite(weights).all():
        raise ComponentError(
            f"weights of {weights.shape} for {deviations.shape} assets, or unknown", where=_WHERE
        )
    repaired = repaired_correlation(correlation)
    # `_expect_finite` refuses an overflow below, and names the position it comes from.
    with np.errstate(over="ignore", invalid="ignore"):
        losses, falls = _simulated(
            weights, deviations, repaired.matrix, steps, (paths + 1) // 2, rng
        )
    _expect_finite(losses, falls, weights)
    total = losses.sum(axis=1)
    return SimulatedLosses(
        value_at_risk={level: value_at_risk(total, level) for level in LEVELS},
        expected_shortfall={level: expected_shortfall(total, level) for level in LEVELS},
        drawdown={share: float(np.quantile(falls, share)) for share in _DRAWDOWNS},
        contributions=_contributions(losses, total, CONTRIBUTION_LEVEL),
        correlation=repaired,
    )


def shock_losses(weights: Floats, bitcoin: BoolPanel) -> Mapping[str, float]:
    """Return the loss of a portfolio if a past fall of the market came again, by its name.

    Fractions of the equity; negative for a gain. Every asset but Bitcoin falls as far as the
    typical other coin did, stablecoins and stocks included.

    Args:
        weights: fraction of the equity in each asset; negative for a short (asset,).
        bitcoin: whether the asset is Bitcoin (asset,).

    Raises:
        ComponentError: a position is so large that its losses are no finite numbers.
    """
    lost = {}
    for shock in SHOCKS:
        with np.errstate(over="ignore", invalid="ignore"):
            losses = -weights * np.where(bitcoin, shock.bitcoin, shock.others)
            total = losses.sum()
        _expect_finite(losses[None], np.array([total]), weights)
        # Adding 0 turns minus zero into zero.
        lost[shock.name] = float(total) + 0.0
    return lost


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
    variance = float(weights @ covariance @ weights)
    along = covariance @ weights / variance if variance > 0.0 else np.zeros_like(weights)
    ends = ndtri(spread_points(pairs, rng)[0]) * np.sqrt(max(variance, 0.0) * steps)
    losses, falls = [], []
    # In parts: the paths of many assets would not fit into memory together.
    for part in np.array_split(ends, -(-pairs * steps * len(weights) // _AT_ONCE)):
        shape = (steps, len(part))
        drawn = correlated_returns(np.zeros(len(weights)), deviations, correlation, shape, rng)
        for returns in (drawn, -drawn):
            # Tilting a normal path moves its end and leaves the rest, given the end, as it was.
            missing = part - returns.sum(axis=0) @ weights
            tilted = returns + (missing / steps)[:, None] * along
            growth = np.expm1(np.cumsum(tilted, axis=0))
            equity = 1.0 + growth @ weights
            highs = np.maximum.accumulate(np.maximum(equity, 1.0), axis=0)
            losses.append(-growth[-1] * weights)
            falls.append((1.0 - equity / highs).max(axis=0))
    return np.concatenate(losses), np.concatenate(falls)


def _contributions(losses: FloatPanel, total: Floats, level: float) -> Floats:
    """Return each asset's part in the expected shortfall: its mean loss on the worst paths.

    This is the Euler allocation (Tasche 1999, Risk contributions and performance measurement,
    section 6): the derivative by the size of the position times that size.
    """
    at = quantile_index(len(total), level)
    worst = losses[np.argsort(total, kind="stable")[at:]]
    share = (1.0 - level) * len(total)
    parts: Floats = (worst[1:].sum(axis=0) + (share - len(worst) + 1) * worst[0]) / share
    return parts


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
