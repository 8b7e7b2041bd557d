"""One connection: opened, subscribed, read until it ends."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from weft.foundation.calls import fault
from weft.foundation.clock import Clock
from weft.foundation.errors import WeftError
from weft.foundation.times import SECOND
from weft.sources.http.errors import MalformedError, RefusedError, SourceError, UnavailableError
from weft.sources.http.limits import SlidingWindow
from weft.sources.http.reader import Reader, parse_json
from weft.sources.stream.events import Acknowledged, Closing, Event, Gap, Refused
from weft.sources.stream.handshake import NORMAL, ending, open_socket, plain
from weft.sources.stream.queue import EventQueue
from weft.sources.stream.spec import StreamSpec, Topic
from weft.sources.stream.status import StreamCounters, in_words


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


_BEATS = 4
_LOOK_SECONDS = 0.01
_CONTROL = frozenset({Acknowledged, Refused, Closing})


class StreamSocket:
    """A connection with its subscriptions, from its opening to its end.

    Args:
        spec: address, limits, and how messages are read.
        topics: what to subscribe to here.
        queue: takes the events; where it is full, nothing more is read.
        tally: counts.
        clock: tells when something was heard.

    Attributes:
        pulse: when something came last.
        ready: set once all subscriptions are confirmed.
        closing: set once the venue says it is about to close.
    """

    def __init__(
        self,
        spec: StreamSpec,
        topics: Sequence[Topic],
        queue: EventQueue,
        tally: StreamCounters,
        clock: Clock,
    ) -> None:
        self.pulse = Heartbeat(topics, tally, clock)
        self.ready, self.closing = asyncio.Event(), asyncio.Event()
        self._spec, self._topics, self._queue = spec, topics, queue
        self._tally, self._clock = tally, clock
        self._connection: ClientConnection | None = None
        self._failure: WeftError | None = None
        self._unconfirmed: dict[int, Sequence[Topic]] = {}
        self._told = SlidingWindow(spec.limits.messages_per_second, SECOND)
        self._stuck = False

    async def run(self) -> None:
        """Read until the connection is closed from this side.

        Raises:
            WeftError: why it ended otherwise, most often a `SourceError`.
        """
        now, where = self._clock.now(), self._tally.where
        self._connection = connection = await open_socket(self._spec, where, now)
        self._tally.connects += 1
        self.pulse.hear()
        helpers = [self._start(self._subscribe()), self._start(self._beat())]
        try:
            await self._read(connection)
        except ConnectionClosed as closed:
            ended: WeftError | None = ending(closed, self._spec, where)
            if isinstance(ended, MalformedError):
                self._tally.malformed += 1
            else:
                ended = self._failure or ended
            if ended is not None:
                raise ended from None
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            # Where it is still open nobody will read it any more: no time for a farewell.
            connection.transport.abort()

    async def close(self) -> None:
        """Say goodbye; what was sent before is still read."""
        if self._connection is not None:
            await self._connection.close(NORMAL)

    async def caught_up(self) -> bool:
        """Wait until everything the venue sent before now was read; return whether it was.

        Messages keep their order, so a pong comes after all that was sent before it.
        """
        try:
            async with asyncio.timeout(self._spec.limits.heartbeat_seconds):
                if self._connection is None:
                    return False
                await (await self._ping(self._connection))
                # Whoever reads was woken by what came before the pong; let them finish.
                await asyncio.sleep(0)
                while self._stuck:  # noqa: ASYNC110  # as rare as it is short
                    await asyncio.sleep(_LOOK_SECONDS)
                await asyncio.sleep(0)
        except (ConnectionClosed, TimeoutError):
            return False
        return self._failure is None

    async def _read(self, connection: ClientConnection) -> None:
        where, tally, pulse = self._tally.where, self._tally, self.pulse
        parse, offer = self._spec.parse, self._queue.offer
        while True:
            # Not decoded: a message that is no UTF-8 must not end the connection.
            data = await connection.recv(decode=False)
            pulse.hear()
            tally.messages += 1
            try:
                parsed = parse(Reader(parse_json(data), where, "a message"))
            except (SourceError, ValueError) as error:
                await self._misread(error)
                continue
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                await self._misread(fault(where, error))
                continue
            if parsed.sent_at is not None:
                tally.lags.append(pulse.last_heard - parsed.sent_at)
            for event in parsed.events:
                if type(event) in _CONTROL:
                    self._control(event)
                    continue
                if not offer(event):
                    await self._wait_for_room(event)
                pulse.deliver(event)

    async def _wait_for_room(self, event: Event) -> None:
        self._stuck = True
        try:
            await self._queue.put(event)
        finally:
            self._stuck = False
            self.pulse.forgive()

    async def _misread(self, error: WeftError | ValueError) -> None:
        self._tally.malformed += 1
        if not isinstance(error, WeftError):
            error = MalformedError("a message is no JSON", where=self._tally.where)
        self._tally.last_error = error
        await self._queue.put(Gap("", "a message could not be read"))

    def _control(self, event: Event) -> None:
        match event:
            case Acknowledged(request=None):
                self._unconfirmed.clear()
            case Acknowledged(request=int(request)):
                self._unconfirmed.pop(request, None)
            case Refused(request, why):
                chunk = self._unconfirmed.get(-1 if request is None else request, self._topics)
                told = f"subscribing to {in_words(t.name for t in chunk)} was refused"
                self._fail(RefusedError(f"{told}: {plain(why)}", where=self._tally.where))
            case Closing():
                self.closing.set()

    async def _subscribe(self) -> None:
        limits, size = self._spec.limits, self._spec.limits.topics_per_message
        chunks = [self._topics[i : i + size] for i in range(0, len(self._topics), size)]
        for request, chunk in enumerate(chunks, 1):
            if self._spec.acknowledges:
                self._unconfirmed[request] = chunk
            await self._say(self._spec.subscribe([topic.name for topic in chunk], request))
        try:
            async with asyncio.timeout(limits.acknowledge_seconds):
                while self._unconfirmed:  # noqa: ASYNC110  # once for each connection
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            names = in_words(t.name for chunk in self._unconfirmed.values() for t in chunk)
            told = f"subscribing to {names} was not confirmed in {limits.acknowledge_seconds:g} s"
            raise SilentError(told, where=self._tally.where) from None
        self.pulse.ready()
        self.ready.set()

    async def _beat(self) -> None:
        """Find out when nothing comes any more, although nobody closed the connection."""
        patience = self._spec.limits.heartbeat_seconds
        while True:
            await asyncio.sleep(patience / _BEATS)
            if self._stuck or self._connection is None:
                self.pulse.forgive()
                continue
            if self.pulse.idle_seconds >= patience:
                told = f"nothing was heard for {self.pulse.idle_seconds:.1f} s, not even a pong"
                raise UnavailableError(told, where=self._tally.where)
            if self._spec.ping is not None:
                await self._say(self._spec.ping)
            if self.pulse.idle_seconds >= patience / _BEATS:
                await self._ping(self._connection)
            if self.ready.is_set():
                self.pulse.look_for_silence()

    async def _say(self, message: str) -> None:
        """Send a message when the venue bears one more."""
        await self._turn()
        if self._connection is not None:
            await self._connection.send(message)

    async def _ping(self, connection: ClientConnection) -> asyncio.Future[float]:
        await self._turn()
        pong = asyncio.ensure_future(await connection.ping())
        pong.add_done_callback(self._ponged)
        return pong

    async def _turn(self) -> None:
        time = asyncio.get_running_loop().time
        while (at := self._told.earliest(1, now := int(time() * SECOND))) > now:  # noqa: ASYNC110  # waits for a time, not an event
            await asyncio.sleep((at - now) / SECOND)
        self._told.take(1, now)

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self.pulse.hear()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, WeftError):
            self._fail(error)
        elif error is not None and not isinstance(error, ConnectionClosed):
            self._fail(fault(self._tally.where, error))

    def _fail(self, error: WeftError) -> None:
        self._failure = self._failure or error
        if self._connection is not None:
            self._connection.transport.abort()
