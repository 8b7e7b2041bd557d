"""`weft backfill`: bring history as far back as it is wanted; resumable."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from weft.intake import Collected
from weft.times import DAY, parse_time
from weft_app.session import console, open_engine, print_problems


def run(since: str | None, config: Path | None, overrides: Sequence[str]) -> bool:
    """Ask every provider for its history, show how far each is, and return whether all finished.

    What was stored before an interruption is not asked for again.

    Args:
        since: ISO 8601 instant; None for ``history_days`` ago.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.

    Raises:
        WeftError: a provider that must not be missing failed.
    """
    engine = open_engine(config, overrides)
    try:
        now = engine.clock.now()
        history = engine.collector.history_days * DAY
        first = now - history if since is None else parse_time(since)
        names = [placed.provider.key for placed in engine.composition.providers]
        with _bars() as progress:
            days = max(1, (now - first) // DAY)
            tasks = {
                name: progress.add_task(escape(name), total=days, new="0 new") for name in names
            }

            def show(collected: Collected) -> None:
                reached = collected.reached or first
                progress.update(
                    tasks[collected.provider],
                    completed=min(max(0, (reached - first) // DAY), days),
                    new=f"{collected.new:,} new",
                )

            done = asyncio.run(engine.update(show, since=first))
            for one in done:
                if one.error is None:
                    progress.update(tasks[one.provider], completed=days)
        for one in done:
            print_problems(one)
        console.print(_summary(done))
        return all(one.error is None for one in done)
    finally:
        engine.close()


def _bars() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("days  [dim]{task.fields[new]}"),
        console=console,
        disable=not console.is_terminal,
    )


def _summary(done: Sequence[Collected]) -> Table:
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
