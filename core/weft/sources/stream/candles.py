"""Closed candles of a stream: each exactly once, in order, missing ones requested over HTTP."""

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

_MOST_WAITING = 2_000


@dataclass(frozen=True, slots=True)
class Hole:
    """Missing candles that open from `first` to `last`, both included, microseconds since 1970."""

    symbol: str
    first: int
    last: int


@dataclass(slots=True)
class _SymbolCandles:
    """The candles of one symbol.

    Attributes:
        due: open time of the next candle to hand on.
        waiting: candles after `due`, by open time.
        expected: latest open time that should have arrived.
        given_up: open times that were skipped; their candles are handed on if they arrive late.
    """

    due: int
    waiting: dict[int, Candle] = field(default_factory=dict)
    expected: int = 0
    given_up: set[int] = field(default_factory=set)


class CandleLog:
    """Puts closed candles in order, from any number of sources, without duplicates.

    A candle after a hole waits until the hole is filled or given up. If it were stored first, a
    restart would resume behind the hole and never fill it.

    Args:
        interval: length of a candle.

    Attributes:
        duplicates: candles received more than once.
    """

    def __init__(self, interval: Interval) -> None:
        self.duplicates = 0
        self._step = interval.micros
        self._interval = interval
        self._states: dict[str, _SymbolCandles] = {}

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._states

    def begin(self, symbol: str, known: int) -> list[Candle]:
        """Follow a symbol from the candle after a stored one, or move on to that candle.

        Args:
            symbol: symbol of the candles.
            known: open time of the newest stored candle, microseconds since 1970.

        Returns:
            Waiting candles that may be handed on now, in order.
        """
        state = self._states.setdefault(symbol, _SymbolCandles(known + self._step))
        return self._move(state, known + self._step)

    def take(self, candle: Candle) -> list[Candle]:
        """Return the candles that may be handed on after this one, in order.

        An unfinished or repeated candle gives nothing, nor does a candle behind a hole or of a
        symbol without stored history.

        Raises:
            ValueError: the candle does not open on the grid of the interval.
        """
        state = self._states.get(candle.symbol)
        if not candle.closed or state is None:
            return []
        opened = candle.open_time
        if self._interval.floor(opened) != opened:
            raise ValueError(f"{candle.symbol}: no {self._interval} candle opens at {opened}")
        if opened in state.given_up:
            state.given_up.discard(opened)
            return [candle]
        if opened < state.due or opened in state.waiting:
            self.duplicates += 1
            return []
        state.waiting[opened] = candle
        ready = self._release(state)
        if len(state.waiting) > _MOST_WAITING:
            ready += self.give_up(Hole(candle.symbol, state.due, min(state.waiting) - self._step))
        return ready

    def expect(self, closed_by: int, symbols: Iterable[str] | None = None) -> None:
        """Note that every candle closed by an instant should have arrived.

        Args:
            closed_by: microseconds since 1970.
            symbols: symbols to expect; None for all.
        """
        last = self._interval.floor(closed_by) - self._step
        for symbol in self._states if symbols is None else symbols:
            if symbol in self._states:
                state = self._states[symbol]
                state.expected = max(state.expected, last)

    def hole(self, symbol: str) -> Hole | None:
        """Return the first hole of a symbol, or None."""
        state = self._states[symbol]
        last = min(state.waiting) - self._step if state.waiting else state.expected
        return Hole(symbol, state.due, last) if last >= state.due else None

    def holes(self) -> list[Hole]:
        """Return the first hole of every symbol that has one."""
        return [hole for symbol in self._states if (hole := self.hole(symbol)) is not None]

    def give_up(self, hole: Hole) -> list[Candle]:
        """Skip a hole, and return the candles that waited behind it."""
        state = self._states[hole.symbol]
        passed = range(state.due, hole.last + 1, self._step)
        state.given_up |= set(passed[-_MOST_WAITING:])
        while len(state.given_up) > _MOST_WAITING:
            state.given_up.discard(min(state.given_up))
        return self._move(state, hole.last + self._step)

    def _move(self, state: _SymbolCandles, due: int) -> list[Candle]:
        state.due = max(state.due, due)
        for opened in [opened for opened in state.waiting if opened < state.due]:
            del state.waiting[opened]
        return self._release(state)

    def _release(self, state: _SymbolCandles) -> list[Candle]:
        ready = []
        while state.due in state.waiting:
            ready.append(state.waiting.pop(state.due))
            state.due += self._step
        return ready


_RESPONSES_TO_GIVE_UP = 5
_CONCURRENT = 4


class Backfills:
    """Requests the missing candles of a log until its holes are filled.

    Requests to an unreachable source are repeated without end. After five responses without the
    candles, the hole is given up and reported.

    Args:
        context: the parts shared by the connection.
        log: the log with the holes.
    """

    def __init__(self, context: Context, log: CandleLog) -> None:
        self._context, self._log = context, log
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT)

    def fill(self, symbol: str) -> None:
        """Start to fill the holes of a symbol, unless a task does so already."""
        if symbol in self._tasks or self._log.hole(symbol) is None:
            return
        self._context.counters.gaps += 1
        task = self._tasks[symbol] = asyncio.create_task(self._fill(symbol))
        task.add_done_callback(lambda _: self._tasks.pop(symbol, None))

    async def stop(self) -> None:
        """Cancel all requests."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _fill(self, symbol: str) -> None:
        responses = failures = 0
        while (hole := self._log.hole(symbol)) is not None:
            try:
                async with self._slots:
                    await self._request(hole)
                responses += 1
            except WeftError as error:
                self._context.counters.last_error = error
                failures += 1
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                self._context.counters.last_error = fault(
                    f"provider {self._context.provider.key}", error
                )
                failures += 1
            left = self._log.hole(symbol)
            if left is not None and left.first > hole.first:
                responses = failures = 0
            elif left is not None and responses >= _RESPONSES_TO_GIVE_UP:
                self._give_up(left)
                responses = failures = 0
            elif left is not None:
                await self._context.pause(responses + failures)

    async def _request(self, hole: Hole) -> None:
        context = self._context
        request = Request(
            interval=context.interval,
            symbols=(hole.symbol,),
            since=hole.first,
            known={hole.symbol: hole.first - context.interval.micros},
        )
        batches = context.spec.backfill(request, context.http, context.clock)
        async with aclosing(batches) as checked:  # type: ignore[type-var]  # an async generator can be closed
            async for batch in checked:
                context.outbox.instruments(batch.instruments)
                context.outbox.problems(batch.problems)
                if batch.candles is not None:
                    for candle in candles_in(batch.candles):
                        context.outbox.candles(self._log.take(candle))

    def _give_up(self, hole: Hole) -> None:
        self._context.outbox.candles(self._log.give_up(hole))
        span = f"from {iso(hole.first)} to {iso(hole.last)}"
        problem = f"{hole.symbol}: candles {span} are missing in the stream and over HTTP"
        self._context.outbox.problems([problem])


def candles_in(frame: pl.DataFrame) -> Iterator[Candle]:
    """Yield the candles of a `Batch` as closed candles."""
    columns = [pl.col("symbol"), pl.col("open_time").dt.epoch("us"), *FIELDS]
    for symbol, opened, o, h, low, c, volume in frame.select(columns).iter_rows():
        yield Candle(symbol, opened, o, h, low, c, volume, closed=True)


class Overdue:
    """Watches for candles that should have arrived, and extends the holes of the log.

    Args:
        context: the parts shared by the connection.
        log: the log of candles.
        symbols: symbols of the stream.

    Attributes:
        checked: set after every check.
    """

    def __init__(self, context: Context, log: CandleLog, symbols: Iterable[str]) -> None:
        self._context, self._log, self._symbols = context, log, tuple(symbols)
        self.checked = asyncio.Event()

    async def run(self) -> None:
        """Check after every close plus `StreamLimits.overdue_seconds`, until cancelled."""
        clock, interval = self._context.clock, self._context.interval
        grace = int(self._context.spec.limits.overdue_seconds * SECOND)
        while True:
            close = interval.floor(clock.now() - grace) + interval.micros
            await clock.sleep_until(close + grace)
            self.check(close)

    def check(self, closed_by: int) -> None:
        """Move on to the newest stored candles, and expect all candles closed by an instant."""
        for symbol, known in self._context.known().items():
            if symbol in self._symbols:
                self._context.outbox.candles(self._log.begin(symbol, known))
        self._log.expect(closed_by)
        self.checked.set()
