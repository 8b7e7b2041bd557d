"""Arithmetic shared by the steps: sums that slide without drifting, and a portable logarithm.

A window that slides by adding the newest value and subtracting the oldest collects rounding
errors, and a spike that leaves it takes the small digits of everything else along. The sums here
carry the error of each addition beside the total (Knuth 1969, TAOCP 2, 4.2.2, theorem B), which
gives them twice the digits of a float64: a window's sum then depends only on the values in it.
"""

from math import floor, inf, nan
from typing import Any

import numpy as np
from numba import njit
from numba import types as numba_types
from numba.extending import intrinsic

from weft.foundation.arrays import Floats

SUM_CELLS = 3
"""State cells `slide_sum` needs beside one per candle of the window."""

MOMENT_CELLS = 5
"""State cells `slide_moments` needs beside one per candle of the window."""

_NO_SPREAD = 1e-28  # a deviation of 1e-14 of the values: less than float64 prices can carry
_LN2 = 0.6931471805599453
_MANTISSA = 52  # bits of a float64 below its exponent
_HALF = 1 << 51
_BIAS = 1023


@njit(error_model="numpy", forceinline=True)
def ring_slot(seen: float, window: float) -> int:
    """Return the slot, in a ring of `window` values, of the candle that follows `seen` others."""
    return int(seen - window * floor(seen / window))


@njit(error_model="numpy", forceinline=True)
def two_sum(a: float, b: float) -> tuple[float, float]:
    """Return a + b and its exact rounding error (Knuth's two-sum)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def _fma(_typing: Any, _a: Any, _b: Any, _c: Any) -> Any:  # noqa: ANN401  # numba's types
    number = numba_types.float64

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:  # noqa: ANN401  # numba publishes no types
        return builder.fma(*arguments)

    return number(number, number, number), generate


fma: Any = intrinsic(_fma)
"""``fma(a, b, c)``: a * b + c, rounded once."""


@njit(error_model="numpy", forceinline=True)
def two_product(a: float, b: float) -> tuple[float, float]:
    """Return a * b and its exact rounding error (Dekker's product, by fma)."""
    product = a * b
    return product, fma(a, b, -product)


@njit(error_model="numpy", forceinline=True)
def slide_sum(state: Floats, at: int, slot: int, value: float) -> float:
    """Add `value` to the window at `state[at:]`, drop its oldest value, and return its sum.

    The sum is NaN while a value in the window is not finite.
    """
    newest, oldest, unknown = _exchange(state, at + 2, at + SUM_CELLS + slot, value)
    total, _ = _shift(state, at, newest, oldest, 0.0)
    return total if unknown == 0.0 else nan


@njit(error_model="numpy", forceinline=True)
def slide_moments(
    state: Floats, at: int, slot: int, value: float, window: float
) -> tuple[float, float]:
    """Add `value` to the window at `state[at:]`; return the window's sum and its spread.

    The spread is window * sum of squares - square of the sum, which is window squared times the
    population variance. It is never negative, and 0 where the values are equal. Both are NaN
    while a value in the window is not finite.
    """
    newest, oldest, unknown = _exchange(state, at + 4, at + MOMENT_CELLS + slot, value)
    total, rest = _shift(state, at, newest, oldest, 0.0)
    added, added_rest = two_product(newest, newest)
    removed, removed_rest = two_product(oldest, oldest)
    squares, squares_rest = _shift(state, at + 2, added, removed, added_rest - removed_rest)

    scaled, scaled_rest = two_product(window, squares)
    scaled_rest += window * squares_rest
    squared, squared_rest = two_product(total, total)
    squared_rest += 2.0 * total * rest
    spread, error = two_sum(scaled, -squared)
    spread += error + (scaled_rest - squared_rest)
    spread = spread if spread > _NO_SPREAD * scaled else 0.0
    return total if unknown == 0.0 else nan, spread if unknown == 0.0 else nan


@njit(error_model="numpy", forceinline=True)
def _exchange(state: Floats, unknown: int, cell: int, value: float) -> tuple[float, float, float]:
    """Put `value` in a cell of a ring; return it, what was there, and the count of unknowns."""
    oldest = state[cell]
    state[cell] = value
    enters = abs(value) < inf
    leaves = abs(oldest) < inf
    state[unknown] += (0.0 if enters else 1.0) - (0.0 if leaves else 1.0)
    return value if enters else 0.0, oldest if leaves else 0.0, state[unknown]


@njit(error_model="numpy", forceinline=True)
def _shift(
    state: Floats, at: int, newest: float, oldest: float, rest: float
) -> tuple[float, float]:
    """Add newest - oldest + rest to the sum kept in two cells, and return both cells."""
    total, first = two_sum(state[at], newest)
    total, second = two_sum(total, -oldest)
    total, low = two_sum(total, state[at + 1] + (first + second + rest))
    state[at] = total
    state[at + 1] = low
    return total, low


@njit(error_model="numpy", forceinline=True)
def log_ratio(now: float, before: float) -> float:
    """Return log(now / before), to about one unit in the last place; NaN unless both are positive.

    The C library's logarithm differs between machines in the last digit, and between one number
    and several at once where a vector library is installed. This one is plain arithmetic:
    log(m) = 2 artanh((m - 1) / (m + 1)) by its series, with m brought between 2/3 and 3/2 by a
    power of two. As integers, the bits of a float64 grow nearly as its logarithm does, so their
    difference names that power.
    """
    bits = np.float64(now).view(np.int64) - np.float64(before).view(np.int64)
    power = (bits + _HALF) >> _MANTISSA
    # Dividing by the power of two before the subtraction keeps the difference free of error.
    scaled = now * np.int64((_BIAS - power) << _MANTISSA).view(np.float64)
    x = (scaled - before) / (scaled + before)
    z = x * x
    series = 1.0 / 23.0
    for odd in (21.0, 19.0, 17.0, 15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0):
        series = series * z + 1.0 / odd
    result = power * _LN2 + 2.0 * (x + x * (z * series))
    return result if 0.0 < now < inf and 0.0 < before < inf else nan
