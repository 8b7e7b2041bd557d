"""Paths of uncertain volatility: mixtures of the same paths at different volatilities."""

from functools import lru_cache
from math import exp

import numpy as np
from numba import njit
from scipy.special import ndtri

from weft.foundation.arrays import FloatPanel, Floats

UNCERTAINTIES = np.array([0.0, 0.175, 0.35, 0.525, 0.7])
"""Deviations of the logarithm of the volatility that paths are mixed for."""

_GOLDEN = 0.5 * (5.0**0.5 - 1.0)
_NODES = 9


def mixed(depths: Floats, uncertainty: float) -> Floats:
    """Return path depths where each path draws its volatility, ascending (path,).

    By the mixing theorem (Hull and White 1987, The pricing of options on assets with stochastic
    volatilities): where volatility is independent of the price, the return over a horizon is that
    of a constant volatility, mixed over the distribution of the mean square volatility, which is
    lognormal with mean 1 here. Depths and volatilities are independent: the points of a
    golden-ratio lattice pair them evenly.

    Args:
        depths: of the paths at a volatility of 1, in any order (path,).
        uncertainty: deviation of the logarithm of the volatility, 0 or more.
    """
    ordered = np.sort(depths)
    if uncertainty == 0.0:
        return ordered
    return np.sort(ordered * _volatilities(len(ordered), uncertainty))


@lru_cache(maxsize=16)
def _volatilities(count: int, uncertainty: float) -> Floats:
    shares = np.asarray((np.arange(count) * _GOLDEN + 0.5 / count) % 1.0, dtype=np.float64)
    scales: Floats = np.exp(uncertainty * ndtri(shares) - uncertainty**2)
    return scales


def mixed_chances(chances: FloatPanel, distances: Floats, uncertainty: float) -> FloatPanel:
    """Return the chances of reaching levels where each path draws its volatility.

    By Gauss-Hermite quadrature: at twice the volatility a level is half as far, in deviations.

    Args:
        chances: at a volatility of 1 (level below, level above).
        distances: of the levels, evenly spaced in their logarithm (level,).
        uncertainty: deviation of the logarithm of the volatility, 0 or more.
    """
    if uncertainty == 0.0:
        return chances
    nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
    below, above = (side.ravel() for side in np.meshgrid(distances, distances, indexing="ij"))
    certain = np.zeros(len(below))
    total = np.zeros(len(below))
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        scale = exp(uncertainty * node - uncertainty**2)
        total += weight * look_up(chances[None], distances, below / scale, above / scale, certain)
    return total.reshape(chances.shape)


@njit(cache=True, nogil=True, error_model="numpy")
def look_up(
    table: Floats, distances: Floats, below: Floats, above: Floats, uncertainty: Floats
) -> Floats:
    """Interpolate a table, linearly in the logarithm of the distances and in the uncertainty.

    Beyond the first and the last level the value of that level is returned; NaN where a distance is
    NaN.

    Args:
        table: (uncertainty, level below, level above); the first few of `UNCERTAINTIES`.
        distances: of the levels, evenly spaced in their logarithm (level,).
        below: distance of the lower level from the start (cell,).
        above: distance of the upper level from the start (cell,).
        uncertainty: deviation of the logarithm of the volatility (cell,).
    """
    values = np.empty(len(below))
    last = len(distances) - 1
    first = np.log(distances[0])
    apart = (np.log(distances[last]) - first) / last
    for i in range(len(below)):
        if not (below[i] > 0.0 and above[i] > 0.0):
            values[i] = np.nan
            continue
        y = min(max((np.log(below[i]) - first) / apart, 0.0), float(last))
        x = min(max((np.log(above[i]) - first) / apart, 0.0), float(last))
        row, column = min(int(y), last - 1), min(int(x), last - 1)
        y -= row
        x -= column
        which, share = place(uncertainty[i], len(table))
        value = 0.0
        for k, part in ((which, 1.0 - share), (which + 1, share)):
            if part > 0.0:
                panel = table[k]
                lower = panel[row, column] * (1.0 - x) + panel[row, column + 1] * x
                upper = panel[row + 1, column] * (1.0 - x) + panel[row + 1, column + 1] * x
                value += part * (lower * (1.0 - y) + upper * y)
        values[i] = value
    return values


@njit(cache=True, nogil=True, error_model="numpy")
def place(uncertainty: float, count: int) -> tuple[int, float]:
    """Return the grid index at or below an uncertainty, and its share of the way to the next."""
    last = count - 1
    at = min(max(uncertainty / UNCERTAINTIES[1], 0.0), float(last))
    which = min(int(at), max(last - 1, 0))
    return which, at - which
