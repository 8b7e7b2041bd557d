"""What every command does first: settings, engine, and showing progress on stderr."""

import atexit
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.markup import escape

from weft.collect.intake import RoundResult
from weft.config.loading import load_settings
from weft.domain.instruments import find_spelling
from weft.domain.signal import Report
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.features.kernels import is_cached_on_disk
from weft.foundation.errors import StorageError, nearest
from weft.foundation.times import DAY, SECOND, parse_instant, parse_time, to_datetime
from weft.market.view import View
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.progress import duration, phase
from weft_app.terminal import console, open_answer, print_json

__all__ = [
    "bring_up_to_date",
    "compile_features",
    "compose_report",
    "console",
    "duration",
    "open_answer",
    "open_engine",
    "parse_instant",
    "print_json",
    "print_problems",
    "warn_about",
]

_log = logging.getLogger("weft.collecting")

_MOST_PROBLEMS_SHOWN = 20
_FEWEST_IN_ONE_LINE = 2
_PAUSE = 2 * SECOND


def open_engine(config: Path | None, overrides: Sequence[str], *, records: bool = True) -> Engine:
    """Return an engine for a config file and overrides.

    Args:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        records: whether anything is to be written to the ledger. Where nothing is, a ledger that
            cannot be opened is replaced by an empty one for as long as the process runs.

    Raises:
        ConfigError: one line per mistake.
        StorageError: the lake or the ledger cannot be opened.
    """
    with phase("Opening the lake and the ledger"):
        loaded = load_settings(config, overrides)
        try:
            return assemble(loaded, Registry(discover()))
        except StorageError as error:
            if records or "ledger" not in (error.where or ""):
                raise
            problem = str(error)
        console.print(
            f"[yellow]{escape(problem)}[/]\nNothing is recorded, so that the ledger is not needed; "
            "models that were promoted in it are not used.",
            soft_wrap=True,
        )
        folder = TemporaryDirectory(prefix="weft-")
        atexit.register(folder.cleanup)
        ledger = f"sqlite:///{folder.name}/ledger.db"
        storage = loaded.settings.storage.model_copy(update={"ledger": ledger})
        settings = loaded.settings.model_copy(update={"storage": storage})
        return assemble(replace(loaded, settings=settings), Registry(discover()))


async def bring_up_to_date(engine: Engine, wait_seconds: float = 0.0) -> list[RoundResult]:
    """Fetch what is new, showing what arrives; print what was refused or repaired.

    Args:
        engine: whose store to fill.
        wait_seconds: how long after a close to ask again for candles that are still missing.
    """
    with phase("Collecting") as collecting:
        new: dict[str, int] = {}

        def show(collected: RoundResult) -> None:
            new[collected.provider] = collected.new
            note = f"{sum(new.values()):,} new facts, the latest from {collected.provider}"
            collecting.update(note=note)

        collected = await engine.update(show)
        while engine.awaited(wait_seconds):
            collecting.update(note="waiting for the last candles")
            await engine.clock.sleep_until(engine.clock.now() + _PAUSE)
            collected = await engine.update(show)
    print_round(engine, collected)
    _print_missing_history(engine)
    return collected


def _print_missing_history(engine: Engine) -> None:
    """Print how to fetch what lies before the stored history, where `history_days` was raised."""
    missing = engine.collector.missing_history()
    if missing:
        wanted = engine.clock.now() - engine.collector.history_days * DAY
        since, start = (f"{to_datetime(at):%Y-%m-%d}" for at in (wanted, max(missing.values())))
        console.print(
            f"[yellow]history_days reaches back to {since}; {escape(', '.join(missing))} was asked "
            f"from {start} on.[/] `weft backfill --since {since}` fetches the rest.",
            soft_wrap=True,
        )


def compile_features(engine: Engine) -> None:
    """Compile the indicators the composition uses, showing how far it has come."""
    features = engine.step_features()
    with phase("Compiling indicators", total=len(features)) as compiling:
        engine.features.compile(features, compiling.advance)
    if not is_cached_on_disk():
        console.print(
            "[yellow]No folder can be written to keep the compiled indicators; they are compiled "
            "at every start. Set NUMBA_CACHE_DIR to a folder that can be written."
        )


def compose_report(engine: Engine, view: View) -> Report:
    """Return the signals of a view's newest decision row, saying that they are being composed."""
    compile_features(engine)
    with phase("Composing"):
        return engine.report(engine.compose(view))


def warn_about(report: Report, engine: Engine) -> None:
    """Say on stderr what keeps a report from being about the market of this hour."""
    if report.data != "real":
        console.print(f"[yellow]Data: {report.data}. These signals are about no real market.")
    instruments = engine.market.instruments
    known = [instrument.symbol for instrument in instruments]
    for symbol in engine.composition.universe.named():
        if symbol not in instruments:
            close = find_spelling(symbol, known) or nearest(symbol, known)
            hint = f"; did you mean {close}?" if close else ""
            console.print(f"[yellow]universe: no source brings {escape(symbol + hint)}")
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


def without_name(line: str, provider: str) -> str:
    """Return a line about a provider without the provider's name, for use behind the name."""
    for prefix in (f"provider {provider}: ", f"{provider}: "):
        line = line.removeprefix(prefix)
    return line


def print_problems(collected: RoundResult) -> None:
    """Print what was refused or repaired of what a provider brought, and why it stopped."""
    name = escape(collected.provider)
    lines = collected.problems + ([collected.error] if collected.error else [])
    lines = [without_name(line, collected.provider) for line in dict.fromkeys(lines)]
    for line in lines[:_MOST_PROBLEMS_SHOWN]:
        console.print(f"[yellow]{name}:[/] {escape(line)}", soft_wrap=True)
    if len(lines) > _MOST_PROBLEMS_SHOWN:
        console.print(f"[yellow]{name}:[/] and {len(lines) - _MOST_PROBLEMS_SHOWN} more")


def print_round(engine: Engine, collected: Sequence[RoundResult]) -> None:
    """Print what was refused or repaired in a round, and why sources stopped.

    Sources that bring no candles share one line where several of them lack something: a plan or
    a stand-in leaves out many series, and none of them keeps a signal from being composed.
    """
    brings = {p.component.key: p.component.brings_candles for p in engine.composition.providers}
    lacking = [one for one in collected if (one.problems or one.error) and not brings[one.provider]]
    if len(lacking) < _FEWEST_IN_ONE_LINE:
        lacking = []
    for one in collected:
        if one not in lacking:
            print_problems(one)
    failed = [one.provider for one in lacking if one.error]
    partly = [one.provider for one in lacking if not one.error]
    if lacking:
        parts = [f"{len(collected) - len(lacking)} sources answered in full"]
        parts += [f"{len(partly)} in part: {', '.join(partly)}"] if partly else []
        parts += [f"{len(failed)} did not answer: {', '.join(failed)}"] if failed else []
        console.print(
            f"[yellow]{escape('; '.join(parts))}.[/] [dim]-v says why, and so does "
            f"`weft providers check {escape(lacking[0].provider)}`.",
            soft_wrap=True,
        )
    for one in lacking:
        for line in (*one.problems, *([one.error] if one.error else [])):
            _log.info("%s: %s", one.provider, line)
