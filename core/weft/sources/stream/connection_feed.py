"""Follows one connection: counts its events, orders its candles, and closes its intervals."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from weft.foundation.times import SECOND, iso
from weft.sources.http.errors import MalformedError
from weft.sources.stream.books import Books
from weft.sources.stream.candles import Backfills, CandleLog, Overdue
from weft.sources.stream.connection_keeper import ConnectionKeeper, ConnectLimiter
from weft.sources.stream.context import Context
from weft.sources.stream.events import BookUpdate, Candle, Event, Gap, Liquidation, Ticker, Trade
from weft.sources.stream.queue import EventQueue
from weft.sources.stream.spec import Topic
from weft.sources.stream.status import StreamStatus, in_words
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


_AHEAD = 60 * SECOND
"""What happened further in the future than this says that a clock is wrong."""


class ConnectionFeed:
    """Follows the topics of one connection.

    Args:
        context: whose stream, and what it works with.
        topics: those of this connection.
        gate: of the host.

    Attributes:
        unfinished: the newest unfinished candle of each symbol, for display.
        tickers: the best prices of each symbol, for display.
    """

    def __init__(self, context: Context, topics: Sequence[Topic], gate: ConnectLimiter) -> None:
        self.unfinished: dict[str, Candle] = {}
        self.tickers: dict[str, Ticker] = {}
        self._context, self._tally = context, context.tally
        symbols = {
            kind: dict.fromkeys(topic.symbol for topic in topics if topic.brings is kind)
            for kind in (Candle, Trade, Liquidation, BookUpdate)
        }
        self._queue = EventQueue(context.spec.limits.queue)
        self._line = ConnectionKeeper(
            context, topics, self._queue, gate, self._came_up, self._went_down
        )
        self._log = CandleLog(context.interval)
        self._backfills = Backfills(context, self._log)
        self._trades, self._forced = TradeSums(context.interval), LiquidationSums(context.interval)
        self._books: Books | None = None
        if context.spec.snapshot is not None and symbols[BookUpdate]:
            self._books = Books(context, symbols[BookUpdate], context.spec.snapshot)
        self._closes = IntervalCloser(
            context,
            self._line,
            self._queue,
            (self._trades, symbols[Trade]),
            (self._forced, symbols[Liquidation]),
            self._books,
        )
        self._overdue = Overdue(context, self._log, symbols[Candle])
        self._handlers: dict[type[Event], Callable[..., None]] = {
            Candle: self._candle,
            Trade: self._trade,
            Liquidation: self._liquidation,
            BookUpdate: self._book,
            Ticker: self._ticker,
            Gap: self._gap,
        }

    async def run(self) -> None:
        """Follow until cancelled."""
        self._overdue.look(0)
        try:
            async with asyncio.TaskGroup() as group:
                parts = (self._line, self._closes, self._overdue)
                for work in (*(part.run() for part in parts), self._consume(), self._fill()):
                    group.create_task(work)
        finally:
            await self._backfills.stop()
            if self._books is not None:
                await self._books.stop()

    def status(self) -> StreamStatus:
        """Return how it is doing."""
        sums = self._log.duplicates + self._trades.duplicates + self._forced.duplicates
        late = self._trades.late + self._forced.late
        shown = self._tally.show()
        return replace(
            shown,
            conflated=self._queue.conflated,
            duplicates=sums,
            dropped=shown.dropped + late,
        )

    async def _consume(self) -> None:
        while True:
            await self._context.outbox.room()
            for event in await self._queue.take():
                self._handlers[type(event)](event)
            self._queue.done()

    async def _fill(self) -> None:
        while True:
            await self._overdue.found.wait()
            self._overdue.found.clear()
            for hole in self._log.holes():
                self._backfills.fill(hole.symbol)

    def _came_up(self) -> None:
        # What closed while nobody listened will not be told again.
        self._overdue.look(self._context.clock.now())

    def _went_down(self) -> None:
        if self._books is not None:
            self._books.reset()

    def _candle(self, candle: Candle) -> None:
        if not candle.closed:
            self.unfinished[candle.symbol] = candle
            return
        close = candle.open_time + self._context.interval.micros
        if close > self._context.clock.now() + _AHEAD:
            self._tally.dropped += 1
            told = f"{candle.symbol}: a candle that closes at {iso(close)} came before that"
            self._context.outbox.problems([f"{told}; this machine's clock or the venue's is wrong"])
            return
        try:
            self._context.outbox.candles(self._log.take(candle))
        except ValueError as error:
            self._tally.malformed += 1
            self._tally.last_error = MalformedError(str(error), where=self._tally.where)
            return
        if candle.symbol in self._log:
            self._backfills.fill(candle.symbol)

    def _trade(self, trade: Trade) -> None:
        if self._in_time(trade.time) and self._trades.add(trade):
            self._tally.gaps += 1

    def _liquidation(self, liquidation: Liquidation) -> None:
        if self._in_time(liquidation.time):
            self._forced.add(liquidation)

    def _in_time(self, at: int) -> bool:
        """Whether something may have happened by now; else the sums lack it, and are not told."""
        now = self._context.clock.now()
        if at <= now + _AHEAD:
            return True
        self._tally.dropped += 1
        self._line.coverage.broken(now)
        return False

    def _book(self, update: BookUpdate) -> None:
        if self._books is not None:
            self._books.update(update)

    def _ticker(self, ticker: Ticker) -> None:
        self.tickers[ticker.symbol] = ticker

    def _gap(self, _: Gap) -> None:
        self._tally.gaps += 1
        self._line.coverage.broken(self._context.clock.now())
