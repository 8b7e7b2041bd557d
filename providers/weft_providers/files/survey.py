"""Report what Weft reads in candle files, and what not, without storing anything."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from weft.collect.checks.clean import clean_candles
from weft.domain.candles import FIELDS
from weft.domain.columns import instant
from weft.domain.instruments import Instrument
from weft.foundation.errors import DataError
from weft.foundation.times import DAY, SECOND, Interval, TimeError, iso
from weft_providers.files.folder import find_files
from weft_providers.files.forms import NotCandlesError
from weft_providers.files.names import NameParts, strip_suffix
from weft_providers.files.provider import Files
from weft_providers.files.tables import (
    CandleTable,
    ColumnReading,
    IntervalRows,
    split_intervals,
    whole_table,
)

_MOST_REFUSED: Final = 1_000
"""Refused lines listed for one file; the count covers all of them."""

_LONGEST_CLOSURE: Final = 12 * DAY
"""How long a market with sessions may be closed, as in `weft.domain.calendar`."""


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """One line, or one row of a table, that is left out.

    Attributes:
        line: number in the file, from 1; None where the file has no lines.
        open_time: ISO 8601; None where it cannot be read.
        reason: why the row is left out.
    """

    line: int | None
    open_time: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class FileReport:
    """Reading of one file.

    Attributes:
        name: path within the folder.
        status: ``read``, ``no candles`` (passed over in silence), or ``not read``.
        format: how the file ends: ``csv``, ``csv.gz``, ``parquet``.
        encoding: of a text file, else empty; likewise `separator` and `decimal`.
        header_line: number of the line that names the columns; None without such a line.
        columns: how each column is read.
        unread: names of the columns that are not read.
        symbols: symbols of the candles.
        symbol_from: ``column``, ``name`` (of file or folder) or ``option``.
        intervals: lengths of the candles.
        interval_from: ``column``, ``spacing``, ``name``, ``option``, or ``config`` where nothing
            in the file gives it.
        rows: candles that can be used.
        refused: number of lines or rows that are left out.
        refused_lines: the first 1,000 of them.
        notes: assumptions, one readable line each.
        problem: why the file is not read; None where it is.
        hint: what to do about the problem, with the option that decides.
    """

    name: str
    status: str
    format: str
    encoding: str = ""
    separator: str = ""
    decimal: str = ""
    header_line: int | None = None
    columns: tuple[ColumnReading, ...] = ()
    unread: tuple[str, ...] = ()
    symbols: tuple[str, ...] = ()
    symbol_from: str = ""
    intervals: tuple[str, ...] = ()
    interval_from: str = ""
    rows: int = 0
    refused: int = 0
    refused_lines: tuple[RefusedLine, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None
    hint: str | None = None

    @property
    def layout(self) -> tuple[object, ...]:
        """Everything that is equal for files written in the same way."""
        columns = tuple((c.name, c.position, c.header, c.form) for c in self.columns)
        text = (self.format, self.encoding, self.separator, self.decimal, self.header_line)
        return (*text, columns, self.unread, self.symbol_from, self.interval_from)


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole between two candles.

    Attributes:
        after: open time of the candle before the hole, ISO 8601.
        before: open time of the candle after it.
        candles: number of candles that are missing; None for a market with sessions.
    """

    after: str
    before: str
    candles: int | None


@dataclass(frozen=True, slots=True)
class SeriesReport:
    """The candles of one symbol and interval, of all files together.

    Attributes:
        symbol: name of the instrument.
        interval: length of a candle.
        kind: what the instrument is taken for.
        files: number of files that hold its candles.
        first: open time of the first candle, ISO 8601.
        last: open time of the last candle.
        rows: number of candles.
        gaps: holes between them. A market with sessions has a gap where it is closed for more than
            12 days.
        missing: number of candles missing in the gaps; None for a market with sessions.
        conflicts: open times that two files give with different values.
        used: whether Weft reads this interval with the present configuration.
    """

    symbol: str
    interval: str
    kind: str
    files: int
    first: str
    last: str
    rows: int
    gaps: tuple[Gap, ...]
    missing: int | None
    conflicts: int
    used: bool


@dataclass(frozen=True, slots=True)
class Survey:
    """Reading of all files at one path.

    Attributes:
        path: file or folder.
        files: one report for each file.
        series: one report for each symbol and interval, in the order of symbols.
    """

    path: str
    files: tuple[FileReport, ...]
    series: tuple[SeriesReport, ...]


@dataclass(frozen=True, slots=True)
class _CheckedRows:
    """The candles of one interval in one file, after the checks of the collector.

    Attributes:
        interval: length of the candles.
        origin: as in `FileReport.interval_from`.
        parts: parts of the file name.
        frame: candles that can be used.
        refused: the other rows, on `weft.collect.checks.clean.REFUSED_SCHEMA`.
        problems: what the checks report.
    """

    interval: Interval
    origin: str
    parts: NameParts
    frame: pl.DataFrame
    refused: pl.DataFrame
    problems: tuple[str, ...]


def survey_files(
    files: Files,
    interval: Interval,
    now: int,
    on_file: Callable[[str, int, int], None] = lambda _name, _number, _total: None,
) -> Survey:
    """Read every candle file of a provider as `Files.fetch` does, and report the result.

    Args:
        files: the provider, with the options to read with.
        interval: the candles that the configuration fetches.
        now: present instant, microseconds since 1970: a later candle is not closed.
        on_file: called before each file with its name, its number from 0, and the total.

    Raises:
        ConfigError: nothing is at the path.
        NoDataError: the folder holds no file of a known kind.
    """
    paths = find_files(files.config.path, "path", files.config.pattern)
    reports, checked = list[FileReport](), list[_CheckedRows]()
    for number, (name, file) in enumerate(paths.items()):
        on_file(name, number, len(paths))
        report, rows = _survey_file(files, name, file, interval, now)
        reports.append(report)
        checked += rows
    return Survey(str(files.config.path), tuple(reports), _series(files, checked, interval))


def _survey_file(
    files: Files, name: str, file: Path, interval: Interval, now: int
) -> tuple[FileReport, list[_CheckedRows]]:
    source = f"{files.name}: {name}"
    kind = file.name[len(strip_suffix(file.name)) + 1 :].lower()
    options = files.table_options
    try:
        parts = files.name_parts(name)
        table = whole_table(file, source, parts, options)
        stated = options.interval or parts.interval
        written = file.stat().st_mtime_ns // 1_000
        checked = []
        for rows in split_intervals(table.frame, stated, source):
            length = _length(rows, interval, source)
            origin = "option" if rows.origin == "name" and options.interval else rows.origin
            clean = clean_candles(rows.frame, length, now, source, written=written)
            checked.append(
                _CheckedRows(
                    length, origin or "config", parts, clean.frame, clean.refused, clean.problems
                )
            )
    except DataError as error:
        status = "no candles" if isinstance(error, NotCandlesError) else "not read"
        return FileReport(name, status, kind, problem=error.message, hint=error.hint), []
    return _report(files, name, kind, table, checked), checked


def _length(rows: IntervalRows, interval: Interval, source: str) -> Interval:
    """Return the interval of rows, or the configured interval where nothing gives it.

    Raises:
        DataError: the named interval or the spacing is no valid interval.
    """
    if not rows.origin:
        return interval
    try:
        if rows.micros is not None and rows.micros % SECOND == 0:
            return Interval.parse(f"{rows.micros // SECOND}s")
    except TimeError:
        pass
    raise DataError(
        f"Weft does not support the interval {rows.name}",
        where=source,
        hint="Set interval to the length of the candles, as in 1h",
    )


def _report(
    files: Files, name: str, kind: str, table: CandleTable, checked: Sequence[_CheckedRows]
) -> FileReport:
    form, names = table.form, {column.name for column in table.columns}
    by_column = "symbol" in names or any(column.symbol for column in table.columns)
    by_option = files.config.symbol is not None
    rows = sum(len(part.frame) for part in checked)
    refused = _refused(table, checked)
    problems = [line for part in checked for line in part.problems]
    notes = [line for line in table.notes if not table.bad_lines.height or "left out" not in line]
    notes += [line for line in problems if " refused, " not in line]
    return FileReport(
        name,
        "read" if rows else "not read",
        kind,
        encoding=form.encoding if form else "",
        separator=form.separator if form else "",
        decimal=form.decimal if form else "",
        header_line=form.header_line if form else None,
        columns=table.columns,
        unread=table.unread,
        symbols=tuple(table.frame["symbol"].unique().sort()),
        symbol_from="column" if by_column else "option" if by_option else "name",
        intervals=tuple(part.interval.name for part in checked),
        interval_from=checked[0].origin if checked else "",
        rows=rows,
        refused=len(refused),
        refused_lines=tuple(
            RefusedLine(line, None if time is None else instant(time), reason)
            for line, time, reason in refused.head(_MOST_REFUSED).iter_rows()
        ),
        notes=tuple(dict.fromkeys(notes)),
        problem=None if rows else f"none of its candles can be used: {problems[-1]}",
    )


def _refused(table: CandleTable, checked: Sequence[_CheckedRows]) -> pl.DataFrame:
    """Return all rows that are left out, as line, open_time and reason, in the order of lines."""
    bad = table.bad_lines.select("line", pl.lit(None, pl.Int64).alias("open_time"), "reason")
    refused = [part.refused.select("line", "open_time", "reason") for part in checked]
    return pl.concat([bad, *refused]).sort("line", "open_time", nulls_last=True)


def _series(
    files: Files, checked: Sequence[_CheckedRows], interval: Interval
) -> tuple[SeriesReport, ...]:
    """Return a report for each symbol and interval of all files."""
    frames: dict[tuple[str, Interval], list[pl.DataFrame]] = {}
    parts: dict[str, NameParts] = {}
    for rows in checked:
        # A file may hold several versions of a candle: the latest known version counts.
        single = rows.frame.unique(["symbol", "open_time"], keep="last", maintain_order=True)
        for (symbol,), frame in single.group_by("symbol", maintain_order=True):
            frames.setdefault((str(symbol), rows.interval), []).append(frame)
            parts[str(symbol)] = rows.parts
    return tuple(
        _one_series(
            files.instrument(symbol, parts[symbol]), length, frames[symbol, length], interval
        )
        for symbol, length in sorted(frames)
    )


def _one_series(
    instrument: Instrument, length: Interval, frames: Sequence[pl.DataFrame], interval: Interval
) -> SeriesReport:
    rows = pl.concat([frame.select("open_time", *FIELDS) for frame in frames])
    by_time = rows.group_by("open_time").agg(versions=pl.struct(FIELDS).n_unique())
    times = by_time["open_time"].to_physical().sort()
    gaps = _gaps(times, length, always_open=instrument.always_open)
    return SeriesReport(
        symbol=instrument.symbol,
        interval=length.name,
        kind=instrument.kind.value,
        files=len(frames),
        first=iso(times[0]),
        last=iso(times[-1]),
        rows=len(times),
        gaps=gaps,
        missing=sum(gap.candles or 0 for gap in gaps) if instrument.always_open else None,
        conflicts=by_time.filter(pl.col("versions") > 1).height,
        used=length == interval,
    )


def _gaps(times: pl.Series, length: Interval, *, always_open: bool) -> tuple[Gap, ...]:
    """Return the holes between candles that open at sorted times."""
    longest = length.micros if always_open else max(_LONGEST_CLOSURE, length.micros)
    pairs = pl.DataFrame({"after": times.shift(1), "before": times})
    holes = pairs.filter(pl.col("before") - pl.col("after") > longest)
    return tuple(
        Gap(iso(a), iso(b), (b - a) // length.micros - 1 if always_open else None)
        for a, b in holes.iter_rows()
    )
