"""Worker threads: what a plugin awaits runs on an event loop of its own, never on the host's.

One call that blocks stops every task of its loop. On a loop of its own a plugin stops itself alone:
the host waits no longer than the deadline, names the plugin, and does not call the plugin again
before that call has returned, so that no thread is added round by round.
"""

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

from weft.foundation.breadcrumbs import Breadcrumbs
from weft.foundation.calls import Raised, fault, place_of
from weft.foundation.errors import ComponentError, WeftError
from weft.foundation.threadpool import DaemonPool

P = ParamSpec("P")
T = TypeVar("T")

_GRACE_SECONDS = 1.0
"""Time a call has to end once it is cancelled."""

_BEATS = 8
"""How often a loop is asked for a sign of life within the time it may block."""

_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Blocking calls of one plugin at once, as many as asyncio allows by itself."""


class Worker:
    """Runs one plugin's coroutines, all on the same event loop in a thread of their own.

    The thread starts with the first call and stays, so that what a plugin keeps from call to call,
    such as a lock or a client, stays on one loop.

    Args:
        component: how messages name the plugin.
        breadcrumbs: note which plugin is being called; None for no notes.

    Attributes:
        component: how messages name the plugin.
    """

    def __init__(self, component: str, breadcrumbs: Breadcrumbs | None = None) -> None:
        self.component = component
        self._breadcrumbs = breadcrumbs
        self._thread: _LoopThread | None = None
        self._left: list[_Job[Any]] = []

    @property
    def runs(self) -> bool:
        """Whether the thread was started, and not ended since."""
        return self._thread is not None

    async def run(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        patience_seconds: float,
        deadline_seconds: float | None = None,
        grace_seconds: float = _GRACE_SECONDS,
    ) -> T:
        """Return what a coroutine of the plugin returns.

        Args:
            work: makes the coroutine; called in the worker's thread.
            patience_seconds: how long one step of the coroutine may keep its loop busy.
            deadline_seconds: how long all of it may take; None for as long as it needs.
            grace_seconds: how long it has to end once it is cancelled.

        Raises:
            WeftError: the plugin raised it.
            ComponentError: the plugin raised something else, blocks, overran its deadline, or has
                not returned from an earlier call.
        """
        self._refuse_while_left()
        if self._thread is None:
            self._thread = _LoopThread(f"weft-{self.component}")
        job: _Job[T] = _Job(self._thread, work)
        # A call without a deadline, such as a stream, goes on for days beside all others.
        breadcrumbs = None if deadline_seconds is None else self._breadcrumbs
        try:
            with breadcrumbs.note(self.component) if breadcrumbs else nullcontext():
                failure = await self._overdue(job, patience_seconds, deadline_seconds)
        except asyncio.CancelledError:
            await self._leave(job, grace_seconds)
            raise
        if failure is not None:
            await self._leave(job, grace_seconds)
            raise failure
        end = job.waiter.result()
        if isinstance(end, Raised):
            if isinstance(end.error, WeftError):
                raise end.error
            raise fault(self.component, end.error) from end.error
        return end.value

    def close(self) -> None:
        """End the thread; one that a call blocks ends with the program."""
        if self._thread is not None:
            self._thread.close()
            self._thread = None

    async def _overdue(
        self, job: "_Job[Any]", patience_seconds: float, deadline_seconds: float | None
    ) -> ComponentError | None:
        """Wait for the end of a call; return why the call is waited for no longer, if it is not."""
        step, pulse = patience_seconds / _BEATS, _Pulse(job.thread.loop)
        began = time.monotonic()
        while True:
            pulse.ask()
            passed = time.monotonic() - began
            left = step if deadline_seconds is None else deadline_seconds - passed
            await asyncio.wait([job.waiter], timeout=max(0.0, min(step, left)))
            if job.waiter.done():
                return None
            if pulse.silent_seconds >= patience_seconds:
                return self._blocks(job.thread, pulse.silent_seconds)
            if deadline_seconds is not None and time.monotonic() - began >= deadline_seconds:
                if pulse.silent_seconds > 2 * step:
                    return self._blocks(job.thread, pulse.silent_seconds)
                return self._overran(deadline_seconds)

    async def _leave(self, job: "_Job[Any]", grace_seconds: float) -> None:
        """Cancel a call, and remember the call where it does not end."""
        self._left.append(job)
        job.cancel()
        await asyncio.wait([job.waiter], timeout=grace_seconds)

    def _refuse_while_left(self) -> None:
        """Raise where an earlier call was given up and still runs."""
        self._left = [job for job in self._left if job.runs]
        if self._left:
            since = time.monotonic() - self._left[0].since
            raise ComponentError(
                f"has not returned from the call of {since:.0f} seconds ago"
                f"{self._left[0].thread.place()}, and is not called again before it has",
                where=self.component,
                hint="Mend the plugin, or switch it off in config.yaml",
            )

    def _blocks(self, thread: "_LoopThread", seconds: float) -> ComponentError:
        return ComponentError(
            f"has blocked its thread for {seconds:.3g} seconds{thread.place()}",
            where=self.component,
            hint="Await instead of blocking (http.get, asyncio.sleep), or wrap the call in "
            "asyncio.to_thread; a longer step needs a higher deadline_seconds",
        )

    def _overran(self, seconds: float) -> ComponentError:
        return ComponentError(
            f"was not done within {seconds:g} seconds",
            where=self.component,
            hint="What it brought is kept; raise its deadline_seconds, or ask it for less",
        )


class Workers:
    """A worker for each plugin that awaits, made when the plugin is first called.

    Attributes:
        breadcrumbs: of the workers made from now on; None for no notes.
    """

    def __init__(self) -> None:
        self.breadcrumbs: Breadcrumbs | None = None
        self._workers: dict[str, Worker] = {}

    def of(self, component: str) -> Worker:
        """Return the worker of a plugin.

        Args:
            component: how messages name the plugin.
        """
        return self._workers.setdefault(component, Worker(component, self.breadcrumbs))

    def close(self) -> None:
        """End all threads."""
        for worker in self._workers.values():
            worker.close()


class Host:
    """The event loop that was running when this was made, for code that runs on another one."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what a coroutine returns that runs on the host's loop.

        Args:
            work: makes the coroutine.
        """
        if asyncio.get_running_loop() is self._loop:
            return await work()
        coroutine = work()
        try:
            under_way = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            # The host's loop is closed: nobody waits for this any more.
            coroutine.close()
            raise asyncio.CancelledError from None
        return await asyncio.wrap_future(under_way)


def across(host: Host, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Return an asynchronous function that runs on the host's loop wherever it is awaited."""

    async def crossing(*args: P.args, **kwargs: P.kwargs) -> T:
        async def work() -> T:
            return await function(*args, **kwargs)

        return await host.do(work)

    return crossing


@dataclass(frozen=True, slots=True)
class _Value(Generic[T]):
    value: T


class _Job(Generic[T]):
    """One call on a worker's loop, and the future on the caller's loop that waits for its end."""

    def __init__(self, thread: "_LoopThread", work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self.thread = thread
        self.since = time.monotonic()
        self._caller = asyncio.get_running_loop()
        self.waiter: asyncio.Future[_Value[T] | Raised] = self._caller.create_future()
        self._task: asyncio.Task[_Value[T] | Raised] | None = None
        self._over = self._cancelled = False
        thread.loop.call_soon_threadsafe(self._begin, work)

    @property
    def runs(self) -> bool:
        """Whether the call, or a blocking call it made in a thread, has not returned yet."""
        return not self._over or self.thread.pool.busy

    def cancel(self) -> None:
        """Ask the call to end."""
        self.thread.loop.call_soon_threadsafe(self._cancel)

    def _begin(self, work: Callable[[], Coroutine[Any, Any, T]]) -> None:
        if self._cancelled:
            self._end(Raised(asyncio.CancelledError()))
            return
        self._task = asyncio.get_running_loop().create_task(_caught(work))
        self._task.add_done_callback(self._done)

    def _cancel(self) -> None:
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _done(self, task: "asyncio.Task[_Value[T] | Raised]") -> None:
        # A task that is cancelled before its first step never reaches the code that catches.
        self._end(Raised(asyncio.CancelledError()) if task.cancelled() else task.result())

    def _end(self, end: "_Value[T] | Raised") -> None:
        self._over = True
        # The caller's loop may be closed by now.
        with suppress(RuntimeError):
            self._caller.call_soon_threadsafe(_settle, self.waiter, end)


async def _caught(work: Callable[[], Coroutine[Any, Any, T]]) -> "_Value[T] | Raised":
    try:
        return _Value(await work())
    except BaseException as error:  # noqa: BLE001  # a plugin may raise anything, sys.exit() too
        return Raised(error)


def _settle(waiter: "asyncio.Future[T]", end: T) -> None:
    if not waiter.done():
        waiter.set_result(end)


class _Pulse:
    """Tells how long a loop has not come round."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heard = time.monotonic()
        self._asked = False

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._heard

    def ask(self) -> None:
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self._heard = time.monotonic()
        self._asked = False


class _LoopThread:
    """A daemon thread that runs an event loop until it is closed or collected."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.pool = DaemonPool(name, _THREADS)
        self.loop.set_default_executor(self.pool)
        self._thread = threading.Thread(target=_serve, args=(self.loop,), name=name, daemon=True)
        self._thread.start()
        # The thread knows the loop alone, so that nothing it holds keeps this object alive.
        self._stop = weakref.finalize(self, _stop, self.loop)

    def close(self) -> None:
        self._stop()
        self._thread.join(_GRACE_SECONDS)

    def place(self) -> str:
        """Return the innermost line of the plugin that the thread is at, as messages add it."""
        return place_of(self._thread)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    stopped = False
    while not stopped:
        # sys.exit() in a task ends the loop's run besides the task; the other tasks go on.
        with suppress(BaseException):
            loop.run_forever()
            stopped = True
    with suppress(BaseException):
        _finish(loop)
    loop.close()


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what is left on a loop, and let it end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(loop.stop)
