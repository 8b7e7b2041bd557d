"""W4-W7, W9, W11, W13: lost, repeated, excess and wrong messages, on sockets."""

import asyncio
from dataclasses import replace

import pytest

from tests.core.sources.stream.support import (
    Futures,
    Kept,
    Spot,
    aio,
    check_candles,
    check_sums,
    live,
    sandbox,
)
from weft.components.provider import Batch
from weft.foundation.times import SECOND
from weft.sources.http import Http
from weft.sources.stream import StreamSpec
from weft.sources.stream.events import BookSnapshot, Candle
from weft_sandbox import Sandbox


@pytest.mark.parametrize(("kind", "name"), [(Spot, "spot"), (Futures, "futures public")])
@aio
async def test_w4_a_gap_in_the_book_begins_it_anew(kind: type[Spot], name: str) -> None:
    with sandbox(1.0) as running:
        running.fault({"kind": "ws_skip", "count": 2, "skip": 3})
        async with live(running, kind, streams=("book",), change=_often) as live_stream:
            await live_stream.until(lambda: live_stream.status.gaps)
            book = live_stream.feed(name)._books["BTCUSDT"]
            await live_stream.until(lambda: book.in_step)
            running.clock.move(speed=0)
            assert live_stream.streamer._sources[0][1][0].snapshot is not None
            snapshot = await live_stream.streamer._sources[0][1][0].snapshot(
                live_stream.http, "BTCUSDT"
            )
            await live_stream.until(lambda: book._last == snapshot.last)
            assert dict(sorted(book._asks.items())[:50]) == dict(sorted(snapshot.asks.items())[:50])
            bids = sorted(snapshot.bids.items(), reverse=True)[:50]
            assert sorted(book._bids.items(), reverse=True)[:50] == bids


def _often(spec: StreamSpec) -> StreamSpec:
    """Changes of books ten times a second."""
    return replace(spec, topics=tuple(replace(t, name=f"{t.name}@100ms") for t in spec.topics))


@aio
async def test_w5_a_snapshot_older_than_the_changes_is_not_used() -> None:
    taken = list[int]()

    def stale(spec: StreamSpec) -> StreamSpec:
        fresh, old = spec.snapshot, list[BookSnapshot]()

        async def snapshot(http: Http, symbol: str) -> BookSnapshot:
            assert fresh is not None
            arrived = await fresh(http, symbol)
            old.append(arrived._replace(last=arrived.last - 1_000))
            seen = old[0] if len(old) < 3 else arrived
            taken.append(seen.last)
            return seen

        return replace(_often(spec), snapshot=snapshot)

    with sandbox(1.0) as running:
        async with live(running, streams=("book",), change=stale) as live_stream:
            book = live_stream.feed("spot")._books["BTCUSDT"]
            await live_stream.until(lambda: book.in_step)
            assert len(taken) >= 3
            assert taken[0] == taken[1]


@aio
async def test_w6_a_burst_is_merged_within_bounds(fast: Sandbox) -> None:
    fast.fault({"kind": "ws_burst", "count": 1, "size": 15_000, "path": "/ws"})
    async with live(fast, streams=("candles", "book"), queue=500) as live_stream:
        await live_stream.until(lambda: live_stream.status.messages > 15_000)
        await live_stream.candles(1)
        assert len(live_stream.feed("spot")._queue) <= 500
        assert live_stream.status.conflated + live_stream.status.duplicates > 10_000
        await check_candles(live_stream)


@aio
async def test_w7_who_stores_slowly_keeps_only_itself_waiting(fast: Sandbox) -> None:
    stuck = asyncio.Event()

    async def never(_: Kept, __: Batch) -> None:
        await stuck.wait()

    async with live(fast, keep=never) as slow, live(fast) as quick:
        await quick.candles(2)
        assert slow.kept.candles == []
        stuck.set()
        await slow.candles(2)
        await check_candles(slow)
        await check_candles(quick)


@aio
async def test_w7_what_could_not_be_stored_is_handed_on_again(fast: Sandbox) -> None:
    failures = iter(range(2))

    async def fails(_: Kept, __: Batch) -> None:
        if next(failures, None) is not None:
            raise OSError("no space")

    async with live(fast, keep=fails) as live_stream:
        await live_stream.until(lambda: "no space" in str(live_stream.status.error))
        await live_stream.candles(2)
        await check_candles(live_stream)
        assert live_stream.status.error is None


@aio
async def test_w9_what_comes_twice_counts_once(fast: Sandbox) -> None:
    fast.fault({"kind": "ws_duplicate"}, {"kind": "ws_reorder", "probability": 0.2})
    async with live(fast, streams=("candles", "trades")) as live_stream:
        await live_stream.candles(2)
        await live_stream.until(lambda: len(live_stream.kept.of("trade_count")) >= 2)
        await check_candles(live_stream)
        assert live_stream.status.duplicates > 0
        check_sums(live_stream)


@pytest.mark.parametrize("kind", ["ws_binary", "ws_invalid", "ws_huge"])
@aio
async def test_w11_frames_of_nonsense_are_counted_and_survived(fast: Sandbox, kind: str) -> None:
    # A second one on the same connection would never be read.
    fast.fault({"kind": kind, "size": 2, "path": "/ws"})
    async with live(fast, largest_bytes=1 << 20) as live_stream:
        await live_stream.until(lambda: live_stream.status.malformed >= 2)
        fast.heal()
        assert "MalformedError" in str(live_stream.status.error)
        assert (live_stream.status.reconnects > 0) is (kind == "ws_huge")
        await live_stream.candles(2)
        await check_candles(live_stream)


@aio
async def test_w13_a_jump_of_the_servers_time_shows_as_lag_and_nothing_else(fast: Sandbox) -> None:
    fast.fault({"kind": "clock_skew", "seconds": 3_000})
    async with live(fast, streams=("candles", "trades")) as live_stream:
        await live_stream.candles(2)
        assert live_stream.status.lag_seconds is not None
        assert live_stream.status.lag_seconds < -2_000
        assert live_stream.status.reconnects == 0
        await live_stream.until(lambda: live_stream.kept.of("trade_count"))
        await check_candles(live_stream)


@aio
async def test_w13_a_candle_from_the_future_is_not_taken(fast: Sandbox) -> None:
    def ahead(spec: StreamSpec) -> StreamSpec:
        parse = spec.parse

        def later(message: object) -> object:
            parsed = parse(message)  # type: ignore[arg-type]  # what a fault may bring
            moved = [
                e._replace(open_time=e.open_time + 9_000 * SECOND, closed=True)
                if isinstance(e, Candle)
                else e
                for e in parsed.events
            ]
            return parsed._replace(events=tuple(moved))

        return replace(spec, parse=later)  # type: ignore[arg-type]  # what a fault may bring

    async with live(fast, change=ahead) as live_stream:
        await live_stream.until(lambda: live_stream.status.dropped)
        await live_stream.candles(1)
        assert any("clock" in line for line in live_stream.kept.problems)
        await check_candles(live_stream)
