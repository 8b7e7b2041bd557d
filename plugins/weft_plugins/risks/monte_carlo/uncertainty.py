"""How wide prices are expected to move, and how far off that has been."""

from math import pi, sqrt

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats

TYPICAL_UNCERTAINTY = 0.35
"""Of a day of hourly crypto: volatility turns out 1.4 times what was expected, or less, or more."""

_WORTH_HORIZONS = 10.0
_LEAST_SHARE = 0.25


def expected_volatility(short: FloatPanel, long_variance: FloatPanel) -> FloatPanel:
    """Return the volatility to expect of the candles after each row (row, symbol).

    The variance halfway between those of now and of the long run, for volatility comes in clusters
    and then returns to what is usual (Corsi 2009, A simple approximate long-memory model of
    realized volatility; with equal weights, as estimated ones change from year to year).

    Args:
        short: volatility of now; NaN where unknown (time, symbol).
        long_variance: see `long_run_variance`; the latest row is that of `short` (time, symbol).
    """
    rows = min(len(short), len(long_variance))
    now, usual = short[-rows:], long_variance[-rows:]
    return np.where(np.isnan(usual), now, np.sqrt(0.5 * (now**2 + usual)))


def long_run_variance(change: FloatPanel, index: int, block: int, blocks: int) -> FloatPanel:
    """Return the mean square of the log returns of the long run, as known at each row.

    Args:
        change: log returns of candles, NaN where there is none (time, symbol).
        index: place of the last row in the calendar.
        block: candles in a block of it.
        blocks: how many.
    """
    return long_run_mean(change * change, index, block, blocks)


@njit(cache=True, nogil=True, error_model="numpy")
def long_run_mean(values: FloatPanel, index: int, block: int, blocks: int) -> FloatPanel:
    """Return the mean of the long run, as known at each row (time, symbol).

    Of as many blocks of the calendar, up to the latest that has ended; summed block by block, so
    that the last digits do not depend on how many rows there are. Of a market that is younger, what
    is known; NaN where nothing is.

    Args:
        values: one for each candle, NaN where there is none (time, symbol).
        index: place of the last row in the calendar.
        block: candles in a block; it ends at places that are multiples of it.
        blocks: how many.
    """
    rows, columns = values.shape
    first = -((rows - 1 - index) // block)
    sums = np.zeros((rows // block + 2, columns))
    known = np.zeros((rows // block + 2, columns))
    found = np.full((rows, columns), np.nan)
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
            found[i] = found[i - 1]
            continue
        last = place // block - first
        for c in range(columns):
            total, count = 0.0, 0.0
            for at in range(max(0, last - blocks + 1), last + 1):
                total += sums[at, c]
                count += known[at, c]
            if count > 0.0:
                found[i, c] = total / count
    return found


def uncertainty_of(change: Floats, volatility: Floats, horizon: int) -> float:
    """Return by how much the volatility over a horizon differs from what was expected of it.

    The deviation of the logarithm of realised over expected volatility, over all horizons that lie
    within the rows, less what normal returns of a constant volatility would show by chance. Jumps
    are not taken off: in real returns most of what is far out comes in clusters, and where it does
    not, tails are told a little too wide. With few horizons it is mixed, as a variance, with that
    typical of a day of hourly crypto, which counts as much as ten horizons.

    Args:
        change: log returns of candles, NaN where there is none (time,).
        volatility: expected at each row of the following return (time,).
        horizon: candles.
    """
    noise = _chance_variances(horizon)
    count, variance = _spread_of(change, volatility, horizon, noise, _LEAST_SHARE * horizon)
    horizons = count / horizon
    typical = TYPICAL_UNCERTAINTY**2
    # The logarithm of a volatility varies by a quarter of what that of its square does.
    mixed = 0.25 * max(variance, 0.0) * horizons + typical * _WORTH_HORIZONS
    return sqrt(mixed / (horizons + _WORTH_HORIZONS))


def _chance_variances(most: int) -> Floats:
    """Return how the log of a mean of so many squared normals varies, 0 to `most` (count,).

    The trigamma function at half of them, by its recurrence.
    """
    found = np.zeros(most + 1)
    for count in range(1, most + 1):
        if count <= 2:
            found[count] = pi**2 / 2.0 if count == 1 else pi**2 / 6.0
        else:
            found[count] = found[count - 2] - 1.0 / (0.5 * count - 1.0) ** 2
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _spread_of(
    change: Floats, volatility: Floats, horizon: int, noise: Floats, fewest: float
) -> tuple[int, float]:
    """Return how many horizons there are, and the variance of log variances less the noise."""
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
