"""The order books of a connection: kept in step, and looked at when an interval closes."""

import asyncio
from collections.abc import Iterable

from weft.foundation.calls import fault
from weft.foundation.errors import WeftError
from weft.sources.stream.book import Applied, LocalBook
from weft.sources.stream.context import Context
from weft.sources.stream.events import BookUpdate
from weft.sources.stream.spec import Snapshot
from weft.sources.stream.sums import Fact

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
