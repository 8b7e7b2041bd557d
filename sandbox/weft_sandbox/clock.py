"""The time of the sandbox: the machine's, or one that begins elsewhere and runs faster."""

import asyncio
import time
from collections.abc import Callable

from weft.foundation.times import SECOND

_NAP_SECONDS = 0.25


class SandboxClock:
    """Runs from a start instant at any speed; 0 stands still until it is moved.

    Args:
        start: first instant, in microseconds since 1970; the machine's own time if None.
        speed: sandbox seconds a second.
        monotonic: seconds that pass for real.
    """

    def __init__(
        self,
        start: int | None = None,
        speed: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if speed < 0:
            raise ValueError(f"the sandbox's speed is {speed}, but time cannot run backwards")
        self._monotonic = monotonic
        self._since = monotonic()
        self._start = time.time_ns() // 1_000 if start is None else start
        self._speed = speed

    @property
    def speed(self) -> float:
        """Sandbox seconds a second."""
        return self._speed

    def now(self) -> int:
        """Return the sandbox's present instant, in microseconds since 1970."""
        return self._start + int((self._monotonic() - self._since) * self._speed * SECOND)

    def move(self, to: int | None = None, speed: float | None = None) -> None:
        """Jump to an instant, change the speed, or both. Later is as allowed as earlier."""
        self._start = self.now() if to is None else to
        self._since = self._monotonic()
        self._speed = self._speed if speed is None else speed

    def seconds_until(self, instant: int) -> float:
        """Return how many real seconds it takes to reach an instant at the present speed."""
        remaining = (instant - self.now()) / SECOND
        if remaining <= 0:
            return 0.0
        return remaining / self._speed if self._speed else float("inf")

    async def sleep_until(self, instant: int) -> None:
        """Return once the sandbox reached an instant, even where its speed changes meanwhile."""
        while (left := self.seconds_until(instant)) > 0:  # noqa: ASYNC110  # waits for a time, no event
            await asyncio.sleep(min(left, _NAP_SECONDS))
