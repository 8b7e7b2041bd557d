"""Chances that one of two levels is reached first, from paths that all cells share."""

from dataclasses import dataclass
from functools import lru_cache
from math import sqrt
from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy.special import ndtri

from weft.foundation.arrays import FloatPanel, Floats
from weft_plugins.risks.monte_carlo.merton import Merton
from weft_plugins.risks.monte_carlo.mixtures import UNCERTAINTIES, mixed, mixed_chances
from weft_plugins.risks.monte_carlo.paths import (
    Singles,
    jumps_of,
    poisson_quantiles,
    spread_points,
)

LEVELS = 40
_NEAREST = 0.2
_FARTHEST = 8.0
_QUANTILES = (0.5, 0.95)

INTENSITIES = (0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256)
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
TILTS = (-1.0, -0.5, 0.0, 0.5, 1.0)

Shape: TypeAlias = tuple[int, int, int]
"""A point of the lattice: its index in `INTENSITIES`, in `SHARES` (of the variance that comes from
jumps) and in `TILTS` (mean of a jump over its deviation)."""

NO_JUMPS: Shape = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Table:
    """Ends, extremes and first passages of paths, for each of `UNCERTAINTIES`.

    Log returns of paths with a variance of 1 per step.

    Attributes:
        worst: the lowest ends, ascending: a twentieth of all paths and two (uncertainty, tail).
        best: the highest ends, ascending (uncertainty, tail).
        paths: number of paths.
        falls: median and 95 % quantile of the deepest fall from a high (uncertainty, 2).
        rises: the same quantiles of the highest rise from a low (uncertainty, 2).
        distances: of the levels from the start, ascending, above 0 (level,).
        down_first: share of paths that reach a level below before one above (uncertainty, level
            below, level above).
        up_first: share of paths that reach the level above first.
        both: share of paths that reach both for the first time within the same step, so that their
            order is unknown.
        wick_above: mean reach of a step above its start, over the mean distance of its end from its
            start; 1 without jumps, less with jumps, which come at the close.
        wick_below: the same below its start.
    """

    worst: FloatPanel
    best: FloatPanel
    paths: int
    falls: FloatPanel
    rises: FloatPanel
    distances: Floats
    down_first: Floats
    up_first: Floats
    both: Floats
    wick_above: float
    wick_below: float


def shape_model(shape: Shape) -> Merton:
    """Return the jump diffusion of a lattice point, of mean 0 and variance 1 per step."""
    intensity, share, tilt = INTENSITIES[shape[0]], SHARES[shape[1]], TILTS[shape[2]]
    if share == 0.0:
        return Merton(0.0, 1.0)
    deviation = sqrt(share / intensity / (1.0 + tilt**2))
    mean = tilt * deviation
    return Merton(-intensity * mean, sqrt(1.0 - share), intensity, mean, deviation)


def shapes_around(model: Merton) -> dict[Shape, float]:
    """Return the lattice points around a fit with their weights, which add up to 1.

    Weights are linear in the logarithm of the intensity and in the share of the variance; the
    closest tilt is taken. Fits beyond the lattice are moved to its edge.
    """
    share = model.intensity * (model.jump_mean**2 + model.jump_deviation**2) / model.cumulants[1]
    if share <= 0.0:
        return {NO_JUMPS: 1.0}
    rates, shares = np.log(INTENSITIES), np.array(SHARES)
    at_rate = float(np.interp(np.log(model.intensity), rates, np.arange(len(rates))))
    at_share = float(np.interp(share, shares, np.arange(len(shares))))
    tilt = int(np.abs(np.array(TILTS) - model.jump_mean / model.jump_deviation).argmin())
    weights: dict[Shape, float] = {}
    for rate, near_rate in _neighbours(at_rate, len(rates)):
        for place, near_share in _neighbours(at_share, len(shares)):
            # Jumps without a share in the variance are none, however often they come.
            shape = (rate, place, tilt) if place else NO_JUMPS
            weights[shape] = weights.get(shape, 0.0) + near_rate * near_share
    return {shape: weight for shape, weight in weights.items() if weight > 0.0}


def _neighbours(at: float, count: int) -> tuple[tuple[int, float], tuple[int, float]]:
    first = min(int(at), count - 2)
    return (first, 1.0 - (at - first)), (first + 1, at - first)


@lru_cache(maxsize=256)
def shape_table(shape: Shape, steps: int, paths: int, seed: int) -> Table:
    """Simulate the paths of a lattice point and return their ends, extremes and first passages.

    All points share the same normal steps (common random numbers), so that the figures of two cells
    differ only by their markets. Between two closes the highest and the lowest price are drawn
    from the Brownian bridge (Glasserman 2003, Monte Carlo Methods in Financial Engineering, 6.4),
    so that a level counts as reached when it is touched.
    """
    model = shape_model(shape)
    noise = _noise(steps, paths, seed)
    counts = poisson_quantiles(noise.chances, model.intensity * steps)
    rng = np.random.default_rng([seed, 1, *shape])
    _, where, sizes = jumps_of(model, counts, noise.sums, steps, rng)
    distances = np.geomspace(_NEAREST, _FARTHEST * sqrt(steps), LEVELS)
    ends, falls, rises = (np.empty(paths) for _ in range(3))
    counted, reach = np.zeros((3, LEVELS, LEVELS)), np.zeros(3)
    _walk_paths(
        noise.normals,
        noise.highs,
        noise.lows,
        np.concatenate([[0], np.cumsum(counts)]),
        where,
        sizes,
        model.mean,
        model.deviation,
        distances,
        ends,
        falls,
        rises,
        counted,
        reach,
    )
    tail = min(paths, paths // 20 + 2)
    ordered, deepest, highest = (_mixed_by_uncertainty(depths) for depths in (ends, falls, rises))
    down, up, both = (
        np.stack([mixed_chances(panel, distances, float(u)) for u in UNCERTAINTIES])
        for panel in counted / paths
    )
    return Table(
        worst=ordered[:, :tail].copy(),
        best=ordered[:, -tail:].copy(),
        paths=paths,
        falls=np.quantile(deepest, _QUANTILES, axis=1).T,
        rises=np.quantile(highest, _QUANTILES, axis=1).T,
        distances=distances,
        down_first=down,
        up_first=up,
        both=both,
        wick_above=float(reach[0] / reach[2]),
        wick_below=float(reach[1] / reach[2]),
    )


def _mixed_by_uncertainty(depths: Floats) -> FloatPanel:
    return np.stack([mixed(depths, float(uncertainty)) for uncertainty in UNCERTAINTIES])


@dataclass(frozen=True, slots=True)
class _Noise:
    """Random numbers that all lattice points share.

    Attributes:
        normals: steps of each path; their sums are spread evenly (path, step).
        highs: exponentials that lift the highest price between two closes (path, step).
        lows: exponentials that lower the lowest price (path, step).
        chances: quantile of each path's number of jumps (path,).
        sums: standard normals for the sum of each path's jumps (path,).
    """

    normals: Singles
    highs: Singles
    lows: Singles
    chances: Floats
    sums: Floats


@lru_cache(maxsize=2)
def _noise(steps: int, paths: int, seed: int) -> _Noise:
    rng = np.random.default_rng([seed, 0])
    points = spread_points(paths, rng)
    normals = rng.standard_normal((paths, steps), dtype=np.float32)
    tilt = ndtri(points[0]) * sqrt(steps) - normals.sum(axis=1, dtype=np.float64)
    normals += (tilt / steps).astype(np.float32)[:, None]
    highs, lows = rng.standard_exponential((2, paths, steps), dtype=np.float32)
    return _Noise(normals, highs, lows, points[1], ndtri(points[2]))


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(
    reached: NDArray[np.int64], following: int, distances: Floats, depth: float, when: int
) -> int:
    """Record the time at which levels are first reached; return the first level not reached."""
    while following < len(distances) and depth >= distances[following]:
        reached[following] = when
        following += 1
    return following


@njit(cache=True, nogil=True, error_model="numpy")
def _count(
    below: NDArray[np.int64],
    above: NDArray[np.int64],
    reached_below: int,
    reached_above: int,
    counted: Floats,
) -> None:
    """Count one path for every pair of levels; those never reached share a time after all."""
    for d in range(reached_below):
        for u in range(len(above)):
            if below[d] < above[u]:
                counted[0, d, u] += 1.0
            elif below[d] == above[u]:
                counted[2, d, u] += 1.0
    for u in range(reached_above):
        for d in range(len(below)):
            if above[u] < below[d]:
                counted[1, d, u] += 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _walk_paths(  # noqa: PLR0913, PLR0917  # numba passes no objects
    normals: Singles,
    highs: Singles,
    lows: Singles,
    begins: NDArray[np.int64],
    where: NDArray[np.int64],
    sizes: Singles,
    mean: float,
    deviation: float,
    distances: Floats,
    ends: Floats,
    falls: Floats,
    rises: Floats,
    counted: Floats,
    reach: Floats,
) -> None:
    """Fill the ends and extremes of paths, and count which levels they reach first.

    `reach` sums how far steps reach above and below their starts, and how far they end from them.
    """
    paths, steps = normals.shape
    levels = len(distances)
    never = 2 * steps + 2
    jump = np.zeros(steps)
    below, above = np.empty(levels, dtype=np.int64), np.empty(levels, dtype=np.int64)
    variance = deviation * deviation
    for p in range(paths):
        jump[:] = 0.0
        for k in range(begins[p], begins[p + 1]):
            jump[where[k]] += sizes[k]
        below[:] = never
        above[:] = never
        at, high, low, fall, rise = 0.0, 0.0, 0.0, 0.0, 0.0
        next_below, next_above = 0, 0
        for step in range(steps):
            to = at + mean + deviation * normals[p, step]
            apart = (to - at) * (to - at)
            top = 0.5 * (at + to + sqrt(apart + 2.0 * variance * highs[p, step]))
            bottom = 0.5 * (at + to - sqrt(apart + 2.0 * variance * lows[p, step]))
            # The order of top and bottom within a step is unknown: neither counts from the other.
            fall = max(fall, high - bottom, top - to)
            rise = max(rise, top - low, to - bottom)
            next_below = _mark(below, next_below, distances, -bottom, 2 * step)
            next_above = _mark(above, next_above, distances, top, 2 * step)
            # A jump comes at the close.
            start, at = at, to + jump[step]
            reach[0] += max(top, at) - start
            reach[1] += start - min(bottom, at)
            reach[2] += abs(at - start)
            high, low = max(high, top, at), min(low, bottom, at)
            fall, rise = max(fall, high - at), max(rise, at - low)
            next_below = _mark(below, next_below, distances, -at, 2 * step + 1)
            next_above = _mark(above, next_above, distances, at, 2 * step + 1)
        ends[p], falls[p], rises[p] = at, fall, rise
        _count(below, above, next_below, next_above, counted)
