"""`weft backfill`: bring history as far back as it is wanted; resumable."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from weft.collect.intake import RoundResult
from weft.domain.signal import to_json
from weft.foundation.times import DAY
from weft_app.progress import phase
from weft_app.session import (
    console,
    open_answer,
    open_engine,
    parse_instant,
    print_json,
    print_problems,
)


def run(
    since: str | None, config: Path | None, overrides: Sequence[str], *, as_json: bool = False
) -> bool:
    """Ask every provider for its history, show how far each is, and return whether all finished.

    What was stored before an interruption is not asked for again.

    Args:
        since: ISO 8601 instant; None for ``history_days`` ago.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        as_json: whether to print JSON.

    Raises:
        WeftError: a provider that must not be missing failed.
    """
    engine = open_engine(config, overrides)
    try:
        now = engine.clock.now()
        history = engine.collector.history_days * DAY
        first = now - history if since is None else parse_instant(since)
        names = [configured.component.key for configured in engine.composition.providers]
        with _shown(names, first, now) as show:
            done = asyncio.run(engine.update(show, since=first))
        for one in done:
            print_problems(one)
        if as_json:
            print_json(to_json(done))
        else:
            open_answer().print(_summary(done))
        return all(one.error is None for one in done)
    finally:
        engine.close()


@contextmanager
def _shown(names: Sequence[str], first: int, now: int) -> Iterator[Callable[[RoundResult], None]]:
    """Give a function that shows how far each provider has come, from the first day to now."""
    days = max(1, (now - first) // DAY)

    def reached(collected: RoundResult) -> int:
        return min(max(0, ((collected.reached or first) - first) // DAY), days)

    if console.is_terminal:
        with _bars() as progress:
            tasks = {n: progress.add_task(escape(n), total=days, new="0 new") for n in names}

            def draw(collected: RoundResult) -> None:
                progress.update(
                    tasks[collected.provider],
                    completed=reached(collected),
                    new=f"{collected.new:,} new",
                )

            yield draw
    else:
        with phase("Fetching history") as fetching:

            def note(collected: RoundResult) -> None:
                came = f"{reached(collected):,} of {days:,} days, {collected.new:,} new"
                fetching.update(note=f"{collected.provider} {came}")

            yield note


def _bars() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("days  [dim]{task.fields[new]}"),
        console=console,
    )


def _summary(done: Sequence[RoundResult]) -> Table:
    table = Table("provider", "new", "restated", "problems", "ended")
    for one in done:
        ended = "[green]complete[/]" if one.error is None else f"[red]{escape(one.error)}[/]"
        table.add_row(
            escape(one.provider),
            f"{one.new:,}",
            f"{one.restated:,}",
            f"{len(one.problems):,}",
            ended,
        )
    return table
