"""Where the network runs: a GPU if there is one with room, and how many CPU threads."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch

from weft.foundation.errors import ComponentError

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
