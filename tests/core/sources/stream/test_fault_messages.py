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
        async with live(running, kind, streams=("book",), change=_often) as one:
            await one.until(lambda: one.status.gaps)
            book = one.feed(name)._books["BTCUSDT"]
            await one.until(lambda: book.in_step)
            running.clock.move(speed=0)
            assert one.streamer._sources[0][1][0].snapshot is not None
            snapshot = await one.streamer._sources[0][1][0].snapshot(one.http, "BTCUSDT")
            await one.until(lambda: book._last == snapshot.last)
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
            came = await fresh(http, symbol)
            old.append(came._replace(last=came.last - 1_000))
            found = old[0] if len(old) < 3 else came
            taken.append(found.last)
            return found

        return replace(_often(spec), snapshot=snapshot)

    with sandbox(1.0) as running:
        async with live(running, streams=("book",), change=stale) as one:
            book = one.feed("spot")._books["BTCUSDT"]
            await one.until(lambda: book.in_step)
            assert len(taken) >= 3
            assert taken[0] == taken[1]


@aio
async def test_w6_a_burst_is_merged_within_bounds(fast: Sandbox) -> None:
    fast.fault({"kind": "ws_burst", "count": 1, "size": 15_000, "path": "/ws"})
    async with live(fast, streams=("candles", "book"), queue=500) as one:
        await one.until(lambda: one.status.messages > 15_000)
        await one.candles(1)
        assert len(one.feed("spot")._queue) <= 500
        assert one.status.conflated + one.status.duplicates > 10_000
        await check_candles(one)


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

    async with live(fast, keep=fails) as one:
        await one.until(lambda: "no space" in str(one.status.error))
        await one.candles(2)
        await check_candles(one)
        assert one.status.error is None


@aio
async def test_w9_what_comes_twice_counts_once(fast: Sandbox) -> None:
    fast.fault({"kind": "ws_duplicate"}, {"kind": "ws_reorder", "probability": 0.2})
    async with live(fast, streams=("candles", "trades")) as one:
        await one.candles(2)
        await one.until(lambda: len(one.kept.of("trade_count")) >= 2)
        await check_candles(one)
        assert one.status.duplicates > 0
        check_sums(one)


@pytest.mark.parametrize("kind", ["ws_binary", "ws_invalid", "ws_huge"])
@aio
async def test_w11_frames_of_nonsense_are_counted_and_survived(fast: Sandbox, kind: str) -> None:
    # A second one on the same connection would never be read.
    fast.fault({"kind": kind, "size": 2, "path": "/ws"})
    async with live(fast, largest_bytes=1 << 20) as one:
        await one.until(lambda: one.status.malformed >= 2)
        fast.heal()
        assert "MalformedError" in str(one.status.error)
        assert (one.status.reconnects > 0) is (kind == "ws_huge")
        await one.candles(2)
        await check_candles(one)


@aio
async def test_w13_a_jump_of_the_servers_time_shows_as_lag_and_nothing_else(fast: Sandbox) -> None:
    fast.fault({"kind": "clock_skew", "seconds": 3_000})
    async with live(fast, streams=("candles", "trades")) as one:
        await one.candles(2)
        assert one.status.lag_seconds is not None
        assert one.status.lag_seconds < -2_000
        assert one.status.reconnects == 0
        await one.until(lambda: one.kept.of("trade_count"))
        await check_candles(one)


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

    async with live(fast, change=ahead) as one:
        await one.until(lambda: one.status.dropped)
        await one.candles(1)
        assert any("clock" in line for line in one.kept.problems)
        await check_candles(one)
