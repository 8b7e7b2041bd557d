"""Runs compiled loops: any number of features over the same candles, in one call from Python.

Live, to call a function from Python costs more than to take a step for all symbols.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numba import types as numba_types
from numpy.typing import NDArray

from weft.features.addresses import call
from weft.features.kernels import Kernel
from weft.features.lanes import State
from weft.foundation.arrays import FloatPanel, Floats, IntPanel, Times
from weft.foundation.errors import ComponentError, DataError

SourceArrays = tuple[Any, ...]
"""Presence, times, open, high, low, close and volume of a candle panel, all C-contiguous."""

Jobs = NDArray[np.int64]
"""What `run_jobs` runs, one row each; see `job`."""


_FINE = -1
_MISFIT = -2

_CELLS = numba_types.Array(numba_types.float64, 2, "C", readonly=True)
_DRIVE = numba_types.int64(
    numba_types.Array(numba_types.int8, 2, "C", readonly=True),
    numba_types.Array(numba_types.int64, 1, "C", readonly=True),
    *[_CELLS] * 5,
    numba_types.int64[:, ::1],
    numba_types.float64[::1],
    numba_types.float64[:, :, ::1],
    *[numba_types.int64] * 6,
)


def job(kernel: Kernel, params: Floats, state: State, output: int) -> tuple[int, ...]:
    """Return a row of `Jobs`; what it names must outlive it.

    Args:
        kernel: the loop to run.
        params: the feature's options.
        state: of all symbols.
        output: where the feature's outputs begin among those of all jobs.
    """
    return (
        kernel.address,
        params.ctypes.data,
        len(params),
        state.ctypes.data,
        state.shape[1],
        output,
    )


def run_jobs(
    kernels: Sequence[Kernel],
    jobs: Jobs,
    source: SourceArrays,
    scratch: Floats,
    out: FloatPanel,
    rows: tuple[int, int, int, int],
    columns: tuple[int, int],
) -> None:
    """Run features over the same candles.

    Args:
        kernels: the kernel of each job.
        jobs: a row for each, made by `job`.
        source: the candles.
        scratch: room for the outputs of one tile of any of them.
        out: where their outputs go (output, time, symbol).
        rows: the first row stepped through, the row after the last, the first row of which
            outputs are kept, and the row that is the first of `out`.
        columns: the first symbol, and the one after the last.

    Raises:
        ComponentError: a step raised.
        DataError: the arrays of the candles do not fit each other.
    """
    others = (jobs, scratch, out, *rows, *columns)
    try:
        failed = driver()(*source, *others)
    except TypeError:  # not contiguous, which to look for would take longer than to take a step
        failed = driver()(*map(np.ascontiguousarray, source), *others)
    if failed == _MISFIT:
        shapes = ", ".join(str(panel.shape) for panel in source)
        raise DataError(f"panels and times of one shape expected, got {shapes}", where="candles")
    if failed >= 0:
        raise ComponentError(
            "the compiled step raised",
            where=f"feature {kernels[failed].name}",
            hint="Let a step give NaN where it has no value; it cannot raise",
        )


def _drive(  # noqa: PLR0913, PLR0917  # numba passes no keywords
    presence: IntPanel,
    time: Times,
    open: FloatPanel,  # noqa: A002  # the field's standard name
    high: FloatPanel,
    low: FloatPanel,
    close: FloatPanel,
    volume: FloatPanel,
    jobs: Jobs,
    scratch: Floats,
    out: FloatPanel,
    first: int,
    last: int,
    kept: int,
    base: int,
    left: int,
    right: int,
) -> int:
    """Run every job; return the number of the first whose step raised, or `_FINE` or `_MISFIT`."""
    rows, columns = len(time), out.shape[2]
    shape = (rows, columns)
    fits = presence.shape == shape and open.shape == shape and high.shape == shape
    # Loops check no bounds.
    if not (fits and low.shape == shape and close.shape == shape and volume.shape == shape):
        return _MISFIT
    for k in range(len(jobs)):
        failed = call(
            jobs[k, 0],
            (
                presence.ctypes.data,
                time.ctypes.data,
                open.ctypes.data,
                high.ctypes.data,
                low.ctypes.data,
                close.ctypes.data,
                volume.ctypes.data,
                jobs[k, 1],
                jobs[k, 2],
                jobs[k, 3],
                jobs[k, 4],
                scratch.ctypes.data,
                out.ctypes.data + 8 * jobs[k, 5] * out.shape[1] * columns,
                out.shape[1],
                rows,
                columns,
                first,
                last,
                kept,
                base,
                left,
                right,
            ),
        )
        if failed:
            return k
    return _FINE


@cache
def driver() -> Any:  # noqa: ANN401  # a numba dispatcher
    """Return `_drive`, compiled on first use."""
    try:
        return njit(_DRIVE, cache=True, nogil=True)(_drive)
    except (RuntimeError, OSError):
        return njit(_DRIVE, nogil=True)(_drive)
