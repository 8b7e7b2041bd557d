"""A streamer with a store in memory, against the sandbox or a scripted venue."""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec
from urllib.parse import urlsplit

import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from weft.components.provider import Batch, Provider, Request
from weft.foundation.times import Interval, parse_time
from weft.sources.http import Http
from weft.sources.stream import Streamer, StreamLimits, StreamSpec, StreamStatus
from weft.sources.stream.candles import candles_in
from weft.sources.stream.connection_keeper import ConnectLimiter
from weft_providers.binance.futures import BinanceFutures
from weft_providers.binance.spot import Binance
from weft_providers.binance.stream import StreamOptions, futures_streams, spot_streams
from weft_sandbox import Sandbox
from weft_sandbox.market.bars import Grid
from weft_sandbox.protocols import binance as binance_protocol
from weft_sandbox.protocols.binance.api import SPOT

NOW = parse_time("2024-03-20T12:34:56Z")
MINUTES = Interval.parse("1m")
GENEROUS_SECONDS = 50.0
SPEED = 60.0
PATIENT = StreamLimits(
    # In sandbox seconds, 60 in a real one; the sandbox sends ten messages a real second.
    settle_seconds=20.0,
    overdue_seconds=40.0,
    heartbeat_seconds=5.0,
    messages_per_second=50,
)

P = ParamSpec("P")


def aio(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test in a new event loop, with a time limit."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), GENEROUS_SECONDS))

    return run


class Spot(Binance):
    """Binance with streams."""

    class Config(Binance.Config, StreamOptions):
        pass

    def streams(self, request: Request) -> list[StreamSpec]:
        return spot_streams(self, request)


class Futures(BinanceFutures):
    """Binance's futures with streams."""

    class Config(BinanceFutures.Config, StreamOptions):
        pass

    def streams(self, request: Request) -> list[StreamSpec]:
        return futures_streams(self, request)


@contextmanager
def sandbox(speed: float = SPEED, **options: Any) -> Iterator[Sandbox]:
    """A sandbox of Binance without rate limits."""
    given = {"seed": 7, "start": NOW, "limits": float("inf"), "apis": (binance_protocol.api,)}
    with Sandbox(**{**given, "speed": speed, **options}) as running:
        yield running


@dataclass
class Kept:
    """The stored batches: every candle and fact, with repetitions."""

    candles: list[tuple[str, int, tuple[float, ...]]] = field(default_factory=list)
    facts: list[tuple[str, str, int, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        self.problems += batch.problems
        if batch.candles is not None:
            for c in candles_in(batch.candles):
                values = (c.open, c.high, c.low, c.close, c.volume)
                self.candles.append((c.symbol, c.open_time, values))
                self.known[c.symbol] = max(c.open_time, self.known.get(c.symbol, 0))
        if batch.observations is not None:
            columns = ["metric", "entity", "event_time", "value"]
            for metric, symbol, at, value in batch.observations.select(columns).iter_rows():
                self.facts.append((metric, symbol, int(at.timestamp()) * 1_000_000, value))

    def opens(self, symbol: str = "BTCUSDT") -> list[int]:
        return [opened for name, opened, _ in self.candles if name == symbol]

    def of(self, metric: str, symbol: str = "BTCUSDT") -> dict[int, float]:
        """Return the latest value of a metric by the close of its interval."""
        return {at: v for m, s, at, v in self.facts if (m, s) == (metric, symbol)}


@dataclass
class Live:
    """A running streamer."""

    streamer: Streamer
    kept: Kept
    provider: Provider
    http: Http
    task: asyncio.Task[None]
    started: int
    running: Sandbox

    @property
    def status(self) -> StreamStatus:
        return self.streamer.status()[0]

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait for a condition; the time limit of the test ends a wait in vain."""
        while not condition():
            assert not self.task.done(), self.task
            await asyncio.sleep(0.02)

    async def candles(self, count: int, symbol: str = "BTCUSDT") -> None:
        await self.until(lambda: len(self.kept.opens(symbol)) >= count)

    def feed(self, name: str) -> Any:
        return self.streamer._feeds[self.provider.name, name]


def made(kind: type[Provider], running: Sandbox, **options: Any) -> Provider:
    """Return a provider of the sandbox, with streams."""
    base, own = running.url("binance"), running.url("binance", "ws")
    return kind(kind.Config(base_url=base, stream_url=own, **options))  # type: ignore[call-arg]  # what a fault may bring


@asynccontextmanager
async def live(
    running: Sandbox,
    kind: type[Provider] = Spot,
    *,
    streams: Iterable[str] = ("candles",),
    symbols: tuple[str, ...] = ("BTCUSDT",),
    change: Callable[[StreamSpec], StreamSpec] = lambda spec: spec,
    interval: Interval = MINUTES,
    keep: Callable[[Kept, Batch], Awaitable[None]] | None = None,
    limiter: ConnectLimiter | None = None,
    **limits: Any,
) -> AsyncIterator[Live]:
    """Stream from the sandbox, with all candles up to now stored."""
    provider = made(kind, running, streams=tuple(streams), symbols=symbols)
    clock, kept = running.clock, Kept()
    started = interval.floor(clock.now())
    kept.known = dict.fromkeys(symbols, started - interval.micros)
    request = Request(interval, symbols, since=started)
    own = replace(PATIENT, **limits)
    specs = [change(replace(s, limits=own)) for s in provider.streams(request)]  # type: ignore[attr-defined]  # what a fault may bring

    async def store(_: Provider, batch: Batch) -> None:
        if keep is not None:
            await keep(kept, batch)
        kept.add(batch)

    assert provider.web is not None
    url = provider.base_url
    async with Http(
        provider.web, name=provider.name, clock=clock, rng=random.Random(1), base_url=url
    ) as http:
        streamer = Streamer(
            [(provider, specs)],
            interval=interval,
            keep=store,
            client=lambda _: http,
            known=lambda _: kept.known,
            clock=clock,
            rng=random.Random(3),
        )
        if limiter is not None:
            streamer._limiters[urlsplit(specs[0].url).netloc] = limiter
        task = asyncio.create_task(streamer.run())
        while specs and not streamer.status():  # noqa: ASYNC110  # a turn of the loop
            await asyncio.sleep(0)
        try:
            yield Live(streamer, kept, provider, http, task, started, running)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def check_candles(one: Live, symbol: str = "BTCUSDT") -> None:
    """Check that the stored candles are complete, ordered, and equal to those of REST."""
    opens = one.kept.opens(symbol)
    step = MINUTES.micros
    assert opens == list(range(opens[0], opens[0] + step * len(opens), step))
    assert opens[0] == one.started
    clock = one.streamer._clock
    # Before the request: the streamer goes on storing candles while it is answered.
    kept = {opened: values for name, opened, values in one.kept.candles if name == symbol}
    told: dict[int, tuple[float, ...]] = {}
    request = Request(MINUTES, (symbol,), since=opens[0])
    async for batch in Binance.fetch(one.provider, request, one.http, clock):  # type: ignore[arg-type]  # what a fault may bring
        if batch.candles is not None:
            told |= {
                c.open_time: (c.open, c.high, c.low, c.close, c.volume)
                for c in candles_in(batch.candles)
            }
    assert kept == {opened: told[opened] for opened in kept}


def check_sums(one: Live) -> None:
    """Check that sums of trades equal the counts in the venue's candles."""
    counts, prices = one.kept.of("trade_count"), one.kept.of("vwap")
    world, now = one.running.world, one.running.clock.now()
    coin = next(c for c in world.coins if c.symbol == "BTCUSDT")
    for close, count in counts.items():
        first = close - MINUTES.micros
        bars = world.candles(SPOT.venue, coin, Grid.of("1m"), first, first + 1, now)
        assert count == bars.trades[0]
        trades = world.trades(SPOT.venue, coin, first, close, now)
        value = (trades.price * trades.size).sum() / trades.size.sum() * coin.tick
        assert prices[close] == pytest.approx(value)


Behave = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def venue(behave: Behave) -> AsyncIterator[str]:
    """A scripted venue; yields its address."""
    async with serve(behave, "127.0.0.1", 0, compression=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/ws"


async def confirm(connection: ServerConnection) -> None:
    """Confirm one subscription."""
    asked = orjson.loads(await connection.recv())
    await connection.send(orjson.dumps({"result": None, "id": asked["id"]}).decode())


def open_limiter(clock: Any, limits: StreamLimits = PATIENT) -> ConnectLimiter:
    return ConnectLimiter(limits, clock, random.Random(5))
