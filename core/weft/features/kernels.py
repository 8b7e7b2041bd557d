"""Compiles a feature's step into the loop that runs it over a panel.

There is one loop for all features, and it is copied with the feature's step as a global of the
copy. Numba then inlines the step, and can keep the machine code on disk, which it cannot do for
a step that is passed as an argument or held in a closure. The copy's name carries a fingerprint
of the step, so that an edited step is compiled anew.

The loop is shaped so that the compiler takes one step for several symbols at once, which is
worth a factor of three to ten:

* State and outputs of `LANES` symbols lie in one tile, so that its rows are a constant distance
  apart and the compiler can see that they do not overlap. Arguments are declared disjoint too.
* Symbols next to each other that traded, and whose first state cell is the same, take their step
  together, with that cell as one number for all. A step that keeps its count of candles there
  then has one weight, and one position in a ring of past values, for all of them.

Neither changes a bit of the result: the same operations run on the same numbers.
"""

import hashlib
import re
import threading
import types
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import njit
from numba import types as numba_types
from numba.core import cgutils
from numba.core.compiler import Compiler
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaWarning
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array
from numpy.typing import NDArray

from weft.arrays import BoolPanel, FloatPanel, Floats, IntPanel, Times
from weft.components.feature import Bar

Kernel: TypeAlias = Callable[..., None]
State: TypeAlias = NDArray[np.float64]
"""State of many symbols: (tile, cell, lane)."""

LANES = 256
"""Symbols in one tile of state: enough to spread the cost of a row, and few enough to stay in
the fastest cache."""

_STRIDE = LANES + 8
"""Distance of two rows of a tile. At a power of two, all rows would compete for the same few lines
of the cache; order blocks took five times as long."""

_MORE_THAN_CACHE = 1 << 17  # cells of one output

_ROW = numba_types.Array(numba_types.int64, 1, "C", readonly=True)
_CELLS = numba_types.Array(numba_types.float64, 2, "C", readonly=True)
_SIGNATURE = numba_types.void(
    numba_types.Array(numba_types.int8, 2, "C", readonly=True),
    _ROW,
    *[_CELLS] * 5,
    numba_types.float64[::1],
    numba_types.float64[:, :, ::1],
    numba_types.float64[:, :, ::1],
    *[numba_types.int64] * 6,
)


def new_state(cells: int, outputs: int, symbols: int) -> State:
    """Return the state of `symbols` symbols that have seen nothing yet."""
    return np.zeros((-(-symbols // LANES), outputs + cells, _STRIDE))


def clear_state(state: State, symbols: BoolPanel) -> None:
    """Let the chosen symbols have seen nothing yet; `symbols` is one flag each (symbol,)."""
    for tile, begin in enumerate(range(0, len(symbols), LANES)):
        chosen = np.flatnonzero(symbols[begin : begin + LANES])
        state[tile][:, chosen] = 0.0


class _Disjoint(Compiler):  # type: ignore[misc]  # numba publishes no types
    """Numba's compiler, told that a kernel's arguments do not overlap in memory."""

    def define_pipelines(self) -> Any:  # noqa: ANN401 - a list of numba's pass managers
        self.state.flags.noalias = True
        return super().define_pipelines()


@intrinsic  # type: ignore[untyped-decorator]  # numba publishes no types
def _cells(_typing: Any, array: Any, first: Any, count: Any, stride: Any) -> Any:  # noqa: ANN401
    """Return `count` elements of `array`, `stride` apart, without a reference of their own.

    A slice would do the same, but its bookkeeping keeps the compiler from taking several symbols
    at once. The memory belongs to an argument of the kernel and so outlives the result.
    """
    result = numba_types.Array(array.dtype, 1, "A", readonly=not array.mutable)
    index = numba_types.int64

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        source = make_array(signature.args[0])(context, builder, arguments[0])
        size = context.get_abi_sizeof(context.get_data_type(array.dtype))
        width = context.get_constant(numba_types.intp, size)
        view = make_array(result)(context, builder)
        populate_array(
            view,
            data=builder.gep(source.data, [arguments[1]], inbounds=True),
            shape=[arguments[2]],
            strides=[builder.mul(arguments[3], width)],
            itemsize=width,
            meminfo=None,
        )
        return view._getvalue()  # noqa: SLF001 - numba's own way to hand over a struct

    return result(array, index, index, index), generate


@intrinsic
def _stream(
    _typing: Any,  # noqa: ANN401
    target: Any,  # noqa: ANN401
    first: Any,  # noqa: ANN401
    source: Any,  # noqa: ANN401
    begin: Any,  # noqa: ANN401
    lines: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401
    """Copy whole lines of eight numbers, 64 bytes, past the cache to an address that begins one.

    A panel larger than the cache is not found there again, and to write it into the cache means
    to read all of its memory first. Lines in part would be slower than that.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ANN401
        line = ir.VectorType(ir.DoubleType(), 8)
        index = arguments[1].type
        addresses = [
            builder.gep(make_array(kind)(context, builder, array).data, [offset])
            for kind, array, offset in zip(
                signature.args[0:3:2], arguments[0:3:2], arguments[1:4:2], strict=True
            )
        ]
        past_the_cache = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        with cgutils.for_range(builder, arguments[4]) as loop:
            at = builder.mul(loop.index, ir.Constant(index, 8))
            into, out_of = (
                builder.bitcast(builder.gep(address, [at]), line.as_pointer())
                for address in addresses
            )
            store = builder.store(builder.load(out_of, align=8), into, align=64)
            store.set_metadata("nontemporal", past_the_cache)
        return context.get_dummy_value()

    index = numba_types.int64
    return numba_types.void(target, index, source, index, index), generate


_OUTPUTS = 1
"""Outputs of the step; each copy of the loop has its own number."""


def _step(_state: Floats, _bar: Bar, _params: Floats, _out: Floats) -> None:
    """Stand for the feature's step, which takes this name in each copy of the loop."""


def _loop(  # noqa: PLR0913 - a kernel takes its arrays one by one
    presence: IntPanel,
    time: Times,
    open: FloatPanel,  # noqa: A002 - the field's standard name
    high: FloatPanel,
    low: FloatPanel,
    close: FloatPanel,
    volume: FloatPanel,
    params: Floats,
    state: State,
    out: FloatPanel,
    first: int,
    last: int,
    kept: int,
    base: int,
    left: int,
    right: int,
) -> None:
    """Step symbols `left` to `right` through rows `first` to `last`.

    Outputs are written from row `kept` on; row `base` is the first of `out`.
    """
    columns = close.shape[1]
    rows = state.shape[1]
    address = out.ctypes.data // 8
    streams = (last - kept) * columns > _MORE_THAN_CACHE
    for row in range(first, last):
        instant = time[row]
        begin = left
        while begin < right:
            corner = begin // LANES * rows * _STRIDE + begin % LANES
            width = min(LANES - begin % LANES, right - begin)
            cells = corner + _OUTPUTS * _STRIDE
            leading = _cells(state, cells, width, 1)
            source = row * columns + begin
            kinds = _cells(presence, source, width, 1)
            differs = False
            for lane in range(width):
                differs |= kinds[lane] != kinds[0]
            for lane in range(width):
                differs |= leading[lane] != leading[0]
            start = 0
            while start < width:
                kind = kinds[start]
                common = leading[start]
                stop = start + 1 if differs else width
                while stop < width and kinds[stop] == kind and leading[stop] == common:
                    stop += 1
                count = stop - start
                if kind == 0:
                    opens = _cells(open, source + start, count, 1)
                    highs = _cells(high, source + start, count, 1)
                    lows = _cells(low, source + start, count, 1)
                    closes = _cells(close, source + start, count, 1)
                    volumes = _cells(volume, source + start, count, 1)
                    for lane in range(count):
                        bar = Bar(
                            instant,
                            opens[lane],
                            highs[lane],
                            lows[lane],
                            closes[lane],
                            volumes[lane],
                        )
                        own = _cells(state, cells + start + lane, rows - _OUTPUTS, _STRIDE)
                        # It holds this already; written so that the compiler knows it as well.
                        own[0] = common
                        filled = _cells(state, corner + start + lane, _OUTPUTS, _STRIDE)
                        _step(own, bar, params, filled)
                else:
                    for output in range(_OUTPUTS):
                        _cells(state, corner + start + output * _STRIDE, count, 1)[:] = np.nan
                    if kind == 2:  # Presence.HOLE
                        for cell in range(_OUTPUTS, rows):
                            _cells(state, corner + start + cell * _STRIDE, count, 1)[:] = 0.0
                start = stop
            if row >= kept:
                target = (row - base) * columns + begin
                for output in range(_OUTPUTS):
                    into = target + output * out.shape[1] * columns
                    from_ = corner + output * _STRIDE
                    uneven = min(-(address + into) % 8, width) if streams else width
                    lines = (width - uneven) // 8
                    _stream(out, into + uneven, state, from_ + uneven, lines)
                    for lane in range(uneven):
                        _cells(out, into, uneven, 1)[lane] = _cells(state, from_, uneven, 1)[lane]
                    done = uneven + 8 * lines
                    rest = width - done
                    for lane in range(rest):
                        _cells(out, into + done, rest, 1)[lane] = _cells(
                            state, from_ + done, rest, 1
                        )[lane]
            begin += width


def fingerprint(function: Any) -> str:  # noqa: ANN401 - a plain function or a dispatcher
    """Return a digest of a function's code and of every helper and constant it uses."""
    digest = hashlib.sha256()
    _feed(digest, getattr(function, "py_func", function), set())
    return digest.hexdigest()[:16]


def _feed(digest: Any, function: types.FunctionType, fed: set[types.FunctionType]) -> None:  # noqa: ANN401 - hashlib's object
    if function in fed:
        return
    fed.add(function)
    names = _feed_code(digest, function.__code__)
    digest.update(repr(function.__defaults__).encode())
    closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    scope = function.__globals__ | {name: cell.cell_contents for name, cell in closure}
    for name in (*names, *function.__code__.co_freevars):
        value = scope.get(name)
        digest.update(name.encode())
        if isinstance(value, Dispatcher):
            _feed(digest, value.py_func, fed)
        elif isinstance(value, types.FunctionType):
            _feed(digest, value, fed)
        elif isinstance(value, int | float | str | tuple):
            digest.update(repr(value).encode())


def _feed_code(digest: Any, code: types.CodeType) -> tuple[str, ...]:  # noqa: ANN401 - hashlib's object
    """Feed a code object and those inside it; return the names they look up."""
    names = code.co_names
    digest.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            # Its repr holds an address, which would differ at every start.
            names += _feed_code(digest, constant)
        else:
            digest.update(repr(constant).encode())
    return names


_compiled: dict[str, Kernel] = {}
_uncached: set[str] = set()
_compiling = threading.Lock()


def compile_step(name: str, step: Any, outputs: int) -> Kernel:  # noqa: ANN401 - a numba dispatcher
    """Return the panel loop of a step, compiled once per process and kept on disk where possible.

    Args:
        name: the feature's name, for error messages and profiles.
        step: what the `weft.step` decorator returned.
    """
    identity = re.sub(r"\W", "_", f"{name}_{outputs}_{fingerprint(step)}")
    with _compiling:
        if identity not in _compiled:
            _compiled[identity] = _compile(identity, step, outputs)
    return _compiled[identity]


def is_cached_on_disk() -> bool:
    """Whether every kernel compiled so far could be kept for the next start."""
    return not _uncached


def _compile(identity: str, step: Any, outputs: int) -> Kernel:  # noqa: ANN401 - a numba dispatcher
    name = f"_loop_{identity}"
    code = _loop.__code__.replace(co_name=name, co_qualname=name)
    # A step that stays a call of its own is taken for one symbol at a time.
    inlined = njit(error_model="numpy", forceinline=True)(step.py_func)
    loop = types.FunctionType(
        code, {**_loop.__globals__, "_step": inlined, "_OUTPUTS": outputs}, name
    )
    options = {"nogil": True, "error_model": "numpy", "pipeline_class": _Disjoint}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaWarning)
        try:
            kernel: Kernel = njit(_SIGNATURE, cache=True, **options)(loop)
        except (RuntimeError, OSError):
            # Numba found no folder it may write to: neither beside this file nor the user's cache.
            _uncached.add(identity)
            kernel = njit(_SIGNATURE, **options)(loop)
    return kernel
