"""Parse one file into the columns of candles or observations."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

import polars as pl

from weft.domain.columns import UTC_MICROS, read_times
from weft.foundation.errors import NoDataError, SchemaError, nearest
from weft.foundation.times import Interval, TimeError
from weft_providers.files.columns import NEEDED, OPTIONAL, PRICES, Series, find_columns
from weft_providers.files.contents import as_csv, is_text, read_lines, read_table, unpack
from weft_providers.files.forms import (
    HEAD,
    FileForm,
    FormOptions,
    check_columns,
    plain_form,
    sniff,
)
from weft_providers.files.names import NameParts
from weft_providers.files.times import TimeOptions, join_clock, parse_stamps, zoned

_FACTS_NEED = ("metric", "scope", "entity", "event_time", "value")
_CLUTTER = r"[\s'_$€\u00a0\u202f]"
_DECIMAL = r"(?i)^([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?)$"
_UNKNOWN = ["", "nan", "null", "none", "n/a", "na", "-", "--"]
_SHORT: Final = {"K": 1e3, "M": 1e6, "B": 1e9}


_BAD_LINES: Final = pl.Schema({"line": pl.UInt32(), "reason": pl.String()})


class OtherIntervalError(NoDataError):
    """A file holds only candles of other intervals; reported only if every file does."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What config states about candle files.

    Attributes:
        form: form of text files.
        times: form of times.
        interval: length of candles where neither a column nor their spacing gives it.
        venue: venue whose rows are read; empty where files name at most one.
    """

    form: FormOptions = field(default_factory=FormOptions)
    times: TimeOptions = field(default_factory=TimeOptions)
    interval: Interval | None = None
    venue: str = ""


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """How one column of a file is read.

    Attributes:
        name: Weft's name for the column.
        position: from 1.
        header: the name in the file; empty where the file has no header.
        sample: the first value, as written.
        form: how the values are written, such as ``milliseconds since 1970``; empty for plain
            numbers and texts.
        symbol: the symbol whose candles the column holds, where a file has columns for each.
    """

    name: str
    position: int
    header: str = ""
    sample: str = ""
    form: str = ""
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class CandleTable:
    """The content of one candle file.

    Attributes:
        frame: columns of candles, and `line` where the file has lines.
        columns: how each column is read.
        unread: names, in the file, of the columns that are not read.
        form: of a text file; None for other files.
        notes: assumptions, and the number of lines left out, one readable line each.
        bad_lines: `line` and `reason` of every line that cannot be read.
    """

    frame: pl.DataFrame
    columns: tuple[ColumnReading, ...] = ()
    unread: tuple[str, ...] = ()
    form: FileForm | None = None
    notes: tuple[str, ...] = ()
    bad_lines: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_BAD_LINES))


def candle_table(
    file: Path,
    source: str,
    *,
    interval: Interval,
    symbols: Collection[str],
    name: NameParts | None,
    options: TableOptions,
) -> CandleTable:
    """Parse the candles of one interval in a file.

    Args:
        file: path of the file.
        source: how errors name the file.
        interval: length of the candles.
        symbols: symbols to return; empty for all.
        name: parts of the file name, used where no column gives symbol or interval; None without.
        options: what config states about the file.

    Raises:
        NotCandlesError: the file has no column of prices.
        OtherIntervalError: the file holds only candles of other intervals.
        SchemaError: a needed column is missing, or several venues are mixed.
        DataError: the file is empty, cannot be read, or holds no such candles.
    """
    table = whole_table(file, source, name, options)
    frame = table.frame
    if symbols:
        frame = frame.filter(pl.col("symbol").is_in(list(symbols)))
    stated = options.interval or (name.interval if name else None)
    return replace(table, frame=_of_interval(frame, interval, stated, source))


def whole_table(
    file: Path, source: str, name: NameParts | None, options: TableOptions
) -> CandleTable:
    """Parse all candles of a file, of every interval and symbol; see `candle_table`."""
    table = _text_table(file, source, options) if is_text(file) else _typed(file, source, options)
    frame = table.frame
    if frame.is_empty():
        raise NoDataError("the file holds no rows", where=source)
    if "symbol" not in frame.columns:
        if name is None or not name.symbol:
            raise SchemaError(
                "neither a column nor the file name gives the symbol",
                where=source,
                hint="Set symbol under providers.files, as in {symbol}-{interval}-{year}-{month}",
            )
        frame = frame.with_columns(symbol=pl.lit(name.symbol))
    return replace(table, frame=_of_venue(frame, options.venue, source))


def fact_table(file: Path, source: str) -> pl.DataFrame:
    """Parse the observations in a file; errors name the file `source`.

    Raises:
        SchemaError: a needed column is missing.
        DataError: the file is empty or cannot be read.
    """
    if is_text(file):
        data = unpack(file, source)
        form = plain_form(data[:HEAD])
        lines = read_lines(data, form, source)
        frame = lines.select(_field(n).alias(header) for n, header in enumerate(form.header))
    else:
        frame = read_table(file, source)
        frame = frame.rename({name: name.strip() for name in frame.columns})
    for column in _FACTS_NEED:
        if column not in frame.columns:
            close = nearest(column, frame.columns)
            raise SchemaError(
                f"column {column!r} is missing; found {_listed(frame.columns)}",
                where=source,
                hint=f"Did you mean {close!r}?" if close else "Rename or add the column",
            )
    if frame.is_empty():
        raise NoDataError("the file holds no rows", where=source)
    return frame.select(*_FACTS_NEED, *({"known_at"} & set(frame.columns)))


# Text


def _text_table(file: Path, source: str, options: TableOptions) -> CandleTable:
    data = unpack(file, source)
    form = sniff(data[:HEAD], options.form, source)
    lines = read_lines(data, form, source)
    parts = [_series(lines, series, form, options, source) for series in form.series]
    used = {place for series in form.series for place in series.columns.values()}
    unread = tuple(h for n, h in enumerate(form.header) if n not in used and h)
    notes = dict.fromkeys(
        line for notes in (form.notes, *(p.notes for p in parts)) for line in notes
    )
    return CandleTable(
        pl.concat([part.frame for part in parts]),
        tuple(column for part in parts for column in part.columns),
        unread,
        form,
        tuple(notes),
        pl.concat([part.bad_lines for part in parts]),
    )


def _series(
    lines: pl.DataFrame, series: Series, form: FileForm, options: TableOptions, source: str
) -> CandleTable:
    """Parse the candles of one symbol, or of all symbols where a column names them."""
    columns = dict(series.columns)
    texts = lines.select(
        "line",
        "count",
        _field(form.width).alias("beyond"),
        *(_field(n).alias(c) for c, n in columns.items()),
    )
    sample = texts.select(*columns)
    if {"date", "time"} <= set(columns):
        joined = join_clock(texts["date"], texts["time"]).alias("open_time")
        texts = texts.with_columns(joined).drop("date", "time")
    # A minute without a trade may be a line without prices: not a bad line.
    silent = pl.all_horizontal(pl.col(p).str.to_lowercase().is_in(_UNKNOWN) for p in PRICES)
    texts = texts.with_columns(silent=silent.fill_null(value=False) & pl.col("open").is_not_null())
    quiet = texts.filter("silent")
    texts = texts.filter(~pl.col("silent"))
    notes = [_about(quiet["line"], "without prices passed over")] if len(quiet) else []
    if texts.is_empty():
        readings = _readings(columns, form.header, sample, "", series.symbol)
        return CandleTable(_empty(columns), readings, notes=tuple(notes))
    stamps = parse_stamps(texts["open_time"], options.times, source)
    utc = form.header and re.search("gmt|utc", form.header[columns.get("open_time", 0)].lower())
    notes += [line for line in stamps.notes if not (utc and "no time zone" in line)]
    values = texts.with_columns(
        open_time=stamps.micros.cast(UTC_MICROS),
        **{name: _number(pl.col(name), form.decimal) for name in PRICES},
        volume=_volume(columns, form.decimal),
    )
    if series.symbol is not None:
        values = values.with_columns(symbol=pl.lit(series.symbol))
    if "known_at" in columns:
        known = parse_stamps(texts["known_at"], options.times, source)
        values = values.with_columns(known_at=known.micros.cast(UTC_MICROS))
    frame, bad_lines = _without_bad(texts, values, form, source)
    if len(bad_lines):
        about = _about(bad_lines["line"], "that cannot be read left out")
        notes.append(f"{about}: {bad_lines['reason'][0]}")
    readings = _readings(columns, form.header, sample, stamps.form, series.symbol)
    return CandleTable(frame, readings, notes=tuple(notes), bad_lines=bad_lines)


def _readings(
    columns: Mapping[str, int],
    header: Sequence[str],
    sample: pl.DataFrame,
    time_form: str,
    symbol: str | None = None,
) -> tuple[ColumnReading, ...]:
    """Describe how columns are read, in their order in the file, with their first values."""
    first = sample.row(0, named=True) if len(sample) else {}
    return tuple(
        ColumnReading(
            name,
            place + 1,
            header[place] if place < len(header) else "",
            "" if first.get(name) is None else str(first[name]),
            time_form if name in {"open_time", "date", "time"} else "",
            symbol,
        )
        for name, place in sorted(columns.items(), key=lambda item: item[1])
    )


def _field(place: int) -> pl.Expr:
    return pl.col("fields").list.get(place, null_on_oob=True).str.strip_chars()


def _empty(columns: Mapping[str, int]) -> pl.DataFrame:
    kinds: dict[str, pl.DataType] = {"line": pl.UInt32(), "open_time": UTC_MICROS}
    kinds |= dict.fromkeys((*PRICES, "volume"), pl.Float64())
    kinds |= {name: pl.String() for name in OPTIONAL if name in columns}
    return pl.DataFrame(schema=kinds)


def _number(text: pl.Expr, decimal: str) -> pl.Expr:
    """Parse numbers; thousands may be separated by the other sign, spaces or apostrophes."""
    other = "," if decimal == "." else "."
    plain = text.str.replace_all(_CLUTTER, "").str.replace_all(other, "", literal=True)
    plain = plain.str.replace(decimal, ".", literal=True)
    return pl.when(plain.str.contains(_DECIMAL)).then(plain).cast(pl.Float64, strict=False)


def _volume(columns: Mapping[str, int], decimal: str) -> pl.Expr:
    """Parse the volume, which may be written like 12.3K; 0 where there is no such column."""
    if "volume" not in columns:
        return pl.lit(0.0)
    text = pl.col("volume").str.to_uppercase()
    factor = text.str.extract(r"([KMB])$").replace_strict(_SHORT, default=1.0)
    return _number(text.str.replace(r"([KMB])$", ""), decimal) * factor


def _without_bad(
    texts: pl.DataFrame, values: pl.DataFrame, form: FileForm, source: str
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the candles of the lines that can be read, and the other lines with their reasons.

    Raises:
        SchemaError: no line can be read.
    """
    names = ("open_time", *PRICES, *({"volume"} & set(texts.columns)))
    reasons = [
        pl.when(pl.col("beyond").fill_null("") != "").then(
            pl.format("it has {} fields, expected {}", "count", pl.lit(form.width))
        )
    ]
    for name in names:
        kind = "time" if name == "open_time" else "number"
        text = pl.col(f"{name}_text")
        unreadable = pl.format(f"{name} '{{}}' is no {kind}", text.str.slice(0, 40))
        reasons += [
            pl.when(text.fill_null("") == "").then(pl.lit(f"its {name} is missing")),
            pl.when(pl.col(name).is_null()).then(unreadable),
        ]
    joined = values.with_columns(texts[name].alias(f"{name}_text") for name in names)
    joined = joined.with_columns(reason=pl.coalesce(reasons))
    bad = joined.filter(pl.col("reason").is_not_null()).select("line", "reason")
    chosen = ["line", *NEEDED, *(n for n in OPTIONAL if n in values.columns)]
    kept = joined.filter(pl.col("reason").is_null()).select(chosen)
    if kept.is_empty() and len(bad):
        raise SchemaError(
            f"none of its {len(bad)} lines can be read; line {bad['line'][0]}: {bad['reason'][0]}",
            where=source,
            hint="Set columns, separator, decimal or time_format under providers.files",
        )
    return kept, bad


def _about(lines: pl.Series, what: str) -> str:
    count = len(lines)
    return f"{count} line{'s' * (count != 1)} {what}, the first is line {lines[0]}"


# Tables with types


def _type_name(kind: pl.DataType) -> str:
    if isinstance(kind, pl.Datetime):
        return f"timestamps in {kind.time_zone or 'UTC'}"
    return "dates" if kind == pl.Date else str(kind).lower()


def _typed(file: Path, source: str, options: TableOptions) -> CandleTable:
    """Parse the candles of a Parquet, Arrow or JSON file."""
    frame = read_table(file, source)
    names = [name.strip() for name in frame.columns]
    without_names = all(name.isdecimal() for name in names)
    if without_names:
        columns = dict(sniff(as_csv(frame), options.form, source).series[0].columns)
    else:
        columns = find_columns(names, options.form.columns)
        check_columns(names, columns, source)
    notes = [] if "volume" in columns else ["no column of volume: read as 0"]
    used = {name: frame[frame.columns[place]].alias(name) for name, place in columns.items()}
    sample = pl.DataFrame(list(used.values())).head(1)
    if {"date", "time"} <= set(used):
        used["open_time"] = join_clock(used["date"], used["time"]).alias("open_time")
    time = used["open_time"]
    form = _type_name(time.dtype)
    if time.dtype == pl.String:
        stamps = parse_stamps(time, options.times, source)
        used["open_time"], form = stamps.micros.cast(UTC_MICROS), stamps.form
        notes += stamps.notes
    elif time.dtype.is_integer():
        stamps = parse_stamps(time.cast(pl.String), TimeOptions(), source)
        form = stamps.form
    elif options.times.zone and isinstance(time.dtype, pl.Datetime) and not time.dtype.time_zone:
        used["open_time"] = zoned(time, options.times.zone).cast(UTC_MICROS)
        form = f"timestamps in {options.times.zone}"
    table = pl.DataFrame([s for name, s in used.items() if name not in {"date", "time"}])
    if "volume" not in columns:
        table = table.with_columns(volume=pl.lit(0.0))
    unread = tuple(n for place, n in enumerate(names) if place not in columns.values())
    readings = _readings(columns, () if without_names else names, sample, form)
    return CandleTable(table, readings, () if without_names else unread, notes=tuple(notes))


# Rows


def _of_venue(frame: pl.DataFrame, wanted: str, source: str) -> pl.DataFrame:
    """Return the rows of the chosen venue.

    Raises:
        DataError: there are no such rows; or no venue is chosen, and the rows name several.
    """
    if "venue" not in frame.columns:
        return frame
    venue = pl.col("venue").cast(pl.String)
    names = frame.select(venue.drop_nulls().unique().sort()).to_series()
    listed = ", ".join(names[:8])
    if not wanted and len(names) > 1:
        raise SchemaError(
            f"mixes venues ({listed})", where=source, hint="Choose a venue with the option venue"
        )
    chosen = frame.filter(venue.str.to_lowercase() == wanted.lower()) if wanted else frame
    if chosen.is_empty():
        raise NoDataError(f"holds no rows of venue {wanted!r}, only of {listed}", where=source)
    return chosen


def _of_interval(
    frame: pl.DataFrame, interval: Interval, stated: Interval | None, source: str
) -> pl.DataFrame:
    """Return the rows of one interval.

    Raises:
        NoDataError: the rows are candles of other intervals.
    """
    parts = split_intervals(frame, stated, source)
    for part in parts:
        if part.micros == interval.micros or not part.origin:
            return part.frame
    finer = [part.micros for part in parts if part.micros and interval.micros % part.micros == 0]
    hint = fetch_hint(interval, max(finer)) if finer else None
    if parts[0].origin == "spacing":
        raise NoDataError(
            f"has no interval column, and most of its candles are {parts[0].name} "
            f"apart, not {interval}",
            where=source,
            hint=hint,
        )
    raise OtherIntervalError(
        f"holds no {interval} candles, only {', '.join(part.name for part in parts[:8])}",
        where=source,
        hint=hint,
    )


@dataclass(frozen=True, slots=True)
class IntervalRows:
    """The candles of one length in a file.

    Attributes:
        name: the interval, as the file or its spacing gives it.
        micros: length in microseconds; None where neither column, spacing nor name gives it.
        origin: ``column``, ``spacing``, ``name`` (the file name or the option `interval`), or
            empty where `micros` is None.
        frame: the candles, without their column `interval`.
    """

    name: str
    micros: int | None
    origin: str
    frame: pl.DataFrame


def split_intervals(
    frame: pl.DataFrame, stated: Interval | None, source: str
) -> list[IntervalRows]:
    """Split candles by interval: by column, else by the usual step between two of a symbol.

    Args:
        frame: all candles of a file.
        stated: interval by the file name or the option, used without a column and a spacing.
        source: how errors name the file.
    """
    if "interval" in frame.columns:
        names = pl.col("interval").cast(pl.String)
        lengths: dict[int | str, list[str]] = {}
        for name in frame.select(names.drop_nulls().unique().sort()).to_series():
            lengths.setdefault(_micros(name) or name, []).append(name)
        if lengths:
            return [
                IntervalRows(
                    same[0],
                    length if isinstance(length, int) else None,
                    "column",
                    frame.filter(names.is_in(same)).drop("interval"),
                )
                for length, same in lengths.items()
            ]
        frame = frame.drop("interval")
    step = usual_step(frame, source)
    if stated is not None and step in {None, stated.micros}:
        return [IntervalRows(stated.name, stated.micros, "name", frame)]
    if step is None:
        return [IntervalRows("", None, "", frame)]
    return [IntervalRows(str(timedelta(microseconds=step)), step, "spacing", frame)]


def fetch_hint(interval: Interval, step: int) -> str | None:
    """Return how to join candles of an interval from finer ones; None where that is impossible."""
    if step % 1_000_000 or step >= interval.micros:
        return None
    finer = Interval.parse(f"{step // 1_000_000}s")
    if not interval.holds(finer):
        return None
    return f"Set base_interval: {finer} beside interval: {interval}: Weft joins them from these"


def usual_step(frame: pl.DataFrame, source: str) -> int | None:
    """Return the most common step between two candles of a symbol, microseconds."""
    times, _ = read_times(frame["open_time"], source)
    step = pl.col("time").diff().over("symbol")
    steps = pl.DataFrame({"symbol": frame["symbol"], "time": times}).drop_nulls()
    steps = steps.unique().sort("symbol", "time").select(step=step).filter(pl.col("step") > 0)
    counts = steps["step"].value_counts().sort("count", "step", descending=[True, False])
    return None if counts.is_empty() else int(counts["step"][0])


def _micros(name: str) -> int | None:
    try:
        return Interval.parse(name).micros
    except TimeError:
        return None


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in list(columns)[:20])
