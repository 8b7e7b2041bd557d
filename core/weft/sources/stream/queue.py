"""What was read and nobody has looked at yet: bounded, and merged where only the newest matters."""

import asyncio
from typing import TypeAlias

from weft.sources.stream.events import BookUpdate, Candle, Event, Ticker

_Slot: TypeAlias = tuple[type[Event], str]


class EventQueue:
    """Holds events in the order they came.

    Of an unfinished candle and a ticker only the newest of each symbol is kept; changes of a book
    are merged with those that wait already, which leads to the same book. Nothing else is ever
    dropped or merged: where the queue is full, whoever reads has to wait, and the venue with them.

    Args:
        most: events that may wait.

    Attributes:
        conflated: events merged into another.
    """

    def __init__(self, most: int) -> None:
        self.conflated = 0
        self._most = most
        self._items: dict[int, Event] = {}
        self._slots: dict[_Slot, int] = {}
        self._next = 0
        self._filled = asyncio.Event()
        self._room = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, event: Event) -> bool:
        """Add an event; return whether there was room for it."""
        slot = _slot(event)
        if slot is not None and (held := self._slots.get(slot)) in self._items:
            merged = _merged(self._items[held], event)
            if merged is not None:
                self._items[held] = merged
                self.conflated += 1
                return True
        if len(self._items) >= self._most:
            self._room.clear()
            return False
        self._items[self._next] = event
        if slot is not None:
            self._slots[slot] = self._next
        self._next += 1
        self._filled.set()
        self._idle.clear()
        return True

    async def put(self, event: Event) -> None:
        """Add an event, waiting for room."""
        while not self.offer(event):
            await self._room.wait()

    async def take(self) -> list[Event]:
        """Wait for events, and return all there are. Call `done` after dealing with them."""
        await self._filled.wait()
        taken = list(self._items.values())
        self._items.clear()
        self._slots.clear()
        self._filled.clear()
        self._room.set()
        return taken

    def done(self) -> None:
        """Say that what was taken has been dealt with."""
        if not self._items:
            self._idle.set()

    async def settled(self) -> None:
        """Return once everything that came was dealt with."""
        await self._idle.wait()


def _slot(event: Event) -> _Slot | None:
    kind = type(event)
    if kind is BookUpdate or kind is Ticker or (isinstance(event, Candle) and not event.closed):
        return kind, str(event[0])
    return None


def _merged(old: Event, new: Event) -> Event | None:
    """Return what two events of one slot come to; None where they must stay two."""
    if not isinstance(old, BookUpdate) or not isinstance(new, BookUpdate):
        return new
    before = new.first - 1 if new.previous is None else new.previous
    # Something is missing between them, or they came in the wrong order: the book has to see both.
    if before > old.last or new.last <= old.last:
        return None
    old.bids.update(new.bids)
    old.asks.update(new.asks)
    return BookUpdate(old.symbol, old.first, new.last, old.previous, old.bids, old.asks)
