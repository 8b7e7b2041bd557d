"""Compiling all kernels ahead, in a process of its own.

Numba caches compiled kernels on disk, but compiling all of them takes a minute. A child process
does so while the command fetches data; ``python -m weft_app.compiling`` does so at installation.
"""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from tempfile import TemporaryDirectory

from weft_app.progress import phase

_DEADLINE_SECONDS = 3_600
_started = threading.Event()


@contextmanager
def compiled_ahead() -> Iterator[bool]:
    """Compile all kernels in a child process while the block runs; then wait for the child.

    Yields whether the child runs: it does not where kernels are cached already or cannot be
    cached, nor at a second call.
    """
    if _started.is_set() or not _is_cache_empty():
        yield False
        return
    _started.set()
    child = subprocess.Popen(  # noqa: S603  # this interpreter, this module
        [sys.executable, "-m", __name__],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield True
        with phase("Compiling indicators, once for this machine"):
            child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()


def _is_cache_empty() -> bool:
    """Return whether the first kernel was just compiled and stored, not read from the cache."""
    from weft.features.jobs import driver  # noqa: PLC0415  # imports numba

    stats = driver().stats
    return bool(stats.cache_path) and not stats.cache_hits


def compile_all() -> None:
    """Compose once over the synthetic market, which compiles the kernels of all built-ins."""
    from weft.config.loading import load_settings  # noqa: PLC0415  # heavy; only the child needs it
    from weft.engine.assembly import assemble  # noqa: PLC0415  # the same
    from weft.plugins.discovery import discover  # noqa: PLC0415  # the same
    from weft.plugins.registry import Registry  # noqa: PLC0415  # the same

    with TemporaryDirectory(prefix="weft-") as folder:
        # Away from the user's config file, so that only the synthetic market is used.
        os.chdir(folder)
        overrides = [
            f"storage.lake={folder}/lake",
            f"storage.ledger=sqlite:///{folder}/ledger.db",
            f"storage.models={folder}/models",
            f"runtime.deadline_seconds={_DEADLINE_SECONDS}",
        ]
        engine = assemble(load_settings(overrides=overrides, environ={}), Registry(discover()))
        with closing(engine):
            asyncio.run(engine.update())
            engine.compose(engine.view())
        os.chdir("/")


if __name__ == "__main__":
    compile_all()
