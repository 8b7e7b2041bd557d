"""Keeps one connection open: connects within limits, replaces it in time, records coverage."""

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from weft.foundation.clock import Clock
from weft.foundation.times import SECOND
from weft.sources.http.errors import ForbiddenError, SourceError, UnauthorisedError
from weft.sources.http.limits import SlidingWindow
from weft.sources.stream.context import Context
from weft.sources.stream.queue import EventQueue
from weft.sources.stream.spec import StreamLimits, Topic
from weft.sources.stream.stream_socket import StreamSocket

_REMEMBERED = 32


class Coverage:
    """Records the latest spans of time in which every message was received.

    A span ends with the last received message, not with the detection of the failure.
    """

    def __init__(self) -> None:
        self._stretches: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._unreadable: deque[int] = deque(maxlen=_REMEMBERED)
        self._since: int | None = None

    @property
    def since(self) -> int | None:
        """Start of the current span, microseconds since 1970; None while disconnected."""
        return self._since

    def begin(self, at: int) -> None:
        """Start a span at an instant."""
        if self._since is None:
            self._since = at

    def end(self, at: int) -> None:
        """End the span at an instant, after which messages may be missing."""
        if self._since is not None:
            self._stretches.append((self._since, max(at, self._since)))
            self._since = None

    def mark_unreadable(self, at: int) -> None:
        """Note an instant with a message that could not be parsed."""
        self._unreadable.append(at)

    def covers(self, first: int, last: int) -> bool:
        """Whether every message from `first` to before `last` was received and parsed."""
        if any(first <= at < last for at in self._unreadable):
            return False
        if self._since is not None and self._since <= first:
            return True
        return any(since <= first and last <= until for since, until in self._stretches)


_FIRST_PAUSE_SECONDS = 1.0


class ConnectLimiter:
    """Limits the rate of new connections to one host, with random pauses after failures.

    Args:
        limits: limits of the host.
        clock: current time, and waiting.
        rng: draws the pauses.
    """

    def __init__(self, limits: StreamLimits, clock: Clock, rng: random.Random) -> None:
        self._limits = limits
        self._clock = clock
        self._rng = rng
        self._window = SlidingWindow(limits.connects, int(limits.connects_seconds * SECOND))
        self._paused_until = 0

    def pause(self, seconds: float) -> None:
        """Admit no connection for some seconds, as the venue demanded."""
        self._paused_until = max(self._paused_until, self._clock.now() + int(seconds * SECOND))

    async def enter(self, failures: int) -> None:
        """Wait until one more connection may be opened.

        Args:
            failures: failed attempts in a row. The pause is uniform between 0 and a bound that
                doubles with each failure, so that clients cut off together do not reconnect
                together.
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


_log = logging.getLogger(__name__)


_SHARES_OF_LIFE = 0.95, 0.99
_SHUT_OUT_SECONDS = 600.0
_CLOSE_SECONDS = 3.0
_LINGER_SECONDS = 1.0


class ConnectionKeeper:
    """Keeps one connection with its topics open until cancelled.

    `websockets` reconnects by itself, but one connection after the other and without the venue's
    limits; here the new connection delivers before the old one is closed.

    Args:
        context: the parts shared by the connection.
        topics: topics to subscribe to.
        queue: receives the events.
        limiter: limits the connections to the host.
        up: called after the first connection, and after each gap, when subscriptions are confirmed.
        down: called when the last connection has ended.

    Attributes:
        coverage: spans of time without a missed message.
    """

    def __init__(
        self,
        context: Context,
        topics: Sequence[Topic],
        queue: EventQueue,
        limiter: ConnectLimiter,
        up: Callable[[], None],
        down: Callable[[], None],
    ) -> None:
        self.coverage = Coverage()
        self._topics, self._queue, self._limiter = topics, queue, limiter
        self._spec, self._counters = context.spec, context.counters
        self._clock, self._rng = context.clock, context.rng
        self._up, self._down = up, down
        self._failures = 0
        self._renewed = False
        self._running: dict[StreamSocket, asyncio.Task[None]] = {}
        self._retiring: set[StreamSocket] = set()

    async def run(self) -> None:
        """Keep a connection open until cancelled."""
        current: StreamSocket | None = None
        try:
            while True:
                if current is None:
                    current = await self._connect()
                if await self._until_due(current):
                    current = await self._replace(current)
                else:
                    await self._ended(current)
                    current = None
        finally:
            await self._stop()

    async def caught_up(self) -> bool:
        """Wait until everything sent before now was read; return whether that succeeded."""
        while ready := self._ready():
            if all(await asyncio.gather(*(socket.caught_up() for socket in ready))):
                return True
            if set(ready) <= set(self._ready()):
                return False
        return False

    def _ready(self) -> list[StreamSocket]:
        running = (socket for socket in self._running if socket not in self._retiring)
        return [socket for socket in running if socket.ready.is_set()]

    async def _connect(self) -> StreamSocket:
        """Return a subscribed connection, after any number of attempts."""
        while True:
            await self._limiter.enter(self._failures)
            socket = StreamSocket(
                self._spec, self._topics, self._queue, self._counters, self._clock
            )
            self._running[socket] = task = asyncio.create_task(socket.run())
            try:
                await _first(task, socket.ready.wait())
            except asyncio.CancelledError:
                await self._cancel(socket)
                raise
            if task.done():
                await self._ended(socket)
                continue
            if self.coverage.since is None:
                self._counters.connected_since = self._clock.now()
                self.coverage.begin(self._clock.now())
                self._up()
            return socket

    async def _until_due(self, socket: StreamSocket) -> bool:
        """Wait until a connection should be replaced (True) or has ended (False)."""
        life = self._spec.limits.life_seconds * self._rng.uniform(*_SHARES_OF_LIFE)
        await _first(self._running[socket], socket.closing.wait(), timeout_seconds=life)
        return not self._running[socket].done()

    async def _replace(self, old: StreamSocket) -> StreamSocket | None:
        """Open another connection beside a due one; return the connection that remains."""
        connecting = asyncio.create_task(self._connect())
        try:
            await _first(self._running[old], asyncio.shield(connecting))
            if not connecting.done():
                await self._ended(old)
                return await connecting
        except asyncio.CancelledError:
            connecting.cancel()
            await asyncio.gather(connecting, return_exceptions=True)
            raise
        new = connecting.result()
        overlap = self._spec.limits.overlap_seconds
        await _first(self._running[new], new.heartbeat.delivering.wait(), timeout_seconds=overlap)
        # Messages sent before the new connection was ready may still be on their way to the old.
        both = (self._running[new], self._running[old])
        linger = min(_LINGER_SECONDS, overlap)
        await asyncio.wait(both, timeout=linger, return_when=asyncio.FIRST_COMPLETED)
        if self._running[new].done():
            await self._ended(new)
            # The old connection is still due; `_connect` pauses before the next attempt.
            return await self._replace(old) if not self._running[old].done() else old
        await self._retire(old)
        return new

    async def _retire(self, old: StreamSocket) -> None:
        """Close a connection that another one has replaced."""
        # A half-open connection may have lost messages sent before the new one was ready.
        if not await old.caught_up():
            self._bridge(old)
        self._retiring.add(old)
        await asyncio.wait([asyncio.ensure_future(old.close())], timeout=_CLOSE_SECONDS)
        await self._cancel(old)
        self._retiring.discard(old)
        self._counters.connected_since = self._clock.now()

    def _bridge(self, old: StreamSocket) -> None:
        """Note the gap between the end of an old connection and the start of its successor."""
        begun = min(socket.heartbeat.ready_since for socket in self._ready() if socket is not old)
        if old.heartbeat.last_received < begun:
            self.coverage.end(old.heartbeat.last_received)
            self.coverage.begin(begun)

    async def _ended(self, socket: StreamSocket) -> None:
        """Record the reason of an end, and how long to wait before the next attempt."""
        task = self._running.pop(socket)
        (error,) = await asyncio.gather(task, return_exceptions=True)
        failure = error if isinstance(error, Exception) else None
        if failure is not None:
            self._counters.last_error = failure
            _log.info("%s", failure)
        if socket.ready.is_set() and self._ready():
            self._bridge(socket)
        elif socket.ready.is_set():
            self.coverage.end(socket.heartbeat.last_received)
            self._counters.lost(failure)
            self._down()
        lived = socket.heartbeat.lived_seconds >= self._spec.limits.stable_seconds
        self._failures = 1 if lived else self._failures + 1
        self._renewed &= not socket.heartbeat.delivering.is_set()
        if isinstance(failure, UnauthorisedError) and not self._renewed:
            # An expired token is replaced once without a pause.
            self._renewed, self._failures = True, 0
        elif isinstance(failure, UnauthorisedError):
            await self._clock.sleep_until(self._clock.now() + int(_SHUT_OUT_SECONDS * SECOND))
        elif isinstance(failure, ForbiddenError):
            self._limiter.pause(failure.retry_after_seconds or _SHUT_OUT_SECONDS)
        elif isinstance(failure, SourceError) and failure.retry_after_seconds:
            self._limiter.pause(failure.retry_after_seconds)

    async def _cancel(self, socket: StreamSocket) -> None:
        task = self._running.pop(socket)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _stop(self) -> None:
        self.coverage.end(self._clock.now())
        closing = [asyncio.create_task(socket.close()) for socket in self._running]
        if closing:
            await asyncio.wait(closing, timeout=_CLOSE_SECONDS)
        for task in (*closing, *self._running.values()):
            task.cancel()
        await asyncio.gather(*closing, *self._running.values(), return_exceptions=True)
        self._running.clear()


async def _first(
    task: asyncio.Task[None], other: Awaitable[object], timeout_seconds: float | None = None
) -> None:
    """Wait for a task or an event, at most until the timeout."""
    event = asyncio.ensure_future(other)
    try:
        await asyncio.wait(
            [task, event], timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        event.cancel()
