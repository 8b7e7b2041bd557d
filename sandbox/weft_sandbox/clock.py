"""The sandbox clock: runs from a start instant at any speed."""

import asyncio
import time
from collections.abc import Callable

from weft.foundation.times import SECOND

_NAP_SECONDS = 0.25


class SandboxClock:
    """A clock that runs from a start instant at any speed; speed 0 stops it.

    Args:
        start: first instant, microseconds since 1970; None for the machine's time.
        speed: sandbox seconds in one real second.
        monotonic: returns real seconds.

    Raises:
        ValueError: the speed is negative.
    """

    def __init__(
        self,
        start: int | None = None,
        speed: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if speed < 0:
            raise ValueError(f"the sandbox's speed is {speed}; it must not be negative")
        self._monotonic = monotonic
        self._since = monotonic()
        self._start = time.time_ns() // 1_000 if start is None else start
        self._speed = speed

    @property
    def speed(self) -> float:
        """Sandbox seconds in one real second."""
        return self._speed

    def now(self) -> int:
        """Return the current sandbox time, microseconds since 1970."""
        return self._start + int((self._monotonic() - self._since) * self._speed * SECOND)

    def move(self, to: int | None = None, speed: float | None = None) -> None:
        """Jump to an earlier or later instant, change the speed, or both."""
        self._start = self.now() if to is None else to
        self._since = self._monotonic()
        self._speed = self._speed if speed is None else speed

    def seconds_until(self, instant: int) -> float:
        """Return the real seconds until an instant at the current speed."""
        remaining = (instant - self.now()) / SECOND
        if remaining <= 0:
            return 0.0
        return remaining / self._speed if self._speed else float("inf")

    async def sleep_until(self, instant: int) -> None:
        """Wait until an instant of sandbox time, also if the speed changes meanwhile."""
        while (left := self.seconds_until(instant)) > 0:  # noqa: ASYNC110  # waits for a time, no event
            await asyncio.sleep(min(left, _NAP_SECONDS))
