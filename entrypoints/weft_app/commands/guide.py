"""`weft guide`: what each model needs, what there is, and how long the rest takes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from weft.domain.signal import to_json
from weft.engine.training_needs import CANDLES, INTERVALS, Requirement, requirements
from weft.foundation.times import SECOND
from weft_app.session import bring_up_to_date, duration, open_answer, open_engine, print_json


def run(config: Path | None, overrides: Sequence[str], *, as_json: bool, fetch: bool) -> None:
    """Print what training needs."""
    engine = open_engine(config, overrides)
    try:
        if fetch:
            asyncio.run(bring_up_to_date(engine))
        needed = requirements(engine)
    finally:
        engine.close()
    if as_json:
        print_json(to_json(needed))
        return
    console = open_answer()
    console.print(_needs(needed))
    console.print(_gathering())
    console.print(_times(needed))


def _needs(needed: Sequence[Requirement]) -> Table:
    table = Table(title="What there is", title_justify="left", box=SIMPLE_HEAD)
    for name in ("component", "rows needed", "at most", "rows here"):
        table.add_column(name, justify="left" if name == "component" else "right", no_wrap=True)
    table.add_column("now")
    for one in needed:
        word = "[green]ready[/]: " if one.ready else "[yellow]not yet[/]: "
        numbers = (f"{count:,}" for count in (one.least_rows, one.most_rows, one.rows))
        table.add_row(escape(one.key), *numbers, word + escape(one.note))
    return table


def _gathering() -> Table:
    title = "How long gathering so many candles takes from nothing"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD)
    table.add_column("candles", justify="right")
    for interval in INTERVALS:
        table.add_column(interval.name, justify="right", no_wrap=True)
    for candles in CANDLES:
        spans = (duration(candles * interval.micros / SECOND) for interval in INTERVALS)
        table.add_row(f"{candles:,}", *spans)
    return table


def _times(needed: Sequence[Requirement]) -> Table:
    table = Table(
        title="How long training takes on this machine, by the latest training here",
        title_justify="left",
        caption=None
        if all(one.measured for one in needed)
        else "~ is a rough estimate: nothing of this component was trained here yet.",
        caption_justify="left",
        box=SIMPLE_HEAD,
    )
    table.add_column("component", no_wrap=True)
    for candles in CANDLES:
        table.add_column(f"{candles:,}", justify="right", no_wrap=True)
    for one in needed:
        about = "" if one.measured else "~"
        cells = (about + duration(one.seconds(candles)) for candles in CANDLES)
        table.add_row(escape(one.key), *cells)
    return table
