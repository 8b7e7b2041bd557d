"""Trainings under way: a small file says since when and how far, for other processes to read."""

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
_LONGEST_SILENCE: Final = 3600 * SECOND


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A training under way.

    Attributes:
        since: when it began, microseconds since 1970.
        share: part of it that is done, 0 to 1; None where nothing is known of that yet.
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
    """Give a progress callback that also writes a component's file, which the end removes.

    Args:
        folder: of the component's artifacts.
        now: tells the time, microseconds since 1970.
        progress: called as before.
    """
    began = written = now()
    _write(folder, began, None, began)

    def note(done: float, total: float, **figures: float) -> None:
        nonlocal written
        if total > 0 and now() - written >= _PAUSE:
            written = now()
            _write(folder, began, min(max(done / total, 0.0), 1.0), written)
        progress(done, total, **figures)

    try:
        yield note
    finally:
        with suppress(OSError):
            (folder / _FILE).unlink(missing_ok=True)


def read_under_way(folder: Path, now: int) -> UnderWay | None:
    """Return the training under way of the component whose artifacts are in a folder, if any.

    A process that was killed leaves its file behind; it does not count.

    Args:
        folder: of the component's artifacts.
        now: microseconds since 1970.
    """
    try:
        body = orjson.loads((folder / _FILE).read_bytes())
        share = body["share"]
        found = UnderWay(int(body["since"]), None if share is None else float(share))
        process, written = int(body["process"]), int(body["written"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if _is_alive(process) and now - written < _LONGEST_SILENCE else None


def _write(folder: Path, since: int, share: float | None, written: int) -> None:
    body = {"since": since, "share": share, "process": os.getpid(), "written": written}
    aside = folder / f"{_FILE}.{os.getpid()}"
    # How far a training has come is worth no training that fails.
    with suppress(OSError):
        aside.write_bytes(orjson.dumps(body))
        aside.replace(folder / _FILE)


def _is_alive(process: int) -> bool:
    if sys.platform == "win32":
        # There, the call below would end the process.
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
