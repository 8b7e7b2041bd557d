"""Features over many candles: from the start of each block, on all threads."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from weft.domain.calendar import block_end, first_row_needed
from weft.features.addresses import LINE
from weft.features.jobs import job, run_jobs
from weft.features.lanes import LANES, State, clear_state, new_scratch
from weft.features.memory import PanelMemory
from weft.features.source import Run, Source
from weft.foundation.arrays import FloatPanel

_WORTH_A_THREAD = 200_000  # cells below which handing work over costs more than it saves
_MANY_TILES = 4  # tiles per thread from which one more or less makes little difference
_LEAST_WIDTH = 64  # columns below which a thread reads memory in pieces too short


class HistoryRunner:
    """Computes features over panels.

    Args:
        threads: worker threads for panels of many symbols; 0 for one per core.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._memory = PanelMemory()

    def forget(self) -> None:
        """Return unused memory to the operating system."""
        self._memory.clear()

    def compute(self, run: Run, source: Source, rows: int) -> tuple[FloatPanel, State]:
        """Return the last rows (output, time, symbol), and the state after them."""
        values = self._memory.array((len(run.outputs), rows, source.columns))
        state = run.new_state(source.columns)
        base = source.ends - rows
        first = base
        while first < source.ends:
            stop = min(block_end(first), source.ends)
            start = max(first_row_needed(first, run.warmup), source.begins)
            state[:] = 0.0
            if source.sessions:
                interval = source.candles.interval
                early = max(first_row_needed(first, run.warmup, interval), source.begins)
                self._loop(run, source, state, values, (early, start, start, base))
                clear_state(state, source.always_open)
            self._loop(run, source, state, values, (start, stop, first, base))
            first = stop
        values.flags.writeable = False
        return values, state

    def _loop(
        self,
        run: Run,
        source: Source,
        state: State,
        out: FloatPanel,
        indices: tuple[int, int, int, int],
    ) -> None:
        """Run a loop over grid indices (first, last, first kept, first of `out`)."""
        first, last, kept, base = (index - source.begins for index in indices)
        jobs = np.array([job(run.kernel, run.params, state, 0)], dtype=np.int64)

        def work(left: int, right: int) -> None:
            scratch = new_scratch(len(run.outputs))
            rows = (first, last, kept, base)
            run_jobs([run.kernel], jobs, source.arrays, scratch, out, rows, (left, right))

        columns = source.columns
        if self._threads == 1 or (last - first) * columns < _WORTH_A_THREAD:
            work(0, columns)
            return
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="weft-feature")
        tasks = [
            self._pool.submit(work, left, right)
            for left, right in pairwise(edges(columns, self._threads))
        ]
        for task in tasks:
            task.result()


def edges(columns: int, threads: int) -> list[int]:
    """Return where the columns of each thread begin, and after them where the last ends."""
    parts = max(1, min(threads, columns // _LEAST_WIDTH))
    tiles = -(-columns // LANES)
    # Two threads in one tile of states wait for each other's writes.
    whole_tiles = tiles % parts == 0 or tiles >= _MANY_TILES * parts
    unit = LANES if whole_tiles else LINE
    units = -(-columns // unit)
    return [units * part // parts * unit for part in range(parts)] + [columns]
