"""W1-W3, W8, W10, W12: broken, silent, ended and refused connections, on sockets."""

import asyncio
import logging
from dataclasses import replace
from itertools import pairwise

import orjson
import pytest
from websockets.asyncio.server import ServerConnection

from tests.core.sources.stream.support import (
    MINUTES,
    NOW,
    SPEED,
    aio,
    check_candles,
    check_sums,
    confirm,
    live,
    open_limiter,
    sandbox,
    venue,
)
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import SECOND, iso
from weft.sources.stream import StreamSpec, StreamState
from weft.sources.stream.events import Candle
from weft.sources.stream.spec import StreamLimits, Topic
from weft_sandbox import Sandbox

BREAKS = [
    {"kind": "ws_mid_frame", "count": 1, "skip": 1},
    {"kind": "ws_reset", "count": 1, "skip": 20},
    {"kind": "ws_disconnect", "count": 1, "skip": 20},
]


@pytest.mark.parametrize("fault", BREAKS, ids=lambda fault: fault["kind"])
@aio
async def test_w1_a_broken_connection_leaves_no_hole(
    fast: Sandbox, fault: dict[str, object]
) -> None:
    fast.fault(fault)
    async with live(fast) as live_stream:
        await live_stream.until(lambda: live_stream.status.reconnects)
        await live_stream.candles(len(live_stream.kept.candles) + 1)
        await check_candles(live_stream)
        assert "Unavailable" in str(live_stream.status.error)


@aio
async def test_w2_a_half_open_connection_is_noticed_by_its_silence(fast: Sandbox) -> None:
    fast.fault({"kind": "ws_half_open", "count": 1, "skip": 20, "seconds": 30})
    async with live(fast, heartbeat_seconds=0.8, streams=("candles", "trades")) as live_stream:
        await live_stream.until(lambda: live_stream.status.reconnects)
        assert "not even a pong" in str(live_stream.status.error)
        await live_stream.candles(len(live_stream.kept.candles) + 1)
        await check_candles(live_stream)
        coverage = live_stream.feed("spot")._keeper.coverage
        assert coverage.since is not None
        (_, end), *_ = coverage._stretches
        # The gap starts with the last message, not with its detection.
        assert coverage.since - end >= 0.7 * 0.8 * SPEED * SECOND
        # Frozen shortly before a close: trades are missing, so no sum is reported.
        assert any("no sum of trades" in line for line in live_stream.kept.problems)


@aio
async def test_w3_a_connection_is_replaced_before_its_end_and_nothing_is_missed() -> None:
    options = {"binance.life_seconds": 4.0}
    with sandbox(options=options) as running:
        streams = ("candles", "trades")
        async with live(running, streams=streams, life_seconds=1.5) as live_stream:
            await live_stream.until(lambda: live_stream.status.reconnects >= 3)
            await live_stream.candles(5)
            await check_candles(live_stream)
            lines, reported = list(live_stream.kept.problems), live_stream.kept.of("trade_count")
            closes = sorted(reported)
        assert live_stream.status.error is None
        check_sums(live_stream)
        # Intervals before the connection are incomplete; all others are reported.
        assert not any(f"to {iso(close)}" in line for line in lines for close in closes)
        assert closes == list(range(closes[0], closes[-1] + 1, MINUTES.micros))
        assert len(closes) >= 2


@aio
async def test_w3_a_notice_of_the_end_starts_the_replacement_early() -> None:
    ends, reported = asyncio.Event(), list[int]()

    async def behave(connection: ServerConnection) -> None:
        number = len(reported)
        reported.append(number)
        await confirm(connection)
        if not number:
            shutdown = {"e": "serverShutdown", "E": NOW // 1000}
            await connection.send(orjson.dumps(shutdown).decode())
            await connection.wait_closed()
            ends.set()
        await connection.wait_closed()

    async with venue(behave) as url:
        with sandbox(0) as still:
            async with live(
                still, change=lambda s: replace(s, url=url), overlap_seconds=0.3
            ) as live_stream:
                await ends.wait()
                assert reported == [0, 1]
                assert live_stream.status.state is StreamState.LIVE


@aio
async def test_w8_silence_after_a_confirmation_is_noticed(fast: Sandbox) -> None:
    fast.fault({"kind": "ws_silent", "path": "/ws", "count": 40})

    def impatient(spec: StreamSpec) -> StreamSpec:
        topics = [replace(t, quiet_seconds=1.5) for t in spec.topics]
        return replace(spec, topics=tuple(topics))

    async with live(fast, change=impatient, heartbeat_seconds=1.0) as live_stream:
        await live_stream.until(lambda: live_stream.status.reconnects)
        assert "SilentError" in str(live_stream.status.error)
        fast.heal()
        await live_stream.candles(2)
        await check_candles(live_stream)


@aio
async def test_w8_one_silent_topic_among_others_is_named(fast: Sandbox) -> None:
    def with_unknown(spec: StreamSpec) -> StreamSpec:
        unknown = Topic("nosuch@kline_1m", "NOSUCH", Candle, 1.0)
        return replace(spec, topics=(*spec.topics, unknown))

    async with live(fast, change=with_unknown, heartbeat_seconds=1.0) as live_stream:
        await live_stream.until(lambda: live_stream.status.silent)
        assert live_stream.status.silent == ("nosuch@kline_1m",)
        assert live_stream.status.state is StreamState.DEGRADED


@aio
async def test_w8_a_subscription_nobody_confirms_is_noticed() -> None:
    subscription = list[bytes | str]()

    async def behave(connection: ServerConnection) -> None:
        async for message in connection:
            subscription.append(message)

    async with venue(behave) as url:
        with sandbox(0) as still:
            change = lambda spec: replace(spec, url=url)  # noqa: E731  # a function is the value
            async with live(still, change=change, acknowledge_seconds=0.3) as live_stream:
                await live_stream.until(lambda: live_stream.status.error)
                assert "did not confirm btcusdt@kline_1m" in str(live_stream.status.error)
                assert subscription


@aio
async def test_w10_reconnecting_keeps_to_the_limit_and_draws_its_pauses() -> None:
    limits = StreamLimits(connects=10, connects_seconds=300.0, longest_pause_seconds=20.0)
    clock = SimulatedClock(NOW)
    limiter, times = open_limiter(clock, limits), list[int]()
    for failures in range(60):
        await limiter.enter(failures)
        times.append(clock.now())
    for at, later in zip(times, times[10:], strict=False):
        assert later - at >= 300 * SECOND
    pauses = [b - a for a, b in pairwise(times)][1:9]
    assert len(set(pauses)) == len(pauses)
    assert max(pauses) <= 20 * SECOND


@aio
async def test_w10_a_venue_that_refuses_is_asked_at_its_pace() -> None:
    clock = SimulatedClock(NOW)
    with sandbox(0) as still:
        still.fault({"kind": "ws_refuse", "status": 503, "count": 25})
        limits = StreamLimits(connects=10, connects_seconds=300.0)
        # The limiter's clock jumps to the end of each wait.
        limiter = open_limiter(clock, limits)
        async with live(still, limiter=limiter) as live_stream:
            await live_stream.until(lambda: live_stream.status.connected_since)
            assert "HTTP 503" in str(live_stream.status.error)
            assert clock.now() - NOW >= 600 * SECOND


@aio
async def test_w12_an_expired_token_is_replaced_once_at_once_and_not_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "weft")
    caplog.set_level(logging.DEBUG, "websockets.client")
    tokens, seen = iter("abcdefgh"), list[str]()

    async def authorise() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    async def behave(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request.headers["Authorization"])
        await confirm(connection)
        if seen[-1] == "Bearer a":
            kline = {"t": NOW // 60_000_000 * 60_000, "i": "1m", "x": False}
            kline |= dict.fromkeys("ohlcv", "1")
            event = {"e": "kline", "E": NOW // 1000, "s": "BTCUSDT", "k": kline}
            await connection.send(orjson.dumps(event).decode())
        await connection.close(4001, "token expired")

    async with venue(behave) as url:
        with sandbox(0) as still:
            async with live(
                still, change=lambda s: replace(s, url=url, authorise=authorise)
            ) as live_stream:
                await live_stream.until(lambda: len(seen) >= 2)
                await live_stream.until(
                    lambda: live_stream.status.state is StreamState.UNAUTHORISED
                )
                await asyncio.sleep(0.3)
                assert seen == ["Bearer a", "Bearer b"]
                assert "token expired" in str(live_stream.status.error)
                assert "Bearer" not in str(live_stream.streamer.status()) + caplog.text
