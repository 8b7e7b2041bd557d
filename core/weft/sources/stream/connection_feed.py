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
from weft.sources.stream.status import StreamStatus, list_names
from weft.sources.stream.sums import Fact, LiquidationSums, TradeSums

_LATE_INTERVALS = 2
"""Earlier intervals for which late events are still counted and reported again."""


class IntervalCloser:
    """Computes the facts of each interval after its close.

    Sums are computed after a pong proves that all earlier messages have arrived, and only for
    intervals in which no message was missed. Order books are sampled at the close.

    Args:
        context: the parts shared by the connection.
        keeper: the connection.
        queue: events read and not yet counted.
        trades: sums of trades, and their symbols.
        liquidations: sums of liquidations, and their symbols.
        books: order books; None without any.
    """

    def __init__(
        self,
        context: Context,
        keeper: ConnectionKeeper,
        queue: EventQueue,
        trades: tuple[TradeSums, Iterable[str]],
        liquidations: tuple[LiquidationSums, Iterable[str]],
        books: Books | None,
    ) -> None:
        self._context, self._keeper, self._queue = context, keeper, queue
        self._trade_sums, self._trade_symbols = trades[0], tuple(trades[1])
        self._liquidation_sums, self._liquidation_symbols = liquidations[0], tuple(liquidations[1])
        self._books = books

    async def run(self) -> None:
        """Close every interval, until cancelled."""
        clock, interval = self._context.clock, self._context.interval
        settle = int(self._context.spec.limits.settle_seconds * SECOND)
        while True:
            close = interval.floor(clock.now()) + interval.micros
            await clock.sleep_until(close)
            if self._books is not None and clock.now() < close + interval.micros:
                self._books.sample()
            await clock.sleep_until(close + settle)
            await self.close(close)

    async def close(self, close: int) -> None:
        """Report the facts of the closed interval, and of the two before if events came late."""
        complete = await self._keeper.caught_up()
        if complete:
            await self._queue.settled()
        step = self._context.interval.micros
        if self._books is not None:
            facts = self._books.sampled_facts(close)
            self._hand_to_outbox(facts if complete else ())
        for opened in range(close - (1 + _LATE_INTERVALS) * step, close, step):
            if complete and self._keeper.coverage.covers(opened, opened + step):
                for symbol in self._trade_symbols:
                    self._hand_to_outbox(self._trade_sums.facts(opened, symbol))
                for symbol in self._liquidation_symbols:
                    self._hand_to_outbox(self._liquidation_sums.facts(opened, symbol))
        self._report_gaps(close, complete=complete)
        now = self._context.clock.now()
        self._trade_sums.forget(now)
        self._liquidation_sums.forget(now)

    def _hand_to_outbox(self, facts: Iterable[Fact]) -> None:
        tells = self._context.spec.tells
        self._context.outbox.facts(
            fact for fact in facts if tells is None or tells(fact.metric, fact.symbol)
        )

    def _report_gaps(self, close: int, *, complete: bool) -> None:
        opened = close - self._context.interval.micros
        span = f"from {iso(opened)} to {iso(close)}"
        name, counters, outbox = (
            self._context.spec.name,
            self._context.counters,
            self._context.outbox,
        )
        if not self._trade_symbols and not self._liquidation_symbols:
            return
        if not complete or not self._keeper.coverage.covers(opened, close):
            counters.gaps += 1
            problem = "messages were missed, so no sum of trades or liquidations is reported"
            outbox.problems([f"{name}, {span}: {problem}"])
            return
        broken = [s for s in self._trade_symbols if not self._trade_sums.is_complete(opened, s)]
        if broken:
            counters.gaps += 1
            outbox.problems([f"{name}, {span}: trades of {list_names(broken)} are missing"])


_AHEAD = 60 * SECOND
"""Tolerance for event times in the future; later ones mean that a clock is wrong."""


class ConnectionFeed:
    """Follows the topics of one connection.

    Args:
        context: the parts shared by the connection.
        topics: topics of the connection.
        limiter: limits the connections to the host.

    Attributes:
        unfinished: newest unfinished candle by symbol, for display.
        tickers: best prices by symbol, for display.
    """

    def __init__(self, context: Context, topics: Sequence[Topic], limiter: ConnectLimiter) -> None:
        self.unfinished: dict[str, Candle] = {}
        self.tickers: dict[str, Ticker] = {}
        self._context, self._counters = context, context.counters
        symbols = {
            kind: dict.fromkeys(topic.symbol for topic in topics if topic.brings is kind)
            for kind in (Candle, Trade, Liquidation, BookUpdate)
        }
        self._queue = EventQueue(context.spec.limits.queue)
        self._keeper = ConnectionKeeper(
            context, topics, self._queue, limiter, self._on_up, self._on_down
        )
        self._log = CandleLog(context.interval)
        self._backfills = Backfills(context, self._log)
        self._trade_sums, self._liquidation_sums = (
            TradeSums(context.interval),
            LiquidationSums(context.interval),
        )
        self._books: Books | None = None
        if context.spec.snapshot is not None and symbols[BookUpdate]:
            self._books = Books(context, symbols[BookUpdate], context.spec.snapshot)
        self._closer = IntervalCloser(
            context,
            self._keeper,
            self._queue,
            (self._trade_sums, symbols[Trade]),
            (self._liquidation_sums, symbols[Liquidation]),
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
        """Follow the topics until cancelled."""
        self._overdue.check(0)
        try:
            async with asyncio.TaskGroup() as group:
                parts = (self._keeper, self._closer, self._overdue)
                for work in (*(part.run() for part in parts), self._consume(), self._fill()):
                    group.create_task(work)
        finally:
            await self._backfills.stop()
            if self._books is not None:
                await self._books.stop()

    def status(self) -> StreamStatus:
        """Return the status of the stream."""
        sums = (
            self._log.duplicates + self._trade_sums.duplicates + self._liquidation_sums.duplicates
        )
        late = self._trade_sums.late + self._liquidation_sums.late
        shown = self._counters.show()
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
            await self._overdue.checked.wait()
            self._overdue.checked.clear()
            for hole in self._log.holes():
                self._backfills.fill(hole.symbol)

    def _on_up(self) -> None:
        # The venue does not repeat candles that closed while disconnected.
        self._overdue.check(self._context.clock.now())

    def _on_down(self) -> None:
        if self._books is not None:
            self._books.reset()

    def _candle(self, candle: Candle) -> None:
        if not candle.closed:
            self.unfinished[candle.symbol] = candle
            return
        close = candle.open_time + self._context.interval.micros
        if close > self._context.clock.now() + _AHEAD:
            self._counters.dropped += 1
            problem = f"{candle.symbol}: a candle that closes at {iso(close)} arrived before that"
            advice = "check this machine's clock, or the venue's is wrong"
            self._context.outbox.problems([f"{problem}; {advice}"])
            return
        try:
            self._context.outbox.candles(self._log.take(candle))
        except ValueError as error:
            self._counters.malformed += 1
            self._counters.last_error = MalformedError(str(error), where=self._counters.where)
            return
        if candle.symbol in self._log:
            self._backfills.fill(candle.symbol)

    def _trade(self, trade: Trade) -> None:
        if self._in_time(trade.time) and self._trade_sums.add(trade):
            self._counters.gaps += 1

    def _liquidation(self, liquidation: Liquidation) -> None:
        if self._in_time(liquidation.time):
            self._liquidation_sums.add(liquidation)

    def _in_time(self, at: int) -> bool:
        """Whether an event is not in the future; otherwise its interval is marked as incomplete."""
        now = self._context.clock.now()
        if at <= now + _AHEAD:
            return True
        self._counters.dropped += 1
        self._keeper.coverage.mark_unreadable(now)
        return False

    def _book(self, update: BookUpdate) -> None:
        if self._books is not None:
            self._books.update(update)

    def _ticker(self, ticker: Ticker) -> None:
        self.tickers[ticker.symbol] = ticker

    def _gap(self, _: Gap) -> None:
        self._counters.gaps += 1
        self._keeper.coverage.mark_unreadable(self._context.clock.now())
