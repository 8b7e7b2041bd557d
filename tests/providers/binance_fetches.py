"""Fetches from Binance's module, against a server on this machine."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import polars as pl

from tests.providers.exchange import LISTED, NOW, Exchange, Fault, Reply
from weft.components.provider import Batch, Request
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import Interval
from weft.sources.http import (
    Http,
)
from weft_providers.binance.spot import Binance

H1 = Interval.parse("1h")


def opened(provider: Binance, clock: SimulatedClock) -> Http:
    rng = random.Random(1)
    return Http(provider.web, name="binance", clock=clock, rng=rng, base_url=provider.base_url)


async def download(
    exchange: Exchange,
    batches: list[Batch],
    clock: SimulatedClock,
    known: dict[str, int],
    since: int,
    symbols: Sequence[str],
    interval: str,
    options: dict[str, Any],
) -> None:
    provider = Binance(Binance.Config(base_url=exchange.url, **options))
    request = Request(Interval.parse(interval), tuple(symbols), since, known)
    async with opened(provider, clock) as http:
        async for batch in provider.fetch(request, http, clock):
            batches.append(batch)  # noqa: PERF401  # what came before an error is wanted too


def fetch(
    exchange: Exchange,
    *symbols: str,
    into: list[Batch] | None = None,
    clock: SimulatedClock | None = None,
    known: dict[str, int] | None = None,
    since: int = LISTED,
    interval: str = "1h",
    **options: Any,
) -> list[Batch]:
    batches: list[Batch] = [] if into is None else into
    clock = clock or SimulatedClock(NOW)
    wanted = symbols or ("BTCUSDT",)
    asyncio.run(download(exchange, batches, clock, known or {}, since, wanted, interval, options))
    return batches


def candles(batches: list[Batch]) -> pl.DataFrame:
    return pl.concat(b.candles for b in batches if b.candles is not None)


def opens(batches: list[Batch], symbol: str = "BTCUSDT") -> list[int]:
    rows = candles(batches).filter(pl.col("symbol") == symbol)
    return rows["open_time"].to_physical().to_list()


def pages(exchange: Exchange) -> list[dict[str, str]]:
    return [params for path, params in exchange.asked if path == "/api/v3/klines"]


def once(reply: Reply, path: str = "/api/v3/klines", after: int = 0) -> Fault:
    """Return a fault that sends `reply` once, after some sound answers to `path`."""
    seen = iter(range(1_000_000))

    def fault(asked: str, params: dict[str, str]) -> Reply | None:
        return reply if asked == path and next(seen) == after else None

    return fault


def always(reply: Reply) -> Fault:
    return lambda path, params: reply
