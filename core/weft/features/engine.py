"""Runs features over panels, and keeps their state from one candle to the next.

Where a recursive indicator starts decides its last digits. To keep them the same for live, for
history and after a restart, every value is computed from a start fixed by the calendar: time is
cut into blocks of `BLOCK` candles, and within a block the state starts from nothing `warmup`
candles before the block begins. Loading more history, or dropping the cached state, then changes
no bit; and rounding errors cannot pile up beyond a block.

A market with sessions leaves most rows of an intraday grid empty, so its state starts earlier, by
`first_row_needed`; a market that never closes beside it in the panel starts where it always does.
"""

import math
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from weft.arrays import FloatPanel, Floats
from weft.components.feature import StepFeature
from weft.errors import DataError
from weft.features.kernels import Kernel, compile_step
from weft.features.lanes import State, clear_state, new_state
from weft.market.candles import FIELDS, Candles
from weft.times import DAY, WEEK, Interval

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig

BLOCK = 2048
"""Candles between two starting points of a feature's state."""

_PANELS_FOLLOWED = 16
_SPARE_ROWS = 32  # candles a live buffer takes before it is moved
_WORTH_KEEPING = 1 << 17  # cells below which fresh memory costs next to nothing
_CELLS_KEPT = 1 << 26  # half a gigabyte
_WORTH_A_THREAD = 200_000  # cells below which handing work over costs more than it saves
_LEAST_WIDTH = 64  # columns below which a thread reads memory in pieces too short

# A market with sessions trades in at least every tenth hour of a year (four hours on 243 days),
# and in two of three days, with no closure longer than twelve days.
_CLOSED_DAYS = 12
_ROWS_PER_INTRADAY_CANDLE = 10


def first_row_needed(first_index: int, warmup: int, sessions: Interval | None = None) -> int:
    """Return the grid index of the candle a value at `first_index` is computed from on.

    Args:
        first_index: grid index of the first value wanted (`Interval.index` of its time).
        warmup: the feature's warm-up, in candles that traded.
        sessions: the interval, for a market that closes; None for one that never does.
    """
    rows = warmup
    if sessions is not None and sessions.micros < DAY:
        closed = _CLOSED_DAYS * DAY // sessions.micros
        rows = warmup * _ROWS_PER_INTRADAY_CANDLE + closed
    elif sessions is not None and sessions.micros < WEEK:
        rows = warmup + warmup // 2 + _CLOSED_DAYS
    return first_index // BLOCK * BLOCK - rows


class _Run:
    """One feature bound to its compiled loop and its options."""

    def __init__(self, feature: StepFeature) -> None:
        self.feature = feature
        self.outputs = feature.outputs
        self.warmup = feature.warmup

    @cached_property
    def kernel(self) -> Kernel:
        return compile_step(self.feature.name, type(self.feature).advance, len(self.outputs))

    @cached_property
    def params(self) -> Floats:
        return np.array(self.feature.params, dtype=np.float64)

    def new_state(self, symbols: int) -> State:
        return new_state(self.feature.state_size, len(self.outputs), symbols)


class _Source:
    """A candle panel as kernels take it."""

    def __init__(self, candles: Candles) -> None:
        self.candles = candles
        self.begins = candles.interval.index(int(candles.times[0])) if len(candles) else 0
        self.ends = self.begins + len(candles)
        self.columns = len(candles.symbols)
        closes = candles.closable > 0
        self.sessions = candles.interval if closes.any() else None
        self.always_open = ~closes
        panels = (candles.presence, candles.times, *(getattr(candles, f) for f in FIELDS))
        self.arguments = tuple(np.ascontiguousarray(panel) for panel in panels)


@dataclass(slots=True)
class _Live:
    """State of one feature after the latest candle of one panel, and its latest rows."""

    begins: int
    row: int
    state: State
    rows: FloatPanel
    filled: int
    wanted: int


@dataclass(slots=True)
class _Followed:
    """A panel that grows candle by candle, with the features kept for it."""

    source: _Source
    features: dict[_Run, _Live] = field(default_factory=dict)


class _Memory:
    """Hands out arrays for panels, and takes their memory back once nobody holds a view of them.

    The operating system zeroes fresh memory page by page, which takes longer than most features.
    """

    def __init__(self) -> None:
        self._free: list[Floats] = []
        self._lock = threading.Lock()

    def array(self, shape: tuple[int, int, int]) -> FloatPanel:
        """Return an array of unset values."""
        cells = math.prod(shape)
        if cells < _WORTH_KEEPING:
            return np.empty(shape)
        block = self._take(cells)
        # Views of views refer to this array, as it is the first that owns no memory itself.
        lease = np.frombuffer(block.data)
        weakref.finalize(lease, self._give_back, block).atexit = False
        return lease[:cells].reshape(shape)

    def clear(self) -> None:
        """Return all unused memory to the operating system."""
        with self._lock:
            self._free.clear()

    def _take(self, cells: int) -> Floats:
        with self._lock:
            fitting = [k for k, block in enumerate(self._free) if cells <= len(block) <= 2 * cells]
            if fitting:
                return self._free.pop(min(fitting, key=lambda k: len(self._free[k])))
        return np.empty(cells)

    def _give_back(self, block: Floats) -> None:
        # Runs wherever the last view dies, perhaps inside `_take` when garbage is collected.
        if self._lock.acquire(blocking=False):
            try:
                if sum(map(len, self._free)) + len(block) <= _CELLS_KEPT:
                    self._free.append(block)
            finally:
                self._lock.release()


class FeatureEngine:
    """Computes features for views, and steps them forward when a view follows the one before.

    Safe to use from several threads. All memory of it is a cache: `forget` changes no result.

    Args:
        threads: worker threads for panels of many symbols; 0 for one per core.
    """

    def __init__(self, threads: int = 0) -> None:
        self._threads = threads or os.cpu_count() or 1
        self._pool: ThreadPoolExecutor | None = None
        self._runs: dict[tuple[type[StepFeature], ComponentConfig | str], _Run] = {}
        self._followed: OrderedDict[tuple[int, str], _Followed] = OrderedDict()
        self._memory = _Memory()
        self._lock = threading.Lock()
        self._pool_lock = threading.Lock()

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
            self._followed.clear()
        self._memory.clear()

    def panels(self, feature: StepFeature, candles: Candles, rows: int) -> Mapping[str, FloatPanel]:
        """Return the last `rows` rows of every output of a feature over a candle panel.

        Args:
            feature: the feature with its options.
            candles: rows far enough back for the block and its warm-up (see `first_row_needed`);
                where they begin later, history is taken to begin there.
            rows: number of rows wanted.

        Raises:
            DataError: the panel has fewer rows than are wanted.
        """
        run = self._run(feature)
        if rows > len(candles):
            raise DataError(
                f"{rows} rows are wanted of a panel of {len(candles)}",
                where=feature.name,
                hint="Load more candles, or ask for fewer rows",
            )
        if candles.generation is None:
            values, _ = self._from_block_start(run, _Source(candles), rows)
        else:
            with self._lock:
                values = self._follow(run, candles, rows)
        values.flags.writeable = False
        return dict(zip(run.outputs, values, strict=True))

    def _run(self, feature: StepFeature) -> _Run:
        try:
            return self._runs[type(feature), feature.config]
        except KeyError:
            return self._runs.setdefault((type(feature), feature.config), _Run(feature))
        except TypeError:  # an option that is a list or a dict cannot be hashed
            key = (type(feature), feature.config.model_dump_json())
            return self._runs.get(key) or self._runs.setdefault(key, _Run(feature))

    # Live: from one candle to the next

    def _follow(self, run: _Run, candles: Candles, rows: int) -> FloatPanel:
        """Return the last rows from kept state, stepped forward or, if need be, made anew."""
        followed = self._panel(candles)
        source = followed.source
        live = followed.features.get(run)
        newest = source.ends - 1
        if live is None or not self._continues(run, live, source, rows):
            values, state = self._from_block_start(run, source, rows)
            kept = values[:, max(0, rows - BLOCK) :]
            followed.features[run] = _Live(
                source.begins, newest, state, kept, kept.shape[1], kept.shape[1]
            )
            return values
        if live.row < newest:
            self._step_forward(run, live, source)
        return live.rows[:, live.filled - rows : live.filled]

    def _panel(self, candles: Candles) -> _Followed:
        key = (candles.generation or 0, candles.interval.name)
        followed = self._followed.get(key)
        if followed is not None and followed.source.candles is candles:
            return followed
        if followed is None or followed.source.candles.symbols != candles.symbols:
            followed = self._followed[key] = _Followed(_Source(candles))
            if len(self._followed) > _PANELS_FOLLOWED:
                self._followed.popitem(last=False)
        else:
            followed.source = _Source(candles)
            self._followed.move_to_end(key)
        return followed

    @staticmethod
    def _continues(run: _Run, live: _Live, source: _Source, rows: int) -> bool:
        """Whether stepping forward gives what starting anew on this panel would give."""
        newest = source.ends - 1
        missing = newest - live.row
        if not 0 <= missing <= len(source.candles) or live.filled + missing < rows:
            return False
        if newest // BLOCK != live.row // BLOCK:
            return False
        needed = first_row_needed(source.ends - rows, run.warmup, source.sessions)
        return live.begins == source.begins or max(live.begins, source.begins) <= needed

    def _step_forward(self, run: _Run, live: _Live, source: _Source) -> None:
        end = len(source.candles)
        first = end - (source.ends - 1 - live.row)
        needed = live.filled + end - first
        if needed > live.rows.shape[1]:
            # Rows given out are never written again, so a full buffer is left to its readers.
            kept = min(live.filled, live.wanted)
            shape = (len(run.outputs), kept + end - first + _SPARE_ROWS, source.columns)
            buffer = np.empty(shape)
            buffer[:, :kept] = live.rows[:, live.filled - kept : live.filled]
            live.rows, live.filled = buffer, kept
        self._loop(run, source, live.state, live.rows, (first, end, first, first - live.filled))
        live.filled += end - first
        live.row = source.ends - 1

    # History: from the start of each block

    def _from_block_start(self, run: _Run, source: _Source, rows: int) -> tuple[FloatPanel, State]:
        """Return the last rows, and the state after them, computed block by block."""
        values = self._memory.array((len(run.outputs), rows, source.columns))
        state = run.new_state(source.columns)
        base = source.ends - rows
        first = base
        while first < source.ends:
            stop = min((first // BLOCK + 1) * BLOCK, source.ends)
            start = max(first_row_needed(first, run.warmup), source.begins)
            state[:] = 0.0
            if source.sessions is not None:
                early = max(first_row_needed(first, run.warmup, source.sessions), source.begins)
                self._rows(run, source, state, values, (early, start, start, base))
                clear_state(state, source.always_open)
            self._rows(run, source, state, values, (start, stop, first, base))
            first = stop
        return values, state

    def _rows(
        self,
        run: _Run,
        source: _Source,
        state: State,
        out: FloatPanel,
        indices: tuple[int, int, int, int],
    ) -> None:
        """Run the loop over rows given by their grid index."""
        first, last, kept, base = (index - source.begins for index in indices)
        self._loop(run, source, state, out, (first, last, kept, base))

    def _loop(
        self,
        run: _Run,
        source: _Source,
        state: State,
        out: FloatPanel,
        rows: tuple[int, int, int, int],
    ) -> None:
        """Run a feature's loop over (first, last, first kept, first of `out`), on all threads."""
        kernel, columns = run.kernel, source.columns
        arguments = (*source.arguments, run.params, state, out, *rows)
        parts = min(self._threads, columns // _LEAST_WIDTH)
        if parts <= 1 or (rows[1] - rows[0]) * columns < _WORTH_A_THREAD:
            kernel(*arguments, 0, columns)
            return
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="weft-feature")
        edges = [columns * part // parts // 8 * 8 for part in range(parts)] + [columns]
        tasks = [
            self._pool.submit(kernel, *arguments, left, right) for left, right in pairwise(edges)
        ]
        for task in tasks:
            task.result()
