"""The time that numba compiles in each thread, which deadlines do not count.

Importing this module imports numba; import it only where numba is imported already.
"""

import threading
import time
from typing import Any

from numba.core import event


class CompileClock(event.Listener):
    """Adds up the seconds that numba compiled in each thread since `start` was called there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spent: dict[int, float] = {}
        self._began: dict[int, list[float]] = {}

    def start(self, thread: int) -> None:
        """Start to count for a thread, from zero."""
        with self._lock:
            self._spent[thread] = 0.0
            self._began[thread] = []

    def seconds(self, thread: int) -> float:
        """Return the seconds that a thread has compiled, with the compilation under way."""
        with self._lock:
            began = self._began.get(thread)
            under_way = time.monotonic() - began[0] if began else 0.0
            return self._spent.get(thread, 0.0) + under_way

    def stop(self, thread: int) -> None:
        """Forget a thread."""
        with self._lock:
            self._spent.pop(thread, None)
            self._began.pop(thread, None)

    def on_start(self, event: Any) -> None:  # noqa: ANN401  # numba ships no types
        """Note the start of a compilation; compilations nest where kernels call kernels."""
        with self._lock:
            began = self._began.get(threading.get_ident())
            if began is not None:
                began.append(time.monotonic())

    def on_end(self, event: Any) -> None:  # noqa: ANN401  # numba ships no types
        """Add the duration of a compilation that is not part of another."""
        thread = threading.get_ident()
        with self._lock:
            began = self._began.get(thread)
            if began:
                since = began.pop()
                if not began:
                    self._spent[thread] += time.monotonic() - since


COMPILE_CLOCK = CompileClock()
event.register("numba:compile", COMPILE_CLOCK)  # type: ignore[no-untyped-call]  # numba ships no types
