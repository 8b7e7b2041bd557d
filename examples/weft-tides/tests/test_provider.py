"""Tests of the provider. The conformance kit for providers is for sources that ask an API."""

import asyncio
from typing import TYPE_CHECKING, cast

import polars as pl
import pytest
from weft import Interval, Request
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, parse_time

from weft_tides.provider import Tides

if TYPE_CHECKING:
    from weft.sources.http import Http

NOW = parse_time("2025-06-02T00:30:00Z")
HOURLY = Interval.parse("1h")


def fetched(provider: Tides, request: Request) -> pl.DataFrame:
    """Return the candles that a fetch brings."""

    async def collect() -> list[pl.DataFrame]:
        # The provider asks no API, so it gets no client.
        batches = provider.fetch(request, cast("Http", None), SimulatedClock(NOW))
        return [batch.candles async for batch in batches if batch.candles is not None]

    frames = asyncio.run(collect())
    return pl.concat(frames) if frames else pl.DataFrame()


def test_fetch_brings_each_closed_candle_once() -> None:
    candles = fetched(Tides(), Request(HOURLY, (), NOW - 24 * HOUR - HOUR // 2))
    opened = candles["open_time"].to_physical().to_list()
    last = parse_time("2025-06-01T23:00:00Z")
    assert opened == list(range(last - 23 * HOUR, last + 1, HOUR))
    assert (candles["close"][:-1] == candles["open"][1:]).all()
    assert (candles["low"] < candles["high"]).all()


def test_fetch_goes_on_after_the_latest_candle_in_the_store() -> None:
    known = {"TIDEUSDT": parse_time("2025-06-01T21:00:00Z")}
    assert len(fetched(Tides(), Request(HOURLY, (), 0, known))) == 2
    known = {"TIDEUSDT": parse_time("2025-06-01T23:00:00Z")}
    assert fetched(Tides(), Request(HOURLY, (), 0, known)).is_empty()


def test_height_is_the_log_price_of_high_tide() -> None:
    provider = Tides(Tides.Config(height=0.1))
    candles = fetched(provider, Request(HOURLY, (), NOW - 24 * HOUR - HOUR // 2))
    highest = candles["close"].max()
    # The ripple adds a tenth of the tide at most.
    assert highest == pytest.approx(100.0 * 2.718281828**0.1, rel=0.011)
