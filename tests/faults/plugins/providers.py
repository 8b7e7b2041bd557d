"""Hostile and broken providers, each a small class, and a sound one beside them."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import polars as pl

from weft import Batch, Provider, Request
from weft.domain.instruments import describe
from weft.foundation.clock import Clock
from weft.foundation.times import HOUR, parse_time
from weft.sources.http import Http

NOW = parse_time("2026-04-01T00:00:00Z")
GATE = threading.Event()
"""What blocks, blocks until a test opens this."""


def candle(symbol: str, hours_ago: int = 1, **changes: object) -> pl.DataFrame:
    columns: dict[str, Any] = {
        "symbol": [symbol],
        "interval": ["1h"],
        "open_time": pl.Series([NOW - hours_ago * HOUR]).cast(pl.Datetime("us", "UTC")),
        **{field: [1.0] for field in ("open", "high", "low", "close", "volume")},
    }
    return pl.DataFrame({**columns, **{name: [value] for name, value in changes.items()}})


class Sound(Provider):
    """One coin, twenty candles; whatever the others do, these are stored."""

    name = "sound"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        for hours in range(20, 0, -1):
            await asyncio.sleep(0)
            yield Batch(candles=candle("SOUNDUSDT", hours), instruments=(describe("SOUNDUSDT"),))


class Hostile(Provider):
    """Brings a candle, then does what its class says."""

    def harm(self) -> Any:
        """Do it."""

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        yield Batch(candles=candle("BADUSDT"), instruments=(describe("BADUSDT"),))
        given = self.harm()
        if given is not None:
            yield given


class Exits(Hostile):
    name = "exits"

    def harm(self) -> None:
        sys.exit(3)


class Interrupts(Hostile):
    name = "interrupts"

    def harm(self) -> None:
        raise KeyboardInterrupt


class Cancels(Hostile):
    name = "cancels"

    def harm(self) -> None:
        raise asyncio.CancelledError


class EndsAsGenerator(Hostile):
    name = "ends_as_generator"

    def harm(self) -> None:
        raise GeneratorExit


class Panic(BaseException):
    """What a fault in a library's Rust code looks like: no Exception."""


class Panics(Hostile):
    name = "panics"

    def harm(self) -> None:
        raise Panic("oh")


class StopsTheLoop(Hostile):
    name = "stops_the_loop"

    def harm(self) -> None:
        asyncio.get_running_loop().stop()
        raise RuntimeError("the loop was stopped")


class Sleeps(Hostile):
    """What `requests.get` to a silent server does."""

    name = "sleeps"
    calls: ClassVar[int] = 0

    def harm(self) -> None:
        type(self).calls += 1
        GATE.wait(120)


class Spins(Hostile):
    name = "spins"

    def harm(self) -> None:
        while not GATE.is_set():
            pass


class Waits(Provider):
    """Awaits what never comes, and takes no cancellation for an answer."""

    name = "waits"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        yield Batch(candles=candle("BADUSDT"), instruments=(describe("BADUSDT"),))
        while not GATE.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue


class BlocksAThread(Provider):
    """Hands its blocking call to a thread, as one should; that call hangs."""

    name = "blocks_a_thread"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        yield Batch(candles=candle("BADUSDT"), instruments=(describe("BADUSDT"),))
        await asyncio.to_thread(GATE.wait, 120)


class ExitsInATask(Provider):
    """Leaves the program from a task nobody awaits."""

    name = "exits_in_a_task"

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        yield Batch(candles=candle("BADUSDT"), instruments=(describe("BADUSDT"),))

        async def leave() -> None:
            sys.exit(4)

        await asyncio.create_task(leave())


class Returns(Provider):
    """Returns where it should yield."""

    name = "returns"

    async def fetch(  # type: ignore[override]  # the mistake
        self, request: Request, http: Http, clock: Clock
    ) -> Batch:
        return Batch(candles=candle("BADUSDT"))


class YieldsAtOnce(Provider):
    """Forgets the `async`."""

    name = "yields_at_once"

    def fetch(self, request: Request, http: Http, clock: Clock) -> Any:
        yield Batch(candles=candle("BADUSDT"))


class GivesText(Hostile):
    name = "gives_text"

    def harm(self) -> object:
        return "BTCUSDT,1h,1.0"


class GivesLazyFrame(Hostile):
    name = "gives_lazy_frame"

    def harm(self) -> Batch:
        return Batch(candles=candle("BADUSDT", 2).lazy())  # type: ignore[arg-type]  # the mistake


class GivesProblemsAsText(Hostile):
    name = "gives_problems_as_text"

    def harm(self) -> Batch:
        return Batch(problems="one line, as a text")  # type: ignore[arg-type]  # the mistake


class GivesNoColumns(Hostile):
    name = "gives_no_columns"

    def harm(self) -> Batch:
        return Batch(candles=pl.DataFrame({"price": [1.0]}))


ENDING: dict[type[Provider], str] = {
    Exits: "raised SystemExit: 3",
    Interrupts: "raised KeyboardInterrupt",
    Cancels: "raised CancelledError",
    EndsAsGenerator: "raised GeneratorExit",
    Panics: "raised Panic: oh",
    StopsTheLoop: "raised RuntimeError: the loop was stopped",
    ExitsInATask: "raised SystemExit: 4",
    Returns: "fetch() returned a coroutine, expected an asynchronous generator",
    YieldsAtOnce: "fetch() returned a generator, expected an asynchronous generator",
    GivesText: "yielded a str, expected Batch",
    GivesLazyFrame: "yielded candles that are a LazyFrame, expected a polars DataFrame",
    GivesProblemsAsText: "yielded problems 'one line, as a text', expected a tuple of str",
    GivesNoColumns: "symbol",
}
"""Providers that end in a wrong way, and what is said of each."""

HANGING: dict[type[Provider], str] = {
    Sleeps: "has blocked its thread for",
    Spins: "has blocked its thread for",
    Waits: "was not done within 1 seconds",
    BlocksAThread: "was not done within 1 seconds",
}
"""Providers that do not end, and what is said of each."""
