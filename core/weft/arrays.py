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
    """Return a view of `array` that refuses to be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
