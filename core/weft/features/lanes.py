"""How the state of many symbols lies in memory, and how a kernel reaches it.

The state of `LANES` symbols lies in one tile: a row for each cell, a lane for each symbol. The
rows of a tile are a constant distance apart, so that the compiler can see that they do not
overlap, and may take a step for several symbols at once.
"""

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]  # it publishes no types
from numba import njit
from numba import types as numba_types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj
from numpy.typing import NDArray

from weft.arrays import BoolPanel, FloatPanel, Floats

State: TypeAlias = NDArray[np.float64]
"""State of many symbols: (tile, cell, lane)."""

LANES = 256
"""Symbols in one tile: enough to spread the cost of a row, few enough for the fastest cache."""

STRIDE = LANES + 8
"""Distance of two rows of a tile. At a power of two, all rows would compete for the same few lines
of the cache; order blocks took four times as long."""

_LINE = 8  # float64 numbers in a line of the cache

_arrays: Any = arrayobj  # numba publishes no types for it


def new_state(size: int, symbols: int) -> State:
    """Return the state of `symbols` symbols that have seen nothing yet, `size` cells each."""
    return np.zeros((-(-symbols // LANES), size, STRIDE))


def new_scratch(outputs: int) -> Floats:
    """Return room for the outputs of one tile."""
    return np.empty(outputs * STRIDE)


def clear_state(state: State, symbols: BoolPanel) -> None:
    """Let the chosen symbols have seen nothing yet; `symbols` is one flag each (symbol,)."""
    for tile, begin in enumerate(range(0, len(symbols), LANES)):
        chosen = np.flatnonzero(symbols[begin : begin + LANES])
        state[tile][:, chosen] = 0.0


def _cells(_typing: Any, array: Any, _first: Any, _count: Any, _stride: Any) -> Any:  # noqa: ANN401
    result = numba_types.Array(array.dtype, 1, "A", readonly=not array.mutable)
    index = numba_types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        source = _arrays.make_array(signature.args[0])(context, builder, arguments[0])
        size = context.get_abi_sizeof(context.get_data_type(array.dtype))
        width = context.get_constant(numba_types.intp, size)
        view = _arrays.make_array(result)(context, builder)
        _arrays.populate_array(
            view,
            data=builder.gep(source.data, [arguments[1]], inbounds=True),
            shape=[arguments[2]],
            strides=[builder.mul(arguments[3], width)],
            itemsize=width,
            meminfo=None,
        )
        return view._getvalue()  # noqa: SLF001 - numba's own way to hand over a struct

    return result(array, index, index, index), generate


cells: Any = intrinsic(_cells)
"""``cells(array, first, count, stride)``: elements of an array, without a reference of their own.

A slice would do the same, but its bookkeeping keeps the compiler from taking several symbols at
once. The memory belongs to an argument of the kernel and so outlives the result.
"""


def _stream(
    _typing: Any,  # noqa: ANN401
    target: Any,  # noqa: ANN401
    _into: Any,  # noqa: ANN401
    source: Any,  # noqa: ANN401
    _begin: Any,  # noqa: ANN401
    _lines: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    index = numba_types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        line = ir.VectorType(ir.DoubleType(), _LINE)
        past_the_cache = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])

        def pointer(array: int, at: Any) -> Any:  # noqa: ANN401
            data = _arrays.make_array(signature.args[array])(context, builder, arguments[array])
            start = builder.gep(data.data, [builder.add(arguments[array + 1], at)])
            return builder.bitcast(start, line.as_pointer())

        with cgutils.for_range(builder, arguments[4]) as loop:
            at = builder.mul(loop.index, ir.Constant(loop.index.type, _LINE))
            numbers = builder.load(pointer(2, at), align=8)
            store = builder.store(numbers, pointer(0, at), align=8 * _LINE)
            store.set_metadata("nontemporal", past_the_cache)
        return context.get_dummy_value()

    return numba_types.void(target, index, source, index, index), generate


_stream_lines: Any = intrinsic(_stream)
"""``(target, into, source, begin, lines)``: copy whole lines of the cache past the cache.

A panel larger than the cache is not found there again, and to write it into the cache means to
read all of its memory first. `into` must begin a line; lines in part would be slower than that.
"""


@njit(error_model="numpy", inline="always")
def differ(kinds: Any, leading: Any, width: int) -> bool:  # noqa: ANN401 - arrays of any number
    """Return whether any lane differs from the first in kind or in its leading cell."""
    found = False
    for lane in range(width):
        found |= kinds[lane] != kinds[0]
    for lane in range(width):
        found |= leading[lane] != leading[0]
    return found


@njit(error_model="numpy", inline="always")
def run_end(kinds: Any, leading: Any, start: int, width: int) -> int:  # noqa: ANN401
    """Return where the lanes end that are like lane `start` in kind and leading cell."""
    stop = start + 1
    while stop < width and kinds[stop] == kinds[start] and leading[stop] == leading[start]:
        stop += 1
    return stop


@njit(error_model="numpy", inline="always")
def fill(tile: Any, corner: int, count: int, rows: int, value: float) -> None:  # noqa: ANN401
    """Set every row of `count` lanes from `corner` on."""
    for row in range(rows):
        cells(tile, corner + row * STRIDE, count, 1)[:] = value


@njit(error_model="numpy", inline="always")
def _copy(into: Any, numbers: Any) -> None:  # noqa: ANN401 - arrays of numba's
    for k in range(len(into)):
        into[k] = numbers[k]


@njit(error_model="numpy", inline="always")
def write(out: FloatPanel, into: int, tile: Floats, begin: int, width: int, past: bool) -> None:  # noqa: FBT001 - numba passes no keywords
    """Copy `width` numbers of a tile into a panel, past the cache if `past`."""
    uneven = width
    if past:
        address = out.ctypes.data // 8
        uneven = min(-(address + into) % _LINE, width)
    lines = (width - uneven) // _LINE
    _stream_lines(out, into + uneven, tile, begin + uneven, lines)
    done = uneven + lines * _LINE
    _copy(cells(out, into, uneven, 1), cells(tile, begin, uneven, 1))
    rest = width - done
    _copy(cells(out, into + done, rest, 1), cells(tile, begin + done, rest, 1))
