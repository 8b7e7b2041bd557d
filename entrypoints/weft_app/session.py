"""The first steps of most commands: open an engine, fetch, compile; and messages on stderr."""

import asyncio
import atexit
import logging
from collections.abc import Sequence
from dataclasses import replace
from tempfile import TemporaryDirectory

from rich.markup import escape

from weft.collect.intake import RoundResult
from weft.config.loading import LoadedSettings, load_settings
from weft.domain.instruments import find_spelling
from weft.domain.signal import Report
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.features.kernels import is_cached_on_disk
from weft.foundation.errors import StorageError, nearest
from weft.foundation.times import DAY, SECOND, parse_time, to_datetime
from weft.market.view import View
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.compiling import compiled_ahead
from weft_app.profile import Profile
from weft_app.progress import duration, phase
from weft_app.terminal import console

_log = logging.getLogger("weft.collecting")

_MAX_PROBLEMS = 20
_MIN_SHARED_LINE = 2
_PAUSE = 2 * SECOND


def settings_of(profile: Profile) -> LoadedSettings:
    """Return the settings that a profile selects.

    Raises:
        ConfigError: the configuration has mistakes; one line for each.
    """
    return load_settings(profile.config, profile.overrides)


def open_engine(profile: Profile, *, records: bool = True) -> Engine:
    """Return an engine for a profile.

    Args:
        profile: which composition.
        records: whether the command writes to the ledger. If it does not, an empty temporary ledger
            replaces a ledger that cannot be opened.

    Raises:
        ConfigError: the configuration has mistakes; one line for each.
        StorageError: the lake or the ledger cannot be opened.
    """
    with phase("Opening the lake and the ledger"):
        loaded = settings_of(profile)
        try:
            return assemble(loaded, Registry(discover()))
        except StorageError as error:
            if records or "ledger" not in (error.where or ""):
                raise
            problem = str(error)
        console.print(
            f"[yellow]{escape(problem)}[/]\nThis command records nothing and goes on without the "
            "ledger; models promoted in it are not used.",
            soft_wrap=True,
        )
        folder = TemporaryDirectory(prefix="weft-")
        atexit.register(folder.cleanup)
        ledger = f"sqlite:///{folder.name}/ledger.db"
        storage = loaded.settings.storage.model_copy(update={"ledger": ledger})
        settings = loaded.settings.model_copy(update={"storage": storage})
        return assemble(replace(loaded, settings=settings), Registry(discover()))


def fetch_new(engine: Engine, wait_seconds: float = 0.0) -> list[RoundResult]:
    """Fetch new data and show the progress; print which rows were refused or repaired.

    At the first start on a machine, a child process compiles the kernels meanwhile.

    Args:
        engine: the engine whose store is filled.
        wait_seconds: how long after a close to ask again for candles that are still missing.
    """
    with compiled_ahead() as is_compiling:
        results = asyncio.run(_fetch_new(engine, wait_seconds))
        if is_compiling:
            compile_features(engine)
    return results


async def _fetch_new(engine: Engine, wait_seconds: float) -> list[RoundResult]:
    with phase("Collecting") as collecting:
        counts: dict[str, int] = {}

        def show(collected: RoundResult) -> None:
            counts[collected.provider] = collected.new
            note = f"{sum(counts.values()):,} new facts, the latest from {collected.provider}"
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
    """Compile the indicators of the composition and show the progress."""
    # From the last one, because a child process may be compiling from the first.
    features = engine.step_features()[::-1]
    with phase("Compiling indicators", total=len(features)) as compiling:
        engine.features.compile(features, compiling.advance)
    if not is_cached_on_disk():
        console.print(
            "[yellow]The compiled indicators cannot be stored, because no cache folder is "
            "writable; every start compiles them again. Set NUMBA_CACHE_DIR to a writable folder."
        )


def compose_report(engine: Engine, view: View) -> Report:
    """Return the signals of a view's newest decision row, showing the progress."""
    compile_features(engine)
    with phase("Composing"):
        return engine.report(engine.compose(view))


def data_label(kind: str, as_of: str, engine: Engine) -> str:
    """Return the kind of the data and, where the newest candles are late, their age.

    Example: ``real data, candles 3 days old``.

    Args:
        kind: real, synthetic or sandbox.
        as_of: decision row of the table, ISO 8601 UTC.
        engine: knows the newest candles and the time.
    """
    behind = _behind_seconds(as_of, engine)
    age = "" if behind is None else f", candles {duration(behind)} old"
    return f"{kind} data{age}"


def warn_about(report: Report, engine: Engine) -> None:
    """Print on stderr why a report does not describe the real market of this hour."""
    if report.data != "real":
        console.print(f"[yellow]Data: {report.data}. These signals are about no real market.")
    instruments = engine.market.instruments
    known = [instrument.symbol for instrument in instruments]
    for symbol in engine.composition.universe.named():
        if symbol not in instruments:
            close = find_spelling(symbol, known) or nearest(symbol, known)
            hint = f"; did you mean {close}?" if close else ""
            console.print(f"[yellow]universe: no source brings {escape(symbol + hint)}")
    behind = _behind_seconds(report.as_of, engine)
    if behind is not None:
        console.print(
            f"[yellow]The newest candles closed at "
            f"{to_datetime(engine.latest_close()):%Y-%m-%d %H:%M} UTC, {duration(behind)} ago."
        )


def _behind_seconds(as_of: str, engine: Engine) -> float | None:
    """Return the age of the newest candles where they are late; None for fresh or past ones."""
    newest = engine.latest_close()
    behind = (engine.clock.now() - newest) // SECOND
    late = behind > 2 * engine.composition.interval.micros // SECOND
    return behind if late and parse_time(as_of) == newest else None


def without_name(line: str, provider: str) -> str:
    """Return a message about a provider without the provider's name at its start."""
    for prefix in (f"provider {provider}: ", f"{provider}: "):
        line = line.removeprefix(prefix)
    return line


def print_problems(collected: RoundResult) -> None:
    """Print which rows of a provider were refused or repaired, and why the provider stopped."""
    name = escape(collected.provider)
    lines = collected.problems + ([collected.error] if collected.error else [])
    lines = [without_name(line, collected.provider) for line in dict.fromkeys(lines)]
    for line in lines[:_MAX_PROBLEMS]:
        console.print(f"[yellow]{name}:[/] {escape(line)}", soft_wrap=True)
    if len(lines) > _MAX_PROBLEMS:
        console.print(f"[yellow]{name}:[/] and {len(lines) - _MAX_PROBLEMS} more")


def print_round(engine: Engine, collected: Sequence[RoundResult]) -> None:
    """Print the problems of a round.

    Two or more sources without candles share one line: a plan or a sandbox often lacks many series,
    and signals are composed without them.
    """
    brings = {p.component.key: p.component.brings_candles for p in engine.composition.providers}
    lacking = [r for r in collected if (r.problems or r.error) and not brings[r.provider]]
    if len(lacking) < _MIN_SHARED_LINE:
        lacking = []
    for result in collected:
        if result not in lacking:
            print_problems(result)
    if not lacking:
        return
    failed = [result.provider for result in lacking if result.error]
    partly = [result.provider for result in lacking if not result.error]
    parts = [f"{len(collected) - len(lacking)} sources answered in full"]
    parts += [f"{len(partly)} in part: {', '.join(partly)}"] if partly else []
    parts += [f"{len(failed)} did not answer: {', '.join(failed)}"] if failed else []
    console.print(
        f"[yellow]{escape('; '.join(parts))}.[/] [dim]For the reasons, add -v or run "
        f"`weft providers check {escape(lacking[0].provider)}`.",
        soft_wrap=True,
    )
    for result in lacking:
        for line in (*result.problems, *([result.error] if result.error else [])):
            _log.info("%s: %s", result.provider, line)
