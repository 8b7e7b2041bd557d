"""Torch for all models: CPU threads, devices, and tensors as arrays."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import torch
from numpy.typing import NDArray

from weft.foundation.errors import ComponentError

Item = TypeVar("Item")
Result = TypeVar("Result")


class _OneThread(threading.local):
    """Limits torch to one CPU thread while any caller is inside `one_thread`.

    Torch counts threads for the process and for each calling thread. Where two callers overlap,
    the first to leave must not restore the count while the other still computes. That caller
    stays on one thread, and restores its count when it leaves the next time.

    Attributes:
        pending: whether this thread still has to restore its count.
    """

    pending = False

    def enter(self) -> int:
        """Limit torch to one thread, and return its number of threads outside."""
        with _SHARED.lock:
            if _SHARED.inside == 0 and not self.pending:
                _SHARED.outside = torch.get_num_threads()
            torch.set_num_threads(1)
            _SHARED.inside += 1
            return _SHARED.outside

    def leave(self) -> None:
        with _SHARED.lock:
            _SHARED.inside -= 1
            self.pending = _SHARED.inside > 0
            if not self.pending:
                torch.set_num_threads(_SHARED.outside)


@dataclass
class _Shared:
    """State shared by all threads: callers inside, and torch's number of threads outside."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    inside: int = 0
    outside: int = 1


_SHARED = _Shared()
_ONE_THREAD = _OneThread()


@contextmanager
def one_thread() -> Iterator[int]:
    """Run torch on one CPU thread, so that its sums have one order; restore the count afterwards.

    Yields:
        Number of threads torch has outside.
    """
    threads = _ONE_THREAD.enter()
    try:
        yield threads
    finally:
        _ONE_THREAD.leave()


def each_apart(
    work: Callable[[Item], Result], items: Sequence[Item], threads: int = 0
) -> list[Result]:
    """Return the result of each item, computed separately with torch on one thread.

    A separate item gives torch the same shapes whatever the other items are, so its numbers do
    not depend on them. In a batch they would: matrix products and vectorised functions may treat
    the rows at the edge of a batch differently, even where batches have a fixed size.

    Args:
        work: computes one item.
        items: several of them are computed at the same time.
        threads: items computed at the same time, at most; 0 for as many as torch has threads.
    """
    with one_thread() as available:
        workers = min(threads or available, len(items))
        if workers < 2:
            return list(map(work, items))
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(work, items))


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run torch on `count` CPU threads, 0 for as many as it has; restore the count afterwards."""
    before = torch.get_num_threads()
    if count in (0, before):
        yield
        return
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def devices_for(wanted: Literal["auto", "cpu", "cuda"], where: str) -> list[torch.device]:
    """Return the devices to try, in order.

    Raises:
        ComponentError: ``cuda`` is wanted and torch finds no CUDA device.
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
    devices: Sequence[torch.device], work: Callable[[torch.device], Result], where: str
) -> Result:
    """Return the result of `work` on the first device with enough memory.

    Raises:
        ComponentError: the last device ran out of memory as well.
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


def to_arrays(tensors: Mapping[str, torch.Tensor], prefix: str = "") -> dict[str, NDArray[Any]]:
    """Return copies of tensors as arrays, with `prefix` before each name."""
    return {
        f"{prefix}{name}": tensor.detach().cpu().numpy().copy() for name, tensor in tensors.items()
    }


def to_tensors(arrays: Mapping[str, NDArray[Any]], prefix: str = "") -> dict[str, torch.Tensor]:
    """Return copies of the arrays whose names begin with `prefix`, without it, as tensors."""
    return {
        name.removeprefix(prefix): torch.from_numpy(array.copy())
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
