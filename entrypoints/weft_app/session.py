"""What every command does first: settings, engine, and showing progress on stderr."""

import sys
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from weft.assembly import assemble
from weft.config.loading import load_settings
from weft.engine import Engine
from weft.features.kernels import is_cached_on_disk
from weft.intake import Collected
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.signal import Report
from weft.times import SECOND, parse_time, to_datetime

console = Console(stderr=True, highlight=False, emoji=False)
"""Everything that is not the answer goes to stderr, so that stdout can be piped."""

_MOST_PROBLEMS_SHOWN = 20
_PAUSE = 2 * SECOND
_UNITS = (("years", 31_557_600), ("days", 86_400), ("hours", 3_600), ("minutes", 60))


def open_answer() -> Console:
    """Return a console on stdout for the answer; whatever is not our own text is to be escaped."""
    return Console(highlight=False, emoji=False)


def print_json(body: bytes) -> None:
    """Print JSON as it was serialised, on a terminal with indents."""
    if sys.stdout.isatty():
        body = orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2)
    sys.stdout.write(body.decode() + "\n")


def duration(seconds: float) -> str:
    """Return a time span in the largest unit of which it holds two."""
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{seconds:,.1f} s"


def open_engine(config: Path | None, overrides: Sequence[str]) -> Engine:
    """Return an engine for a config file and overrides.

    Raises:
        ConfigError: one line per mistake.
    """
    return assemble(load_settings(config, overrides), Registry(discover()))


async def bring_up_to_date(engine: Engine, wait_seconds: float = 0.0) -> list[Collected]:
    """Fetch what is new, showing what arrives; print what was refused or repaired.

    Args:
        engine: whose store to fill.
        wait_seconds: how long after a close to ask again for candles that are still missing.
    """
    with _bar("[dim]{task.fields[note]}") as progress:
        task = progress.add_task("Collecting", total=None, note="")

        def show(collected: Collected) -> None:
            progress.update(task, note=escape(f"{collected.provider}: {collected.new:,} new"))

        collected = await engine.update(show)
        while engine.awaited(wait_seconds):
            progress.update(task, note="waiting for the last candles")
            await engine.clock.sleep_until(engine.clock.now() + _PAUSE)
            collected = await engine.update(show)
    for one in collected:
        print_problems(one)
    return collected


def compile_features(engine: Engine) -> None:
    """Compile the indicators the composition uses, showing how far it has come."""
    features = engine.step_features()
    with _bar("[dim]{task.fields[note]}") as progress:
        task = progress.add_task("Compiling indicators", total=len(features), note="")

        def show(name: str) -> None:
            progress.update(task, advance=1, note=escape(name))

        engine.features.compile(features, show)
    if not is_cached_on_disk():
        console.print(
            "[yellow]No folder can be written to keep the compiled indicators; they are compiled "
            "at every start. Set NUMBA_CACHE_DIR to a folder that can be written."
        )


def warn_about(report: Report, engine: Engine) -> None:
    """Say on stderr what keeps a report from being about the market of this hour."""
    if report.data != "real":
        console.print(f"[yellow]Data: {report.data}. These signals are about no real market.")
    newest = engine.latest_close()
    behind = (engine.clock.now() - newest) // SECOND
    if (
        parse_time(report.as_of) == newest
        and behind > 2 * engine.composition.interval.micros // SECOND
    ):
        console.print(
            f"[yellow]The newest candles closed at {to_datetime(newest):%Y-%m-%d %H:%M} UTC, "
            f"{duration(behind)} ago."
        )


def _bar(*extra: str) -> Progress:
    columns = [TextColumn(text) for text in extra]
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *columns,
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def without_name(line: str, provider: str) -> str:
    """Return a line about a provider without the provider's name, for use behind the name."""
    for prefix in (f"provider {provider}: ", f"{provider}: "):
        line = line.removeprefix(prefix)
    return line


def print_problems(collected: Collected) -> None:
    """Print what was refused or repaired of what a provider brought, and why it stopped."""
    name = escape(collected.provider)
    lines = collected.problems + ([collected.error] if collected.error else [])
    lines = [without_name(line, collected.provider) for line in dict.fromkeys(lines)]
    for line in lines[:_MOST_PROBLEMS_SHOWN]:
        console.print(f"[yellow]{name}:[/] {escape(line)}", soft_wrap=True)
    if len(lines) > _MOST_PROBLEMS_SHOWN:
        console.print(f"[yellow]{name}:[/] and {len(lines) - _MOST_PROBLEMS_SHOWN} more")
