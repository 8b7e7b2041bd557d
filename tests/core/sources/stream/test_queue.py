"""The queue: bounded, conflated where possible, otherwise lossless."""

import asyncio

from tests.core.sources.stream.support import aio
from weft.sources.stream.events import BookUpdate, Candle, Liquidation, Ticker, Trade
from weft.sources.stream.queue import EventQueue


def candle(at: int, *, closed: bool) -> Candle:
    return Candle("A", at, 1.0, 1.0, 1.0, 1.0, 1.0, closed)


@aio
async def test_only_the_newest_unfinished_candle_is_queued() -> None:
    queue = EventQueue(10)
    for at in range(5):
        assert queue.offer(candle(at, closed=False))
        assert queue.offer(Ticker("A", 1.0, float(at)))
    assert len(queue) == 2
    assert queue.conflated == 8
    newest = await queue.take()
    assert newest == [candle(4, closed=False), Ticker("A", 1.0, 4.0)]


@aio
async def test_closed_candles_trades_and_liquidations_make_the_reader_wait() -> None:
    queue = EventQueue(3)
    events: list[Candle | Liquidation | Trade] = [
        candle(1, closed=True),
        Liquidation("A", 1, 1.0, 1.0, long=True),
        Trade("A", 1, 1.0, 1.0, bought=True),
        candle(2, closed=True),
    ]
    reading = asyncio.create_task(_put_all(queue, events))
    await asyncio.sleep(0.02)
    assert not reading.done()
    assert len(queue) == 3
    arrived = await queue.take()
    await reading
    arrived += await queue.take()
    assert arrived == events
    assert queue.conflated == 0


async def _put_all(queue: EventQueue, events: list[Candle | Liquidation | Trade]) -> None:
    for event in events:
        await queue.put(event)


@aio
async def test_settled_waits_for_processing() -> None:
    queue = EventQueue(3)
    queue.offer(candle(1, closed=True))
    waiting = asyncio.create_task(queue.settled())
    await queue.take()
    await asyncio.sleep(0.02)
    assert not waiting.done()
    queue.done()
    await waiting


def test_book_updates_merge_only_without_gaps() -> None:
    queue = EventQueue(10)
    queue.offer(BookUpdate("A", 1, 2, None, {1.0: 1.0}, {}))
    queue.offer(BookUpdate("A", 3, 4, None, {1.0: 2.0, 2.0: 0.0}, {3.0: 1.0}))
    queue.offer(BookUpdate("A", 6, 7, None, {1.0: 9.0}, {}))
    merged, apart = queue._items.values()
    assert merged == BookUpdate("A", 1, 4, None, {1.0: 2.0, 2.0: 0.0}, {3.0: 1.0})
    assert apart == BookUpdate("A", 6, 7, None, {1.0: 9.0}, {})
