"""Torch on one thread, where a number must not depend on what is computed beside it."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import torch

from weft.foundation.errors import ComponentError

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


T = TypeVar("T")


def devices_for(wanted: Literal["auto", "cpu", "cuda"], where: str) -> list[torch.device]:
    """Return the devices to try, in order.

    Raises:
        ComponentError: ``cuda`` is asked for and there is none.
    """
    cpu = torch.device("cpu")
    if wanted == "cpu":
        return [cpu]
    if torch.cuda.is_available():
        gpu = torch.device("cuda")
        return [gpu] if wanted == "cuda" else [gpu, cpu]
    if wanted == "cuda":
        raise ComponentError(
            "device is cuda, but torch finds no CUDA device",
            where=where,
            hint="Set device: auto to fall back to the CPU, or install a CUDA build of torch",
        )
    return [cpu]


def on_first_with_room(
    devices: Sequence[torch.device], work: Callable[[torch.device], T], where: str
) -> T:
    """Return what `work` makes on the first device whose memory suffices.

    Raises:
        ComponentError: the last one ran out of memory as well.
    """
    for device in devices[:-1]:
        try:
            return work(device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    try:
        return work(devices[-1])
    except torch.OutOfMemoryError as error:
        raise ComponentError(
            f"{devices[-1].type} ran out of memory",
            where=where,
            hint="Lower batch_size or width, or set device: auto to fall back to the CPU",
        ) from error


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run torch on some CPU threads, 0 for as many as it has, and set it back afterwards."""
    before = torch.get_num_threads()
    if count in (0, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
