"""Runs features over panels, and keeps their state from one candle to the next.

Where a recursive indicator starts decides its last digits. To keep them the same for live, for
history and after a restart, every value is computed from a start fixed by the calendar: time is
cut into blocks of `BLOCK` candles, and within a block the state starts from nothing `warmup`
candles before the block begins. Loading more history, or dropping the cached state, then changes
no bit; and rounding errors of running sums cannot pile up beyond a block.
"""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from weft.arrays import FloatPanel, Floats, read_only
from weft.components.feature import StepFeature
from weft.features.kernels import LANES, Kernel, compile_step, new_state
from weft.market.candles import FIELDS, Candles

BLOCK = 2048
"""Candles between two starting points of a feature's state."""

_COLUMNS_PER_TASK = 256
_WORTH_A_THREAD = 100_000  # cells below which handing work over costs more than it saves


@dataclass(slots=True)
class _Live:
    """State of one feature after the latest candle of one panel."""

    row: int
    state: FloatPanel
    tail: FloatPanel


class _Run:
    """One feature bound to its compiled loop and its options."""

    def __init__(self, feature: StepFeature) -> None:
        self.feature = feature
        self.outputs = feature.outputs
        self.warmup = feature.warmup

    @cached_property
    def kernel(self) -> Kernel:
        return compile_step(
            self.feature.name, type(self.feature).advance, len(self.outputs)
        )

    @cached_property
    def params(self) -> Floats:
        return np.array(self.feature.params, dtype=np.float64)

    def new_state(self, symbols: int) -> FloatPanel:
        return new_state(self.feature.state_size, symbols)


def first_row_needed(first_index: int, warmup: int) -> int:
    """Return the grid index of the candle a value at `first_index` is computed from on."""
    return first_index // BLOCK * BLOCK - warmup


class FeatureEngine:
    """Computes features for views, and steps them forward when a view follows the one before.

    Safe to use from several threads. All memory of it is a cache: `forget` changes no result.

    Args:
        threads: worker threads for panels of many symbols; 0 for one per core.
    """

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None
        self._runs: dict[str, _Run] = {}
        self._live: dict[tuple[str, str, int], _Live] = {}
        self._lock = threading.RLock()

    def compile(
        self, features: Iterable[StepFeature], progress: Callable[[str], None] | None = None
    ) -> None:
        """Compile the loops of `features` ahead of their use.

        Args:
            features: the features about to be used.
            progress: called with each feature's name once its loop is ready.
        """
        for feature in features:
            self._run(feature).kernel  # noqa: B018 - reading it compiles it
            if progress is not None:
                progress(feature.name)

    def forget(self) -> None:
        """Drop all cached state."""
        with self._lock:
            self._live.clear()

    def panels(self, feature: StepFeature, candles: Candles, rows: int) -> Mapping[str, FloatPanel]:
        """Return the last `rows` rows of every output of a feature over a candle panel.

        Args:
            feature: the feature with its options.
            candles: rows far enough back for the block and its warm-up (see `first_row_needed`);
                where they begin later, history is taken to begin there.
            rows: number of rows wanted.
        """
        run = self._run(feature)
        with self._lock:
            values = self._continue(run, candles, rows)
            if values is None:
                values = self._from_block_start(run, candles, rows)
        return {name: read_only(values[k]) for k, name in enumerate(run.outputs)}

    def _run(self, feature: StepFeature) -> _Run:
        key = feature_key(feature)
        run = self._runs.get(key)
        if run is None:
            run = self._runs[key] = _Run(feature)
        return run

    def _continue(self, run: _Run, candles: Candles, rows: int) -> FloatPanel | None:
        """Step the kept state over the newest candle, or return None where it does not fit."""
        live = self._live.get(self._live_key(run, candles))
        row = candles.interval.index(int(candles.times[-1]))
        if live is None or live.tail.shape[1] < rows or live.row not in {row, row - 1}:
            return None
        if live.row == row - 1:
            if row % BLOCK == 0:
                return None
            newest = np.empty((len(run.outputs), 1, len(candles.symbols)))
            end = len(candles)
            self._loop(run, candles, live.state, newest, (end - 1, end, end - 1))
            one_row = live.tail.shape[1] == 1
            live.tail = newest if one_row else np.concatenate([live.tail[:, 1:], newest], axis=1)
            live.row = row
        return live.tail[:, live.tail.shape[1] - rows :]

    def _from_block_start(self, run: _Run, candles: Candles, rows: int) -> FloatPanel:
        begins = candles.interval.index(int(candles.times[0]))
        ends = begins + len(candles)
        first = ends - rows
        parts = []
        state = run.new_state(len(candles.symbols))
        while first < ends:
            stop = min((first // BLOCK + 1) * BLOCK, ends)
            start = max(first_row_needed(first, run.warmup), begins)
            part = np.empty((len(run.outputs), stop - first, len(candles.symbols)))
            state[:] = 0.0
            self._loop(run, candles, state, part, (start - begins, stop - begins, first - begins))
            parts.append(part)
            first = stop
        values = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if candles.generation is not None:
            tail = values[:, max(0, rows - BLOCK) :]
            self._live[self._live_key(run, candles)] = _Live(ends - 1, state, tail)
        return values

    def _loop(
        self,
        run: _Run,
        candles: Candles,
        state: FloatPanel,
        out: FloatPanel,
        rows: tuple[int, int, int],
    ) -> None:
        """Run a feature's loop over (first, last, first written) rows, on all threads."""
        columns = len(candles.symbols)
        arguments = (candles.presence, candles.times, *(getattr(candles, f) for f in FIELDS))
        arguments += (run.params, state, out, *rows)
        kernel = run.kernel
        if self._threads == 1 or (rows[1] - rows[0]) * columns < _WORTH_A_THREAD:
            kernel(*arguments, 0, columns)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="weft-feature")
        width = LANES
        for done in [
            self._pool.submit(kernel, *arguments, left, min(left + width, columns))
            for left in range(0, columns, width)
        ]:
            done.result()

    @staticmethod
    def _live_key(run: _Run, candles: Candles) -> tuple[str, str, int]:
        return (feature_key(run.feature), candles.interval.name, candles.generation or 0)


def feature_key(feature: StepFeature) -> str:
    """Return a text that is equal for two features exactly when they compute the same."""
    return f"{feature.name}{feature.config.model_dump_json()}"
