"""Trainings under way: a small file with start and progress, for other processes."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from weft.components.trained import TrainingProgress
from weft.foundation.times import SECOND, to_datetime

_FILE: Final = ".under-way.json"
_PAUSE: Final = 2 * SECOND
_LONGEST_PAUSE: Final = 3600 * SECOND


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A training under way.

    Attributes:
        since: start of the training, microseconds since 1970.
        share: finished share, 0 to 1; None before the first progress.
    """

    since: int
    share: float | None

    def __str__(self) -> str:
        since = f"training since {to_datetime(self.since):%H:%M} UTC"
        return since if self.share is None else f"{since}, {100 * self.share:.0f} % done"


@contextmanager
def shown_under_way(
    folder: Path, now: Callable[[], int], progress: TrainingProgress
) -> Iterator[TrainingProgress]:
    """Yield a progress callback that also writes a component's file; remove the file at the end.

    Args:
        folder: folder of the component's artifacts.
        now: clock, microseconds since 1970.
        progress: callback to call as well.
    """
    start = written = now()
    _write(folder, start, None, start)

    def report(done: float, total: float, **figures: float) -> None:
        nonlocal written
        if total > 0 and now() - written >= _PAUSE:
            written = now()
            _write(folder, start, min(max(done / total, 0.0), 1.0), written)
        progress(done, total, **figures)

    try:
        yield report
    finally:
        with suppress(OSError):
            (folder / _FILE).unlink(missing_ok=True)


def read_under_way(folder: Path, now: int) -> UnderWay | None:
    """Return the training under way of a component; None where there is none.

    The file of a killed process does not count.

    Args:
        folder: folder of the component's artifacts.
        now: current time, microseconds since 1970.
    """
    try:
        body = orjson.loads((folder / _FILE).read_bytes())
        share = body["share"]
        training = UnderWay(int(body["since"]), None if share is None else float(share))
        process, written = int(body["process"]), int(body["written"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return training if _is_alive(process) and now - written < _LONGEST_PAUSE else None


def _write(folder: Path, since: int, share: float | None, written: int) -> None:
    body = {"since": since, "share": share, "process": os.getpid(), "written": written}
    aside = folder / f"{_FILE}.{os.getpid()}"
    # A progress file that cannot be written must not stop the training.
    with suppress(OSError):
        aside.write_bytes(orjson.dumps(body))
        aside.replace(folder / _FILE)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        # On Windows the call below would end the process.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
