"""The engine: one composition over one store, for live, history and replay."""

import asyncio
import logging
from collections.abc import Container, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace

from weft.collect.collector import Collector, Progress
from weft.collect.intake import RoundResult
from weft.components.contract_checks import checked_awaitable
from weft.components.feature import StepFeature
from weft.compose.composing import Composed, compose
from weft.compose.composition import Composition
from weft.compose.reporting import Reporter
from weft.domain.signal import Report
from weft.features.engine import FeatureEngine
from weft.foundation.arithmetic import own_arithmetic
from weft.foundation.clock import Clock
from weft.foundation.errors import LookAheadError, NoDataError
from weft.foundation.times import SECOND, iso
from weft.learning.champions import ActiveArtifacts, Champions
from weft.learning.trainer import Trainer
from weft.ledger.ledger import Ledger
from weft.market.market import Market
from weft.market.view import View
from weft.plugins.hookspecs import CompositionContext
from weft.plugins.manager import HookManager
from weft.store.store import Store

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Engine:
    """Composes signals. Build it with `weft.engine.assembly.assemble`.

    Attributes:
        composition: the components and how they are used.
        store: data with the time it became known.
        ledger: the recorded signals.
        market: views of the store.
        collector: brings the store up to date.
        features: computes features; its only state is caches.
        hooks: notified of every recorded composition.
        clock: the time.
        champions: the artifacts in use.
        trainer: trains the trained components.
    """

    composition: Composition
    store: Store
    ledger: Ledger
    market: Market
    collector: Collector
    features: FeatureEngine
    hooks: HookManager
    clock: Clock
    champions: Champions
    trainer: Trainer
    _warm: bool = field(default=False, init=False)

    async def update(
        self,
        progress: Progress | None = None,
        *,
        since: int | None = None,
        in_time: bool = False,
    ) -> list[RoundResult]:
        """Fetch what is new from every provider, and store it; see `Collector.collect`."""
        return await self.collector.collect(progress, since=since, in_time=in_time)

    def awaited(self, patience_seconds: float) -> list[str]:
        """Return the symbols whose candle for the newest decision row is still awaited.

        Args:
            patience_seconds: how long after its decision is due a row waits for its candles.
        """
        row = self.latest_close()
        due = row + self.market.plan.delay
        if self.clock.now() >= due + patience_seconds * SECOND:
            return []
        return self.market.awaited(row, self.composition.max_age_candles)

    def latest_close(self) -> int:
        """Return the newest decision row to compose at, microseconds since 1970.

        That is the last close of the decision interval whose decision is due, or an earlier one
        where the stored candles end earlier.
        """
        now = self.composition.interval.floor(self.clock.now() - self.market.plan.delay)
        last = self.market.last_close
        return now if last is None else min(now, last)

    def view(
        self, as_of: int | None = None, steps: int = 1, recorded_by: int | None = None
    ) -> View:
        """Return the data known at a close, when its decision is taken.

        Args:
            as_of: microseconds since 1970; None for the newest decision row.
            steps: decision rows, the last of them at or before `as_of`.
            recorded_by: leave out rows that the store wrote later, microseconds since 1970: the
                view of a composition at that instant. None for all rows.

        Raises:
            LookAheadError: `as_of` lies in the future, or its decision does.
            NoDataError: nothing was known by then.
        """
        row = self.decision_row(as_of)
        if self.market.last_close is None:
            self._expect_candles()
        market = self.market if recorded_by is None else self.market.as_recorded(recorded_by)
        return market.view(row, steps)

    def decision_row(self, as_of: int | None = None) -> int:
        """Return the last decision row at or before an instant, microseconds since 1970.

        Args:
            as_of: microseconds since 1970; None for the newest decision row.

        Raises:
            LookAheadError: `as_of` lies in the future, or its decision does.
        """
        now = self.clock.now()
        if as_of is not None and as_of > now:
            raise LookAheadError(
                f"{iso(as_of)} lies in the future; it is {iso(now)} now",
                where="as_of",
                hint="Leave it out to compose at the newest close",
            )
        row = self.latest_close() if as_of is None else self.composition.interval.floor(as_of)
        if row + self.market.plan.delay > now:
            raise LookAheadError(
                f"the decision of {iso(row)} is taken at {iso(row + self.market.plan.delay)}; "
                f"it is {iso(now)} now",
                where="as_of",
                hint="Wait for it, or lower decision_delay_seconds",
            )
        return row

    def _expect_candles(self) -> None:
        """Raise a NoDataError if no provider that is on brings candles."""
        providers = [configured.component for configured in self.composition.providers]
        if any(provider.brings_candles for provider in providers):
            return
        names = ", ".join(provider.name for provider in providers)
        raise NoDataError(
            f"a source of candles is missing; those that are on bring other data: {names}",
            where="providers",
            hint="Switch one on, such as files, binance or coinbase. Made-up data is used only "
            "while no real source is on, and a key in the environment switches its source on",
        )

    def compose(self, view: View) -> Composed:
        """Return the decisions of the composition on a view's decision rows.

        The first composition of an engine fills caches. If it loses a layer or a model while doing
        so, its signals are shown but not recorded, because a later composition of the same view
        would not lose it.
        """
        # Compiled here, outside of the deadline of the layer that uses a feature first.
        self.features.compile(self.step_features())
        active = self.active_artifacts(view)
        composed = compose(self.composition, view, active.learned, active.problems)
        warming_up, self._warm = not self._warm, True
        if warming_up and composed.lost:
            names = ", ".join(sorted(composed.lost))
            why = f"{names} gave no answer while warming up"
            return replace(composed, not_recorded=why)
        return composed

    def compose_again(self, view: View, skipped: Mapping[str, str]) -> Composed:
        """Return the decisions of an earlier composition, without its deadlines.

        Args:
            view: the data known then.
            skipped: layers, models or regime that gave no answer then, and why, by key in config.
        """
        self.features.compile(self.step_features())
        active = self.active_artifacts(view)
        patient = self.composition.unhurried()
        return compose(patient, view, active.learned, active.problems, skipped)

    def active_artifacts(self, view: View) -> ActiveArtifacts:
        """Return the artifacts in use as of a view's first decision row."""
        recorded_by = view.loaded.read_at or None
        return self.champions.active_artifacts(
            self.composition.trained, int(view.times[0]), recorded_by
        )

    def report(
        self, composed: Composed, row: int = -1, symbols: Container[str] | None = None
    ) -> Report:
        """Return the signals of one decision row, of some symbols or of all."""
        return Reporter(self.composition).report(composed, row, symbols)

    def record(self, report: Report, view: View) -> int:
        """Write a report's signals to the ledger once; return the number of new ones.

        A report with a reason in `not_recorded` is not written.

        Args:
            report: the signals.
            view: the data they were composed from.
        """
        if report.not_recorded is not None:
            _log.warning("the signals of %s: not recorded: %s", report.as_of, report.not_recorded)
            return 0
        written = self.ledger.record(report.signals, view.loaded.read_at, own_arithmetic())
        context = CompositionContext(
            as_of=report.as_of, data=report.data, config=self.composition.versions.config
        )
        self.hooks.signals_composed(report.signals, context)
        return written

    async def carry_out(self, report: Report) -> dict[str, str]:
        """Hand a report's signals to every sink; return the failures by sink.

        Signals that are not recorded go to no sink. Each sink runs in its own thread: a sink that
        fails, overruns its deadline or blocks does not keep the signals from the others.
        """
        names = list(self.composition.sinks) if report.not_recorded is None else []
        emitted = await asyncio.gather(
            *(self._emit(name, report) for name in names),
            return_exceptions=True,
        )
        return {
            name: str(outcome)
            for name, outcome in zip(names, emitted, strict=True)
            if isinstance(outcome, Exception)
        }

    async def _emit(self, name: str, report: Report) -> None:
        deadline = self.composition.deadline(f"sinks.{name}")
        sink, worker = self.composition.sinks[name], self.collector.workers.of(f"sink {name}")

        async def emit() -> None:
            # A copy, because a sink could write to the dicts of a signal.
            signals = deepcopy(report.signals)
            await checked_awaitable(sink.emit(signals), f"sink {name}", "emit")

        await worker.run(emit, patience_seconds=deadline, deadline_seconds=deadline)

    def step_features(self) -> list[StepFeature]:
        """Return the compiled features of the composition, each once."""
        features = (self.market.make_feature(need) for need in self.market.plan.features())
        unique = {(f.name, f.config): f for f in features if isinstance(f, StepFeature)}
        return list(unique.values())

    def close(self) -> None:
        """Close the ledger's database, and end the threads of providers and sinks."""
        self.collector.workers.close()
        self.composition.calls.close()
        self.ledger.close()
