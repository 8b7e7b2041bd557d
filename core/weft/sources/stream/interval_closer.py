"""What is told at every close: sums of the interval, and the books of the moment."""

import asyncio
from collections.abc import Iterable

from weft.foundation.times import SECOND, iso
from weft.sources.stream.books import Books
from weft.sources.stream.candles import CandleLog
from weft.sources.stream.connection_keeper import ConnectionKeeper
from weft.sources.stream.context import Context
from weft.sources.stream.queue import EventQueue
from weft.sources.stream.status import in_words
from weft.sources.stream.sums import Fact, LiquidationSums, TradeSums

_TOLD_ANEW = 2
"""Intervals for which something late is still counted and told anew."""


class IntervalCloser:
    """Waits for the closes of the interval, and tells what is known then.

    Sums are told a moment after the close, once a pong proves that all that was sent before has
    come, and only of intervals during which the connection was up the whole time: a sum of a part
    is a wrong number. Books need to be in step only at the close itself.

    Args:
        context: interval, clock and where to put it.
        line: tells whether the connection was up.
        queue: what was read and not yet counted.
        trades: sums, and of which symbols.
        forced: sums, and of which symbols.
        books: None where there are none.
    """

    def __init__(
        self,
        context: Context,
        line: ConnectionKeeper,
        queue: EventQueue,
        trades: tuple[TradeSums, Iterable[str]],
        forced: tuple[LiquidationSums, Iterable[str]],
        books: Books | None,
    ) -> None:
        self._context, self._line, self._queue = context, line, queue
        self._trades, self._traded = trades[0], tuple(trades[1])
        self._forced, self._liquidated = forced[0], tuple(forced[1])
        self._books = books

    async def run(self) -> None:
        """Tell at every close, until cancelled."""
        clock, interval = self._context.clock, self._context.interval
        settle = int(self._context.spec.limits.settle_seconds * SECOND)
        while True:
            close = interval.floor(clock.now()) + interval.micros
            await clock.sleep_until(close)
            if self._books is not None and clock.now() < close + interval.micros:
                self._books.look()
            await clock.sleep_until(close + settle)
            await self.tell(close)

    async def tell(self, close: int) -> None:
        """Tell what is known of the interval that closed, and what came late of those before."""
        complete = await self._line.caught_up()
        if complete:
            await self._queue.settled()
        step = self._context.interval.micros
        if self._books is not None:
            facts = self._books.tell(close)
            self._hand_on(facts if complete else ())
        for opened in range(close - (1 + _TOLD_ANEW) * step, close, step):
            if complete and self._line.coverage.whole(opened, opened + step):
                for symbol in self._traded:
                    self._hand_on(self._trades.tell(opened, symbol))
                for symbol in self._liquidated:
                    self._hand_on(self._forced.tell(opened, symbol))
        self._say_what_is_missing(close, complete=complete)
        now = self._context.clock.now()
        self._trades.forget(now)
        self._forced.forget(now)

    def _hand_on(self, facts: Iterable[Fact]) -> None:
        tells = self._context.spec.tells
        self._context.outbox.facts(
            fact for fact in facts if tells is None or tells(fact.metric, fact.symbol)
        )

    def _say_what_is_missing(self, close: int, *, complete: bool) -> None:
        opened = close - self._context.interval.micros
        span = f"from {iso(opened)} to {iso(close)}"
        name, tally, outbox = self._context.spec.name, self._context.tally, self._context.outbox
        if not self._traded and not self._liquidated:
            return
        if not complete or not self._line.coverage.whole(opened, close):
            tally.gaps += 1
            told = "not everything was heard, so no sum of trades or liquidations is told"
            outbox.problems([f"{name}, {span}: {told}"])
            return
        broken = [s for s in self._traded if not self._trades.whole(opened, s)]
        if broken:
            tally.gaps += 1
            outbox.problems([f"{name}, {span}: trades of {in_words(broken)} are missing"])


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
