"""`weft guide`: the data each model needs, the data stored, and how long training takes."""

from collections.abc import Sequence
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import to_json
from weft.engine.training_needs import CANDLES, INTERVALS, Requirement, requirements
from weft.foundation.times import SECOND
from weft_app.profile import JsonOption, profile_of
from weft_app.progress import duration
from weft_app.session import fetch_new, open_engine
from weft_app.terminal import open_results, print_json

app = typer.Typer(add_completion=False)


@app.command()
def guide(
    context: typer.Context,
    *,
    fetch: Annotated[bool, typer.Option(help="Fetch new data from the providers first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what data each model needs, what is stored, and how long the rest takes."""
    engine = open_engine(profile_of(context))
    try:
        if fetch:
            fetch_new(engine)
        needs = requirements(engine)
    finally:
        engine.close()
    if as_json:
        print_json(to_json(needs))
        return
    console = open_results()
    console.print(_needs(needs))
    console.print(_gathering())
    console.print(_times(needs))


def _needs(needs: Sequence[Requirement]) -> Table:
    table = Table(title="Data stored", title_justify="left", box=SIMPLE_HEAD)
    for name in ("component", "rows needed", "at most", "rows here"):
        table.add_column(name, justify="left" if name == "component" else "right", no_wrap=True)
    table.add_column("now")
    for need in needs:
        word = "[green]ready[/]: " if need.ready else "[yellow]not yet[/]: "
        numbers = (f"{count:,}" for count in (need.least_rows, need.most_rows, need.rows))
        table.add_row(escape(need.key), *numbers, word + escape(need.note))
    return table


def _gathering() -> Table:
    title = "Time to gather that many candles from nothing"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("candles", justify="right")
    for interval in INTERVALS:
        table.add_column(interval.name, justify="right", no_wrap=True)
    for candles in CANDLES:
        spans = (duration(candles * interval.micros / SECOND) for interval in INTERVALS)
        table.add_row(f"{candles:,}", *spans)
    return table


def _times(needs: Sequence[Requirement]) -> Table:
    table = Table(
        title="Training time on this machine, from the latest training",
        title_justify="left",
        caption=None
        if all(need.measured for need in needs)
        else "~ marks a rough estimate: the component has not been trained here yet.",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("component", no_wrap=True)
    for candles in CANDLES:
        table.add_column(f"{candles:,}", justify="right", no_wrap=True)
    for need in needs:
        about = "" if need.measured else "~"
        cells = (about + duration(need.seconds(candles)) for candles in CANDLES)
        table.add_row(escape(need.key), *cells)
    return table
