"""Model of returns without states: the baseline that regimes are judged against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.errors import ArtifactError

_HALF_LIVES: Final = (3.0, 6.0, 12.0, 24.0, 48.0, 96.0, 192.0, 384.0)
_WEIGHTS: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_DEGREES: Final = (3.0, 4.0, 6.0, 10.0, 30.0, 1000.0)
_ROUNDS: Final = 100
_SUM_TOLERANCE: Final = 1e-9
_ARRAYS: Final = ("shares", "means", "variances")
_NUMBERS: Final = ("usual_variance", "half_life", "weight")


@dataclass(frozen=True, slots=True)
class Stateless:
    """Distribution of the next return with volatility clustering and heavy tails, without states.

    The variance is a GARCH(1,1) whose long-run level is the variance of the training rows
    (variance targeting: Engle and Mezrich 1996)::

        variance = (1 - weight) * usual_variance + weight * mean of earlier squared returns

    where the weights of that mean halve every `half_life` rows. With a weight of 0 the variance is
    constant. A return divided by its deviation relative to the usual one follows a mixture of
    normals with fixed shares, one normal for each state, so tails are as heavy as with states.

    Attributes:
        usual_variance: variance of log returns over the training rows.
        half_life: half-life of the weights, rows.
        weight: weight of the recent variance, 0 to 1.
        shares: share of each normal (normal,).
        means: mean log return of each normal (normal,).
        variances: variance of each normal (normal,).
    """

    usual_variance: float
    half_life: float
    weight: float
    shares: Floats
    means: Floats
    variances: Floats

    def log_density(self, returns: Floats) -> Floats:
        """Return the log density of each return given the earlier ones; NaN where unknown."""
        recent = _recent_variance(returns, self.half_life, self.usual_variance)
        relative = 1.0 - self.weight + self.weight * recent / self.usual_variance
        scaled = returns / np.sqrt(relative)
        density = log_mixture(scaled, self.shares[None], self.means, self.variances)
        return density - 0.5 * np.log(relative)

    def to_document(self) -> dict[str, Any]:
        """Return the model as JSON values."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {**{name: getattr(self, name) for name in _NUMBERS}, **arrays}

    @classmethod
    def from_document(cls, document: object, where: str) -> "Stateless":
        """Parse a model from JSON values.

        Raises:
            ArtifactError: the values are damaged, or not a distribution.
        """
        if not isinstance(document, Mapping):
            raise ArtifactError(f"stateless is {document!r}, expected an object", where=where)
        try:
            usual, half_life, weight = (float(document[name]) for name in _NUMBERS)
            shares, means, variances = (np.array(document[n], np.float64) for n in _ARRAYS)
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"stateless cannot be parsed: {error}", where=where) from error
        model = cls(usual, half_life, weight, shares, means, variances)
        if not model._is_valid():
            raise ArtifactError("stateless is not a distribution of returns", where=where)
        return model

    def _is_valid(self) -> bool:
        arrays = (self.shares, self.means, self.variances)
        return bool(
            self.shares.ndim == 1
            and all(a.shape == self.shares.shape and np.isfinite(a).all() for a in arrays)
            and (self.shares >= 0.0).all()
            and abs(self.shares.sum() - 1.0) <= _SUM_TOLERANCE
            and (self.variances > 0.0).all()
            and 0.0 < self.usual_variance < np.inf
            and 0.0 < self.half_life < np.inf
            and 0.0 <= self.weight <= 1.0
        )


def log_mixture(returns: Floats, shares: FloatPanel, means: Floats, variances: Floats) -> Floats:
    """Return the log density of returns under a mixture of normals; NaN where unknown.

    Args:
        returns: log returns (rows,).
        shares: share of each normal, for each row or for all (rows or 1, normal).
        means: mean of each normal (normal,).
        variances: variance of each normal (normal,).
    """
    logs = _log_parts(returns, shares, means, variances)
    highest = logs.max(axis=1)
    density: Floats = highest + np.log(np.exp(logs - highest[:, None]).sum(axis=1))
    return density


def fit_stateless(
    returns: Floats, shares: Floats, means: Floats, variances: Floats, floor: float
) -> Stateless:
    """Return the stateless model of the training rows.

    Volatility is the likeliest of a grid under Student's t, whose tails keep single jumps from
    deciding. The mixture is fitted by expectation-maximisation, which starts from the states'
    normals in the shares of time spent there: at a constant volatility the model is at least as
    likely on these rows as the states in fixed shares.

    Args:
        returns: log returns of the training rows, NaN where unknown (rows,).
        shares: share of time in each state (state,).
        means: mean return in each state (state,).
        variances: variance of returns in each state (state,).
        floor: smallest variance of a normal, as a share of the total.
    """
    known = returns[np.isfinite(returns)]
    usual = float(np.var(known))
    half_life, weight = _volatility(returns, usual)
    recent = _recent_variance(returns, half_life, usual)
    scaled = returns / np.sqrt(1.0 - weight + weight * recent / usual)
    scaled = scaled[np.isfinite(scaled)]
    shares, means, variances = _mixture(scaled, (shares, means, variances), floor)
    return Stateless(usual, half_life, weight, shares, means, variances)


def _volatility(returns: Floats, usual: float) -> tuple[float, float]:
    """Return the likeliest half-life and weight of the recent variance, on a grid."""
    known = np.isfinite(returns)
    highest, best = -np.inf, (_HALF_LIVES[0], 0.0)
    for half_life in _HALF_LIVES:
        recent = _recent_variance(returns, half_life, usual)[known]
        for weight in _WEIGHTS:
            variance = (1.0 - weight) * usual + weight * recent
            likelihood = max(_student(returns[known], variance, degrees) for degrees in _DEGREES)
            if likelihood > highest:
                highest, best = likelihood, (half_life, weight)
    return best


def _student(returns: Floats, variance: Floats, degrees: float) -> float:
    """Return the mean log density of returns under Student's t with these variances."""
    from scipy.special import gammaln  # noqa: PLC0415  # slow to import, for training only

    scale = variance * (degrees - 2.0) / degrees
    peak = gammaln(0.5 * (degrees + 1.0)) - gammaln(0.5 * degrees)
    tail = 0.5 * (degrees + 1.0) * np.log1p(returns**2 / (degrees * scale))
    return float(np.mean(peak - 0.5 * np.log(np.pi * degrees * scale) - tail))


def _mixture(
    rows: Floats, start: tuple[Floats, Floats, Floats], floor: float
) -> tuple[Floats, Floats, Floats]:
    """Return shares, means and variances of a mixture, by expectation-maximisation."""
    shares, means, variances = start
    least = floor * float(np.var(rows))
    for _ in range(_ROUNDS):
        logs = _log_parts(rows, shares[None], means, variances)
        parts = np.exp(logs - logs.max(axis=1, keepdims=True))
        parts /= parts.sum(axis=1, keepdims=True)
        counts = np.maximum(parts.sum(axis=0), np.finfo(np.float64).tiny)
        shares = counts / counts.sum()
        means = (parts * rows[:, None]).sum(axis=0) / counts
        spread = (parts * np.square(rows[:, None] - means)).sum(axis=0) / counts
        variances = np.maximum(spread, least)
    return shares, means, variances


def _log_parts(returns: Floats, shares: FloatPanel, means: Floats, variances: Floats) -> FloatPanel:
    """Return the log of share times density of each normal (rows, normal)."""
    apart = np.square(returns[:, None] - means) / variances
    with np.errstate(divide="ignore"):
        logs: FloatPanel = np.log(shares) - 0.5 * (np.log(2.0 * np.pi * variances) + apart)
    return logs


@njit(cache=True, nogil=True, error_model="numpy")
def _recent_variance(returns: Floats, half_life: float, usual: float) -> Floats:
    """Return the weighted mean of squared returns before each row (rows,)."""
    decay = 0.5 ** (1.0 / half_life)
    recent, variance = usual, np.empty(len(returns))
    for row in range(len(returns)):
        variance[row] = recent
        if np.isfinite(returns[row]):
            recent = decay * recent + (1.0 - decay) * returns[row] ** 2
    return variance
