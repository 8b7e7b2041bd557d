"""Threads for blocking calls of plugins, which never keep the program alive."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from weft.foundation.calls import Raised, guarded

P = ParamSpec("P")
T = TypeVar("T")


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
