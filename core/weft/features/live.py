"""Live features: all features of a panel are stepped to the next candle in one call."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from weft.components.feature import StepFeature
from weft.domain.calendar import BLOCK, block_end, first_row_needed
from weft.features.jobs import Jobs, job, run_jobs
from weft.features.kernels import Kernel
from weft.features.lanes import State, new_scratch
from weft.features.source import Run, Source
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.errors import WeftError

_IDLE_CANDLES = 16  # candles for which a feature is stepped on without being requested


@dataclass(slots=True, eq=False)
class _FeatureState:
    """A feature's state and outputs after the latest candle.

    Attributes:
        state: after that candle.
        rows: outputs up to that candle, of which the first `filled` rows are set and never change;
            no longer extended where only one row is wanted.
        wanted: greatest number of latest rows requested.
        requested: the step after which the feature was last requested.
        first: index of its first output among those of the latest step.
        last: index after its last output.
        ready: the outputs of the latest step by name; None before the first, and where more rows
            are wanted than a step gives.
    """

    state: State
    rows: FloatPanel
    filled: int
    wanted: int
    requested: int
    first: int = 0
    last: int = 0
    ready: Mapping[str, FloatPanel] | None = None

    def append(self, newest: FloatPanel) -> None:
        """Append the outputs of the latest step."""
        rows = newest.shape[1]
        outputs, capacity, columns = self.rows.shape
        if self.filled + rows > capacity:
            old = min(self.filled, max(0, self.wanted - rows))
            buffer = np.empty((outputs, old + rows + self.wanted - 1, columns))
            buffer[:, :old] = self.rows[:, self.filled - old : self.filled]
            self.rows, self.filled = buffer, old
        self.rows[:, self.filled : self.filled + rows] = newest[self.first : self.last]
        self.filled += rows


@dataclass(slots=True, eq=False)
class _Plan:
    """Jobs that step all features together; states and options are given by address."""

    kernels: list[Kernel]
    jobs: Jobs
    outputs: int
    scratch: Floats
    longer: list[_FeatureState]
    single: list[tuple[tuple[str, ...], _FeatureState]]
    ready: dict[int, _FeatureState]


class Followed:
    """A panel that grows candle by candle, with the state of its features."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._features: dict[Run, _FeatureState] = {}
        # By the identity of a feature, which its run keeps alive; `find` serves equal features.
        self._ready: dict[int, _FeatureState] = {}
        self._steps = 0
        self._plan: _Plan | None = None

    def find(self, run: Run, rows: int) -> Mapping[str, FloatPanel] | None:
        """Return the latest rows of a feature, or None where they must be recomputed."""
        entry = self._features.get(run)
        if entry is None or rows > entry.wanted:
            return None
        entry.requested = self._steps
        if entry.ready is not None:
            return {name: values[len(values) - rows :] for name, values in entry.ready.items()}
        latest = entry.rows[:, entry.filled - rows : entry.filled]
        latest.flags.writeable = False
        return run.named(latest)

    def find_newest(self, feature: StepFeature) -> Mapping[str, FloatPanel] | None:
        """Return the newest row of a feature, where the latest step computed it."""
        entry = self._ready.get(id(feature))
        if entry is None:
            return None
        entry.requested = self._steps
        return entry.ready

    def keep(self, run: Run, values: FloatPanel, state: State) -> None:
        """Step a feature on from here: `values` are its latest rows, and `state` is after them."""
        values = values[:, max(0, values.shape[1] - BLOCK) :]
        rows = values.shape[1]
        self._features[run] = _FeatureState(state, values, rows, rows, self._steps)
        self._ready.pop(id(run.feature), None)
        self._plan = None

    def step_to(self, source: Source) -> None:
        """Step the features still in use to the latest candle, and drop the others."""
        before, self.source = self.source, source
        self._steps += 1
        missing = source.ends - before.ends
        same_block = block_end(source.ends - 1) == block_end(before.ends - 1)
        if 0 <= missing <= source.rows and same_block:
            slid = before.begins != source.begins
            begins = max(before.begins, source.begins)
            idle = self._steps - _IDLE_CANDLES
            gone = [
                run
                for run, entry in self._features.items()
                if entry.requested < idle or (slid and begins > self._begins_needed(run, entry))
            ]
        else:
            gone = list(self._features)
        for run in gone:
            del self._features[run]
            self._ready.pop(id(run.feature), None)
            self._plan = None
        if missing and self._features:
            try:
                self._step(missing)
            except WeftError:
                # States may lie a candle apart now: all are recomputed when requested, and the
                # request of the failed feature raises.
                self._features.clear()
                self._ready = {}
                self._plan = None

    def _begins_needed(self, run: Run, entry: _FeatureState) -> int:
        """Return where a panel must begin for a step to equal a recomputation."""
        source = self.source
        sessions = source.candles.interval if source.sessions else None
        return first_row_needed(source.ends - entry.wanted, run.warmup, sessions)

    def _step(self, missing: int) -> None:
        source = self.source
        plan = self._plan or self._make_plan()
        newest = np.empty((plan.outputs, missing, source.columns))
        first = source.rows - missing
        rows = (first, source.rows, first, first)
        columns = (0, source.columns)
        run_jobs(plan.kernels, plan.jobs, source.arrays, plan.scratch, newest, rows, columns)
        newest.flags.writeable = False
        for entry in plan.longer:
            entry.append(newest)
        panels = list(newest)
        for outputs, entry in plan.single:
            latest = panels[entry.first : entry.last]
            entry.ready = MappingProxyType(dict(zip(outputs, latest, strict=True)))
        self._ready = plan.ready if missing == 1 else {}

    def _make_plan(self) -> _Plan:
        jobs = []
        outputs = 0
        for run, entry in self._features.items():
            jobs.append(job(run.kernel, run.params, entry.state, outputs))
            entry.first, entry.last = outputs, outputs + len(run.outputs)
            outputs = entry.last
        single = {run: entry for run, entry in self._features.items() if entry.wanted <= 1}
        self._plan = _Plan(
            kernels=[run.kernel for run in self._features],
            jobs=np.array(jobs, dtype=np.int64),
            outputs=outputs,
            scratch=new_scratch(max(len(run.outputs) for run in self._features)),
            longer=[entry for entry in self._features.values() if entry.wanted > 1],
            single=[(run.outputs, entry) for run, entry in single.items()],
            ready={id(run.feature): entry for run, entry in single.items()},
        )
        return self._plan
