"""Torch on one thread, where a number must not depend on what is computed beside it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


class _OneThread(threading.local):
    """Keeps torch to one CPU thread from the first that asks for it to the last that leaves.

    Torch counts threads both for the process and for each thread that calls it. Of two callers
    that overlap, the first to end must not set the count back while the other computes. It stays
    with one thread, and sets its own count back when it ends the next time.

    Attributes:
        owed: whether this caller has yet to set its count back.
    """

    owed = False

    def enter(self) -> int:
        """Return how many threads torch has outside."""
        with _SHARED.lock:
            if _SHARED.inside == 0 and not self.owed:
                _SHARED.outside = torch.get_num_threads()
            torch.set_num_threads(1)
            _SHARED.inside += 1
            return _SHARED.outside

    def leave(self) -> None:
        with _SHARED.lock:
            _SHARED.inside -= 1
            self.owed = _SHARED.inside > 0
            if not self.owed:
                torch.set_num_threads(_SHARED.outside)


@dataclass
class _Shared:
    """What all callers share: how many are inside, and torch's count of threads outside."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    outside: int = 1


_SHARED = _Shared()
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
