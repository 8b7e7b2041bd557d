"""A lock between processes of one machine; the system releases it if the process dies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weft.foundation.breadcrumbs import try_lock


@contextmanager
def only_one(path: Path) -> Iterator[bool]:
    """Lock a file while the block runs, and yield whether the lock was free.

    Args:
        path: the lock file; created if missing, and left in place.

    Raises:
        OSError: the file can be neither opened nor created.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        yield try_lock(handle)
    finally:
        os.close(handle)
