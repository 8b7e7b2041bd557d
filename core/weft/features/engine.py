"""Runs features over panels, and keeps their state from one candle to the next.

Where a recursive indicator starts decides its last digits. To keep them the same for live, for
history and after a restart, every value is computed from a start fixed by the calendar: time is
cut into blocks of `BLOCK` candles, and within a block the state starts from nothing `warmup`
candles before the block begins. Loading more history, or dropping the cached state, then changes
no bit; and rounding errors cannot pile up beyond a block.

A market with sessions leaves most rows of an intraday grid empty, so its state starts earlier, by
`first_row_needed`; a market that never closes beside it in the panel starts where it always does.
"""

import os
import threading
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
from weft.features.lanes import State, clear_state, new_scratch, new_state
from weft.features.memory import PanelMemory
from weft.market.candles import FIELDS, Candles
from weft.times import DAY, WEEK, Interval

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig

BLOCK = 2048
"""Candles between two starting points of a feature's state."""

_PANELS_FOLLOWED = 16
_IDLE_CANDLES = 16  # candles a feature is stepped on although nobody asks for it
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

    @cached_property
    def scratch(self) -> Floats:
        """Room for the outputs of one tile, for whoever holds the engine's lock."""
        return new_scratch(len(self.outputs))

    def new_state(self, symbols: int) -> State:
        return new_state(self.feature.state_size, symbols)

    def named(self, values: FloatPanel) -> Mapping[str, FloatPanel]:
        values.flags.writeable = False
        return dict(zip(self.outputs, values, strict=True))


class _Source:
    """A candle panel as kernels take it."""

    def __init__(self, candles: Candles) -> None:
        self.candles = candles
        self.rows = len(candles)
        self.begins = candles.interval.index(int(candles.times[0])) if self.rows else 0
        self.ends = self.begins + self.rows
        self.columns = len(candles.symbols)
        closes = candles.closable > 0
        self.sessions = candles.interval if closes.any() else None
        self.always_open = ~closes
        panels = (candles.presence, *(getattr(candles, f) for f in FIELDS))
        # Kernels check no bounds.
        if any(panel.shape != (self.rows, self.columns) for panel in panels):
            shapes = ", ".join(str(panel.shape) for panel in panels)
            raise DataError(
                f"{self.rows} times and {self.columns} symbols do not fit panels of {shapes}",
                where="candles",
            )
        presence, *prices = (np.ascontiguousarray(panel) for panel in panels)
        self.arguments = (presence, np.ascontiguousarray(candles.times), *prices)


@dataclass(slots=True)
class _Live:
    """State of one feature after the latest candle of one panel, and its latest rows.

    Attributes:
        begins: grid index where the panel begins that this was computed on.
        ends: grid index after the latest candle.
        state: after that candle.
        rows: outputs, of which the first `filled` rows are set; a row once set never changes.
        wanted: how many of the latest rows were asked for at most.
        idle: candles since it was asked for.
    """

    begins: int
    ends: int
    state: State
    rows: FloatPanel
    filled: int
    wanted: int
    idle: int = 0

    def continues(self, source: _Source, warmup: int) -> bool:
        """Whether stepping forward gives what starting anew on a panel would give."""
        if not self.ends <= source.ends <= self.ends + source.rows:
            return False
        if (source.ends - 1) // BLOCK != (self.ends - 1) // BLOCK:
            return False
        if self.begins == source.begins:
            return True
        needed = first_row_needed(source.ends - self.wanted, warmup, source.sessions)
        return max(self.begins, source.begins) <= needed

    def make_room(self, rows: int) -> None:
        """Have space for `rows` more, in a new buffer if need be."""
        outputs, capacity, columns = self.rows.shape
        if self.filled + rows > capacity:
            # Where one row is wanted, that is a small array, whose memory is warm from the last.
            kept = min(self.filled, max(0, self.wanted - rows))
            buffer = np.empty((outputs, kept + rows + max(0, self.wanted - 1), columns))
            if kept:
                buffer[:, :kept] = self.rows[:, self.filled - kept : self.filled]
            self.rows, self.filled = buffer, kept


@dataclass(slots=True)
class _Followed:
    """A panel that grows candle by candle, with the features kept for it."""

    source: _Source
    features: dict[_Run, _Live] = field(default_factory=dict)


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
        self._latest: _Followed | None = None
        self._memory = PanelMemory()
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
            self._latest = None
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
        if rows > len(candles.times):
            raise DataError(
                f"{rows} rows are wanted of a panel of {len(candles)}",
                where=feature.name,
                hint="Load more candles, or ask for fewer rows",
            )
        if candles.generation is None:
            return run.named(self._from_block_start(run, _Source(candles), rows)[0])
        with self._lock:
            followed = self._follow(candles)
            live = followed.features.get(run)
            if live is None or rows > live.wanted or live.ends != followed.source.ends:
                values, state = self._from_block_start(run, followed.source, rows)
                followed.features[run] = self._kept(followed.source, values, state)
                return run.named(values)
            live.idle = 0
            return run.named(live.rows[:, live.filled - rows : live.filled])

    def _run(self, feature: StepFeature) -> _Run:
        try:
            return self._runs[type(feature), feature.config]
        except KeyError:
            return self._runs.setdefault((type(feature), feature.config), _Run(feature))
        except TypeError:  # an option that is a list or a dict cannot be hashed
            key = (type(feature), feature.config.model_dump_json())
            return self._runs.get(key) or self._runs.setdefault(key, _Run(feature))

    # Live: from one candle to the next

    def _follow(self, candles: Candles) -> _Followed:
        """Return what is kept for a panel, stepped forward to its latest candle."""
        if self._latest is not None and self._latest.source.candles is candles:
            return self._latest
        key = (candles.generation or 0, candles.interval.name)
        followed = self._followed.get(key)
        if followed is None or followed.source.candles.symbols != candles.symbols:
            followed = self._followed[key] = _Followed(_Source(candles))
            if len(self._followed) > _PANELS_FOLLOWED:
                self._followed.popitem(last=False)
        elif followed.source.candles is not candles:
            followed.source = _Source(candles)
            self._step_forward(followed)
            self._followed.move_to_end(key)
        self._latest = followed
        return followed

    def _step_forward(self, followed: _Followed) -> None:
        """Bring every feature that is still asked for to the latest candle, or let go of it."""
        source = followed.source
        for run, live in tuple(followed.features.items()):
            live.idle += 1
            if live.idle > _IDLE_CANDLES or not live.continues(source, run.warmup):
                del followed.features[run]
                continue
            missing = source.ends - live.ends
            live.make_room(missing)
            first = source.rows - missing
            rows = (first, source.rows, first, first - live.filled)
            given = (*source.arguments, run.params, live.state, run.scratch)
            run.kernel(*given, live.rows, *rows, 0, source.columns)
            live.filled += missing
            live.begins, live.ends = source.begins, source.ends

    @staticmethod
    def _kept(source: _Source, values: FloatPanel, state: State) -> _Live:
        rows = values[:, max(0, values.shape[1] - BLOCK) :]
        return _Live(source.begins, source.ends, state, rows, rows.shape[1], rows.shape[1])

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
        columns = source.columns
        given = (*source.arguments, run.params, state)
        wanted = (out, *rows)
        if self._threads == 1 or (rows[1] - rows[0]) * columns < _WORTH_A_THREAD:
            run.kernel(*given, new_scratch(len(run.outputs)), *wanted, 0, columns)
            return
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="weft-feature")
        parts = max(1, min(self._threads, columns // _LEAST_WIDTH))
        edges = [columns * part // parts // 8 * 8 for part in range(parts)] + [columns]
        tasks = [
            self._pool.submit(
                run.kernel, *given, new_scratch(len(run.outputs)), *wanted, left, right
            )
            for left, right in pairwise(edges)
        ]
        for task in tasks:
            task.result()
