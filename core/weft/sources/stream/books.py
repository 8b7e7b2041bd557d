"""Order books."""

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
    """What came of an update or a snapshot."""

    FOLLOWS = auto()
    WAITS = auto()
    OLD = auto()
    GAP = auto()
    TOO_OLD = auto()


class LocalBook:
    """Follows a book by number.

    An update follows if it begins no later than the change after the last one applied; where the
    venue tells the number of the update before (`previous`), that decides. Sizes are absolute, so
    an update that repeats changes already applied does no harm, as two connections may bring.
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
        """Whether the copy is that of the venue."""
        return self._last is not None

    def reset(self) -> None:
        """Forget everything: changes were missed."""
        self._last = None
        self._waiting = []

    def update(self, update: BookUpdate) -> Applied:
        """Apply an update, or keep it for the snapshot to come.

        Returns:
            WAITS until there is a snapshot; GAP where an update is missing before this one, which
            then waits for another snapshot; OLD where all of it was applied before.
        """
        if self._last is None:
            # An endless wait for a snapshot must not fill the memory.
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
        """Begin with a snapshot, and apply the updates that waited for it.

        Returns:
            TOO_OLD where changes between it and the updates that wait are missing: take another.
        """
        waiting = [u for u in self._waiting if u.last > snapshot.last]
        last = snapshot.last
        for update in waiting:
            if update.last > last and not _follows(update, last):
                # The ones before a hole among them are of no more use.
                self._waiting = (
                    waiting[waiting.index(update) :] if last > snapshot.last else waiting
                )
                return Applied.TOO_OLD
            last = max(last, update.last)
        self._bids, self._asks, self._last = dict(snapshot.bids), dict(snapshot.asks), snapshot.last
        # Beyond the worst prices of the snapshot nothing is known but what changed since.
        self._lowest = min(snapshot.bids, default=float("inf"))
        self._highest = max(snapshot.asks, default=0.0)
        self._waiting = []
        for update in waiting:
            if update.last > self._last:
                self._apply(update)
        self._reached = self._reach() >= _WITHIN
        return Applied.FOLLOWS

    def metrics(self) -> dict[str, float]:
        """Return depths in quote units, imbalance, and spread as a share of the middle.

        Depths are told only where 1 % from the middle is known on both sides. Nothing is told
        where a side is empty or the sides cross.
        """
        middle = self._middle()
        if not middle:
            return {}
        bid, ask, reach = max(self._bids), min(self._asks), self._reach()
        distance = min(reach, _WITHIN) * middle * (1 + 1e-12)
        bids = sum(p * size for p, size in self._bids.items() if middle - p <= distance)
        asks = sum(p * size for p, size in self._asks.items() if p - middle <= distance)
        found = {"bid_ask_spread": (ask - bid) / middle}
        if bids + asks > 0:
            found["book_imbalance"] = (bids - asks) / (bids + asks)
        if reach >= _WITHIN:
            found |= {"bid_depth_usd": bids, "ask_depth_usd": asks}
        return found

    @property
    def outrun(self) -> bool:
        """Whether prices left the part that is known, so that a new snapshot tells more."""
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
    """Whether no change is missing between the last one applied and an update."""
    return (update.first - 1 if update.previous is None else update.previous) <= last


_AT_ONCE = 4


class Books:
    """Local books of several symbols.

    Args:
        context: how snapshots are asked for.
        symbols: whose books.
        snapshot: brings a whole book.
    """

    def __init__(self, context: Context, symbols: Iterable[str], snapshot: Snapshot) -> None:
        self._context, self._snapshot = context, snapshot
        self._books = {symbol: LocalBook() for symbol in symbols}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._seen: dict[str, dict[str, float]] = {}

    def __getitem__(self, symbol: str) -> LocalBook:
        return self._books[symbol]

    def update(self, update: BookUpdate) -> None:
        """Apply a change; where one is missing before it, begin anew with a snapshot."""
        book = self._books.get(update.symbol)
        if book is None:
            return
        applied = book.update(update)
        if applied is Applied.GAP:
            self._context.tally.gaps += 1
            # What was missed may have come before the book was looked at.
            self._seen.pop(update.symbol, None)
        if applied in {Applied.GAP, Applied.WAITS}:
            self._begin(update.symbol)

    def look(self) -> None:
        """Remember what each book in step says at this moment."""
        self._seen = {s: book.metrics() for s, book in self._books.items() if book.in_step}
        for symbol, book in self._books.items():
            if book.outrun:
                self._begin(symbol)

    def tell(self, close: int) -> list[Fact]:
        """Return what was seen at a close in books that have been in step since."""
        seen, self._seen = self._seen, {}
        return [
            Fact(metric, symbol, close, value)
            for symbol, values in seen.items()
            for metric, value in values.items()
        ]

    def reset(self) -> None:
        """Begin anew: the connection was lost."""
        self._seen.clear()
        for book in self._books.values():
            book.reset()

    async def stop(self) -> None:
        """Ask for no more snapshots."""
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
                async with self._places:
                    snapshot = await self._snapshot(self._context.http, symbol)
                if self._books[symbol].snapshot(snapshot) is Applied.FOLLOWS:
                    return
            except WeftError as error:
                self._context.tally.last_error = error
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                self._context.tally.last_error = fault(self._context.tally.where, error)
            attempts += 1
            await self._context.pause(attempts)
