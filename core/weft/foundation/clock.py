"""Clocks: the only access to the time; all other code gets a clock as an argument."""

import asyncio
import time
from typing import Protocol

from weft.foundation.times import SECOND

_SHORTEST_NAP, _LONGEST_NAP = 0.001, 1.0


class Clock(Protocol):
    """Gives the time in microseconds since 1970, and waits for an instant."""

    def now(self) -> int:
        """Return the present instant."""
        ...

    async def sleep_until(self, instant: int) -> None:
        """Return once `instant` has passed; immediately if it has passed already."""
        ...


class SystemClock:
    """The machine's clock; it stands still while the system clock is set back."""

    def __init__(self) -> None:
        self._latest = 0

    def now(self) -> int:
        """Return the present instant, never earlier than one returned before."""
        self._latest = max(self._latest, time.time_ns() // 1_000)
        return self._latest

    async def sleep_until(self, instant: int) -> None:
        """Return once the machine's clock has passed `instant`."""
        # Sleeps in short naps: the clock may be set, or the machine suspended, meanwhile.
        while (remaining := instant - self.now()) > 0:  # noqa: ASYNC110  # waits for a time, not for an event
            await asyncio.sleep(min(max(remaining / SECOND, _SHORTEST_NAP), _LONGEST_NAP))


class SimulatedClock:
    """A clock that moves only by `advance_to` and `sleep_until`, for replay and tests.

    Args:
        start: the first instant, in microseconds since 1970.
    """

    def __init__(self, start: int) -> None:
        self._now = start

    def now(self) -> int:
        """Return the instant the clock was last moved to."""
        return self._now

    def advance_to(self, instant: int) -> None:
        """Move forward to `instant`.

        Raises:
            ValueError: `instant` lies before the present one.
        """
        if instant < self._now:
            raise ValueError(f"a clock cannot run backwards: {instant} < {self._now}")
        self._now = instant

    async def sleep_until(self, instant: int) -> None:
        """Jump to `instant`, after other tasks have run."""
        await asyncio.sleep(0)
        self._now = max(self._now, instant)
