"""Compiles a feature's step into the loop that runs it over a panel.

There is one loop for all features, and it is copied with the feature's step as a global of the
copy. Numba then inlines the step, and can keep the machine code on disk, which it cannot do for
a step that is passed as an argument or held in a closure. The copy's name carries a fingerprint
of the step, so that an edited step is compiled anew.

The loop is shaped so that the compiler takes one step for several symbols at once, which is worth
a factor of three to ten. Memory is laid out for it (see `lanes`), and symbols next to each other
that traded, and whose first state cell is the same, take their step together, with that cell as
one number for all: a step that keeps its count of candles there then has one weight, and one
position in a ring of past values, for all of them. That changes no bit of the result, because
the same operations run on the same numbers.
"""

import hashlib
import re
import threading
import types
import warnings
from collections.abc import Callable
from math import nan
from typing import Any, TypeAlias

from numba import njit
from numba import types as numba_types
from numba.core.compiler import Compiler
from numba.core.errors import NumbaWarning

from weft.arrays import FloatPanel, Floats, IntPanel, Times
from weft.components.feature import Bar
from weft.features.lanes import (
    LANES,
    STRIDE,
    State,
    cells,
    differ,
    fill,
    run_end,
    write,
)

Kernel: TypeAlias = Callable[..., None]

_MORE_THAN_CACHE = 1 << 17  # cells of one output

_ROW = numba_types.Array(numba_types.int64, 1, "C", readonly=True)
_CELLS = numba_types.Array(numba_types.float64, 2, "C", readonly=True)
_SIGNATURE = numba_types.void(
    numba_types.Array(numba_types.int8, 2, "C", readonly=True),
    _ROW,
    *[_CELLS] * 5,
    numba_types.float64[::1],
    numba_types.float64[:, :, ::1],
    numba_types.float64[::1],
    numba_types.float64[:, :, ::1],
    *[numba_types.int64] * 6,
)


class _Disjoint(Compiler):
    """Numba's compiler, told that a kernel's arguments do not overlap in memory."""

    def define_pipelines(self) -> Any:  # noqa: ANN401 - a list of numba's pass managers
        self.state.flags.noalias = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]  # numba's, untyped


_OUTPUTS = 1
"""Outputs of the step; each copy of the loop has its own number."""


def _step(_state: Floats, _bar: Bar, _params: Floats, _out: Floats) -> None:
    """Stand for the feature's step, which takes this name in each copy of the loop."""


def _loop(  # noqa: PLR0913, PLR0917 - a kernel takes its arrays one by one
    presence: IntPanel,
    time: Times,
    open: FloatPanel,  # noqa: A002 - the field's standard name
    high: FloatPanel,
    low: FloatPanel,
    close: FloatPanel,
    volume: FloatPanel,
    params: Floats,
    state: State,
    scratch: Floats,
    out: FloatPanel,
    first: int,
    last: int,
    kept: int,
    base: int,
    left: int,
    right: int,
) -> None:
    """Step symbols `left` to `right` through rows `first` to `last`.

    Outputs are written from row `kept` on; row `base` is the first of `out`. They pass through
    `scratch`, a tile of outputs that stays in the cache.
    """
    columns = close.shape[1]
    size = state.shape[1]
    options = cells(params, 0, params.shape[0], 1)
    past_the_cache = (last - kept) * columns > _MORE_THAN_CACHE
    for row in range(first, last):
        instant = time[row]
        begin = left
        while begin < right:
            corner = begin // LANES * size * STRIDE + begin % LANES
            width = min(LANES - begin % LANES, right - begin)
            source = row * columns + begin
            kinds = cells(presence, source, width, 1)
            leading = cells(state, corner, width, 1)
            uneven = differ(kinds, leading, width)
            start = 0
            while start < width:
                stop = run_end(kinds, leading, start, width) if uneven else width
                count = stop - start
                if kinds[start] == 0:
                    common = leading[start]
                    opens = cells(open, source + start, count, 1)
                    highs = cells(high, source + start, count, 1)
                    lows = cells(low, source + start, count, 1)
                    closes = cells(close, source + start, count, 1)
                    volumes = cells(volume, source + start, count, 1)
                    for lane in range(count):
                        bar = Bar(
                            instant,
                            opens[lane],
                            highs[lane],
                            lows[lane],
                            closes[lane],
                            volumes[lane],
                        )
                        own = cells(state, corner + start + lane, size, STRIDE)
                        # It holds this already; written so that the compiler knows it as well.
                        own[0] = common
                        filled = cells(scratch, start + lane, _OUTPUTS, STRIDE)
                        _step(own, bar, options, filled)
                else:
                    fill(scratch, start, count, _OUTPUTS, nan)
                    if kinds[start] == 2:  # Presence.HOLE
                        fill(state, corner + start, count, size, 0.0)
                start = stop
            if row >= kept:
                target = (row - base) * columns + begin
                for output in range(_OUTPUTS):
                    panel = output * out.shape[1] * columns
                    write(out, target + panel, scratch, output * STRIDE, width, past_the_cache)
            begin += width


def fingerprint(*functions: Any) -> str:  # noqa: ANN401 - plain functions or dispatchers
    """Return a digest of functions' code and of every helper and constant they use."""
    digest = hashlib.sha256()
    fed: set[types.FunctionType] = set()
    for function in functions:
        _feed(digest, _python_of(function), fed)
    return digest.hexdigest()[:16]


def _python_of(value: Any) -> Any:  # noqa: ANN401 - whatever a global may hold
    """Return the Python function behind a dispatcher or an intrinsic; others as they are."""
    return getattr(value, "py_func", None) or getattr(value, "_defn", None) or value


def _feed(digest: Any, function: types.FunctionType, fed: set[types.FunctionType]) -> None:  # noqa: ANN401 - hashlib's object
    if function in fed:
        return
    fed.add(function)
    names = _feed_code(digest, function.__code__)
    digest.update(repr(function.__defaults__).encode())
    closure = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    scope = function.__globals__ | {name: cell.cell_contents for name, cell in closure}
    for name in (*names, *function.__code__.co_freevars):
        value = _python_of(scope.get(name))
        digest.update(name.encode())
        if isinstance(value, types.FunctionType):
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
        elif isinstance(constant, frozenset):
            # Nor is the order of a set the same at every start.
            digest.update(repr(sorted(map(repr, constant))).encode())
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
        outputs: how many cells it fills.
    """
    identity = re.sub(r"\W", "_", f"{name}_{outputs}_{fingerprint(step, _loop)}")
    with _compiling:
        if identity not in _compiled:
            _compiled[identity] = _compile(identity, step, outputs)
    return _compiled[identity]


def is_cached_on_disk() -> bool:
    """Whether every kernel compiled so far could be kept for the next start."""
    return not _uncached


def _compile(identity: str, step: Any, outputs: int) -> Kernel:  # noqa: ANN401 - a dispatcher
    name = f"_loop_{identity}"
    code = _loop.__code__.replace(co_name=name, co_qualname=name)
    # A step that stays a call of its own is taken for one symbol at a time.
    inlined = njit(error_model="numpy", inline="always")(step.py_func)
    own = {"_step": inlined, "_OUTPUTS": outputs}
    loop = types.FunctionType(code, {**_loop.__globals__, **own}, name)
    try:
        return _jit(loop, cache=True)
    except (RuntimeError, OSError):
        # Numba found no folder it may write to: neither beside this file nor the user's cache.
        _uncached.add(identity)
        return _jit(loop, cache=False)


def _jit(loop: types.FunctionType, *, cache: bool) -> Kernel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaWarning)
        kernel: Kernel = njit(
            _SIGNATURE, cache=cache, nogil=True, error_model="numpy", pipeline_class=_Disjoint
        )(loop)
    return kernel
