"""Whose turn it is: the rate limits of one source, shared by everything that asks it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from weft.foundation.clock import Clock
from weft.foundation.times import SECOND
from weft.sources.http.api import Api, RateLimit
from weft.sources.http.errors import RateLimitedError
from weft.sources.http.pacing import follow
from weft.sources.http.sliding_window import SlidingWindow


class Limiter:
    """Lets requests through in the order they came, as fast as all limits allow, and no faster.

    The limiters at hand (aiolimiter, pyrate-limiter) know neither weights that the server
    corrects, nor a pause it asks for, nor a queue that says at once when a turn is too far away.

    Args:
        where: the provider, for messages.
        api: its limits and how many requests it bears at once.
        clock: tells the time, and waits.
    """

    def __init__(self, where: str, api: Api, clock: Clock) -> None:
        self._where = where
        self._clock = clock
        self._longest = int(api.longest_wait_seconds * SECOND)
        self._windows: list[tuple[RateLimit, SlidingWindow]] = [
            (limit, SlidingWindow(limit.units, int(limit.seconds * SECOND))) for limit in api.limits
        ]
        self._slots = asyncio.Semaphore(api.concurrent)
        self._head = asyncio.Lock()
        self._waiting = [0] * len(api.limits)
        self._paused_until = 0

    @asynccontextmanager
    async def turn(self, cost: int, group: str = "") -> AsyncIterator[None]:
        """Wait for a turn of `cost` units, and hold one of the places on the wire meanwhile.

        Args:
            cost: units it takes of each limit that counts them.
            group: of requests, for limits that count this group only.

        Raises:
            RateLimitedError: the turn is further away than the longest wait; raised at once.
            ValueError: the cost is negative, or more than a limit ever allows.
        """
        takes = self._takes(cost, group)
        self._refuse_if_far(self._earliest(takes, self._waiting))
        self._queue(takes, 1)
        waiting = True
        try:
            async with self._slots:
                await self._pass(takes)
                self._queue(takes, -1)
                waiting = False
                yield
        finally:
            if waiting:
                self._queue(takes, -1)

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long; what is on the wire is not called back."""
        until = self._clock.now() + int(seconds * SECOND)
        self._paused_until = max(self._paused_until, until)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Follow what the server says it has counted."""
        now = self._clock.now()
        for limit, window in self._windows:
            follow(limit, window, headers, now)

    def left(self) -> dict[str, int]:
        """Return the units left at this instant, by limit."""
        now = self._clock.now()
        return {limit.label: max(0, limit.units - w.used(now)) for limit, w in self._windows}

    async def _pass(self, takes: Sequence[int]) -> None:
        """Wait at the head of the queue, so that a small request never overtakes a large one."""
        async with self._head:
            while (at := self._earliest(takes)) > self._clock.now():
                # A pause may have come while it waited.
                self._refuse_if_far(at)
                await self._clock.sleep_until(at)
            now = self._clock.now()
            for units, (_, window) in zip(takes, self._windows, strict=True):
                window.take(units, now)

    def _earliest(self, takes: Sequence[int], ahead: Sequence[int] = ()) -> int:
        """Return when there is room for so many units of each limit, after those ahead."""
        earliest = now = max(self._clock.now(), self._paused_until)
        for index, (_, window) in enumerate(self._windows):
            if takes[index]:
                others = ahead[index] if ahead else 0
                earliest = max(earliest, window.earliest(takes[index], now, others))
        return earliest

    def _refuse_if_far(self, at: int) -> None:
        wait = at - self._clock.now()
        if wait > self._longest:
            raise RateLimitedError(
                f"the next free turn is {wait / SECOND:.0f} s away, "
                f"further than the {self._longest / SECOND:g} s it may wait",
                where=self._where,
                retry_after_seconds=wait / SECOND,
            )

    def _takes(self, cost: int, group: str) -> list[int]:
        """Return the units that a request takes of each limit."""
        if cost < 0:
            raise ValueError(f"a cost is not negative: {cost}")
        takes = []
        for limit, _ in self._windows:
            counts = not limit.only or limit.only == group
            units = (1 if limit.per_request else cost) if counts else 0
            if units > limit.units:
                raise ValueError(f"a cost of {cost} never fits into {limit.label}")
            takes.append(units)
        return takes

    def _queue(self, takes: Sequence[int], sign: int) -> None:
        for index, units in enumerate(takes):
            self._waiting[index] += sign * units
