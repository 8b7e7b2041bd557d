"""Live composition: at every close, fetch new data, compose, record, publish."""

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
"""Pause between a close and the request for its candle."""

_ROUND = "composing"
"""Name of a round in the log."""

_POLL = 5 * SECOND
"""Time between two rounds while a candle that is due is missing."""


@dataclass(frozen=True, slots=True)
class Published:
    """One composition, serialised once for all requests.

    Attributes:
        report: the signals.
        body: the report as JSON.
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
    """Composes with one engine at every close, and holds the latest signals.

    Attributes:
        engine: the engine.
        published: the latest composition; None before the first.
        collected: results of each provider in the latest round.
        failure: why the latest round failed; None where it succeeded.
        awaited: symbols whose candle had not arrived when the latest signals were composed.
        wait_seconds: how long after a decision is due to wait for missing candles.
        streamer: the streams beside the rounds; None before `run`.
        outages: logs when layers, sinks and the rounds fail, and when they work again.
    """

    engine: Engine
    published: Published | None = None
    collected: list[RoundResult] = field(default_factory=list)
    failure: str | None = None
    awaited: list[str] = field(default_factory=list)
    wait_seconds: float = 60.0
    streamer: Streamer | None = None
    outages: Outages = field(default_factory=lambda: Outages(log))

    def compose(self) -> Published:
        """Compose at the newest close, record the signals and publish them."""
        engine = self.engine
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
        self.outages.update("layer", report.missing_layers, composed_at)
        return self.published

    async def run(self) -> None:
        """Compose at every close until cancelled. A round that fails is logged and repeated."""
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
        """Return the state of the live streams; none before `run`."""
        return [] if self.streamer is None else self.streamer.status()

    def check(self) -> None:
        """Check the configuration of the streams.

        Raises:
            ConfigError: a provider has no stream that its options name.
        """
        self._stream_sources()

    def _stream_sources(self) -> list[Source]:
        providers = [configured.component for configured in self.engine.composition.providers]
        return sources_of(providers, self.engine.collector.request)

    @asynccontextmanager
    async def _streaming(self) -> AsyncIterator[None]:
        """Run the streams of all providers while the block runs."""
        engine, collector = self.engine, self.engine.collector
        self.streamer = Streamer(
            self._stream_sources(),
            interval=engine.composition.base,
            keep=collector.keep,
            client=collector.connections.client,
            known=collector.known,
            clock=engine.clock,
            # Draws only the pauses between connection attempts.
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
        """Fetch; compose once all candles of a row are in, or time is up.

        Return whether the row is composed.
        """
        try:
            self.collected = await self.engine.update(in_time=True)
            self.failure = None
            if not self._is_news() or self.engine.awaited(self.wait_seconds):
                return False
            # Streams wait meanwhile: the market must not change during a composition.
            async with self.engine.collector.turn:
                published = await asyncio.to_thread(self.compose)
            failed = await self.engine.carry_out(published.report)
            self.outages.update("sink", failed, self.engine.clock.now())
            if failed:
                self.failure = "; ".join(failed.values())
        except WeftError as error:
            self.failure = str(error)
            self.outages.note(_ROUND, self.failure, self.engine.clock.now())
            return False
        except Exception as error:
            # Any fault must be visible: old signals that look current would be worse.
            self.failure = f"a fault: {type(error).__name__}: {error}"
            if self.outages.note(_ROUND, self.failure, self.engine.clock.now()):
                log.warning("traceback of the fault:", exc_info=error)
            return False
        self.outages.note(_ROUND, None, self.engine.clock.now())
        return parse_time(published.report.as_of) >= row

    def _is_news(self) -> bool:
        if self.published is None:
            return True
        return self.engine.latest_close() > parse_time(self.published.report.as_of)
