"""Memory: what a library has done with goes back to the system."""

import ctypes
import os
import sys

_POLARS_ALLOCATOR = "_RJEM_MALLOC_CONF"
_GLIBC_ARENAS = "MALLOC_ARENA_MAX"
_M_ARENA_MAX = -8
_ARENAS = "2"


def give_memory_back() -> None:
    """Let polars and NumPy return what they free, instead of keeping it for the next time.

    polars would keep it for its next query. Below NumPy, glibc keeps it in a heap for each thread,
    and every call of a component runs in one. A process that reads its history once and then
    composes for weeks would so hold a hundred megabytes and more for nothing. Works before polars
    is first imported, and for processes started later; settings of the user's own stand.
    """
    os.environ.setdefault(_POLARS_ALLOCATOR, "dirty_decay_ms:0,muzzy_decay_ms:0")
    arenas = os.environ.setdefault(_GLIBC_ARENAS, _ARENAS)
    if sys.platform == "linux" and arenas.isdecimal():
        # Of itself a process reads that at its start. Other C libraries have no such heaps.
        limit = getattr(ctypes.CDLL(None), "mallopt", None)
        if limit is not None:
            limit(_M_ARENA_MAX, int(arenas))
