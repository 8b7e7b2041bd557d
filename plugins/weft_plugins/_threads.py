"""Torch on one thread, where a number must not depend on what is computed beside it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class _OneThread:
    """Keeps torch to one CPU thread from the first that asks for it to the last that leaves.

    Torch has one setting for the whole process: of two that overlap, the first to end must not
    set it back while the other computes.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before = 1

    def enter(self) -> int:
        """Return how many threads torch has outside."""
        with self._lock:
            if self._inside == 0:
                self._before = torch.get_num_threads()
            torch.set_num_threads(1)
            self._inside += 1
            return self._before

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                torch.set_num_threads(self._before)


_ONE_THREAD = _OneThread()


@contextmanager
def one_thread() -> Iterator[int]:
    """Run torch on one CPU thread, on which its sums have one order, and set it back afterwards.

    Yields:
        How many threads torch has outside.
    """
    threads = _ONE_THREAD.enter()
    try:
        yield threads
    finally:
        _ONE_THREAD.leave()


def each_apart(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int = 0
) -> list[Result]:
    """Return the result of each item, computed by itself with torch on one thread.

    The shapes that torch meets are then those of the item, so that its numbers do not depend on
    the other items. In a batch they do, even in one of a fixed size: matrix products and
    vectorised functions may treat the rows at its edge in another way.

    Args:
        work: computes one item.
        items: several of them are computed at the same time.
        threads: how many at most; 0 for as many as torch has threads.
    """
    with one_thread() as available:
        workers = min(threads or available, len(items))
        if workers < 2:
            return list(map(work, items))
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(work, items))
