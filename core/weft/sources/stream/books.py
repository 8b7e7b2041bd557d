"""Local order books: a snapshot and all changes since, sampled when an interval closes."""

import asyncio
from collections.abc import Iterable
from enum import Enum, auto

from weft.foundation.calls import fault
from weft.foundation.errors import WeftError
from weft.sources.stream.context import Context
from weft.sources.stream.events import BookSnapshot, BookUpdate
from weft.sources.stream.spec import Snapshot
from weft.sources.stream.sums import Fact

BOOK_METRICS = ("bid_depth_usd", "ask_depth_usd", "book_imbalance", "bid_ask_spread")
_WITHIN = 0.01
_MOST_WAITING = 5_000


class Applied(Enum):
    """Outcome of an update or a snapshot.

    Members: FOLLOWS, applied; WAITS, stored until a snapshot arrives; OLD, applied before; GAP, an
    update before this one is missing; TOO_OLD, the snapshot precedes a missing update.
    """

    FOLLOWS = auto()
    WAITS = auto()
    OLD = auto()
    GAP = auto()
    TOO_OLD = auto()


class LocalBook:
    """A copy of one order book, followed by the numbers of its updates.

    An update follows if it begins no later than the change after the last applied one; if the venue
    states the number of the previous update (`previous`), that number decides. Sizes are absolute,
    so repeated updates, as two connections may bring, do no harm.
    """

    def __init__(self) -> None:
        self._bids: dict[float, float] = {}
        self._asks: dict[float, float] = {}
        self._last: int | None = None
        self._waiting: list[BookUpdate] = []
        self._lowest, self._highest = 0.0, float("inf")
        self._reached = False

    @property
    def in_step(self) -> bool:
        """Whether the copy equals the venue's book."""
        return self._last is not None

    def reset(self) -> None:
        """Drop the copy after missed changes."""
        self._last = None
        self._waiting = []

    def update(self, update: BookUpdate) -> Applied:
        """Apply an update, or store it until a snapshot arrives.

        Returns:
            WAITS without a snapshot; GAP if an update before this one is missing: this one then
            waits for another snapshot; OLD if it was applied before; otherwise FOLLOWS.
        """
        if self._last is None:
            # Bounds the memory while snapshots fail.
            if len(self._waiting) >= _MOST_WAITING:
                self._waiting.clear()
            self._waiting.append(update)
            return Applied.WAITS
        if update.last <= self._last:
            return Applied.OLD
        if not _follows(update, self._last):
            self.reset()
            self._waiting.append(update)
            return Applied.GAP
        self._apply(update)
        return Applied.FOLLOWS

    def snapshot(self, snapshot: BookSnapshot) -> Applied:
        """Start from a snapshot and apply the stored updates.

        Returns:
            TOO_OLD if changes between the snapshot and the stored updates are missing: request
            another one; otherwise FOLLOWS.
        """
        waiting = [u for u in self._waiting if u.last > snapshot.last]
        last = snapshot.last
        for update in waiting:
            if update.last > last and not _follows(update, last):
                # Updates before a gap are useless.
                self._waiting = (
                    waiting[waiting.index(update) :] if last > snapshot.last else waiting
                )
                return Applied.TOO_OLD
            last = max(last, update.last)
        self._bids, self._asks, self._last = dict(snapshot.bids), dict(snapshot.asks), snapshot.last
        # Beyond the worst prices of the snapshot only changed levels are known.
        self._lowest = min(snapshot.bids, default=float("inf"))
        self._highest = max(snapshot.asks, default=0.0)
        self._waiting = []
        for update in waiting:
            if update.last > self._last:
                self._apply(update)
        self._reached = self._reach() >= _WITHIN
        return Applied.FOLLOWS

    def metrics(self) -> dict[str, float]:
        """Return depths in quote units, imbalance (-1 to 1), and spread as a share of the mid.

        Depths need both sides to be known up to 1 % from the mid price. The result is empty if a
        side is empty or the sides cross.
        """
        middle = self._middle()
        if not middle:
            return {}
        bid, ask, reach = max(self._bids), min(self._asks), self._reach()
        distance = min(reach, _WITHIN) * middle * (1 + 1e-12)
        bids = sum(p * size for p, size in self._bids.items() if middle - p <= distance)
        asks = sum(p * size for p, size in self._asks.items() if p - middle <= distance)
        values = {"bid_ask_spread": (ask - bid) / middle}
        if bids + asks > 0:
            values["book_imbalance"] = (bids - asks) / (bids + asks)
        if reach >= _WITHIN:
            values |= {"bid_depth_usd": bids, "ask_depth_usd": asks}
        return values

    @property
    def outrun(self) -> bool:
        """Whether prices left the known part of the book, so that a new snapshot is needed."""
        return self._reached and self.in_step and self._reach() < _WITHIN

    def _middle(self) -> float:
        if not self._bids or not self._asks:
            return 0.0
        bid, ask = max(self._bids), min(self._asks)
        return (bid + ask) / 2 if bid < ask else 0.0

    def _reach(self) -> float:
        middle = self._middle()
        if not middle:
            return 0.0
        return max(0.0, min(middle - self._lowest, self._highest - middle) / middle)

    def _apply(self, update: BookUpdate) -> None:
        for side, changed in ((self._bids, update.bids), (self._asks, update.asks)):
            for price, size in changed.items():
                if size > 0:
                    side[price] = size
                else:
                    side.pop(price, None)
        self._last = update.last


def _follows(update: BookUpdate, last: int) -> bool:
    """Whether no change is missing between the last applied one and an update."""
    return (update.first - 1 if update.previous is None else update.previous) <= last


_CONCURRENT = 4


class Books:
    """The local order books of a connection.

    Args:
        context: the parts shared by the connection.
        symbols: symbols of the books.
        snapshot: requests a complete order book.
    """

    def __init__(self, context: Context, symbols: Iterable[str], snapshot: Snapshot) -> None:
        self._context, self._snapshot = context, snapshot
        self._books = {symbol: LocalBook() for symbol in symbols}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT)
        self._samples: dict[str, dict[str, float]] = {}

    def __getitem__(self, symbol: str) -> LocalBook:
        return self._books[symbol]

    def update(self, update: BookUpdate) -> None:
        """Apply a change; after a missing change, start again with a snapshot."""
        book = self._books.get(update.symbol)
        if book is None:
            return
        applied = book.update(update)
        if applied is Applied.GAP:
            self._context.counters.gaps += 1
            # The missing change may have happened before the sample.
            self._samples.pop(update.symbol, None)
        if applied in {Applied.GAP, Applied.WAITS}:
            self._begin(update.symbol)

    def sample(self) -> None:
        """Store the metrics of each book that is in step now."""
        self._samples = {s: book.metrics() for s, book in self._books.items() if book.in_step}
        for symbol, book in self._books.items():
            if book.outrun:
                self._begin(symbol)

    def sampled_facts(self, close: int) -> list[Fact]:
        """Return the facts sampled at a close, from books that have been in step since."""
        seen, self._samples = self._samples, {}
        return [
            Fact(metric, symbol, close, value)
            for symbol, values in seen.items()
            for metric, value in values.items()
        ]

    def reset(self) -> None:
        """Drop all copies after the connection was lost."""
        self._samples.clear()
        for book in self._books.values():
            book.reset()

    async def stop(self) -> None:
        """Cancel the requests of snapshots."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, symbol: str) -> None:
        if symbol not in self._tasks:
            task = self._tasks[symbol] = asyncio.create_task(self._synchronise(symbol))
            task.add_done_callback(lambda _: self._tasks.pop(symbol, None))

    async def _synchronise(self, symbol: str) -> None:
        attempts = 0
        while True:
            try:
                async with self._slots:
                    snapshot = await self._snapshot(self._context.http, symbol)
                if self._books[symbol].snapshot(snapshot) is Applied.FOLLOWS:
                    return
            except WeftError as error:
                self._context.counters.last_error = error
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                self._context.counters.last_error = fault(self._context.counters.where, error)
            attempts += 1
            await self._context.pause(attempts)
