"""What the parts behind one connection share."""

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
    """Whose stream it is, and what it works with.

    Attributes:
        provider: whose stream.
        spec: the stream.
        interval: of candles and sums.
        http: the provider's client.
        known: tells the open time of the newest stored candle by symbol, microseconds since 1970.
        outbox: takes what is ready.
        tally: counts.
        clock: tells the time, and waits.
        rng: draws pauses.
    """

    provider: Provider
    spec: StreamSpec
    interval: Interval
    http: Http
    known: Callable[[], Mapping[str, int]]
    outbox: Outbox
    tally: StreamCounters
    clock: Clock
    rng: random.Random

    async def pause(self, failures: int, longest_seconds: float = 60.0) -> None:
        """Wait between nothing and a bound that doubles with each failure, drawn by chance."""
        bound = min(2.0 ** min(failures, 20), longest_seconds)
        pause = int(self.rng.uniform(0, bound) * SECOND)
        await self.clock.sleep_until(self.clock.now() + pause)
