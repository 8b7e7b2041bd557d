"""Memory: what libraries free goes back to the operating system."""

import ctypes
import os
import sys

_POLARS_ALLOCATOR = "_RJEM_MALLOC_CONF"
_GLIBC_ARENAS = "MALLOC_ARENA_MAX"
_M_ARENA_MAX = -8
_ARENAS = "2"


def return_freed_memory() -> None:
    """Let polars and NumPy return freed memory to the system instead of keeping it.

    By default polars keeps freed memory for its next query, and glibc keeps a heap for each thread;
    every call of a component runs in a thread. A process that reads its history once and then
    composes for weeks would so keep a hundred megabytes or more without use. Call this before
    polars is first imported. Child processes inherit it. Settings of the user's own win.
    """
    os.environ.setdefault(_POLARS_ALLOCATOR, "dirty_decay_ms:0,muzzy_decay_ms:0")
    arenas = os.environ.setdefault(_GLIBC_ARENAS, _ARENAS)
    if sys.platform == "linux" and arenas.isdecimal():
        # glibc reads the variable only at start. Other C libraries have no mallopt.
        limit = getattr(ctypes.CDLL(None), "mallopt", None)
        if limit is not None:
            limit(_M_ARENA_MAX, int(arenas))
