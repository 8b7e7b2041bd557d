"""The parts shared by everything behind one connection."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from weft.components.provider import Provider
from weft.foundation.clock import Clock
from weft.foundation.times import SECOND, Interval
from weft.sources.http.client import Http
from weft.sources.stream.outbox import Outbox
from weft.sources.stream.spec import StreamSpec
from weft.sources.stream.status import StreamCounters


@dataclass(frozen=True, slots=True)
class Context:
    """The parts shared by everything behind one connection.

    Attributes:
        provider: provider of the stream.
        spec: declaration of the stream.
        interval: length of candles and sums.
        http: HTTP client of the provider.
        known: returns the open time of the newest stored candle by symbol, microseconds since 1970.
        outbox: receives rows to store.
        counters: counts of the status.
        clock: current time, and waiting.
        rng: draws pauses.
    """

    provider: Provider
    spec: StreamSpec
    interval: Interval
    http: Http
    known: Callable[[], Mapping[str, int]]
    outbox: Outbox
    counters: StreamCounters
    clock: Clock
    rng: random.Random

    async def pause(self, failures: int, longest_seconds: float = 60.0) -> None:
        """Wait a random time up to a bound that doubles with each failure."""
        bound = min(2.0 ** min(failures, 20), longest_seconds)
        pause = int(self.rng.uniform(0, bound) * SECOND)
        await self.clock.sleep_until(self.clock.now() + pause)
