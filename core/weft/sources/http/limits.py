"""Rate limits of one source: windows, the server's headers, and the queue of requests."""

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
    """Counts the units taken within the last window, and predicts when more fit.

    A token bucket that refills steadily admits twice its size within one window: a full burst and
    then the refill. This window returns each unit exactly one window length after it was taken, so
    no window, wherever it starts, exceeds the limit.

    Args:
        units: greatest number of units in any window.
        micros: length of the window in microseconds.
    """

    def __init__(self, units: int, micros: int) -> None:
        self.units = units
        self._micros = micros
        self._taken: list[tuple[int, int]] = []  # (returned at, units), sorted
        self._used = 0
        # The status reads the units left from another thread.
        self._lock = Lock()

    def used(self, now: int) -> int:
        """Return the units taken and not yet returned."""
        with self._lock:
            due = bisect_right(self._taken, (now, self.units))
            self._used -= sum(units for _, units in self._taken[:due])
            del self._taken[:due]
            return self._used

    def take(self, units: int, now: int, until: int | None = None) -> None:
        """Take units at `now`; they return one window later, or at `until` if that is earlier."""
        if units <= 0:
            return
        back = now + self._micros if until is None else min(until, now + self._micros)
        with self._lock:
            insort(self._taken, (back, units))
            self._used += units

    def follow_server(self, used: int, now: int, until: int | None = None) -> None:
        """Raise the count to the server's count of used units.

        A lower count is ignored: the server may count from the full minute, and does not count
        requests that are still on their way.
        """
        self.take(min(used, self.units) - self.used(now), now, until)

    def earliest(self, units: int, now: int, ahead: int = 0) -> int:
        """Return the first instant at which `units` fit after `ahead` units of other requests.

        Exact without units ahead; otherwise a lower bound, since those requests may leave gaps.
        """
        used = self.used(now)
        ahead += units
        # Each unit follows, one window later, the unit `self.units` places before it.
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
"""Longest plausible wait; the longest known bans last three days."""


INSTEAD_SECONDS = 3_600.0
"""Wait that replaces an implausibly long one."""


_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")

_EPOCH_SECONDS, _EPOCH_MILLIS = 1e9, 1e12


def retry_after_seconds(headers: Mapping[str, str], now: int) -> float | None:
    """Return the wait that Retry-After demands, in seconds.

    A date is compared with the server's Date, so a wrong local clock does no harm.

    Args:
        headers: headers of the reply, names in lower case.
        now: current time, microseconds since 1970.

    Returns:
        None for an absent, unreadable or past value; one hour for a value beyond
        `LONGEST_BELIEVED_SECONDS`.
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
    """Return the plausible part of a wait that a server demands.

    Returns:
        None for None and for a wait of 0 or less; one hour for a wait beyond
        `LONGEST_BELIEVED_SECONDS`.
    """
    if seconds is None or not seconds > 0:
        return None
    return seconds if seconds <= LONGEST_BELIEVED_SECONDS else INSTEAD_SECONDS


def age_seconds(headers: Mapping[str, str]) -> float:
    """Return the age of a reply on arrival as stated by caches on the way; 0 without a header."""
    text = headers.get("age", "").strip()
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def follow(limit: RateLimit, window: SlidingWindow, headers: Mapping[str, str], now: int) -> None:
    """Update a window from the server's headers for its limit."""
    used = _count(headers, limit.used)
    remaining = _count(headers, limit.remaining)
    if used is None and remaining is None:
        return
    counted = max(used or 0, 0 if remaining is None else limit.units - remaining)
    window.follow_server(counted, now, _reset(headers, limit.reset, now))


def _count(headers: Mapping[str, str], name: str | None) -> int | None:
    text = headers.get(name.lower(), "").strip() if name else ""
    return int(float(text)) if _NUMBER.fullmatch(text) else None


def _reset(headers: Mapping[str, str], name: str | None, now: int) -> int | None:
    """Return the instant of a reset from a header in seconds from now, or an epoch in s or ms."""
    text = headers.get(name.lower(), "").strip() if name else ""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if value >= _EPOCH_SECONDS:
        epoch_seconds = value / 1_000 if value >= _EPOCH_MILLIS else value
        value = epoch_seconds - _server_time(headers, now) / SECOND
    return now + math.ceil(value * SECOND) if value > 0 else None


def _server_time(headers: Mapping[str, str], now: int) -> int:
    date = _date(headers.get("date", ""))
    # A Date more than a day off is a broken header, not a clock difference.
    return date if date is not None and abs(date - now) <= DAY else now


def _date(text: str) -> int | None:
    try:
        return to_micros(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


class Limiter:
    """Admits requests in order of arrival, as fast as all rate limits allow.

    aiolimiter and pyrate-limiter have no costs that the server corrects, no pause demanded by the
    server, and no immediate refusal of a request whose turn is too far away.

    Args:
        where: name of the provider, for messages.
        api: the API, with its rate limits and number of concurrent requests.
        clock: current time, and waiting.
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
        """Wait for a turn of `cost` units; the context occupies one concurrent request.

        Args:
            cost: units of each rate limit that counts the request.
            group: group of the request, for rate limits with `RateLimit.only`.

        Raises:
            RateLimitedError: the turn is further away than `Api.longest_wait_seconds`; raised
                immediately.
            ValueError: the cost is negative, or exceeds a limit.
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
        """Admit no request for some seconds; requests already sent go on."""
        until = self._clock.now() + int(seconds * SECOND)
        self._paused_until = max(self._paused_until, until)

    def follow_headers(self, headers: Mapping[str, str]) -> None:
        """Update the windows from the server's count in the headers of a reply."""
        now = self._clock.now()
        for limit, window in self._windows:
            follow(limit, window, headers, now)

    def left(self) -> dict[str, int]:
        """Return the units left now, by label of the limit."""
        now = self._clock.now()
        return {limit.label: max(0, limit.units - w.used(now)) for limit, w in self._windows}

    async def _pass(self, takes: Sequence[int]) -> None:
        """Wait at the head of the queue: a cheap request never overtakes a costly one."""
        async with self._head:
            while (at := self._earliest(takes)) > self._clock.now():
                # A pause may have begun during the wait.
                self._refuse_if_far(at)
                await self._clock.sleep_until(at)
            now = self._clock.now()
            for units, (_, window) in zip(takes, self._windows, strict=True):
                window.take(units, now)

    def _earliest(self, takes: Sequence[int], ahead: Sequence[int] = ()) -> int:
        """Return the first instant at which the units fit every limit, after the units ahead."""
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
                f"more than the longest wait of {self._longest / SECOND:g} s",
                where=self._where,
                retry_after_seconds=wait / SECOND,
            )

    def _takes(self, cost: int, group: str) -> list[int]:
        """Return the units that a request takes of each limit."""
        if cost < 0:
            raise ValueError(f"the cost of a request is negative: {cost}")
        takes = []
        for limit, _ in self._windows:
            counts = not limit.only or limit.only == group
            units = (1 if limit.per_request else cost) if counts else 0
            if units > limit.units:
                raise ValueError(f"the cost {cost} of a request exceeds the limit {limit.label}")
            takes.append(units)
        return takes

    def _queue(self, takes: Sequence[int], sign: int) -> None:
        for index, units in enumerate(takes):
            self._waiting[index] += sign * units
