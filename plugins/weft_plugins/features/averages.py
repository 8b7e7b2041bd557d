"""Averages and oscillators that several steps share."""

from numba import njit


@njit(error_model="numpy", forceinline=True)
def smooth(previous: float, value: float, taken: float, window: float, weight: float) -> float:
    """Return an exponential average after one more value, seeded as TA-Lib seeds it.

    The mean of the first `window` values is the seed; from then on the average moves by `weight`
    of its distance to each value. While the seed is gathered the result is a part of it.

    Args:
        previous: the average before, 0 before the first value.
        value: the newest value.
        taken: values taken including this one; below 1, the value does not count yet.
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
    """Return 100 * gain / (gain + loss), and 0 where neither happened."""
    total = gain + loss
    return 100.0 * gain / total if total > 0.0 else 0.0


@njit(error_model="numpy", forceinline=True)
def true_range(high: float, low: float, previous_close: float) -> float:
    """Return how far price went since the previous close (Wilder 1978)."""
    return max(high, previous_close) - min(low, previous_close)
