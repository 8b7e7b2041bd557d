"""Whether a venue may be connected to, or told something, now: its limits, and pauses by chance."""

import random

from weft.foundation.clock import Clock
from weft.foundation.times import SECOND
from weft.sources.http.sliding_window import SlidingWindow
from weft.sources.stream.spec import StreamLimits

_FIRST_PAUSE_SECONDS = 1.0


class ConnectLimiter:
    """Lets connections to one host through: no more than it bears, and not all at one moment.

    Args:
        limits: of the host.
        clock: tells the time, and waits.
        rng: draws the pauses.
    """

    def __init__(self, limits: StreamLimits, clock: Clock, rng: random.Random) -> None:
        self._limits = limits
        self._clock = clock
        self._rng = rng
        self._window = SlidingWindow(limits.connects, int(limits.connects_seconds * SECOND))
        self._paused_until = 0

    def pause(self, seconds: float) -> None:
        """Let nobody through for so long, as the venue asked for."""
        self._paused_until = max(self._paused_until, self._clock.now() + int(seconds * SECOND))

    async def enter(self, failures: int) -> None:
        """Wait until one more connection may be made.

        Args:
            failures: attempts in a row that came to nothing. The pause is drawn between nothing
                and a bound that doubles with each: clients that were cut off together come back
                one by one.
        """
        if failures:
            bound = _FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 20)
            pause = self._rng.uniform(0, min(bound, self._limits.longest_pause_seconds))
            await self._clock.sleep_until(self._clock.now() + int(pause * SECOND))
        while (at := self._earliest()) > self._clock.now():
            await self._clock.sleep_until(at)
        self._window.take(1, self._clock.now())

    def _earliest(self) -> int:
        now = self._clock.now()
        return max(self._window.earliest(1, now), self._paused_until)
