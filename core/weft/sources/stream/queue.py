"""The queue of events between reading and counting: bounded, and conflated where possible."""

import asyncio
from typing import TypeAlias

from weft.sources.stream.events import BookUpdate, Candle, Event, Ticker

_Slot: TypeAlias = tuple[type[Event], str]


class EventQueue:
    """Stores events in order of arrival.

    Only the newest unfinished candle and ticker of each symbol are stored, and waiting changes of
    an order book are merged, which gives the same book. No other event is dropped or merged: if the
    queue is full, reading stops, and with it the venue's sending.

    Args:
        most: greatest number of events.

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
        """Add an event; return whether there was room."""
        slot = _slot(event)
        if slot is not None and (position := self._slots.get(slot)) in self._items:
            merged = _merged(self._items[position], event)
            if merged is not None:
                self._items[position] = merged
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
        """Add an event, and wait for room."""
        while not self.offer(event):
            await self._room.wait()

    async def take(self) -> list[Event]:
        """Wait for events, and return all; call `done` after processing them."""
        await self._filled.wait()
        taken = list(self._items.values())
        self._items.clear()
        self._slots.clear()
        self._filled.clear()
        self._room.set()
        return taken

    def done(self) -> None:
        """Note that all taken events were processed."""
        if not self._items:
            self._idle.set()

    async def settled(self) -> None:
        """Wait until every event was processed."""
        await self._idle.wait()


def _slot(event: Event) -> _Slot | None:
    kind = type(event)
    if kind is BookUpdate or kind is Ticker or (isinstance(event, Candle) and not event.closed):
        return kind, str(event[0])
    return None


def _merged(old: Event, new: Event) -> Event | None:
    """Return the event that replaces two of one slot; None if both must stay."""
    if not isinstance(old, BookUpdate) or not isinstance(new, BookUpdate):
        return new
    before = new.first - 1 if new.previous is None else new.previous
    # With a gap between them, or out of order, the book must see both updates.
    if before > old.last or new.last <= old.last:
        return None
    old.bids.update(new.bids)
    old.asks.update(new.asks)
    return BookUpdate(old.symbol, old.first, new.last, old.previous, old.bids, old.asks)
