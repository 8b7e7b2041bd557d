"""Saying on stderr what a command is doing: a bar on a terminal, else a line for each phase.

Nothing heavy is imported here, so that the first line comes before everything that takes time.
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
_LEAST_SHARE = 0.02
"""Share of the work that has to be done before the rest of the time is estimated."""


def duration(seconds: float) -> str:
    """Return a time span in the largest unit of which it holds two."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.1f} s"


@dataclass(slots=True)
class Phase:
    """One phase of a command: its title, and how far it has come.

    Attributes:
        title: what the command is doing.
        total: parts there are; None where their number is not known.
        in_percent: whether parts are shown as a share of the whole, with the time left.
        done: parts that are done.
        note: what is being done right now.
        clock: seconds that only grow.
    """

    title: str
    total: float | None = None
    in_percent: bool = False
    done: float = 0.0
    note: str = ""
    clock: Callable[[], float] = time.monotonic
    on_change: Callable[["Phase"], None] | None = None
    _began: float = field(init=False)
    _first: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self._began = self.clock()

    def update(
        self, done: float | None = None, total: float | None = None, note: str | None = None
    ) -> None:
        """Take note of how far the phase has come; None leaves a value as it is."""
        if total is not None:
            self.total = total
        if done is not None:
            self.done = done
            if self._first is None:
                # A training that goes on from a checkpoint begins in the middle.
                self._first = self.clock(), done
        if note is not None:
            self.note = note
        if self.on_change is not None:
            self.on_change(self)

    def advance(self, note: str) -> None:
        """Take note of one more part that is done."""
        self.update(self.done + 1, note=note)

    @property
    def elapsed(self) -> float:
        """Seconds since the phase began."""
        return self.clock() - self._began

    def seconds_left(self) -> float | None:
        """Return an estimate of the time left by the pace so far; None where it is too early."""
        if self._first is None or not self.total:
            return None
        since, before = self._first
        gained = self.done - before
        if gained < _LEAST_SHARE * self.total:
            return None
        return (self.clock() - since) * (self.total - self.done) / gained

    def state(self) -> str:
        """Return how far the phase has come, in words."""
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
    """Show on stderr that a phase has begun, and how far it comes while the block runs.

    Args:
        title: what the command is doing.
        total: parts there are, where their number is known.
        in_percent: whether to show the share that is done and the time left, not parts.
    """
    shown = Phase(title, total, in_percent)
    with _bar(shown) if sys.stderr.isatty() else _lines(shown):
        yield shown


@contextmanager
def _lines(shown: Phase) -> Iterator[None]:
    """Write a line when a phase begins, and another one every few seconds while it lasts."""
    ended = threading.Event()

    def keep_writing() -> None:
        while not ended.wait(PAUSE_SECONDS):
            parts = [shown.state(), f"{duration(shown.elapsed)} so far"]
            _write(f"{shown.title}: {'; '.join(part for part in parts if part)}")

    _write(f"{shown.title} ...")
    writer = threading.Thread(target=keep_writing, name="weft-progress", daemon=True)
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
        # The reader of stderr has gone; the answer on stdout does not depend on it.
        return


@contextmanager
def _bar(shown: Phase) -> Iterator[None]:
    """Draw a bar on the terminal that disappears when the phase ends."""
    from rich.markup import escape  # noqa: PLC0415  # needs time that only terminals pay
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

        def draw(one: Phase) -> None:
            state = escape(one.state())
            progress.update(task, completed=one.done, total=one.total, state=state)

        shown.on_change = draw
        try:
            yield
        finally:
            shown.on_change = None
