"""So many units in any stretch of time, counted exactly."""

from bisect import bisect_right, insort
from threading import Lock


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
