"""One WebSocket connection: opened, subscribed, and read until its end; silence ends it."""

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
from weft.sources.stream.status import StreamCounters, list_names


class SilentError(UnavailableError):
    """An open connection whose topics deliver nothing."""

    advice = "Weft subscribes again by itself"


class Heartbeat:
    """Records the last message of a connection and the last event of its topics.

    Elapsed times follow the event loop, which no correction of a clock changes.

    Args:
        topics: topics that should deliver.
        counters: receives the names of silent topics.
        clock: current time.

    Attributes:
        last_received: instant of the last message or pong, microseconds since 1970.
        ready_since: instant at which all subscriptions were confirmed, microseconds since 1970.
        delivering: set after the first event of a topic.
    """

    def __init__(self, topics: Sequence[Topic], counters: StreamCounters, clock: Clock) -> None:
        self.delivering = asyncio.Event()
        self.last_received = self.ready_since = clock.now()
        self._counters, self._clock = counters, clock
        self._loop = asyncio.get_running_loop()
        self._silent_topics = {(topic.brings, topic.symbol): topic for topic in topics}
        patience = [t.quiet_seconds for t in topics if t.quiet_seconds is not None]
        self._patience = max(patience, default=None)
        self._received_at = self._event_at = self._ready_at = self._loop.time()
        self._ready = False

    @property
    def idle_seconds(self) -> float:
        """Seconds since the last message or pong."""
        return self._loop.time() - self._received_at

    @property
    def lived_seconds(self) -> float:
        """Seconds from the confirmed subscriptions to the last message; 0 without confirmation."""
        return self._received_at - self._ready_at if self._ready else 0.0

    def note_message(self) -> None:
        """Note that a message or pong arrived."""
        self._received_at = self._loop.time()
        self._counters.last_message = self.last_received = self._clock.now()

    def note_event(self, event: Event) -> None:
        """Note that an event of a topic arrived."""
        self._event_at = self._received_at
        if self._silent_topics:
            self.delivering.set()
            self._silent_topics.pop((type(event), str(event[0])), None)

    def ready(self) -> None:
        """Start to wait for all topics."""
        self._event_at = self._ready_at = self._loop.time()
        self._ready = True
        self.ready_since = self._clock.now()

    def restart(self) -> None:
        """Restart all waits after a time in which nothing was read."""
        self.note_message()
        self._event_at = self._received_at

    def check_silence(self) -> None:
        """Store the topics that have not delivered in their time.

        Raises:
            SilentError: no topic delivers any more.
        """
        now = self._loop.time()
        if self._patience is not None and now - self._event_at >= self._patience:
            message = f"no topic delivered anything for {now - self._event_at:.1f} s"
            raise SilentError(message, where=self._counters.where)
        since = now - self._ready_at
        self._counters.silent = tuple(
            topic.name
            for topic in self._silent_topics.values()
            if topic.quiet_seconds is not None and since >= topic.quiet_seconds
        )


_BEATS = 4
_LOOK_SECONDS = 0.01
_CONTROL = frozenset({Acknowledged, Refused, Closing})


class StreamSocket:
    """A connection with its subscriptions, from its opening to its end.

    The keep-alive of `websockets` is off: it counts only pongs, so it would end a connection whose
    pongs wait behind a burst of messages, and it cannot count pings under the venue's message
    limit.

    Args:
        spec: declaration of the stream.
        topics: topics to subscribe to.
        queue: receives the events; reading stops while it is full.
        counters: counts of the status.
        clock: current time.

    Attributes:
        heartbeat: times of the last message and event.
        ready: set after all subscriptions are confirmed.
        closing: set after the venue announced to close the connection.
    """

    def __init__(
        self,
        spec: StreamSpec,
        topics: Sequence[Topic],
        queue: EventQueue,
        counters: StreamCounters,
        clock: Clock,
    ) -> None:
        self.heartbeat = Heartbeat(topics, counters, clock)
        self.ready, self.closing = asyncio.Event(), asyncio.Event()
        self._spec, self._topics, self._queue = spec, topics, queue
        self._counters, self._clock = counters, clock
        self._connection: ClientConnection | None = None
        self._failure: WeftError | None = None
        self._unconfirmed: dict[int, Sequence[Topic]] = {}
        self._send_window = SlidingWindow(spec.limits.messages_per_second, SECOND)
        self._stuck = False

    async def run(self) -> None:
        """Read until the connection ends.

        Raises:
            WeftError: the reason of the end, usually a `SourceError`; none if this side closed it.
        """
        now, where = self._clock.now(), self._counters.where
        self._connection = connection = await open_socket(self._spec, where, now)
        self._counters.connects += 1
        self.heartbeat.note_message()
        tasks = [self._start(self._subscribe()), self._start(self._beat())]
        try:
            await self._read(connection)
        except ConnectionClosed as closed:
            ended: WeftError | None = ending(closed, self._spec, where)
            if isinstance(ended, MalformedError):
                self._counters.malformed += 1
            else:
                ended = self._failure or ended
            if ended is not None:
                raise ended from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # No closing handshake: nothing reads this connection any more.
            connection.transport.abort()

    async def close(self) -> None:
        """Close the connection; messages sent before are still read."""
        if self._connection is not None:
            await self._connection.close(NORMAL)

    async def caught_up(self) -> bool:
        """Wait until everything sent before now was read; return whether that succeeded.

        Messages keep their order, so a pong arrives after everything sent before it.
        """
        try:
            async with asyncio.timeout(self._spec.limits.heartbeat_seconds):
                if self._connection is None:
                    return False
                await (await self._ping(self._connection))
                # The pong wakes this task and the reading one; let the reading one finish.
                await asyncio.sleep(0)
                while self._stuck:  # noqa: ASYNC110  # as rare as it is short
                    await asyncio.sleep(_LOOK_SECONDS)
                await asyncio.sleep(0)
        except (ConnectionClosed, TimeoutError):
            return False
        return self._failure is None

    async def _read(self, connection: ClientConnection) -> None:
        where, counters, heartbeat = self._counters.where, self._counters, self.heartbeat
        parse, offer = self._spec.parse, self._queue.offer
        while True:
            # As bytes: a message that is no UTF-8 must not end the connection.
            data = await connection.recv(decode=False)
            heartbeat.note_message()
            counters.messages += 1
            try:
                parsed = parse(Reader(parse_json(data), where, "a message"))
            except (SourceError, ValueError) as error:
                await self._count_malformed(error)
                continue
            except Exception as error:  # noqa: BLE001  # a plugin may raise anything
                await self._count_malformed(fault(where, error))
                continue
            if parsed.sent_at is not None:
                counters.lags.append(heartbeat.last_received - parsed.sent_at)
            for event in parsed.events:
                if type(event) in _CONTROL:
                    self._control(event)
                    continue
                if not offer(event):
                    await self._wait_for_room(event)
                heartbeat.note_event(event)

    async def _wait_for_room(self, event: Event) -> None:
        self._stuck = True
        try:
            await self._queue.put(event)
        finally:
            self._stuck = False
            self.heartbeat.restart()

    async def _count_malformed(self, error: WeftError | ValueError) -> None:
        self._counters.malformed += 1
        if not isinstance(error, WeftError):
            error = MalformedError("a message is no JSON", where=self._counters.where)
        self._counters.last_error = error
        await self._queue.put(Gap("", "a message could not be read"))

    def _control(self, event: Event) -> None:
        match event:
            case Acknowledged(request=None):
                self._unconfirmed.clear()
            case Acknowledged(request=int(request)):
                self._unconfirmed.pop(request, None)
            case Refused(request, why):
                chunk = self._unconfirmed.get(-1 if request is None else request, self._topics)
                message = f"the venue refused to subscribe {list_names(t.name for t in chunk)}"
                self._fail(RefusedError(f"{message}: {plain(why)}", where=self._counters.where))
            case Closing():
                self.closing.set()

    async def _subscribe(self) -> None:
        limits, size = self._spec.limits, self._spec.limits.topics_per_message
        chunks = [self._topics[i : i + size] for i in range(0, len(self._topics), size)]
        for request, chunk in enumerate(chunks, 1):
            if self._spec.acknowledges:
                self._unconfirmed[request] = chunk
            await self._send(self._spec.subscribe([topic.name for topic in chunk], request))
        try:
            async with asyncio.timeout(limits.acknowledge_seconds):
                while self._unconfirmed:  # noqa: ASYNC110  # once for each connection
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            names = list_names(t.name for chunk in self._unconfirmed.values() for t in chunk)
            seconds = f"{limits.acknowledge_seconds:g} s"
            message = f"the venue did not confirm {names} within {seconds}"
            raise SilentError(message, where=self._counters.where) from None
        self.heartbeat.ready()
        self.ready.set()

    async def _beat(self) -> None:
        """End the connection when nothing arrives any more, not even a pong."""
        patience = self._spec.limits.heartbeat_seconds
        while True:
            await asyncio.sleep(patience / _BEATS)
            if self._stuck or self._connection is None:
                self.heartbeat.restart()
                continue
            if self.heartbeat.idle_seconds >= patience:
                idle = f"{self.heartbeat.idle_seconds:.1f} s"
                message = f"nothing arrived for {idle}, not even a pong"
                raise UnavailableError(message, where=self._counters.where)
            if self._spec.ping is not None:
                await self._send(self._spec.ping)
            if self.heartbeat.idle_seconds >= patience / _BEATS:
                await self._ping(self._connection)
            if self.ready.is_set():
                self.heartbeat.check_silence()

    async def _send(self, message: str) -> None:
        """Send a message within the venue's message limit."""
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
        while (at := self._send_window.earliest(1, now := int(time() * SECOND))) > now:  # noqa: ASYNC110  # waits for a time, not an event
            await asyncio.sleep((at - now) / SECOND)
        self._send_window.take(1, now)

    def _ponged(self, pong: asyncio.Future[float]) -> None:
        if not pong.cancelled() and pong.exception() is None:
            self.heartbeat.note_message()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, WeftError):
            self._fail(error)
        elif error is not None and not isinstance(error, ConnectionClosed):
            self._fail(fault(self._counters.where, error))

    def _fail(self, error: WeftError) -> None:
        self._failure = self._failure or error
        if self._connection is not None:
            self._connection.transport.abort()
