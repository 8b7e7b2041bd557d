"""Live composition: at every close, fetch what is new, compose, record, publish."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from weft.collect.intake import RoundResult
from weft.collect.outages import Outages
from weft.domain.signal import Report, to_json
from weft.engine.engine import Engine
from weft.foundation.errors import WeftError
from weft.foundation.times import SECOND, parse_time
from weft.sources.stream import Streamer, StreamStatus, sources_of
from weft.sources.stream.streamer import Source

log = logging.getLogger("weft.live")

_SETTLE = 2 * SECOND
"""Time given to a venue after a close until its candle can be asked for."""

_ROUNDS = "composing"
"""Name of the rounds in the log."""

_POLL = 5 * SECOND
"""Time between two questions while a candle that is due has not come."""


@dataclass(frozen=True, slots=True)
class Published:
    """One composition as the API hands it out: serialised once, however often it is asked for.

    Attributes:
        report: the signals.
        body: the whole report as JSON.
        by_symbol: each signal as JSON.
        composed_at: when it was composed, microseconds since 1970.
        took_seconds: how long composing took.
    """

    report: Report
    body: bytes
    by_symbol: Mapping[str, bytes]
    composed_at: int
    took_seconds: float


@dataclass(slots=True)
class LiveService:
    """Keeps one engine composing, and holds its latest signals.

    Attributes:
        engine: what composes.
        published: the latest composition; None before the first.
        collected: what each provider brought in the latest round.
        failure: why the latest round failed; None where it did not.
        awaited: symbols whose candle had not come when the latest signals were composed.
        wait_seconds: how long after a decision is due to wait for candles still missing.
        streamer: the streams beside the rounds; None before `run`.
    """

    engine: Engine
    published: Published | None = None
    collected: list[RoundResult] = field(default_factory=list)
    failure: str | None = None
    awaited: list[str] = field(default_factory=list)
    wait_seconds: float = 60.0
    streamer: Streamer | None = None
    _outages: Outages = field(default_factory=lambda: Outages(log))

    def compose(self) -> Published:
        """Compose at the newest close, record the signals and publish them."""
        engine = self.engine
        missing = self.published.report.missing_layers if self.published else {}
        started = engine.clock.now()
        as_of = engine.latest_close()
        engine.market.warm_up_to(as_of)
        self.awaited = engine.market.awaited(as_of, engine.composition.max_age_candles)
        view = engine.view(as_of)
        report = engine.report(engine.compose(view))
        engine.record(report, view)
        composed_at = engine.clock.now()
        self.published = Published(
            report=report,
            body=report.to_json(),
            by_symbol={signal.symbol: to_json(signal) for signal in report.signals},
            composed_at=composed_at,
            took_seconds=(composed_at - started) / SECOND,
        )
        self._log_layers(missing, report.missing_layers)
        return self.published

    def _log_layers(self, before: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Log which layers have gone missing, and which are back, since the last composition."""
        for name in sorted(now.keys() - before.keys()):
            log.warning("signals lack the layer %s: %s", name, now[name])
        for name in sorted(before.keys() - now.keys()):
            log.warning("the layer %s is back", name)

    async def run(self) -> None:
        """Compose at every close until cancelled. A round that fails is told and tried again."""
        try:
            await self._rounds()
        except Exception as error:
            self.failure = f"composing has stopped: {type(error).__name__}: {error}"
            log.exception("composing has stopped")
            raise

    async def _rounds(self) -> None:
        interval = self.engine.composition.interval
        delay = self.engine.market.plan.delay
        clock = self.engine.clock
        async with self.engine.collector.connections, self._streaming():
            while True:
                row = interval.floor(clock.now() - delay) + interval.micros
                due = row + delay
                await clock.sleep_until(due + _SETTLE)
                while clock.now() < due + interval.micros and not await self._round(row):
                    await clock.sleep_until(clock.now() + _POLL)

    def stream_status(self) -> list[StreamStatus]:
        """Return how the live streams are doing; none before `run`."""
        return [] if self.streamer is None else self.streamer.status()

    def check(self) -> None:
        """Find mistakes in how streams are configured before anybody waits for them.

        Raises:
            ConfigError: a provider cannot follow what its options ask for.
        """
        self._stream_sources()

    def _stream_sources(self) -> list[Source]:
        providers = [configured.component for configured in self.engine.composition.providers]
        return sources_of(providers, self.engine.collector.request)

    @asynccontextmanager
    async def _streaming(self) -> AsyncIterator[None]:
        """Run the streams of all providers that have some, as long as rounds follow each other."""
        engine, collector = self.engine, self.engine.collector
        self.streamer = Streamer(
            self._stream_sources(),
            interval=engine.composition.base,
            keep=collector.keep,
            client=collector.connections.client,
            known=collector.known,
            clock=engine.clock,
            # Only pauses between attempts are drawn from it.
            rng=random.Random(0),  # noqa: S311  # no secret depends on it
            workers=collector.workers,
        )
        running = asyncio.create_task(self.streamer.run())
        try:
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _round(self, row: int) -> bool:
        """Fetch, and compose once all candles of a row are in or time is up; return whether."""
        try:
            self.collected = await self.engine.update(in_time=True)
            self.failure = None
            if not self._is_news() or self.engine.awaited(self.wait_seconds):
                return False
            # What streams bring meanwhile waits: the market must not change under a composition.
            async with self.engine.collector.turn:
                published = await asyncio.to_thread(self.compose)
            failed = await self.engine.carry_out(published.report)
            if failed:
                self.failure = "; ".join(failed.values())
        except WeftError as error:
            self.failure = str(error)
            self._outages.note(_ROUNDS, self.failure, self.engine.clock.now())
            return False
        except Exception as error:
            # Whatever it was: signals that quietly stay as they are would be the worst answer.
            self.failure = f"a fault: {type(error).__name__}: {error}"
            if self._outages.note(_ROUNDS, self.failure, self.engine.clock.now()):
                log.warning("where the fault is:", exc_info=error)
            return False
        self._outages.note(_ROUNDS, None, self.engine.clock.now())
        return parse_time(published.report.as_of) >= row

    def _is_news(self) -> bool:
        if self.published is None:
            return True
        return self.engine.latest_close() > parse_time(self.published.report.as_of)
