"""Progress of a command on stderr: a bar on a terminal, else lines.

Imports nothing heavy, so that the first line is shown before slow imports.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PAUSE_SECONDS = 5.0
"""Time between two lines of one phase where stderr is no terminal."""

_UNITS = (("years", 31_557_600), ("days", 86_400), ("hours", 3_600), ("minutes", 60))
_MIN_SHARE = 0.02
"""Share of the work to finish before the time left is estimated."""


def duration(seconds: float) -> str:
    """Return a time span in the largest unit that it contains at least twice: ``36 hours``."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.1f} s"


@dataclass(slots=True)
class Phase:
    """One phase of a command and its progress.

    Attributes:
        title: name of the phase.
        total: number of parts; None where it is unknown.
        in_percent: whether progress is shown in percent with the time left, not as a count.
        done: number of finished parts.
        note: the current part.
        clock: returns monotonic seconds.
        on_change: called after each update.
    """

    title: str
    total: float | None = None
    in_percent: bool = False
    done: float = 0.0
    note: str = ""
    clock: Callable[[], float] = time.monotonic
    on_change: Callable[["Phase"], None] | None = None
    _start: float = field(init=False)
    _first: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self._start = self.clock()

    def update(
        self, done: float | None = None, total: float | None = None, note: str | None = None
    ) -> None:
        """Update the progress; None leaves a value unchanged."""
        if total is not None:
            self.total = total
        if done is not None:
            self.done = done
            if self._first is None:
                # A training that resumes from a checkpoint does not start at 0.
                self._first = self.clock(), done
        if note is not None:
            self.note = note
        if self.on_change is not None:
            self.on_change(self)

    def advance(self, note: str) -> None:
        """Count one more finished part."""
        self.update(self.done + 1, note=note)

    @property
    def elapsed(self) -> float:
        """Seconds since the phase started."""
        return self.clock() - self._start

    def seconds_left(self) -> float | None:
        """Return the estimated time left at the pace so far; None where it is too early."""
        if self._first is None or not self.total:
            return None
        since, before = self._first
        gained = self.done - before
        if gained < _MIN_SHARE * self.total:
            return None
        return (self.clock() - since) * (self.total - self.done) / gained

    def state(self) -> str:
        """Return the progress in words."""
        parts = []
        if self.total and self.in_percent:
            parts.append(f"{self.done / self.total:.0%}".replace("%", " %"))
            left = self.seconds_left()
            if left is not None and left > 1.0:
                parts.append(f"about {duration(left)} left")
        elif self.total:
            parts.append(f"{self.done:,.0f} of {self.total:,.0f}")
        if self.note:
            parts.append(self.note)
        return ", ".join(parts)


@contextmanager
def phase(title: str, *, total: float | None = None, in_percent: bool = False) -> Iterator[Phase]:
    """Show a phase and its progress on stderr while the block runs.

    Args:
        title: name of the phase.
        total: number of parts, where it is known.
        in_percent: whether to show percent and the time left instead of a count.
    """
    shown = Phase(title, total, in_percent)
    with _bar(shown) if sys.stderr.isatty() else _lines(shown):
        yield shown


@contextmanager
def _lines(shown: Phase) -> Iterator[None]:
    """Write a line when a phase starts, and another every few seconds."""
    ended = threading.Event()

    def write_lines() -> None:
        while not ended.wait(PAUSE_SECONDS):
            parts = [shown.state(), f"{duration(shown.elapsed)} so far"]
            _write(f"{shown.title}: {'; '.join(part for part in parts if part)}")

    _write(f"{shown.title} ...")
    writer = threading.Thread(target=write_lines, name="weft-progress", daemon=True)
    writer.start()
    try:
        yield
    finally:
        ended.set()
        writer.join()


def _write(line: str) -> None:
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        # The reader of stderr has gone; the result on stdout does not depend on it.
        return


@contextmanager
def _bar(shown: Phase) -> Iterator[None]:
    """Draw a bar on the terminal; it disappears when the phase ends."""
    from rich.markup import escape  # noqa: PLC0415  # slow to import; only terminals need it
    from rich.progress import (  # noqa: PLC0415  # the same
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from weft_app.terminal import console  # noqa: PLC0415  # the same

    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[state]}"),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(escape(shown.title), total=shown.total, state="")

        def draw(current: Phase) -> None:
            state = escape(current.state())
            progress.update(task, completed=current.done, total=current.total, state=state)

        shown.on_change = draw
        try:
            yield
        finally:
            shown.on_change = None
