"""Memory: what a library has done with goes back to the system."""

import os

_POLARS_ALLOCATOR = "_RJEM_MALLOC_CONF"


def give_memory_back() -> None:
    """Let polars return what it frees at once, instead of keeping it for its next query.

    A process that reads its history once and then composes for weeks would hold some 60 MB for
    nothing. Works before polars is first imported; a setting of the user's own stands.
    """
    os.environ.setdefault(_POLARS_ALLOCATOR, "dirty_decay_ms:0,muzzy_decay_ms:0")
