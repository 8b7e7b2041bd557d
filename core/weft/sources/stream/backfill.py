"""Brings the candles that a stream missed, through the provider's own requests."""

import asyncio
from contextlib import aclosing

from weft.components.provider import Request
from weft.foundation.calls import fault
from weft.foundation.errors import WeftError
from weft.foundation.times import iso
from weft.sources.stream.candles import CandleLog, Hole
from weft.sources.stream.context import Context
from weft.sources.stream.facts import candles_in

_ANSWERS = 5
_AT_ONCE = 4


class Backfills:
    """Fills the holes of a log, each by requests until it is closed.

    A source that cannot be reached is asked for as long as it takes. One that answers, several
    times, without the candles has none: the hole is given up, and told.

    Args:
        context: whose candles, and how they are asked for.
        log: what is missing.
    """

    def __init__(self, context: Context, log: CandleLog) -> None:
        self._context, self._log = context, log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    def fill(self, symbol: str) -> None:
        """Begin to fill the holes of a symbol, if there are any and nobody is at it."""
        if symbol in self._tasks or self._log.hole(symbol) is None:
            return
        self._context.tally.gaps += 1
        task = self._tasks[symbol] = asyncio.create_task(self._fill(symbol))
        task.add_done_callback(lambda _: self._tasks.pop(symbol, None))

    async def stop(self) -> None:
        """Stop filling."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self, symbol: str) -> None:
        answers = failures = 0
        while (hole := self._log.hole(symbol)) is not None:
            try:
                async with self._places:
                    await self._ask(hole)
                answers += 1
            except WeftError as error:
                self._context.tally.last_error = error
                failures += 1
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                self._context.tally.last_error = fault(
                    f"provider {self._context.provider.key}", error
                )
                failures += 1
            left = self._log.hole(symbol)
            if left is not None and left.first > hole.first:
                answers = failures = 0
            elif left is not None and answers >= _ANSWERS:
                self._give_up(left)
                answers = failures = 0
            elif left is not None:
                await self._context.pause(answers + failures)

    async def _ask(self, hole: Hole) -> None:
        context = self._context
        request = Request(
            interval=context.interval,
            symbols=(hole.symbol,),
            since=hole.first,
            known={hole.symbol: hole.first - context.interval.micros},
        )
        batches = context.spec.backfill(request, context.http, context.clock)
        async with aclosing(batches) as given:  # type: ignore[type-var]  # an async generator can be closed
            async for batch in given:
                context.outbox.instruments(batch.instruments)
                context.outbox.problems(batch.problems)
                if batch.candles is not None:
                    for candle in candles_in(batch.candles):
                        context.outbox.candles(self._log.take(candle))

    def _give_up(self, hole: Hole) -> None:
        self._context.outbox.candles(self._log.give_up(hole))
        span = f"from {iso(hole.first)} to {iso(hole.last)}"
        told = f"{hole.symbol}: missed by the stream, and not there when asked for"
        self._context.outbox.problems([f"{told}: candles {span}"])
