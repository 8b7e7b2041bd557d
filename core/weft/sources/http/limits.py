"""The rate limits of one source, shared by everything that asks it."""

import asyncio
import math
import re
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from threading import Lock

from weft.foundation.clock import Clock
from weft.foundation.times import DAY, SECOND, to_micros
from weft.sources.http.api import Api, RateLimit
from weft.sources.http.errors import RateLimitedError


class SlidingWindow:
    """What was taken during the last stretch, and when there is room for more.

    A token bucket that refills steadily lets twice its size through in one stretch: a full burst,
    then the refill. Servers count stretches, so this keeps what was taken and gives each unit back
    one stretch later: no stretch of that length, wherever it starts, ever holds more.

    Args:
        units: at most this many in any stretch.
        micros: length of the stretch, in microseconds.
    """

    def __init__(self, units: int, micros: int) -> None:
        self.units = units
        self._micros = micros
        self._taken: list[tuple[int, int]] = []  # (given back at, units), in that order
        self._used = 0
        # Whoever shows what is left may look from another thread than the one that asks.
        self._lock = Lock()

    def used(self, now: int) -> int:
        """Return the units not yet given back."""
        with self._lock:
            due = bisect_right(self._taken, (now, self.units))
            self._used -= sum(units for _, units in self._taken[:due])
            del self._taken[:due]
            return self._used

    def take(self, units: int, now: int, until: int | None = None) -> None:
        """Take units from `now` on; they are given back one stretch later, or at `until`."""
        if units <= 0:
            return
        back = now + self._micros if until is None else min(until, now + self._micros)
        with self._lock:
            insort(self._taken, (back, units))
            self._used += units

    def learn_used(self, told: int, now: int, until: int | None = None) -> None:
        """Follow the server where it has counted more than was taken here.

        Less is no news: it may count from the full minute, and not know what is under way.
        """
        self.take(min(told, self.units) - self.used(now), now, until)

    def earliest(self, units: int, now: int, ahead: int = 0) -> int:
        """Return the first instant at which `units` fit once `ahead` others have had their turn.

        Exact for nothing ahead. Otherwise never too late: others may not fill it to the brim.
        """
        used = self.used(now)
        ahead += units
        # The n-th unit asked for follows, one stretch later, the one a whole window before it.
        stretches = max(0, -(-(ahead - self.units) // self.units))
        short = used + ahead - (stretches + 1) * self.units
        at = now
        for back, given in tuple(self._taken):
            if short <= 0:
                break
            short -= given
            at = back
        return at + stretches * self._micros


LONGEST_BELIEVED_SECONDS = 3 * 86_400.0
"""No server means more than this; the longest bans known last three days."""


INSTEAD_SECONDS = 3_600.0
"""What is waited where a server asks for more than it can mean."""


_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")

_EPOCH_SECONDS, _EPOCH_MILLIS = 1e9, 1e12


def retry_after_seconds(headers: Mapping[str, str], now: int) -> float | None:
    """Return the seconds that Retry-After asks for.

    A date is measured against the server's own Date, so that a wrong clock here does no harm.

    Args:
        headers: of the answer, names in lower case.
        now: microseconds since 1970.

    Returns:
        None where it is absent, unreadable, in the past or no wait at all; an hour where it asks
        for more than `LONGEST_BELIEVED_SECONDS`.
    """
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif (until := _date(text)) is not None:
        seconds = (until - _server_time(headers, now)) / SECOND
    else:
        return None
    return believed_seconds(seconds)


def believed_seconds(seconds: float | None) -> float | None:
    """Return a wait that a server asks for as far as it is believed.

    Returns:
        None for None and for no wait at all; an hour for more than `LONGEST_BELIEVED_SECONDS`.
    """
    if seconds is None or not seconds > 0:
        return None
    return seconds if seconds <= LONGEST_BELIEVED_SECONDS else INSTEAD_SECONDS


def age_seconds(headers: Mapping[str, str]) -> float:
    """Return how old caches on the way say the answer was when it came; 0 where none says so."""
    text = headers.get("age", "").strip()
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def follow(limit: RateLimit, window: SlidingWindow, headers: Mapping[str, str], now: int) -> None:
    """Let a window follow what the server reports of its limit."""
    used = _count(headers, limit.used)
    remaining = _count(headers, limit.remaining)
    if used is None and remaining is None:
        return
    told = max(used or 0, 0 if remaining is None else limit.units - remaining)
    window.learn_used(told, now, _reset(headers, limit.reset, now))


def _count(headers: Mapping[str, str], name: str | None) -> int | None:
    text = headers.get(name.lower(), "").strip() if name else ""
    return int(float(text)) if _NUMBER.fullmatch(text) else None


def _reset(headers: Mapping[str, str], name: str | None, now: int) -> int | None:
    """Return the instant of a reset given as seconds to go, or as an epoch in s or ms."""
    text = headers.get(name.lower(), "").strip() if name else ""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if value >= _EPOCH_SECONDS:
        epoch_seconds = value / 1_000 if value >= _EPOCH_MILLIS else value
        value = epoch_seconds - _server_time(headers, now) / SECOND
    return now + math.ceil(value * SECOND) if value > 0 else None


def _server_time(headers: Mapping[str, str], now: int) -> int:
    told = _date(headers.get("date", ""))
    # A Date that is off by more than a day says more about the header than about the clock.
    return told if told is not None and abs(told - now) <= DAY else now


def _date(text: str) -> int | None:
    try:
        return to_micros(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


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
