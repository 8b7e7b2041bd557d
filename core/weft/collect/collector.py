"""Ask every provider for new data, and store the answers."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from weft.collect.batching import BatchBuffer, merge_batches
from weft.collect.fetching import Fetching
from weft.collect.intake import Intake, RoundResult
from weft.collect.outages import Outages
from weft.components.configured import Configured, Policy
from weft.components.provider import Batch, Provider, Request
from weft.foundation.calls import fault
from weft.foundation.clock import Clock
from weft.foundation.errors import DataError, WeftError
from weft.foundation.times import DAY, Interval
from weft.foundation.workers import Workers
from weft.market.market import Market
from weft.sources.clients import Connections
from weft.store.store import Store

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger("weft.collect.collector")

_MOST_STREAMED = 20
"""Lines about the streams of one provider that its status shows."""

Progress = Callable[[RoundResult], None]


class Collector:
    """Brings the store of one composition up to date.

    Args:
        providers: the providers of the composition.
        base: interval of the candles to ask for.
        store: receives the rows.
        market: receives every stored row.
        clock: gives the present instant, which decides what is closed.
        history_days: how far back the first round reaches, for providers that honour
            `Request.since`.
        connections: the HTTP clients of the providers.

    Attributes:
        connections: keep them open as long as rounds follow each other.
        latest: result of the latest round, by provider.
        streamed: latest problems of the streams, by provider.
        history_days: how far back the first round reaches.
    """

    def __init__(
        self,
        providers: tuple[Configured[Provider], ...],
        base: Interval,
        store: Store,
        market: Market,
        clock: Clock,
        history_days: int,
        connections: Connections,
    ) -> None:
        self.connections = connections
        self.latest: dict[str, RoundResult] = {}
        self.streamed: dict[str, tuple[str, ...]] = {}
        self._providers = providers
        self._base = base
        self._store = store
        self._market = market
        self._clock = clock
        self.history_days = history_days
        self._intake = Intake(base, store, market, clock)
        self._outages = Outages(log)
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @property
    def workers(self) -> Workers:
        """The threads that providers run in, and the clients that they ask through."""
        return self.connections.workers

    @property
    def turn(self) -> asyncio.Lock:
        """Lock for writing to the store or the market, or for reading them unchanged."""
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            # A lock belongs to one event loop.
            self._turn = loop, asyncio.Lock()
        return self._turn[1]

    async def keep(self, provider: Provider, batch: Batch) -> None:
        """Store a batch of a provider's streams, between rounds.

        Raises:
            WeftError: the batch cannot be stored.
        """
        source, result = provider.source, RoundResult(provider.key)
        added: list[pl.DataFrame] = []

        def keep() -> None:
            self._intake.facts_of(source)
            added.append(self._intake.take(source, batch, result))

        async with self.turn:
            try:
                await _to_the_end(asyncio.to_thread(keep))
            finally:
                await _to_the_end(asyncio.to_thread(self._market.absorb, source, added))
        problems = (*self.streamed.get(provider.key, ()), *result.problems)
        self.streamed[provider.key] = problems[-_MOST_STREAMED:]
        for line in result.problems:
            log.info("provider %s, streams: %s", provider.key, line)

    def request(self, provider: Provider) -> Request:
        """Return the request that a provider would get now."""
        source = provider.source
        return self._request(source, None, self._store.cursor(source, self._base))

    def known(self, provider: Provider) -> dict[str, int]:
        """Return the open time of a provider's newest stored candle, by symbol."""
        spans = self._market.known_spans(provider.source)
        return {symbol: span.last for symbol, span in spans.items()}

    async def collect(
        self,
        progress: Progress | None = None,
        *,
        since: int | None = None,
        in_time: bool = False,
    ) -> list[RoundResult]:
        """Ask all providers concurrently, and return the result of each.

        Args:
            progress: called after every stored batch.
            since: start of every series, microseconds since 1970; None to continue each series
                at its end, and to start a new one `history_days` ago.
            in_time: whether each provider has to finish within its deadline, as in a live round.
                Batches that arrived by then are stored.

        Raises:
            WeftError: a required provider failed. The others have finished.
        """
        # One provider writes to the store at a time, in a thread, so that waiting for the disk
        # does not stop the network.
        turn = self.turn
        show = progress or _ignore
        async with self.connections:
            rounds = [self._ask(p, turn, show, since, in_time=in_time) for p in self._providers]
            answers = await asyncio.gather(*rounds, return_exceptions=True)
        results, fatal = list[RoundResult](), list[BaseException]()
        for configured, answer in zip(self._providers, answers, strict=True):
            if isinstance(answer, BaseException):
                fatal.append(answer)
                continue
            result, error = answer
            self.latest[result.provider] = result
            if in_time:
                # A single command prints what failed; a server asks again every few seconds.
                name = f"provider {result.provider}"
                self._outages.note(name, result.error, self._clock.now())
            if error is not None and configured.policy.required:
                fatal.append(error)
            results.append(result)
        if fatal:
            raise fatal[0]
        return results

    async def _ask(
        self,
        configured: Configured[Provider],
        turn: asyncio.Lock,
        progress: Progress,
        since: int | None,
        *,
        in_time: bool,
    ) -> tuple[RoundResult, WeftError | None]:
        """Return the result of one provider, and the error that ended it early."""
        provider = configured.component
        result = RoundResult(provider.key)
        fetching = Fetching(
            self.workers.of(f"provider {provider.key}"),
            patience_seconds=configured.policy.deadline_seconds,
            deadline_seconds=configured.policy.deadline_seconds if in_time else None,
        )
        try:
            await self._gather(provider, turn, progress, since, result, fetching)
        except WeftError as error:
            failed = error
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything
            failed = fault(f"provider {provider.key}", error)
        else:
            return result, None
        result.error = str(failed)
        return result, failed

    async def _gather(
        self,
        provider: Provider,
        turn: asyncio.Lock,
        progress: Progress,
        since: int | None,
        result: RoundResult,
        fetching: Fetching,
    ) -> None:
        source = provider.source
        await asyncio.to_thread(self._intake.facts_of, source)
        cursor = await asyncio.to_thread(self._store.cursor, source, self._base)
        request = self._request(source, since, cursor)
        added: list[pl.DataFrame] = []
        http = self.connections.client(provider)

        buffer = BatchBuffer(asyncio.get_running_loop().time)

        def keep(batches: list[Batch]) -> None:
            for merged, parts in merge_batches(batches):
                try:
                    added.append(self._intake.take(source, merged, result))
                except DataError:
                    # A batch that cannot be used must not cost the batches before it.
                    added.extend(self._intake.take(source, part, result) for part in parts)

        async def store() -> None:
            async with turn:
                await _to_the_end(asyncio.to_thread(keep, buffer.take()))
            progress(result)

        async def take(batch: Batch) -> None:
            if buffer.add(batch):
                await store()

        try:
            await fetching.run(provider.fetch, request, http, self._clock, take)
        finally:
            try:
                if buffer:
                    await store()
            finally:
                async with turn:
                    await _to_the_end(asyncio.to_thread(self._market.absorb, source, added))
        if since is not None or self._history_start(source) is None:
            async with turn:
                await _to_the_end(
                    asyncio.to_thread(self._note_history, source, request.since, since)
                )

    def _note_history(self, source: str, start: int, since: int | None) -> None:
        """Record the start of a request to a source, after all its rows are stored."""
        if since is not None:
            self._store.save_cursor(_reaching(source), self._base, str(since))
        known = self._history_start(source)
        earliest = start if known is None else min(start, known)
        self._store.save_cursor(_history(source), self._base, str(earliest))

    def missing_history(self) -> dict[str, int]:
        """Return providers whose stored history is shorter than `history_days`.

        This happens when `history_days` was raised after the first round: a round continues the
        series at their ends, and only a round with `since` requests older rows.

        Returns:
            Start of the stored history by provider, microseconds since 1970.
        """
        wanted = self._clock.now() - self.history_days * DAY
        starts = {
            configured.component.key: self._history_start(configured.component.source)
            for configured in self._providers
            if not configured.component.full_history
        }
        return {key: at for key, at in starts.items() if at is not None and at > wanted + DAY}

    def _history_start(self, source: str) -> int | None:
        """Return the earliest start of a complete request to a source; None before the first."""
        start = self._store.cursor(_history(source), self._base)
        return None if start is None else int(start)

    def _request(self, source: str, since: int | None, cursor: str | None) -> Request:
        known = self._market.known_spans(source)
        facts = self._intake.facts_of(source)
        if since is not None and not self._reaches(source, since):
            # Ask again for series that begin too late; rows that are stored already stay single.
            soon = since + 2 * max(self._base.micros, DAY)
            known = {symbol: span for symbol, span in known.items() if span.first <= soon}
            facts = {key: span for key, span in facts.items() if span.first <= soon}
            cursor = None
        return Request(
            interval=self._base,
            symbols=(),
            since=self._base.floor(
                self._clock.now() - self.history_days * DAY if since is None else since
            ),
            known={symbol: span.last for symbol, span in known.items()},
            known_facts={key: span.last for key, span in facts.items()},
            assets=tuple(sorted({i.base for i in self._market.instruments})),
            cursor=cursor,
        )

    def _reaches(self, source: str, since: int) -> bool:
        """Whether a round asked a source for everything since `since` or earlier."""
        reached = self._store.cursor(_reaching(source), self._base)
        return reached is not None and int(reached) <= since

    def read_facts(self) -> None:
        """Load from the store how far the observations of each source reach."""
        for configured in self._providers:
            self._intake.facts_of(configured.component.source)

    async def probe(self, provider: Provider, span: int) -> str:
        """Ask a provider for the recent past, store nothing, and return the counts in words.

        Args:
            provider: the provider to ask.
            span: how far back to ask, microseconds.

        Raises:
            WeftError: the provider failed, or gave data that cannot be used.
        """
        now = self._clock.now()
        assets = tuple(sorted({i.base for i in self._market.instruments}))
        request = Request(self._base, (), self._base.floor(now - span), assets=assets)
        counts = dict.fromkeys(("candles", "observations", "texts", "problems"), 0)

        async def take(batch: Batch) -> None:
            for what in ("candles", "observations", "texts"):
                frame = getattr(batch, what)
                counts[what] += 0 if frame is None else len(frame)
            counts["problems"] += len(batch.problems)

        fetching = Fetching(self.workers.of(f"provider {provider.key}"), self._patience(provider))
        await fetching.run(
            provider.fetch, request, self.connections.client(provider), self._clock, take
        )
        parts = [f"{count:,} {what}" for what, count in counts.items() if count]
        return ", ".join(parts) or "nothing new"

    def _patience(self, provider: Provider) -> float:
        policies = (p.policy for p in self._providers if p.component is provider)
        return next(policies, Policy(provider.key)).deadline_seconds

    def newest_fact(self, source: str) -> int | None:
        """Return the event time of a source's newest observation, None where it has none."""
        return self._intake.newest_fact(source)


def _history(source: str) -> str:
    """Return the cursor's name for the instant a source's history was asked from."""
    return f"{source} history from"


def _reaching(source: str) -> str:
    """Return the cursor's name for how far back a round asked a source in full."""
    return f"{source} reaching back"


async def _to_the_end(work: Coroutine[Any, Any, None]) -> None:
    """Await work that must not be left halfway, even by who is cancelled meanwhile."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _ignore(_: RoundResult) -> None:
    pass
