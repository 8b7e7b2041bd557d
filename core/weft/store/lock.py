"""A lock between the processes of one machine, let go of by the system if its holder dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weft.foundation.breadcrumbs import try_lock


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Hold the lock while the block runs, and give whether it was free.

    Args:
        path: a file that stands for what is locked; made where it is missing, and left there.

    Raises:
        OSError: the file can be neither opened nor made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield try_lock(handle)
    finally:
        os.close(handle)
