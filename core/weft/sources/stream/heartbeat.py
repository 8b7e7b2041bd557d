"""Whether a connection that looks open still lives, and whether its topics bring anything."""

import asyncio
from collections.abc import Sequence

from weft.foundation.clock import Clock
from weft.sources.http.errors import UnavailableError
from weft.sources.stream.events import Event
from weft.sources.stream.spec import Topic
from weft.sources.stream.status import StreamCounters


class SilentError(UnavailableError):
    """A connection is open, and what was subscribed to does not come."""

    advice = "The venue sends nothing of it: it is subscribed to again"


class Heartbeat:
    """Remembers when something came last, of the connection and of each topic.

    Args:
        topics: what should come.
        tally: is told which topics are silent.
        clock: tells when something came; how long ago that was follows the event loop's own time,
            which no correction of a clock, here or at the venue, can reach.

    Attributes:
        last_heard: when anything came last, pongs included; microseconds since 1970.
        ready_since: when all subscriptions were confirmed; microseconds since 1970.
        delivering: set once the first event of a topic came.
    """

    def __init__(self, topics: Sequence[Topic], tally: StreamCounters, clock: Clock) -> None:
        self.delivering = asyncio.Event()
        self.last_heard = self.ready_since = clock.now()
        self._tally, self._clock = tally, clock
        self._loop = asyncio.get_running_loop()
        self._unheard = {(topic.brings, topic.symbol): topic for topic in topics}
        patience = [t.quiet_seconds for t in topics if t.quiet_seconds is not None]
        self._patience = max(patience, default=None)
        self._heard_at = self._event_at = self._ready_at = self._loop.time()
        self._ready = False

    @property
    def idle_seconds(self) -> float:
        """How long nothing has come, not even a pong."""
        return self._loop.time() - self._heard_at

    @property
    def lived_seconds(self) -> float:
        """For how long it had all its subscriptions; 0 where it never had."""
        return self._heard_at - self._ready_at if self._ready else 0.0

    def hear(self) -> None:
        """Note that something came."""
        self._heard_at = self._loop.time()
        self._tally.last_message = self.last_heard = self._clock.now()

    def deliver(self, event: Event) -> None:
        """Note that an event of a topic came."""
        self._event_at = self._heard_at
        if self._unheard:
            self.delivering.set()
            self._unheard.pop((type(event), str(event[0])), None)

    def ready(self) -> None:
        """Begin to wait for all topics."""
        self._event_at = self._ready_at = self._loop.time()
        self._ready = True
        self.ready_since = self._clock.now()

    def forgive(self) -> None:
        """Count the time until now as none: the venue was not listened to."""
        self.hear()
        self._event_at = self._heard_at

    def look_for_silence(self) -> None:
        """Tell which topics brought nothing in their time.

        Raises:
            SilentError: none brings anything any more.
        """
        now = self._loop.time()
        if self._patience is not None and now - self._event_at >= self._patience:
            told = f"no topic brought anything for {now - self._event_at:.1f} s"
            raise SilentError(told, where=self._tally.where)
        since = now - self._ready_at
        self._tally.silent = tuple(
            topic.name
            for topic in self._unheard.values()
            if topic.quiet_seconds is not None and since >= topic.quiet_seconds
        )
