"""Expected volatility, and the uncertainty of that expectation."""

from math import pi, sqrt

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats

TYPICAL_UNCERTAINTY = 0.35
"""Uncertainty for a day of hourly crypto: the volatility is often off by a factor of 1.4."""

_WORTH_HORIZONS = 10.0
_LEAST_SHARE = 0.25


def expected_volatility(short: FloatPanel, long_variance: FloatPanel) -> FloatPanel:
    """Return the volatility expected after each row (row, symbol).

    Its variance is halfway between the recent and the long-run variance: volatility clusters, and
    then returns to its usual level (Corsi 2009, A simple approximate long-memory model of
    realized volatility; with equal weights, as estimated ones change from year to year).

    Args:
        short: recent volatility; NaN where unknown (time, symbol).
        long_variance: see `long_run_variance`; ends on the same row as `short` (time, symbol).
    """
    rows = min(len(short), len(long_variance))
    now, usual = short[-rows:], long_variance[-rows:]
    return np.where(np.isnan(usual), now, np.sqrt(0.5 * (now**2 + usual)))


def long_run_variance(change: FloatPanel, index: int, block: int, blocks: int) -> FloatPanel:
    """Return the mean square of the long run's log returns, as known at each row (time, symbol).

    Args:
        change: log returns of candles, NaN where there is none (time, symbol).
        index: calendar index of the last row.
        block: candles in a block of the calendar.
        blocks: number of blocks.
    """
    return long_run_mean(change * change, index, block, blocks)


@njit(cache=True, nogil=True, error_model="numpy")
def long_run_mean(values: FloatPanel, index: int, block: int, blocks: int) -> FloatPanel:
    """Return the mean over the latest finished blocks of the calendar (time, symbol).

    Sums are taken block by block, so that the last digits do not depend on the number of rows. A
    younger market has the mean of its known values; NaN where none is known.

    Args:
        values: one for each candle, NaN where there is none (time, symbol).
        index: calendar index of the last row.
        block: candles in a block; blocks end at indices that are multiples of it.
        blocks: number of blocks.
    """
    rows, columns = values.shape
    first = -((rows - 1 - index) // block)
    sums = np.zeros((rows // block + 2, columns))
    known = np.zeros((rows // block + 2, columns))
    means = np.full((rows, columns), np.nan)
    for i in range(rows):
        place = index - (rows - 1 - i)
        for c in range(columns):
            if np.isfinite(values[i, c]):
                # Rounded up: a block ends at its last candle.
                at = -(-place // block) - first
                sums[at, c] += values[i, c]
                known[at, c] += 1.0
    for i in range(rows):
        place = index - (rows - 1 - i)
        if i > 0 and place % block != 0:
            means[i] = means[i - 1]
            continue
        last = place // block - first
        for c in range(columns):
            total, count = 0.0, 0.0
            for at in range(max(0, last - blocks + 1), last + 1):
                total += sums[at, c]
                count += known[at, c]
            if count > 0.0:
                means[i, c] = total / count
    return means


def uncertainty_of(change: Floats, volatility: Floats, horizon: int) -> float:
    """Return the deviation of the logarithm of realised over expected volatility.

    It is estimated over all horizons within the rows, less the variance that normal returns of a
    constant volatility would show by chance. Jumps are not removed: most extreme real returns come
    in clusters, and where they do not, tails are a little too wide. With few horizons the variance
    is mixed with `TYPICAL_UNCERTAINTY` squared, which counts as much as ten horizons.

    Args:
        change: log returns of candles, NaN where there is none (time,).
        volatility: expected at each row of the following return (time,).
        horizon: candles.
    """
    noise = _chance_variances(horizon)
    count, variance = _spread_of(change, volatility, horizon, noise, _LEAST_SHARE * horizon)
    horizons = count / horizon
    typical = TYPICAL_UNCERTAINTY**2
    # The variance of a log volatility is a quarter of that of the log variance.
    mixed = 0.25 * max(variance, 0.0) * horizons + typical * _WORTH_HORIZONS
    return sqrt(mixed / (horizons + _WORTH_HORIZONS))


def _chance_variances(most: int) -> Floats:
    """Return the variance of the log of a mean of n squared normals, for n from 0 to `most`.

    It is the trigamma function at n / 2, by its recurrence (Abramowitz and Stegun 6.4.6).
    """
    variances = np.zeros(most + 1)
    for count in range(1, most + 1):
        if count <= 2:
            variances[count] = pi**2 / 2.0 if count == 1 else pi**2 / 6.0
        else:
            variances[count] = variances[count - 2] - 1.0 / (0.5 * count - 1.0) ** 2
    return variances


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_of(
    change: Floats, volatility: Floats, horizon: int, noise: Floats, fewest: float
) -> tuple[int, float]:
    """Return the number of horizons, and the variance of log variances less the noise."""
    squares, known = 0.0, 0
    count, total, total_squares, by_chance = 0, 0.0, 0.0, 0.0
    for i in range(1, len(change)):
        if np.isfinite(change[i]):
            squares += change[i] * change[i]
            known += 1
        if i > horizon and np.isfinite(change[i - horizon]):
            squares -= change[i - horizon] * change[i - horizon]
            known -= 1
        if i < horizon or known < fewest:
            continue
        before = volatility[i - horizon]
        if not (squares > 0.0 and before > 0.0):
            continue
        apart = np.log(squares / known / (before * before))
        count += 1
        total += apart
        total_squares += apart * apart
        by_chance += noise[known]
    if count == 0:
        return 0, 0.0
    mean = total / count
    return count, total_squares / count - mean * mean - by_chance / count
