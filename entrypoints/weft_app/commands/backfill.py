"""`weft backfill`: fetch history; resumable."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table

from weft.collect.intake import RoundResult
from weft.domain.signal import to_json
from weft.foundation.times import DAY, parse_instant
from weft_app.profile import JsonOption, Profile, profile_of
from weft_app.progress import phase
from weft_app.session import open_engine, print_problems
from weft_app.terminal import console, open_results, print_json

app = typer.Typer(add_completion=False)


@app.command()
def backfill(
    context: typer.Context,
    *,
    since: Annotated[
        str | None, typer.Option(help="ISO 8601 time; history_days ago if left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch history as far back as you want. Resumes where it was interrupted."""
    results = fetch_history(profile_of(context), since)
    if as_json:
        print_json(to_json(results))
    else:
        open_results().print(_summary(results))
    if any(result.error is not None for result in results):
        raise typer.Exit(1)


def fetch_history(profile: Profile, since: str | None) -> list[RoundResult]:
    """Fetch the history of every provider, showing how far each has come.

    Stored history is not fetched again.

    Args:
        profile: which composition.
        since: ISO 8601 instant or day; None for ``history_days`` ago.

    Raises:
        WeftError: a required provider failed.
    """
    engine = open_engine(profile)
    try:
        now = engine.clock.now()
        history = engine.collector.history_days * DAY
        first = now - history if since is None else parse_instant(since)
        names = [configured.component.key for configured in engine.composition.providers]
        with _progress(names, first, now) as show:
            results = asyncio.run(engine.update(show, since=first))
        for result in results:
            print_problems(result)
        return results
    finally:
        engine.close()


@contextmanager
def _progress(
    names: Sequence[str], first: int, now: int
) -> Iterator[Callable[[RoundResult], None]]:
    """Yield a function that shows how many of the days from first to now a provider has."""
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
                state = f"{reached(collected):,} of {days:,} days, {collected.new:,} new"
                fetching.update(note=f"{collected.provider} {state}")

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


def _summary(results: Sequence[RoundResult]) -> Table:
    table = Table("provider", "new", "restated", "problems", "ended")
    for result in results:
        ended = "[green]complete[/]" if result.error is None else f"[red]{escape(result.error)}[/]"
        table.add_row(
            escape(result.provider),
            f"{result.new:,}",
            f"{result.restated:,}",
            f"{len(result.problems):,}",
            ended,
        )
    return table
