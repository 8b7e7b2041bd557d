"""The array types that components exchange. A panel is two-dimensional: (time, symbol)."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatPanel: TypeAlias = NDArray[np.float64]
BoolPanel: TypeAlias = NDArray[np.bool_]
IntPanel: TypeAlias = NDArray[np.int8]
RowCounts: TypeAlias = NDArray[np.int32]
Times: TypeAlias = NDArray[np.int64]
Floats: TypeAlias = NDArray[np.float64]


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Return a view of `array` that can neither be written to nor be made writable.

    NumPy allows ``setflags(write=True)`` where the base of a view is writable. The base of this
    view is a read-only buffer, so NumPy refuses.
    """
    return array if is_read_only(array) else np.asarray(memoryview(array.data).toreadonly())


def is_read_only(array: NDArray[Any]) -> bool:
    """Return whether an array, like those of `read_only`, lies over a read-only buffer."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return isinstance(base, memoryview) and base.readonly


def ordered_sum(values: Floats, axis: int) -> Floats:
    """Return sums along an axis, adding the numbers one after the other.

    The order of `numpy.sum` depends on the shape and the layout in memory, so that the sum of a row
    among many rows may have other last bits than the sum of the same row alone.
    """
    if values.shape[axis] == 0:
        return np.zeros(np.delete(values.shape, axis))
    sums = np.cumsum(values, axis=axis, dtype=np.float64)
    return np.asarray(sums.take([-1], axis=axis).squeeze(axis))
