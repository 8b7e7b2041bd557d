"""Averages and oscillators that several features share, seeded as in TA-Lib."""

from numba import njit


@njit(error_model="numpy", forceinline=True)
def smooth(previous: float, value: float, taken: float, window: float, weight: float) -> float:
    """Return an exponential average after one more value, seeded as TA-Lib seeds it.

    The mean of the first `window` values is the seed; from then on the average moves by `weight`
    of its distance to each value. Until then the result is the part of the seed gathered so far.

    Args:
        previous: the average before, 0 before the first value.
        value: the newest value.
        taken: number of values including this one; below 1, the value does not count yet.
        window: values in the seed.
        weight: 2 / (window + 1) for an EMA, 1 / window for Wilder's average.
    """
    share = weight if taken > window else 1.0 / window
    base = previous if taken > window else 0.0
    return previous + (share if taken >= 1.0 else 0.0) * (value - base)


@njit(error_model="numpy", forceinline=True)
def ema(previous: float, value: float, taken: float, window: float) -> float:
    """Return an exponential moving average after one more value; see `smooth`."""
    return smooth(previous, value, taken, window, 2.0 / (window + 1.0))


@njit(error_model="numpy", forceinline=True)
def wilder(previous: float, value: float, taken: float, window: float) -> float:
    """Return Wilder's average after one more value; see `smooth`."""
    return smooth(previous, value, taken, window, 1.0 / window)


@njit(error_model="numpy", forceinline=True)
def relative_strength(gain: float, loss: float) -> float:
    """Return 100 * gain / (gain + loss), and 0 where both are 0 (Wilder 1978; 0 as in TA-Lib)."""
    total = gain + loss
    return 100.0 * gain / total if total > 0.0 else 0.0


@njit(error_model="numpy", forceinline=True)
def true_range(high: float, low: float, previous_close: float) -> float:
    """Return the true range: the span of high, low and previous close (Wilder 1978)."""
    return max(high, previous_close) - min(low, previous_close)
