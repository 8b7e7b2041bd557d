"""Runs the streams of all providers until cancelled."""

import asyncio
import logging
import random
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, contextmanager
from dataclasses import replace
from functools import partial
from typing import ParamSpec, TypeAlias, TypeVar, cast
from urllib.parse import urlsplit

from weft.components.contract_checks import checked_batches
from weft.components.provider import Batch, Provider, Request
from weft.foundation.calls import call, fault
from weft.foundation.clock import Clock
from weft.foundation.errors import ComponentError, WeftError
from weft.foundation.times import Interval
from weft.foundation.workers import Host, Workers, across
from weft.sources.http.client import Http
from weft.sources.stream.connection_feed import ConnectionFeed
from weft.sources.stream.connection_keeper import ConnectLimiter
from weft.sources.stream.context import Context
from weft.sources.stream.events import Candle
from weft.sources.stream.outbox import Outbox, StoreBatch
from weft.sources.stream.spec import Streaming, StreamSpec, Topic
from weft.sources.stream.status import StreamCounters, StreamState, StreamStatus

P = ParamSpec("P")
T = TypeVar("T")


def guarded(spec: StreamSpec, where: str) -> StreamSpec:
    """Return a stream whose callbacks raise only subclasses of `Exception`.

    Args:
        spec: declaration of the stream.
        where: name of the provider in messages.
    """

    def plain(function: Callable[P, T]) -> Callable[P, T]:
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            # Called for every message: a context manager would cost more than the call.
            try:
                return function(*args, **kwargs)
            except Exception:
                raise
            except BaseException as error:
                raise fault(where, error) from error

        return call

    def awaited(function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        async def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with _named(where):
                return await function(*args, **kwargs)

        return call

    async def backfill(request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        with _named(where):
            batches = checked_batches(spec.backfill(request, http, clock), where)
            async with aclosing(batches) as given:  # type: ignore[type-var]  # an async generator can be closed
                async for batch in given:
                    yield batch

    return replace(
        spec,
        subscribe=plain(spec.subscribe),
        parse=plain(spec.parse),
        tells=spec.tells and plain(spec.tells),
        backfill=backfill,
        snapshot=spec.snapshot and awaited(spec.snapshot),
        authorise=spec.authorise and awaited(spec.authorise),
    )


@contextmanager
def _named(where: str) -> Iterator[None]:
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        raise fault(where, error) from error
    except BaseException as error:
        raise fault(where, error) from error


_log = logging.getLogger(__name__)


_LONGEST_PAUSE_SECONDS = 60.0
_PATIENCE_SECONDS = 20.0
_CLOSE_SECONDS = 5.0
"""Time to close all connections of a provider; longer than one connection needs."""


Source: TypeAlias = tuple[Provider, Sequence[StreamSpec]]

"""A provider, and its streams."""


def sources_of(
    providers: Iterable[Provider], request: Callable[[Provider], Request]
) -> list[Source]:
    """Return the providers that have streams, with their streams.

    Args:
        providers: providers of a composition.
        request: returns the request of a provider.

    Raises:
        WeftError: the options of a provider's streams are invalid.
    """
    streaming = [provider for provider in providers if isinstance(provider, Streaming)]
    sources = [(provider, _streams(provider, request(provider))) for provider in streaming]
    return [(provider, specs) for provider, specs in sources if specs]


def _streams(provider: Provider, request: Request) -> Sequence[StreamSpec]:
    where = f"provider {provider.key}"
    streams = cast("Streaming", provider).streams
    specs: object = call(where, lambda: streams(request), _PATIENCE_SECONDS)
    if isinstance(specs, Sequence) and all(isinstance(spec, StreamSpec) for spec in specs):
        return specs
    raise ComponentError(
        f"streams() returned {specs!r:.80}, expected a list of StreamSpec", where=where
    )


class Streamer:
    """Runs streams until cancelled, and restarts those that fail.

    Each connection has a separate queue, and each provider a separate outbox: a slow provider does
    not delay the others.

    Args:
        sources: providers and their streams, from `sources_of`.
        interval: length of candles and sums.
        keep: stores a batch; called again with the same batch after a failure.
        client: returns the open HTTP client of a provider, to request missing candles.
        known: returns the open time of the newest stored candle of a provider, by symbol, in
            microseconds since 1970. Symbols without stored candles are left to the fetch of
            history.
        clock: current time, and waiting.
        rng: draws pauses; no stored number depends on it.
        workers: threads of the providers, so that a blocking callback stops only its provider; None
            to run all streams on the event loop of `run`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        interval: Interval,
        keep: StoreBatch,
        client: Callable[[Provider], Http],
        known: Callable[[Provider], Mapping[str, int]],
        clock: Clock,
        rng: random.Random,
        workers: Workers | None = None,
    ) -> None:
        self._workers = workers
        self._stuck: dict[str, WeftError] = {}
        self._sources, self._interval, self._keep = sources, interval, keep
        self._client, self._known = client, known
        self._clock, self._rng = clock, rng
        self._limiters: dict[str, ConnectLimiter] = {}
        self._feeds: dict[tuple[str, str], ConnectionFeed] = {}
        self._outboxes: dict[str, Outbox] = {}
        self._stopped = False

    async def run(self) -> None:
        """Run until cancelled, and then close the connections properly."""
        tasks: list[asyncio.Task[None]] = []
        self._stopped = False
        try:
            run = (
                self._stream
                if self._workers is None
                else partial(self._run_in_worker, self._workers)
            )
            tasks += [asyncio.create_task(run(*source)) for source in self._sources]
            await asyncio.gather(*tasks)
        finally:
            await _cancel(tasks)
            self._stopped = True

    async def _run_in_worker(
        self, workers: Workers, provider: Provider, specs: Sequence[StreamSpec]
    ) -> None:
        """Run a provider's streams in its thread, and restart them after a callback blocked."""
        host, worker, failures = Host(), workers.of(f"provider {provider.key}"), 0
        keep = across(host, self._keep)
        while True:
            try:
                await worker.run(
                    partial(self._stream, provider, specs, keep),
                    patience_seconds=_PATIENCE_SECONDS,
                    grace_seconds=_CLOSE_SECONDS,
                )
            except WeftError as error:
                self._stuck[provider.key] = error
                _log.warning("%s", error)
            failures += 1
            bound = min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(failures, 20))
            await asyncio.sleep(self._rng.uniform(0, bound))

    async def _stream(
        self,
        provider: Provider,
        specs: Sequence[StreamSpec],
        keep: StoreBatch | None = None,
    ) -> None:
        """Run a provider's streams on the current event loop."""
        tasks: list[asyncio.Task[None]] = []
        self._stuck.pop(provider.key, None)
        try:
            rng = self._new_rng()
            outbox = Outbox(provider, self._interval, keep or self._keep, self._clock, rng)
            self._outboxes[provider.key] = outbox
            tasks.append(asyncio.create_task(outbox.run()))
            for spec in specs:
                for name, topics in _shares(spec):
                    share = guarded(
                        replace(spec, name=name, topics=topics), f"provider {provider.key}"
                    )
                    follow = self._follow(provider, share, outbox)
                    tasks.append(asyncio.create_task(follow))
            await asyncio.gather(*tasks)
        finally:
            await _cancel(tasks)

    def status(self) -> list[StreamStatus]:
        """Return the status of each stream."""
        return [self._show(name, feed.status()) for (name, _), feed in sorted(self._feeds.items())]

    def unfinished(self) -> dict[str, dict[str, Candle]]:
        """Return the newest unfinished candles by provider and symbol, for display only."""
        candles: dict[str, dict[str, Candle]] = {}
        for (name, _), feed in self._feeds.items():
            candles.setdefault(name, {}).update(feed.unfinished)
        return candles

    def _show(self, name: str, status: StreamStatus) -> StreamStatus:
        outbox = self._outboxes[name]
        error, state = status.error, status.state
        if outbox.failure is not None:
            error = f"{type(outbox.failure).__name__}: {outbox.failure}"
        since = status.connected_since
        if name in self._stuck:
            error, state, since = str(self._stuck[name]), StreamState.DEGRADED, None
        if self._stopped:
            state, since = StreamState.STOPPED, None
        dropped = status.dropped + outbox.dropped
        return replace(status, state=state, connected_since=since, dropped=dropped, error=error)

    async def _follow(
        self,
        provider: Provider,
        spec: StreamSpec,
        outbox: Outbox,
    ) -> None:
        """Follow one connection's topics, and restart after a failure."""
        failures = 0
        counters = StreamCounters(provider.key, spec.name)
        while True:
            context = Context(
                provider=provider,
                spec=spec,
                interval=self._interval,
                http=self._client(provider),
                known=lambda: self._known(provider),
                outbox=outbox,
                counters=counters,
                clock=self._clock,
                rng=self._new_rng(),
            )
            feed = ConnectionFeed(context, spec.topics, self._limiter(spec))
            self._feeds[provider.key, spec.name] = feed
            try:
                await feed.run()
            except Exception as error:  # noqa: BLE001  # a callback may raise anything; others go on
                counters.last_error = (
                    error if isinstance(error, WeftError) else _cause(counters, error)
                )
                _log.exception("%s failed and restarts", counters.where)
            failures += 1
            await context.pause(failures)

    def _limiter(self, spec: StreamSpec) -> ConnectLimiter:
        host = urlsplit(spec.url).netloc
        if host not in self._limiters:
            self._limiters[host] = ConnectLimiter(spec.limits, self._clock, self._new_rng())
        return self._limiters[host]

    def _new_rng(self) -> random.Random:
        # The draws of one connection must not depend on failures of another.
        return random.Random(self._rng.getrandbits(64))  # noqa: S311  # no secret depends on it


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _cause(counters: StreamCounters, error: Exception) -> WeftError:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, WeftError) else fault(counters.where, error)


def _shares(spec: StreamSpec) -> list[tuple[str, tuple[Topic, ...]]]:
    """Return the name and topics of each connection."""
    size = spec.limits.topics_per_connection
    shares = [spec.topics[i : i + size] for i in range(0, len(spec.topics), size)]
    if len(shares) == 1:
        return [(spec.name, shares[0])]
    return [(f"{spec.name} {n} of {len(shares)}", share) for n, share in enumerate(shares, 1)]
