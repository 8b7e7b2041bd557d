"""Features from one candle to the next: all that follow a panel take their step in one call."""

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

_IDLE_CANDLES = 16  # candles a feature is stepped on although nobody asks for it


@dataclass(slots=True, eq=False)
class _Kept:
    """One feature after the latest candle.

    Attributes:
        state: after that candle.
        rows: outputs up to it, of which the first `filled` rows are set and never change; not
            kept up where one row is wanted, once it has been stepped on.
        wanted: how many of the latest rows were asked for at most.
        asked: the step after which it was last asked for.
        first: where its outputs lie among those of the latest step.
        last: where they end.
        ready: the outputs of the latest step by name; None before the first, and where more rows
            are wanted than a step gives.
    """

    state: State
    rows: FloatPanel
    filled: int
    wanted: int
    asked: int
    first: int = 0
    last: int = 0
    ready: Mapping[str, FloatPanel] | None = None

    def append(self, newest: FloatPanel) -> None:
        """Take in the outputs of the latest step."""
        rows = newest.shape[1]
        outputs, capacity, columns = self.rows.shape
        if self.filled + rows > capacity:
            kept = min(self.filled, max(0, self.wanted - rows))
            buffer = np.empty((outputs, kept + rows + self.wanted - 1, columns))
            buffer[:, :kept] = self.rows[:, self.filled - kept : self.filled]
            self.rows, self.filled = buffer, kept
        self.rows[:, self.filled : self.filled + rows] = newest[self.first : self.last]
        self.filled += rows


@dataclass(slots=True, eq=False)
class _Plan:
    """How all features take a step together; their states and options are named by address."""

    kernels: list[Kernel]
    jobs: Jobs
    outputs: int
    scratch: Floats
    longer: list[_Kept]
    single: list[tuple[tuple[str, ...], _Kept]]
    ready: dict[int, _Kept]


class Followed:
    """A panel that grows candle by candle, with the features kept for it."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._features: dict[Run, _Kept] = {}
        # By the identity of a feature, which its run keeps alive; equal ones are found by `find`.
        self._ready: dict[int, _Kept] = {}
        self._steps = 0
        self._plan: _Plan | None = None

    def find(self, run: Run, rows: int) -> Mapping[str, FloatPanel] | None:
        """Return the latest rows of a feature, or None where they have to be computed anew."""
        kept = self._features.get(run)
        if kept is None or rows > kept.wanted:
            return None
        kept.asked = self._steps
        if kept.ready is not None:
            return {name: values[len(values) - rows :] for name, values in kept.ready.items()}
        found = kept.rows[:, kept.filled - rows : kept.filled]
        found.flags.writeable = False
        return run.named(found)

    def find_newest(self, feature: StepFeature) -> Mapping[str, FloatPanel] | None:
        """Return the newest row of a feature, where the latest step left it ready."""
        kept = self._ready.get(id(feature))
        if kept is None:
            return None
        kept.asked = self._steps
        return kept.ready

    def keep(self, run: Run, values: FloatPanel, state: State) -> None:
        """Step a feature on from here: `values` are its latest rows, and `state` is after them."""
        values = values[:, max(0, values.shape[1] - BLOCK) :]
        rows = values.shape[1]
        self._features[run] = _Kept(state, values, rows, rows, self._steps)
        self._ready.pop(id(run.feature), None)
        self._plan = None

    def step_to(self, source: Source) -> None:
        """Bring every feature that is still asked for to the latest candle, or let go of it."""
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
                for run, kept in self._features.items()
                if kept.asked < idle or (slid and begins > self._begins_needed(run, kept))
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
                # States may lie a candle apart now. Whoever asks has them computed anew, and
                # whoever asks for the one that failed is told.
                self._features.clear()
                self._ready = {}
                self._plan = None

    def _begins_needed(self, run: Run, kept: _Kept) -> int:
        """Return where a panel must begin for a step to give what starting anew would give."""
        source = self.source
        sessions = source.candles.interval if source.sessions else None
        return first_row_needed(source.ends - kept.wanted, run.warmup, sessions)

    def _step(self, missing: int) -> None:
        source = self.source
        plan = self._plan or self._make_plan()
        newest = np.empty((plan.outputs, missing, source.columns))
        first = source.rows - missing
        rows = (first, source.rows, first, first)
        columns = (0, source.columns)
        run_jobs(plan.kernels, plan.jobs, source.arrays, plan.scratch, newest, rows, columns)
        newest.flags.writeable = False
        for kept in plan.longer:
            kept.append(newest)
        panels = list(newest)
        for outputs, kept in plan.single:
            own = panels[kept.first : kept.last]
            kept.ready = MappingProxyType(dict(zip(outputs, own, strict=True)))
        self._ready = plan.ready if missing == 1 else {}

    def _make_plan(self) -> _Plan:
        jobs = []
        outputs = 0
        for run, kept in self._features.items():
            jobs.append(job(run.kernel, run.params, kept.state, outputs))
            kept.first, kept.last = outputs, outputs + len(run.outputs)
            outputs = kept.last
        single = {run: kept for run, kept in self._features.items() if kept.wanted <= 1}
        self._plan = _Plan(
            kernels=[run.kernel for run in self._features],
            jobs=np.array(jobs, dtype=np.int64),
            outputs=outputs,
            scratch=new_scratch(max(len(run.outputs) for run in self._features)),
            longer=[kept for kept in self._features.values() if kept.wanted > 1],
            single=[(run.outputs, kept) for run, kept in single.items()],
            ready={id(run.feature): kept for run, kept in single.items()},
        )
        return self._plan
