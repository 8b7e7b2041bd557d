"""Candles."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field

import polars as pl

from weft.components.provider import Request
from weft.domain.candles import FIELDS
from weft.foundation.calls import fault
from weft.foundation.errors import WeftError
from weft.foundation.times import SECOND, Interval, iso
from weft.sources.stream.context import Context
from weft.sources.stream.events import Candle

_MOST_HELD = 2_000


@dataclass(frozen=True, slots=True)
class Hole:
    """Candles that are missing: those that open from `first` to `last`, both included."""

    symbol: str
    first: int
    last: int


@dataclass(slots=True)
class _Line:
    """Where one symbol's candles have come to.

    Attributes:
        due: open time of the next candle to hand on.
        held: candles beyond it that wait for it, by open time.
        expected: the latest open time that has to be there by now.
        given_up: open times that were passed over, and are welcome if they come after all.
    """

    due: int
    held: dict[int, Candle] = field(default_factory=dict)
    expected: int = 0
    given_up: set[int] = field(default_factory=set)


class CandleLog:
    """Puts closed candles in order, whoever brings them and however often.

    A candle after a hole waits until the hole is filled or given up: were it stored first, a
    restart would resume behind the hole and never fill it.

    Args:
        interval: of the candles.

    Attributes:
        duplicates: candles that had come before.
    """

    def __init__(self, interval: Interval) -> None:
        self.duplicates = 0
        self._step = interval.micros
        self._interval = interval
        self._lines: dict[str, _Line] = {}

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._lines

    def begin(self, symbol: str, known: int) -> list[Candle]:
        """Follow a symbol from after a candle that is stored already, or move on to there.

        Args:
            symbol: whose candles.
            known: open time of its newest stored candle.

        Returns:
            Candles that waited and may be handed on now.
        """
        line = self._lines.setdefault(symbol, _Line(known + self._step))
        return self._move(line, known + self._step)

    def take(self, candle: Candle) -> list[Candle]:
        """Return the candles that may be handed on now that this one has come, in order.

        Nothing comes of candles that are unfinished, had come before, or wait behind a hole, nor of
        symbols that were not begun: their history is not there yet.

        Raises:
            ValueError: it does not open on the grid of the interval.
        """
        line = self._lines.get(candle.symbol)
        if not candle.closed or line is None:
            return []
        opened = candle.open_time
        if self._interval.floor(opened) != opened:
            raise ValueError(f"{candle.symbol}: no {self._interval} candle opens at {opened}")
        if opened in line.given_up:
            line.given_up.discard(opened)
            return [candle]
        if opened < line.due or opened in line.held:
            self.duplicates += 1
            return []
        line.held[opened] = candle
        ready = self._release(line)
        if len(line.held) > _MOST_HELD:
            ready += self.give_up(Hole(candle.symbol, line.due, min(line.held) - self._step))
        return ready

    def expect(self, closed_by: int, symbols: Iterable[str] | None = None) -> None:
        """Say that every candle closed by an instant should be here.

        Args:
            closed_by: microseconds since 1970.
            symbols: of which symbols; None for all.
        """
        last = self._interval.floor(closed_by) - self._step
        for symbol in self._lines if symbols is None else symbols:
            if symbol in self._lines:
                line = self._lines[symbol]
                line.expected = max(line.expected, last)

    def hole(self, symbol: str) -> Hole | None:
        """Return what a symbol misses first; None where it misses nothing that is known of."""
        line = self._lines[symbol]
        last = min(line.held) - self._step if line.held else line.expected
        return Hole(symbol, line.due, last) if last >= line.due else None

    def holes(self) -> list[Hole]:
        """Return the first hole of every symbol that has one."""
        return [hole for symbol in self._lines if (hole := self.hole(symbol)) is not None]

    def give_up(self, hole: Hole) -> list[Candle]:
        """Pass a hole over; return the candles that waited behind it."""
        line = self._lines[hole.symbol]
        passed = range(line.due, hole.last + 1, self._step)
        line.given_up |= set(passed[-_MOST_HELD:])
        while len(line.given_up) > _MOST_HELD:
            line.given_up.discard(min(line.given_up))
        return self._move(line, hole.last + self._step)

    def _move(self, line: _Line, due: int) -> list[Candle]:
        line.due = max(line.due, due)
        for opened in [opened for opened in line.held if opened < line.due]:
            del line.held[opened]
        return self._release(line)

    def _release(self, line: _Line) -> list[Candle]:
        ready = []
        while line.due in line.held:
            ready.append(line.held.pop(line.due))
            line.due += self._step
        return ready


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


def candles_in(frame: pl.DataFrame) -> Iterator[Candle]:
    """Yield the candles of a `Batch`, all of them closed."""
    columns = [pl.col("symbol"), pl.col("open_time").dt.epoch("us"), *FIELDS]
    for symbol, opened, o, h, low, c, volume in frame.select(columns).iter_rows():
        yield Candle(symbol, opened, o, h, low, c, volume, closed=True)


class Overdue:
    """Asks for candles that should have come by now.

    Args:
        context: interval and clock.
        log: what has come.
        symbols: whose candles come.

    Attributes:
        found: set after every look.
    """

    def __init__(self, context: Context, log: CandleLog, symbols: Iterable[str]) -> None:
        self._context, self._log, self._symbols = context, log, tuple(symbols)
        self.found = asyncio.Event()

    async def run(self) -> None:
        """Look a moment after every close, until cancelled."""
        clock, interval = self._context.clock, self._context.interval
        grace = int(self._context.spec.limits.overdue_seconds * SECOND)
        while True:
            close = interval.floor(clock.now() - grace) + interval.micros
            await clock.sleep_until(close + grace)
            self.look(close)

    def look(self, closed_by: int) -> None:
        """Follow what is stored by now, and miss what is not here although it closed."""
        for symbol, known in self._context.known().items():
            if symbol in self._symbols:
                self._context.outbox.candles(self._log.begin(symbol, known))
        self._log.expect(closed_by)
        self.found.set()
