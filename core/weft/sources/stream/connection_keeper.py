"""Keeps one connection up."""

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
    """Remembers the latest stretches of time in which the stream was up.

    A stretch ends when the connection was heard for the last time, not when it was found dead.
    """

    def __init__(self) -> None:
        self._stretches: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._broken: deque[int] = deque(maxlen=_REMEMBERED)
        self._since: int | None = None

    @property
    def since(self) -> int | None:
        """Since when it has been up; None while it is down."""
        return self._since

    def up(self, at: int) -> None:
        """Say that everything from an instant on is heard."""
        if self._since is None:
            self._since = at

    def down(self, at: int) -> None:
        """Say that nothing after an instant may have been heard."""
        if self._since is not None:
            self._stretches.append((self._since, max(at, self._since)))
            self._since = None

    def broken(self, at: int) -> None:
        """Say that at an instant something came that could not be read."""
        self._broken.append(at)

    def whole(self, first: int, last: int) -> bool:
        """Whether all of a stretch of time was heard, from `first` to before `last`."""
        if any(first <= at < last for at in self._broken):
            return False
        if self._since is not None and self._since <= first:
            return True
        return any(since <= first and last <= until for since, until in self._stretches)


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


_log = logging.getLogger(__name__)


_SHARES_OF_LIFE = 0.95, 0.99
_SHUT_OUT_SECONDS = 600.0
_FAREWELL_SECONDS = 3.0
_LINGER_SECONDS = 1.0


class ConnectionKeeper:
    """One connection's worth of topics, up for as long as it runs.

    Args:
        context: address, limits and clock.
        topics: what to subscribe to.
        queue: takes the events.
        gate: of the host.
        up: called whenever a connection is ready after there was none.
        down: called whenever the last connection ended.

    Attributes:
        coverage: from when to when it was up.
    """

    def __init__(
        self,
        context: Context,
        topics: Sequence[Topic],
        queue: EventQueue,
        gate: ConnectLimiter,
        up: Callable[[], None],
        down: Callable[[], None],
    ) -> None:
        self.coverage = Coverage()
        self._topics, self._queue, self._gate = topics, queue, gate
        self._spec, self._tally = context.spec, context.tally
        self._clock, self._rng = context.clock, context.rng
        self._up, self._down = up, down
        self._failures = 0
        self._renewed = False
        self._running: dict[StreamSocket, asyncio.Task[None]] = {}
        self._leaving: set[StreamSocket] = set()

    async def run(self) -> None:
        """Keep a connection up until cancelled, whatever happens to it."""
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
        """Wait until everything sent before now was read; return whether it was."""
        while ready := self._ready():
            if all(await asyncio.gather(*(socket.caught_up() for socket in ready))):
                return True
            if set(ready) <= set(self._ready()):
                return False
        return False

    def _ready(self) -> list[StreamSocket]:
        running = (socket for socket in self._running if socket not in self._leaving)
        return [socket for socket in running if socket.ready.is_set()]

    async def _connect(self) -> StreamSocket:
        """Return a connection that is ready, however many attempts it takes."""
        while True:
            await self._gate.enter(self._failures)
            socket = StreamSocket(self._spec, self._topics, self._queue, self._tally, self._clock)
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
                self._tally.connected_since = self._clock.now()
                self.coverage.up(self._clock.now())
                self._up()
            return socket

    async def _until_due(self, socket: StreamSocket) -> bool:
        """Return whether a connection is due to be replaced; False where it ended before."""
        life = self._spec.limits.life_seconds * self._rng.uniform(*_SHARES_OF_LIFE)
        await _first(self._running[socket], socket.closing.wait(), timeout_seconds=life)
        return not self._running[socket].done()

    async def _replace(self, old: StreamSocket) -> StreamSocket | None:
        """Bring up another connection beside one that is due; return the one that is left."""
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
        await _first(self._running[new], new.pulse.delivering.wait(), timeout_seconds=overlap)
        # The old one may still have on its way what was sent before the new one was ready.
        both = (self._running[new], self._running[old])
        linger = min(_LINGER_SECONDS, overlap)
        await asyncio.wait(both, timeout=linger, return_when=asyncio.FIRST_COMPLETED)
        if self._running[new].done():
            await self._ended(new)
            # What is due is due: it is tried again at once, after a pause.
            return await self._replace(old) if not self._running[old].done() else old
        await self._leave(old)
        return new

    async def _leave(self, old: StreamSocket) -> None:
        """Close a connection that another one has taken over from."""
        # Half open, it may have kept to itself what came before the other was ready.
        if not await old.caught_up():
            self._hand_over(old)
        self._leaving.add(old)
        await asyncio.wait([asyncio.ensure_future(old.close())], timeout=_FAREWELL_SECONDS)
        await self._cancel(old)
        self._leaving.discard(old)
        self._tally.connected_since = self._clock.now()

    def _hand_over(self, old: StreamSocket) -> None:
        """Note what nobody heard between an old connection's end and another's beginning."""
        begun = min(socket.pulse.ready_since for socket in self._ready() if socket is not old)
        if old.pulse.last_heard < begun:
            self.coverage.down(old.pulse.last_heard)
            self.coverage.up(begun)

    async def _ended(self, socket: StreamSocket) -> None:
        """Note why a connection ended, and how long to wait before the next."""
        task = self._running.pop(socket)
        (error,) = await asyncio.gather(task, return_exceptions=True)
        failure = error if isinstance(error, Exception) else None
        if failure is not None:
            self._tally.last_error = failure
            _log.info("%s", failure)
        if socket.ready.is_set() and self._ready():
            self._hand_over(socket)
        elif socket.ready.is_set():
            self.coverage.down(socket.pulse.last_heard)
            self._tally.lost(failure)
            self._down()
        lived = socket.pulse.lived_seconds >= self._spec.limits.stable_seconds
        self._failures = 1 if lived else self._failures + 1
        self._renewed &= not socket.pulse.delivering.is_set()
        if isinstance(failure, UnauthorisedError) and not self._renewed:
            # A token that expired is replaced once without a pause.
            self._renewed, self._failures = True, 0
        elif isinstance(failure, UnauthorisedError):
            await self._clock.sleep_until(self._clock.now() + int(_SHUT_OUT_SECONDS * SECOND))
        elif isinstance(failure, ForbiddenError):
            self._gate.pause(failure.retry_after_seconds or _SHUT_OUT_SECONDS)
        elif isinstance(failure, SourceError) and failure.retry_after_seconds:
            self._gate.pause(failure.retry_after_seconds)

    async def _cancel(self, socket: StreamSocket) -> None:
        task = self._running.pop(socket)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _stop(self) -> None:
        self.coverage.down(self._clock.now())
        goodbyes = [asyncio.create_task(socket.close()) for socket in self._running]
        if goodbyes:
            await asyncio.wait(goodbyes, timeout=_FAREWELL_SECONDS)
        for task in (*goodbyes, *self._running.values()):
            task.cancel()
        await asyncio.gather(*goodbyes, *self._running.values(), return_exceptions=True)
        self._running.clear()


async def _first(
    task: asyncio.Task[None], other: Awaitable[object], timeout_seconds: float | None = None
) -> None:
    """Wait until a task ended or something else happened, but no longer than the timeout."""
    event = asyncio.ensure_future(other)
    try:
        await asyncio.wait(
            [task, event], timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        event.cancel()
