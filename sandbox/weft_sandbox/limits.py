"""Rate limits: the units each client has used."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil


@dataclass(frozen=True, slots=True)
class Budget:
    """The units that one client may use in a window of real time.

    Attributes:
        name: name, unique within the API.
        amount: units in one window.
        seconds: length of the window; windows are aligned to the clock, as at exchanges.
        bucket: whether the limit is a token bucket of `amount` that refills evenly in `seconds`.
    """

    name: str
    amount: int
    seconds: float
    bucket: bool = False


@dataclass(frozen=True, slots=True)
class Meter:
    """The state of a budget after a call.

    Attributes:
        used: units used in this window, this call included.
        amount: units granted.
        reset_seconds: seconds until the window ends.
    """

    used: int
    amount: int
    reset_seconds: float

    @property
    def left(self) -> int:
        """Units left in this window."""
        return max(self.amount - self.used, 0)

    @property
    def over(self) -> bool:
        """Whether the client used more units than granted."""
        return self.used > self.amount

    @property
    def retry_after(self) -> int:
        """Whole seconds until the window ends."""
        return max(ceil(self.reset_seconds), 1)


class Usage:
    """Counts the units used by each client, in windows of real time, not sandbox time.

    Args:
        scale: factor on all budgets: below 1 makes limits easy to hit, `inf` removes them.
        clock: returns seconds.
    """

    def __init__(self, scale: float = 1.0, clock: Callable[[], float] = time.time) -> None:
        self._scale, self._clock = scale, clock
        self._lock = threading.Lock()
        self._used: dict[tuple[str, str, int], int] = {}
        self._buckets: dict[tuple[str, str], tuple[float, float]] = {}
        self._ignored: dict[tuple[str, str], int] = {}

    def charge(
        self, api: str, client: str, budgets: tuple[Budget, ...], costs: Mapping[str, int]
    ) -> dict[str, Meter]:
        """Count a call, and return the meters of the budgets that it uses."""
        now = self._clock()
        meters = {}
        with self._lock:
            if len(self._used) > 10_000:
                self._used.clear()
            for budget in budgets:
                if budget.name in costs and budget.bucket:
                    meter = self._draw(api, client, budget, costs[budget.name], now)
                    meters[budget.name] = meter
                elif budget.name in costs:
                    window = int(now // budget.seconds)
                    key = (f"{api}/{budget.name}", client, window)
                    self._used[key] = used = self._used.get(key, 0) + costs[budget.name]
                    left = (window + 1) * budget.seconds - now
                    meters[budget.name] = Meter(used, self._granted(budget), left)
        return meters

    def _draw(self, api: str, client: str, budget: Budget, cost: int, now: float) -> Meter:
        """Take a call's cost from a bucket; a refused call takes nothing."""
        key, granted = (f"{api}/{budget.name}", client), self._granted(budget)
        per_second = granted / budget.seconds
        used, since = self._buckets.get(key, (0.0, now))
        used = max(used - (now - since) * per_second, 0.0)
        over = used + cost > granted
        self._buckets[key] = (used if over else used + cost, now)
        missing = used + cost - granted
        return Meter(granted + 1 if over else ceil(used + cost), granted, missing / per_second)

    def _granted(self, budget: Budget) -> int:
        amount = budget.amount * self._scale
        return budget.amount * 1_000 if amount == float("inf") else max(int(amount), 1)

    def ignored(self, api: str, client: str, *, again: bool) -> int:
        """Return how many calls in a row a client made over a limit."""
        with self._lock:
            count = self._ignored.get((api, client), 0) + 1 if again else 0
            self._ignored[api, client] = count
            return count

    def reset(self) -> None:
        """Reset all counts."""
        with self._lock:
            self._used.clear()
            self._buckets.clear()
            self._ignored.clear()
