"""Messages a second through the stream layer, against a bare loop that reads and parses JSON.

A process of its own sends the same messages to both: of one venue, trades, unfinished and closed
candles and changes of a book, of twenty symbols.
"""

import asyncio
import multiprocessing
import random
import resource
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection

import orjson
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from weft.components.provider import Batch, Provider, Request
from weft.foundation.clock import SystemClock
from weft.foundation.times import MINUTE, Interval
from weft.sources.http import Http
from weft.sources.stream import Streamer, StreamSpec
from weft.sources.stream.events import BookSnapshot
from weft_providers.binance.spot import Binance
from weft_providers.binance.stream import StreamOptions, spot_streams

SYMBOLS = tuple(f"C{number}USDT" for number in range(20))
RATE, SECONDS = 20_000, 5
CHUNK = 200
MINUTES = Interval.parse("1m")


class Streamed(Binance):
    """Binance with streams, independent of its options."""

    class Config(Binance.Config, StreamOptions):
        """Options."""


def main() -> None:
    """Measure and print."""
    messages = _messages(RATE * SECONDS)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, messages))
    server.start()
    url = f"ws://127.0.0.1:{ours.recv()}/ws"
    try:
        table = Table(
            "reader",
            "messages/s",
            "of bare",
            "CPU s",
            "MiB more",
            title="Stream, as fast as it goes",
        )
        bare = asyncio.run(_bare(f"{url}?rate=0", len(messages)))
        layer = asyncio.run(_layer(f"{url}?rate=0", len(messages)))
        for name, (seconds, cpu, memory, _) in {
            "bare websockets + orjson": bare,
            "weft.sources.stream": layer,
        }.items():
            rate = len(messages) / seconds
            share = bare[0] / seconds
            table.add_row(name, f"{rate:,.0f}", f"{share:.2f}x", f"{cpu:.1f}", f"{memory:.0f}")
        console = Console(highlight=False)
        console.print(table)
        seconds, cpu, memory, counts = asyncio.run(_layer(f"{url}?rate={RATE}", len(messages)))
        console.print(
            f"Soak at {RATE:,} messages/s for {seconds:.1f} s: {cpu / seconds:.0%} of a core, "
            f"{memory:.1f} MiB more at the end; {counts}\n"
        )
    finally:
        server.terminate()
        server.join()


async def _bare(url: str, count: int) -> tuple[float, float, float, str]:
    """Read and parse messages, and discard them."""
    before = _usage()
    async with connect(url, compression=None, max_queue=256, ping_interval=None) as socket:
        await socket.send(orjson.dumps({"id": 1}).decode())
        await socket.recv()
        started = time.perf_counter()
        for _ in range(count):
            orjson.loads(await socket.recv(decode=False))
        seconds = time.perf_counter() - started
    return seconds, *_since(before), ""


async def _layer(url: str, count: int) -> tuple[float, float, float, str]:
    """Pass the same messages through events, queue, candles, sums and books."""
    provider = Streamed(Streamed.Config(streams=("candles", "trades", "book"), symbols=SYMBOLS))
    request = Request(MINUTES, SYMBOLS, since=0)
    clock = SystemClock()
    specs = [_pointed(spec, url) for spec in spot_streams(provider, request)]
    known = dict.fromkeys(SYMBOLS, MINUTES.floor(clock.now()) - 2 * MINUTE)

    async def keep(_: Provider, batch: Batch) -> None:
        if batch.candles is not None:
            known.update(dict(batch.candles.select("symbol", "open_time").iter_rows()))

    assert provider.web is not None
    async with Http(provider.web, name="bench", clock=clock, rng=random.Random(1)) as http:
        streamer = Streamer(
            [(provider, specs)],
            interval=MINUTES,
            keep=keep,
            client=lambda _: http,
            known=lambda _: {},
            clock=clock,
            rng=random.Random(2),
        )
        before = _usage()
        running = asyncio.create_task(streamer.run())
        started = 0.0
        while not (status := streamer.status()) or status[0].messages <= count:
            if not started and status and status[0].messages > 1:
                started = time.perf_counter()
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - started
        used = _since(before)
        status = streamer.status()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    first = status[0]
    counts = f"{first.conflated:,} merged, {first.malformed} malformed, {first.dropped} dropped"
    return seconds, *used, counts


def _pointed(spec: StreamSpec, url: str) -> StreamSpec:
    async def snapshot(_: Http, __: str) -> BookSnapshot:
        return BookSnapshot(0, {99.0: 1.0}, {101.0: 1.0})

    async def backfill(*_: object) -> AsyncIterator[Batch]:
        for batch in tuple[Batch, ...]():
            yield batch

    limits = replace(spec.limits, topics_per_connection=1_000, topics_per_message=1_000)
    return replace(spec, url=url, snapshot=snapshot, backfill=backfill, limits=limits)


def _usage() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # a file of the kernel
        resident = int(file.read().split()[1]) * resource.getpagesize() / 2**20
    return used.ru_utime + used.ru_stime, resident


def _since(before: tuple[float, float]) -> tuple[float, float]:
    cpu, memory = _usage()
    return cpu - before[0], memory - before[1]


def _messages(count: int) -> list[bytes]:
    """Return messages in the form of Binance, half of them trades."""
    now = time.time_ns() // 1_000_000
    opened = now // 60_000 * 60_000
    messages = []
    for number in range(count):
        turn, symbol = number // len(SYMBOLS), SYMBOLS[number % len(SYMBOLS)]
        price = f"{100 + turn % 7:.2f}"
        if turn % 2:
            event = {"e": "aggTrade", "E": now, "s": symbol, "a": turn // 2, "p": price}
            event |= {"q": "0.5", "f": number, "l": number, "T": now, "m": turn % 3 == 0, "M": True}
        elif turn % 4:
            sides = {side: [[price, "1.0"], ["90.0", "2.0"]] for side in "ba"}
            ids = {"U": turn // 4 + 1, "u": turn // 4 + 1}
            event = {"e": "depthUpdate", "E": now, "s": symbol, **ids, **sides}
        else:
            kline = {"t": opened, "T": opened + 59_999, "s": symbol, "i": "1m", "x": False}
            kline |= {"o": price, "h": price, "l": price, "c": price, "v": "9.0", "n": number}
            event = {"e": "kline", "E": now, "s": symbol, "k": kline}
        messages.append(orjson.dumps(event))
    return messages


def _serve(port_pipe: Connection, messages: list[bytes]) -> None:
    asyncio.run(_send(port_pipe, messages))


async def _send(port_pipe: Connection, messages: list[bytes]) -> None:
    async with serve(partial(_feed, messages), "127.0.0.1", 0, compression=None) as server:
        port_pipe.send(next(iter(server.sockets)).getsockname()[1])
        await asyncio.get_running_loop().create_future()


async def _feed(messages: list[bytes], connection: ServerConnection) -> None:
    assert connection.request is not None
    rate = int(connection.request.path.rpartition("=")[2])
    asked = orjson.loads(await connection.recv())
    await connection.send(orjson.dumps({"result": None, "id": asked["id"]}), text=True)
    frames = [_frame(message) for message in messages]
    loop = asyncio.get_running_loop()
    started = loop.time()
    for first in range(0, len(frames), CHUNK):
        connection.transport.write(b"".join(frames[first : first + CHUNK]))
        while connection.transport.get_write_buffer_size() > 1 << 20:  # noqa: ASYNC110  # waits for a time, not an event
            await asyncio.sleep(0.001)
        if rate:
            await asyncio.sleep(max(0.0, started + first / rate - loop.time()))
    await connection.wait_closed()


def _frame(message: bytes) -> bytes:
    # Framed by hand: the sender must be faster than the receiver under test.
    length = len(message)
    size = bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big")
    return b"\x81" + size + message


if __name__ == "__main__":
    main()
