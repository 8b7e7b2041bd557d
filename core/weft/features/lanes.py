"""Memory layout of the state of many symbols, and access to it from a kernel.

The state of `LANES` symbols lies in one tile: a row for each cell, a lane for each symbol. The
rows of a tile are a constant distance apart, so that the compiler can see that they do not
overlap, and may take a step for several symbols at once.
"""

from typing import Any, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.features.addresses import LINE, cells, stream_lines
from weft.foundation.arrays import BoolPanel, Floats

State: TypeAlias = NDArray[np.float64]
"""State of many symbols: (tile, cell, lane)."""

LANES = 256
"""Symbols in one tile: enough to spread the cost of a row, few enough for the fastest cache."""

STRIDE = LANES + 8
"""Distance of two rows of a tile. At a power of two, all rows would compete for the same few lines
of the cache; order blocks took four times as long."""


def new_state(size: int, symbols: int) -> State:
    """Return the initial state of a number of symbols, with `size` cells each."""
    # The loop reads the first cell, also of a step without state.
    return np.zeros((-(-symbols // LANES), max(1, size), STRIDE))


def new_scratch(outputs: int) -> Floats:
    """Return room for the outputs of one tile."""
    return np.empty(outputs * STRIDE)


def clear_state(state: State, symbols: BoolPanel) -> None:
    """Reset the state of the chosen symbols; `symbols` has a flag for each (symbol,)."""
    for tile, begin in enumerate(range(0, len(symbols), LANES)):
        chosen = np.flatnonzero(symbols[begin : begin + LANES])
        state[tile][:, chosen] = 0.0


@njit(error_model="numpy", inline="always")
def differ(kinds: Any, leading: Any, width: int) -> bool:  # noqa: ANN401  # arrays of any number
    """Return whether any lane differs from the first in kind or in its leading cell."""
    found = False
    for lane in range(width):
        found |= kinds[lane] != kinds[0]
    for lane in range(width):
        found |= leading[lane] != leading[0]
    return found


@njit(error_model="numpy", inline="always")
def run_end(kinds: Any, leading: Any, start: int, width: int) -> int:  # noqa: ANN401  # numba publishes no types
    """Return the end of the run of lanes equal to lane `start` in kind and leading cell."""
    stop = start + 1
    while stop < width and kinds[stop] == kinds[start] and leading[stop] == leading[start]:
        stop += 1
    return stop


@njit(error_model="numpy", inline="always")
def fill(tile: Any, corner: int, count: int, rows: int, value: float) -> None:  # noqa: ANN401  # numba publishes no types
    """Set every row of `count` lanes from `corner` on."""
    for row in range(rows):
        cells(tile, corner + row * STRIDE, count, 1)[:] = value


@njit(error_model="numpy", inline="always")
def _copy(into: Any, numbers: Any) -> None:  # noqa: ANN401  # arrays of numba's
    for k in range(len(into)):
        into[k] = numbers[k]


@njit(error_model="numpy", inline="always")
def write(out: Floats, into: int, tile: Floats, begin: int, width: int, past: bool) -> None:  # noqa: FBT001  # numba passes no keywords
    """Copy `width` numbers of a tile into a panel, past the cache if `past`."""
    uneven = width
    if past:
        address = out.ctypes.data // 8
        uneven = min(-(address + into) % LINE, width)
    lines = (width - uneven) // LINE
    stream_lines(out, into + uneven, tile, begin + uneven, lines)
    done = uneven + lines * LINE
    _copy(cells(out, into, uneven, 1), cells(tile, begin, uneven, 1))
    rest = width - done
    _copy(cells(out, into + done, rest, 1), cells(tile, begin + done, rest, 1))
