"""Compiles a feature's step into the loop that runs it over a panel.

All features share one loop, which is copied with the feature's step as a global of the copy. Numba
then inlines the step, and can cache the machine code on disk, which it cannot do for a step that is
passed as an argument or held in a closure. The copy's name carries a fingerprint of the step, so
that an edited step is compiled again.

A compiled loop is an address; see `jobs` for how it is called.
"""

import re
import threading
import types
import warnings
from dataclasses import dataclass
from typing import Any

from numba import cfunc, njit
from numba import types as numba_types
from numba.core.compiler import Compiler
from numba.core.errors import NumbaWarning

from weft.features.addresses import flags_at, integers_at, numbers_at
from weft.features.fingerprint import fingerprint
from weft.features.loop import loop


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A compiled loop.

    Attributes:
        name: the feature's name.
        address: where the machine code is.
        code: numba's object, which owns it.
    """

    name: str
    address: int
    code: Any


_NUMBERS = 22
_ENTRY = numba_types.int64(*[numba_types.int64] * _NUMBERS)


class _Disjoint(Compiler):
    """Numba's compiler for loops whose arguments do not overlap and that Python never calls."""

    def define_pipelines(self) -> Any:  # noqa: ANN401  # a list of numba's pass managers
        self.state.flags.noalias = True
        self.state.flags.no_cpython_wrapper = True
        self.state.flags.no_cfunc_wrapper = True
        return super().define_pipelines()  # type: ignore[no-untyped-call]  # numba's, untyped


def _run_loop(*_arguments: Any) -> None:  # noqa: ANN401  # see `loop`
    """Stand for a feature's loop, which takes this name in each copy of the entry."""


def _enter(  # noqa: PLR0913, PLR0917  # addresses and numbers, all of them int64
    presence: int,
    time: int,
    open: int,  # noqa: A002  # the field's standard name
    high: int,
    low: int,
    close: int,
    volume: int,
    params: int,
    options: int,
    state: int,
    size: int,
    scratch: int,
    out: int,
    out_rows: int,
    total: int,
    columns: int,
    first: int,
    last: int,
    kept: int,
    base: int,
    left: int,
    right: int,
) -> int:
    """Run a loop over arrays given by their addresses; return whether its step raised."""
    cells = total * columns
    try:
        _run_loop(
            flags_at(presence, cells),
            integers_at(time, total),
            numbers_at(open, cells),
            numbers_at(high, cells),
            numbers_at(low, cells),
            numbers_at(close, cells),
            numbers_at(volume, cells),
            numbers_at(params, options),
            numbers_at(state, size),
            numbers_at(scratch, size),
            numbers_at(out, cells),
            size,
            columns,
            out_rows,
            first,
            last,
            kept,
            base,
            left,
            right,
        )
    except Exception:  # noqa: BLE001  # numba catches nothing narrower
        return 1
    return 0


_compiled: dict[str, Kernel] = {}
_uncached: set[str] = set()
_compiling = threading.Lock()


def compile_step(name: str, step: Any, outputs: int) -> Kernel:  # noqa: ANN401  # a numba dispatcher
    """Return the panel loop of a step, compiled once per process and kept on disk where possible.

    Args:
        name: the feature's name, for error messages and profiles.
        step: what the `weft.step` decorator returned.
        outputs: how many cells it fills.
    """
    identity = re.sub(r"\W", "_", f"{name}_{outputs}_{fingerprint(step, loop, _enter)}")
    with _compiling:
        if identity not in _compiled:
            code = _compile(identity, step, outputs)
            _compiled[identity] = Kernel(name, code.address, code)
    return _compiled[identity]


def is_cached_on_disk() -> bool:
    """Whether every kernel compiled so far could be kept for the next start."""
    return not _uncached


def _compile(identity: str, step: Any, outputs: int) -> Any:  # noqa: ANN401  # a dispatcher, and numba's callback
    # A step that is not inlined could not be vectorised over symbols.
    inlined = njit(error_model="numpy", inline="always")(step.py_func)
    copied = _copy(loop, f"_loop_{identity}", _step=inlined, _OUTPUTS=outputs)
    run_loop = njit(error_model="numpy", pipeline_class=_Disjoint)(copied)
    entry = _copy(_enter, f"_enter_{identity}", _run_loop=run_loop)
    try:
        return _jit(entry, cache=True)
    except (RuntimeError, OSError):
        # Numba found no folder it may write to: neither beside this file nor the user's cache.
        _uncached.add(identity)
        return _jit(entry, cache=False)


def _copy(function: Any, name: str, **replaced: Any) -> types.FunctionType:  # noqa: ANN401  # globals
    """Return a function under another name, with some of its globals replaced."""
    code = function.__code__.replace(co_name=name, co_qualname=name)
    return types.FunctionType(code, {**function.__globals__, **replaced}, name)


def _jit(entry: types.FunctionType, *, cache: bool) -> Any:  # noqa: ANN401  # numba's callback
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaWarning)
        return cfunc(_ENTRY, cache=cache, error_model="numpy")(entry)
