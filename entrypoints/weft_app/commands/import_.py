"""`weft import`: show what Weft reads in candle files, and set it down in a config file."""

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from weft.config.loading import DEFAULT_FILE, LoadedSettings, load_settings
from weft.config.merging import from_arguments
from weft.config.resolve import validate_options
from weft.config.settings import ProviderSlot
from weft.config.tree import plain
from weft.domain.signal import to_json
from weft.foundation.clock import SystemClock
from weft.foundation.errors import DataError
from weft.foundation.times import Interval
from weft_app.files_section import SLOT, same_place, write_readings
from weft_app.profile import JsonOption, profile_of
from weft_app.progress import phase
from weft_app.terminal import open_results, print_json
from weft_providers.files.provider import Files
from weft_providers.files.survey import FileReport, SeriesReport, Survey, survey_files

_MOST_LAYOUTS: Final = 6
_MOST_LINES: Final = 5
_MOST_FILES: Final = 10
_MOST_SERIES: Final = 40
_SEPARATORS: Final = {"\t": "tabs", " ": "spaces", ",": "commas", ";": "semicolons"}
_WORDS: Final = {"tab": "\t", "\\t": "\t", "space": " "}
_PLAIN: Final = ("columns", "skip_rows")
"""Options whose text is YAML; all others are plain text."""

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class _Reading:
    """One path, the options it is read with, and the result."""

    path: Path
    config: Files.Config
    survey: Survey


@app.command("import")
def import_files(  # noqa: PLR0913  # one parameter for each option
    context: typer.Context,
    paths: Annotated[list[Path], typer.Argument(help="Candle files, or folders of candle files.")],
    *,
    write: Annotated[
        Path | None,
        typer.Option("--write", help="Config file to which providers.files is written."),
    ] = None,
    pattern: Annotated[str | None, typer.Option(help="Files of a folder: '**/*.csv'.")] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Weft's names of columns: '{Datum: date}', or a list in their order."),
    ] = None,
    symbol: Annotated[
        str | None,
        typer.Option(help="A symbol, or its place in file names: '{symbol}-{interval}'."),
    ] = None,
    interval: Annotated[
        str | None, typer.Option(help="Length of the candles, where the files do not show it: 1h.")
    ] = None,
    separator: Annotated[str | None, typer.Option(help="Between fields: ';', or tab.")] = None,
    decimal: Annotated[str | None, typer.Option(help="Decimal sign: . or ,")] = None,
    encoding: Annotated[str | None, typer.Option(help="Encoding of text files: cp1252.")] = None,
    skip_rows: Annotated[
        int | None, typer.Option(help="Lines above the header, or above the first candle.", min=0)
    ] = None,
    time_format: Annotated[
        str | None, typer.Option(help="Format of times: '%d.%m.%Y %H:%M', or excel.")
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Zone of times without one: America/New_York.")
    ] = None,
    venue: Annotated[str | None, typer.Option(help="Venue of the instruments.")] = None,
    market: Annotated[str | None, typer.Option(help="spot, perpetual or equity.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what Weft reads in your own candle files, and what not; store nothing."""
    options = {
        "pattern": pattern,
        "columns": columns,
        "symbol": symbol,
        "interval": interval,
        "separator": separator,
        "decimal": decimal,
        "encoding": encoding,
        "skip_rows": skip_rows,
        "time_format": time_format,
        "time_zone": time_zone,
        "venue": venue,
        "market": market,
    }
    profile = profile_of(context)
    if not run(paths, write, options, profile.config, profile.overrides, as_json=as_json):
        raise typer.Exit(1)


def run(
    paths: Sequence[Path],
    write: Path | None,
    options: Mapping[str, object | None],
    config: Path | None,
    overrides: Sequence[str],
    *,
    as_json: bool,
) -> bool:
    """Print what Weft reads at each path, and return whether any candle can be read.

    Args:
        paths: files and folders.
        write: config file to set the reading down in; None to change nothing.
        options: options of the files provider by name; None for one that is not given.
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``.
        as_json: whether to print JSON.

    Raises:
        ConfigError: an option or the config file is wrong, or nothing is at a path.
    """
    if write is not None and config is None and write.exists():
        config = write
    given = [*overrides, *_as_overrides(options)]
    loaded = load_settings(config, given)
    interval = Interval.parse(loaded.settings.base_interval or loaded.settings.interval)
    readings = [_read(path, loaded, given, interval) for path in paths]
    usable = any(reading.survey.series for reading in readings)
    settings = _needed_settings(loaded, readings)
    changed = None
    if write is not None and usable:
        configs = [reading.config for reading in readings if reading.survey.series]
        changed = write_readings(write, configs, settings)
    if as_json:
        surveys = [reading.survey for reading in readings]
        print_json(to_json({"paths": surveys, "settings": settings, "changed": changed}))
        return usable
    results = open_results()
    for reading in readings:
        _print_survey(results, reading.survey)
    if usable:
        again = ["weft", "import", *map(str, paths), *_flags(options), *_set(overrides)]
        if changed is None or write is None:
            _print_how_to_write(results, [*again, "--write", str(config or DEFAULT_FILE)], settings)
        else:
            _print_next(results, write, changed, settings, overrides)
    return usable


def _as_overrides(options: Mapping[str, object | None]) -> Iterator[str]:
    for name, value in options.items():
        if value is not None:
            text = str(value)
            text = text if name in _PLAIN else json.dumps(_WORDS.get(text, text))
            yield f"providers.{SLOT}.{name}={text}"


def _read(
    path: Path, loaded: LoadedSettings, overrides: Sequence[str], interval: Interval
) -> _Reading:
    """Read one path with its options from config, environment and command line."""
    slot = loaded.settings.providers[SLOT]
    configured = slot.options.get("path")
    if configured is not None and not same_place(Path(str(configured)), path):
        # The options in the config file are about the files of another folder.
        tree, _ = from_arguments(overrides)
        values = plain(tree).get("providers", {}).get(SLOT, {})
        slot = ProviderSlot(use=slot.use, **values)
    slot = ProviderSlot(**{**slot.options, "use": slot.use, "path": str(path)})
    options = validate_options(Files, slot, f"providers.{SLOT}", loaded.origins)
    assert isinstance(options, Files.Config)  # noqa: S101  # the Config of the class above
    files = Files(options)
    with phase(f"Reading {path}") as reading:

        def show(name: str, number: int, total: int) -> None:
            reading.update(number, total, name)

        try:
            survey = survey_files(files, interval, SystemClock().now(), show)
        except DataError as error:
            report = FileReport(str(path), "not read", "", problem=error.message, hint=error.hint)
            survey = Survey(str(path), (report,), ())
    return _Reading(path, options, survey)


def _needed_settings(loaded: LoadedSettings, readings: Sequence[_Reading]) -> dict[str, str]:
    """Return the intervals to set where no file holds candles of the configured interval."""
    series = [item for reading in readings for item in reading.survey.series]
    if not series or any(item.used for item in series):
        return {}
    rows: dict[Interval, int] = {}
    for item in series:
        length = Interval.parse(item.interval)
        rows[length] = rows.get(length, 0) + item.rows
    decided = Interval.parse(loaded.settings.interval)
    finer = [length for length in rows if decided.holds(length) and length != decided]
    if finer:
        return {"base_interval": max(finer).name}
    usual = max(rows, key=rows.__getitem__)
    return {"interval": usual.name} | (
        {"base_interval": usual.name} if loaded.settings.base_interval else {}
    )


# Printing


def _print_survey(results: Console, survey: Survey) -> None:
    read = [report for report in survey.files if report.status == "read"]
    candles = sum(item.rows for item in survey.series)
    symbols = len({item.symbol for item in survey.series})
    results.print(
        f"[bold]{escape(survey.path)}[/]: {_count(len(read), 'file')} of {len(survey.files)} read, "
        f"{_count(candles, 'candle')} of {_count(symbols, 'symbol')}"
    )
    if survey.series:
        results.print(_series_table(survey.series[:_MOST_SERIES]))
        _print_rest(results, len(survey.series) - _MOST_SERIES, "series")
        _print_holes(results, survey.series)
    layouts = _by_layout(read)
    for reports in layouts[:_MOST_LAYOUTS]:
        _print_layout(results, reports)
    _print_rest(results, len(layouts) - _MOST_LAYOUTS, "forms of files")
    _print_refused(results, read)
    unread = [report for report in survey.files if report.status == "not read"]
    for report in unread[:_MOST_FILES]:
        hint = f" [bold]{escape(report.hint)}.[/]" if report.hint else ""
        line = f"[red]{escape(report.name)}[/]: not read: {escape(report.problem or '')}.{hint}"
        results.print(line)
    _print_rest(results, len(unread) - _MOST_FILES, "files that are not read")
    passed = [report.name for report in survey.files if report.status == "no candles"]
    if passed:
        names = ", ".join(passed[:_MOST_LINES])
        more = f" and {len(passed) - _MOST_LINES} more" if len(passed) > _MOST_LINES else ""
        results.print(f"[dim]Without candles, passed over: {escape(names)}{more}.[/]")
    if not survey.series and passed and not unread:
        report = next(item for item in survey.files if item.status == "no candles")
        results.print(
            f"[red]{escape(report.name)}[/]: {escape(report.problem or '')}. "
            f"[bold]{escape(report.hint or '')}.[/]"
        )


def _series_table(series: Sequence[SeriesReport]) -> Table:
    """Return a table with a row for each series; the title holds what all series share."""
    kinds, intervals = {item.kind for item in series}, {item.interval for item in series}
    shared = [f"taken for {kind}" for kind in kinds if len(kinds) == 1]
    shared += [f"candles of {interval}" for interval in intervals if len(intervals) == 1]
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    table.title = ", ".join(shared) or None
    table.add_column("symbol", overflow="fold")
    extra = {"kind": len(kinds) > 1, "interval": len(intervals) > 1}
    for name in (*(name for name in extra if extra[name]), "first (UTC)", "last (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("rows", "gaps"):
        table.add_column(name, no_wrap=True, justify="right")
    for item in series:
        table.add_row(
            escape(item.symbol),
            *([item.kind] if extra["kind"] else []),
            *([item.interval] if extra["interval"] else []),
            _open(item.first, item.interval),
            _open(item.last, item.interval),
            f"{item.rows:,}",
            f"{len(item.gaps):,}",
            style="" if item.used else "dim",
        )
    return table


def _print_holes(results: Console, series: Sequence[SeriesReport]) -> None:
    holed = [item for item in series if item.gaps]
    for item in holed[:_MOST_FILES]:
        missing = "" if item.missing is None else f", {_count(item.missing, 'candle')} missing"
        spans = [_gap(gap.after, gap.before, gap.candles) for gap in item.gaps[:_MOST_LINES]]
        more = ", ..." if len(item.gaps) > _MOST_LINES else ""
        results.print(
            f"[yellow]{escape(item.symbol)} {item.interval}[/]: {_count(len(item.gaps), 'gap')}"
            f"{missing}: {'; '.join(spans)}{more}"
        )
    _print_rest(results, len(holed) - _MOST_FILES, "series with gaps")
    for item in [item for item in series if item.conflicts][:_MOST_FILES]:
        results.print(
            f"[yellow]{escape(item.symbol)} {item.interval}[/]: {_count(item.conflicts, 'candle')} "
            "with different values in several files: refused where the files are read together, "
            "else the first file counts. Keep one of the files, or choose with --pattern."
        )


def _gap(after: str, before: str, candles: int | None) -> str:
    missing = "closed" if candles is None else f"{candles:,}"
    return f"{missing} between {_minute(after)} and {_minute(before)}"


def _by_layout(reports: Sequence[FileReport]) -> list[list[FileReport]]:
    """Group files that are written alike, the most common layout first."""
    layouts: dict[object, list[FileReport]] = {}
    for report in reports:
        layouts.setdefault(report.layout, []).append(report)
    return sorted(layouts.values(), key=len, reverse=True)


def _print_layout(results: Console, reports: Sequence[FileReport]) -> None:
    """Print how files of one layout are written, and how each column is read."""
    first = reports[0]
    more = f" and {len(reports) - 1} more" if len(reports) > 1 else ""
    results.print(f"\n[bold]{escape(first.name)}[/]{more}: {escape(_form(first))}")
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("column", "read as", "first value", "written as"):
        table.add_column(name, overflow="fold")
    symbol = first.columns[0].symbol if first.columns else None
    for column in first.columns:
        if column.symbol == symbol:
            table.add_row(
                escape(column.header or str(column.position)),
                column.name,
                escape(column.sample),
                escape(column.form),
            )
    results.print(table)
    if first.unread:
        results.print(f"[dim]Columns not read: {escape(', '.join(first.unread))}[/]")
    notes: dict[str, list[str]] = {}
    for report in reports:
        for note in report.notes:
            notes.setdefault(note, []).append(report.name)
    for note, names in list(notes.items())[:_MOST_FILES]:
        where = "" if len(names) == len(reports) else f"{names[0]}: "
        where = f"{len(names)} files: " if 1 < len(names) < len(reports) else where
        results.print(f"[dim]Note: {escape(where + note)}[/]")
    _print_rest(results, len(notes) - _MOST_FILES, "notes")


def _form(report: FileReport) -> str:
    parts = [report.format]
    if report.encoding:
        separator = _SEPARATORS.get(report.separator, repr(report.separator))
        sign = "points" if report.decimal == "." else "commas"
        parts += [report.encoding, f"fields between {separator}", f"decimal {sign}"]
        line = report.header_line
        parts.append("no header" if line is None else f"header on line {line}")
    symbol, interval = report.symbol_from, report.interval_from
    parts.append(f"symbol from the {_ORIGINS[symbol]}, interval from the {_ORIGINS[interval]}")
    return ", ".join(parts)


_ORIGINS: Final = {
    "column": "column",
    "name": "file's name",
    "option": "option",
    "spacing": "spacing of candles",
    "config": "configuration",
}


def _print_refused(results: Console, reports: Sequence[FileReport]) -> None:
    """Print the lines that are left out, grouped by reason."""
    refused = [report for report in reports if report.refused]
    for report in refused[:_MOST_FILES]:
        results.print(
            f"\n[yellow]{escape(report.name)}[/]: {_count(report.refused, 'row')} left out"
        )
        by_reason = groupby(
            sorted(report.refused_lines, key=lambda item: item.reason), key=lambda item: item.reason
        )
        for reason, lines in by_reason:
            places = [
                f"line {item.line}"
                if item.line is not None
                else _minute(item.open_time or "no time")
                for item in lines
            ]
            more = f" and {len(places) - _MOST_LINES:,} more" if len(places) > _MOST_LINES else ""
            results.print(f"  {', '.join(places[:_MOST_LINES])}{more}: {escape(reason)}")
    _print_rest(results, len(refused) - _MOST_FILES, "files with rows left out")


def _print_rest(results: Console, count: int, noun: str) -> None:
    if count > 0:
        results.print(f"[dim]and {count:,} more {noun}; --json lists all[/]")


def _print_how_to_write(
    results: Console, command: Sequence[str], settings: Mapping[str, str]
) -> None:
    """Print what the configuration lacks, and the command that writes this reading."""
    results.print()
    if settings:
        keys = " and ".join(f"{name}: {value}" for name, value in settings.items())
        results.print(
            f"[yellow]The files hold no candles of the configured interval. Set {escape(keys)} to "
            "use them.[/]"
        )
    line = f"Nothing is stored yet. To keep this reading: {escape(shlex.join(command))}"
    results.print(line, soft_wrap=True)


def _print_next(
    results: Console,
    file: Path,
    changed: Sequence[str],
    settings: Mapping[str, str],
    overrides: Sequence[str],
) -> None:
    """Print which keys changed, and the next command, with all that the file does not hold."""
    keys = ", ".join(changed) or "nothing, as it reads the files so already"
    results.print(f"\nChanged in {escape(str(file))}: {escape(keys)}", soft_wrap=True)
    needed = [text for text in overrides if not text.startswith(f"providers.{SLOT}.")]
    needed += [f"{name}={value}" for name, value in settings.items() if name not in changed]
    named = [] if file == DEFAULT_FILE else ["-c", str(file)]
    command = shlex.join(["weft", "signals", *named, *_set(needed)])
    results.print(f"Next: {escape(command)}", soft_wrap=True)


def _flags(options: Mapping[str, object | None]) -> Iterator[str]:
    """Yield the options as they stand on the command line."""
    for name, value in options.items():
        if value is not None:
            yield from (f"--{name.replace('_', '-')}", str(value))


def _set(overrides: Iterable[str]) -> list[str]:
    return [word for override in overrides for word in ("--set", override)]


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _open(time: str, interval: str) -> str:
    """Return the open time of a candle: a day where its candles are days or weeks."""
    return time[:10] if interval[-1] in "dw" and "T00:00" in time else _minute(time)


def _minute(time: str) -> str:
    return time.replace("T", " ")[:16]
