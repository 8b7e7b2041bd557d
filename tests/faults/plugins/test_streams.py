"""A stream's callback that exits or blocks: the provider is named, and the host's loop goes on."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, cast

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.faults.plugins.providers import GATE, Sound
from tests.support import PATIENCE_SECONDS
from weft import Batch
from weft.foundation.clock import SystemClock
from weft.foundation.errors import ComponentError
from weft.foundation.times import Interval
from weft.foundation.workers import Workers
from weft.sources.http.reader import Reader
from weft.sources.stream import Streamer, sources_of, streamer
from weft.sources.stream.events import Candle, Parsed
from weft.sources.stream.spec import StreamSpec, Topic
from weft.sources.stream.status import StreamStatus


@pytest.fixture(autouse=True)
def _gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(streamer, "_PATIENCE_SECONDS", 1.0)
    GATE.clear()
    yield
    GATE.set()


def exits(_: Reader) -> Parsed:
    sys.exit(5)


def blocks(_: Reader) -> Parsed:
    GATE.wait(120)
    return Parsed(())


async def backfill(*_: Any) -> AsyncIterator[Batch]:
    return
    yield


def spec_of(port: int, parse: Callable[[Reader], Parsed]) -> StreamSpec:
    return StreamSpec(
        name="spot",
        url=f"ws://127.0.0.1:{port}/",
        topics=(Topic("candles", "SOUNDUSDT", Candle),),
        subscribe=lambda names, request: "{}",
        parse=parse,
        backfill=backfill,
        acknowledges=False,
    )


@pytest.mark.parametrize(
    ("parse", "said"),
    [
        (exits, "provider sound: raised SystemExit: 5"),
        (blocks, "provider sound: has blocked its thread for"),
    ],
)
def test_a_callback_that_exits_or_blocks_is_named_and_harms_no_other_task(
    parse: Callable[[Reader], Parsed], said: str
) -> None:
    async def talk(connection: ServerConnection) -> None:
        while True:
            await connection.send("{}")
            await asyncio.sleep(0.05)

    async def watch() -> StreamStatus:
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.01)
                beats += 1

        workers = Workers()
        async with serve(talk, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            live = Streamer(
                [(Sound(), [spec_of(port, parse)])],
                interval=Interval.parse("1h"),
                keep=lambda *_: asyncio.sleep(0),
                client=lambda _: cast("Any", None),
                known=lambda _: {},
                clock=SystemClock(),
                rng=random.Random(1),
                workers=workers,
            )
            running = [asyncio.create_task(live.run()), asyncio.create_task(beat())]
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not any(said in str(one.error) for one in live.status()):  # noqa: ASYNC110  # another thread brings it about
                    await asyncio.sleep(0.02)
            (status,) = live.status()
            for task in running:
                task.cancel()
            GATE.set()
            await asyncio.gather(*running, return_exceptions=True)
        workers.close()
        assert beats > 0
        return status

    assert said in str(asyncio.run(watch()).error)


class Streams(Sound):
    """Says something else than what its streams are."""

    def streams(self, request: Any) -> Any:
        return "spot"


class StreamsExit(Sound):
    def streams(self, request: Any) -> Any:
        sys.exit(6)


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Streams, "returned 'spot', expected a list"), (StreamsExit, "raised SystemExit: 6")],
)
def test_streams_that_are_none_are_refused(kind: type[Sound], said: str) -> None:
    with pytest.raises(ComponentError, match=f"^provider sound: .*{said}"):
        sources_of([kind()], lambda _: cast("Any", None))
