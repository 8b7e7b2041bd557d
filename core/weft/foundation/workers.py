"""Worker threads: each plugin's coroutines run on a separate event loop, never on the host's.

A call that blocks stops every task of its loop. On a separate loop it stops only its plugin: the
host waits no longer than the deadline, names the plugin, and does not call it again before that
call has returned, so that no round adds a thread.
"""

import asyncio
import os
import queue
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, TypeVar

from weft.foundation.breadcrumbs import Breadcrumbs
from weft.foundation.calls import Raised, fault, guarded, place_of
from weft.foundation.errors import ComponentError, WeftError

P = ParamSpec("P")
T = TypeVar("T")

_GRACE_SECONDS = 1.0
"""Time for a cancelled call to end."""

_BEATS = 8
"""Number of checks within the time that a loop may block."""

_THREADS = min(32, (os.cpu_count() or 1) + 4)
"""Largest number of simultaneous blocking calls of a plugin: the default of asyncio."""


class Worker:
    """Runs the coroutines of a plugin on a separate event loop and thread.

    The thread starts with the first call and stays, so that a plugin's locks and clients stay on
    the same loop.

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
        """Whether the thread runs."""
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
            work: creates the coroutine, in the worker's thread.
            patience_seconds: longest time that a step of the coroutine may block its loop.
            deadline_seconds: for the coroutine as a whole; None for no deadline.
            grace_seconds: for the coroutine to end after it is cancelled.

        Raises:
            WeftError: the plugin raised it.
            ComponentError: the plugin raised another exception, blocks, overran its deadline, or
                has not returned from an earlier call.
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
        """Wait for a call; return an error if it blocks or overruns, None once it has ended."""
        step, pulse = patience_seconds / _BEATS, _Pulse(job.thread.loop)
        began = time.monotonic()
        while True:
            pulse.check()
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
        """Cancel a call, and keep it in mind until it ends."""
        self._left.append(job)
        job.cancel()
        await asyncio.wait([job.waiter], timeout=grace_seconds)

    def _refuse_while_left(self) -> None:
        """Raise a ComponentError while an abandoned call still runs."""
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
            hint="Data that arrived is stored; raise its deadline_seconds, or request less",
        )


class Workers:
    """A worker for each plugin with coroutines, created by its first call.

    Attributes:
        breadcrumbs: for workers created from now on; None for no notes.
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
    """The event loop that is running at creation, for code on other loops."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def do(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return the result of a coroutine on the host's loop.

        Args:
            work: creates the coroutine.
        """
        if asyncio.get_running_loop() is self._loop:
            return await work()
        coroutine = work()
        try:
            under_way = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:
            # The host's loop is closed, so that no caller waits for the result.
            coroutine.close()
            raise asyncio.CancelledError from None
        return await asyncio.wrap_future(under_way)


def across(host: Host, function: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Return an asynchronous function that runs on the host's loop from any loop."""

    async def crossing(*args: P.args, **kwargs: P.kwargs) -> T:
        async def work() -> T:
            return await function(*args, **kwargs)

        return await host.do(work)

    return crossing


@dataclass(frozen=True, slots=True)
class _Value(Generic[T]):
    value: T


class _Job(Generic[T]):
    """A call on a worker's loop, with a future for its end on the caller's loop."""

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
        """Whether the call, or one of its blocking calls in a thread, has not returned yet."""
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
        # A task that is cancelled before its first step never runs `_caught`.
        self._end(Raised(asyncio.CancelledError()) if task.cancelled() else task.result())

    def _end(self, end: "_Value[T] | Raised") -> None:
        self._over = True
        # The caller's loop may be closed already.
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
    """Measures how long a loop has been blocked."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._answered = time.monotonic()
        self._pending = False

    @property
    def silent_seconds(self) -> float:
        return time.monotonic() - self._answered

    def check(self) -> None:
        if not self._pending:
            self._pending = True
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered = time.monotonic()
        self._pending = False


class _LoopThread:
    """A daemon thread with an event loop, until it is closed or garbage-collected."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.pool = DaemonPool(name, _THREADS)
        self.loop.set_default_executor(self.pool)
        self._thread = threading.Thread(target=_serve, args=(self.loop,), name=name, daemon=True)
        self._thread.start()
        # The thread refers to the loop only, so that this object can be collected.
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
        # sys.exit() in a task also ends run_forever(); the other tasks must go on.
        with suppress(BaseException):
            loop.run_forever()
            stopped = True
    with suppress(BaseException):
        _finish(loop)
    loop.close()


def _finish(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel the remaining tasks of a loop, and wait for their end."""
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_GRACE_SECONDS))
    loop.run_until_complete(loop.shutdown_asyncgens())


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(loop.stop)


class DaemonPool(ThreadPoolExecutor):
    """An executor for `asyncio.to_thread` whose threads are daemons.

    The standard pool joins its threads at the end of the program, which a plugin's hanging call
    would prevent.

    Args:
        name: of the threads.
        most: largest number of threads; further calls wait.
    """

    def __init__(self, name: str, most: int) -> None:
        super().__init__(max_workers=most, thread_name_prefix=name)
        self._name, self._most = name, most
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._guard = threading.Lock()
        self._started = self._unfinished = 0

    @property
    def busy(self) -> bool:
        """Whether a call has not returned yet."""
        return self._unfinished > 0

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Run a function on a thread of the pool."""
        future: Future[T] = Future()
        self._calls.put((future, partial(fn, *args, **kwargs)))
        with self._guard:
            self._unfinished += 1
            starts = self._started < min(self._most, self._unfinished)
            self._started += starts
        if starts:
            threading.Thread(target=self._serve, name=self._name, daemon=True).start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002  # the parent's signature
        """Let the threads end once they are idle, without waiting for them."""
        for _ in range(self._started):
            self._calls.put(None)

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function = call
            if future.set_running_or_notify_cancel():
                result = guarded(function)
                if isinstance(result, Raised):
                    future.set_exception(result.error)
                else:
                    future.set_result(result)
            with self._guard:
                self._unfinished -= 1
