"""Reads one file into the columns of candles or observations."""

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
from weft_providers.files.bytes import as_csv, is_text, read_lines, read_table, unpack
from weft_providers.files.columns import NEEDED, OPTIONAL, PRICES, Series, find_columns
from weft_providers.files.forms import (
    HEAD,
    FileForm,
    FormOptions,
    check_columns,
    plain_form,
    sniff,
)
from weft_providers.files.names import NameParts
from weft_providers.files.times import TimeOptions, join_clock, read_stamps, zoned

_FACTS_NEED = ("metric", "scope", "entity", "event_time", "value")
_CLUTTER = r"[\s'_$€\u00a0\u202f]"
_DECIMAL = r"(?i)^([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?)$"
_UNKNOWN = ["", "nan", "null", "none", "n/a", "na", "-", "--"]
_SHORT: Final = {"K": 1e3, "M": 1e6, "B": 1e9}


class OtherIntervalError(NoDataError):
    """A file holds other candles than those asked for; reported only if no file holds those."""


@dataclass(frozen=True, slots=True)
class TableOptions:
    """What config states about candle files.

    Attributes:
        form: of text.
        times: how times are written.
        interval: of candles whose length neither a column nor their spacing tells.
        venue: chooses rows where a file names venues; empty for the only one.
    """

    form: FormOptions = field(default_factory=FormOptions)
    times: TimeOptions = field(default_factory=TimeOptions)
    interval: Interval | None = None
    venue: str = ""


@dataclass(frozen=True, slots=True)
class CandleTable:
    """What a file holds.

    Attributes:
        frame: columns of candles, and `line` where the file has lines.
        unread: the file's own names of columns that are not read.
        form: of a text file; None for other files.
        notes: what was assumed, and how many lines were left out, one readable line each.
    """

    frame: pl.DataFrame
    unread: tuple[str, ...] = ()
    form: FileForm | None = None
    notes: tuple[str, ...] = ()


def candle_table(
    file: Path,
    source: str,
    *,
    interval: Interval,
    symbols: Collection[str],
    name: NameParts | None,
    options: TableOptions,
) -> CandleTable:
    """Return a file's candles of one interval.

    Args:
        file: where it is.
        source: how errors name it.
        interval: the candles' length.
        symbols: only these; none for all.
        name: what the file's name says, used where no column does; None where it says nothing.
        options: what is stated about the file.

    Raises:
        NotCandlesError: it holds no column of prices.
        OtherIntervalError: it holds candles of other intervals only.
        SchemaError: a needed column is missing, or several venues are mixed.
        DataError: it is empty, cannot be read or holds nothing of what is asked for.
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
    """Return all candles of a file, whatever their interval and symbol; see `candle_table`."""
    table = _text_table(file, source, options) if is_text(file) else _typed(file, source, options)
    frame = table.frame
    if frame.is_empty():
        raise NoDataError("the file holds no rows", where=source)
    if "symbol" not in frame.columns:
        if name is None or not name.symbol:
            raise SchemaError(
                "neither a column nor its name says what its candles are of",
                where=source,
                hint="Set symbol under providers.files, as in {symbol}-{interval}-{year}-{month}",
            )
        frame = frame.with_columns(symbol=pl.lit(name.symbol))
    return replace(table, frame=_of_venue(frame, options.venue, source))


def fact_table(file: Path, source: str) -> pl.DataFrame:
    """Return a file's observations; errors name it `source`.

    Raises:
        SchemaError: a needed column is missing.
        DataError: it is empty or cannot be read.
    """
    if is_text(file):
        data = unpack(file, source)
        form = plain_form(data[:HEAD])
        lines = read_lines(data, form, source)
        names = [(one, place) for place, one in enumerate(form.header)]
        frame = lines.select(_field(place).alias(one) for one, place in names)
    else:
        frame = read_table(file, source)
        frame = frame.rename({name: name.strip() for name in frame.columns})
    for one in _FACTS_NEED:
        if one not in frame.columns:
            close = nearest(one, frame.columns)
            raise SchemaError(
                f"column {one!r} is missing; found {_listed(frame.columns)}",
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
    parts, notes = list[pl.DataFrame](), list(form.notes)
    for series in form.series:
        part, told = _series(lines, series, form, options, source)
        parts.append(part)
        notes += [line for line in told if line not in notes]
    used = {place for series in form.series for place in series.columns.values()}
    unread = tuple(h for n, h in enumerate(form.header) if n not in used and h)
    return CandleTable(pl.concat(parts), unread, form, tuple(notes))


def _series(
    lines: pl.DataFrame, series: Series, form: FileForm, options: TableOptions, source: str
) -> tuple[pl.DataFrame, list[str]]:
    """Return one symbol's, or all symbols', candles, and what was assumed and left out."""
    columns = dict(series.columns)
    texts = lines.select(
        "line",
        "count",
        _field(form.width).alias("beyond"),
        *(_field(n).alias(c) for c, n in columns.items()),
    )
    if {"date", "time"} <= set(columns):
        joined = join_clock(texts["date"], texts["time"]).alias("open_time")
        texts = texts.with_columns(joined).drop("date", "time")
    # Minutes without a trade: what there is to say is in no line.
    silent = pl.all_horizontal(pl.col(p).str.to_lowercase().is_in(_UNKNOWN) for p in PRICES)
    texts = texts.with_columns(silent=silent.fill_null(value=False) & pl.col("open").is_not_null())
    quiet = texts.filter("silent")
    texts = texts.filter(~pl.col("silent"))
    notes = [_about(quiet["line"], "without prices passed over")] if len(quiet) else []
    if texts.is_empty():
        return _empty(columns), notes
    stamps, told = read_stamps(texts["open_time"], options.times, source)
    utc = form.header and re.search("gmt|utc", form.header[columns.get("open_time", 0)].lower())
    notes += [line for line in told if not (utc and "no time zone" in line)]
    values = texts.with_columns(
        open_time=stamps.cast(UTC_MICROS),
        **{name: _number(pl.col(name), form.decimal) for name in PRICES},
        volume=_volume(columns, form.decimal),
    )
    if series.symbol is not None:
        values = values.with_columns(symbol=pl.lit(series.symbol))
    if "known_at" in columns:
        known, _ = read_stamps(texts["known_at"], options.times, source)
        values = values.with_columns(known_at=known.cast(UTC_MICROS))
    kept, left_out = _without_bad(texts, values, form, source)
    return kept, [*notes, *left_out]


def _field(place: int) -> pl.Expr:
    return pl.col("fields").list.get(place, null_on_oob=True).str.strip_chars()


def _empty(columns: Mapping[str, int]) -> pl.DataFrame:
    kinds: dict[str, pl.DataType] = {"line": pl.UInt32(), "open_time": UTC_MICROS}
    kinds |= dict.fromkeys((*PRICES, "volume"), pl.Float64())
    kinds |= {name: pl.String() for name in OPTIONAL if name in columns}
    return pl.DataFrame(schema=kinds)


def _number(text: pl.Expr, decimal: str) -> pl.Expr:
    """Return texts as numbers; thousands may be apart by the other sign, blanks or apostrophes."""
    other = "," if decimal == "." else "."
    plain = text.str.replace_all(_CLUTTER, "").str.replace_all(other, "", literal=True)
    plain = plain.str.replace(decimal, ".", literal=True)
    return pl.when(plain.str.contains(_DECIMAL)).then(plain).cast(pl.Float64, strict=False)


def _volume(columns: Mapping[str, int], decimal: str) -> pl.Expr:
    """Return the volume, of which some write 12.3K; 0 where there is no column of it."""
    if "volume" not in columns:
        return pl.lit(0.0)
    text = pl.col("volume").str.to_uppercase()
    factor = text.str.extract(r"([KMB])$").replace_strict(_SHORT, default=1.0)
    return _number(text.str.replace(r"([KMB])$", ""), decimal) * factor


def _without_bad(
    texts: pl.DataFrame, values: pl.DataFrame, form: FileForm, source: str
) -> tuple[pl.DataFrame, list[str]]:
    """Return the candles of lines that can be read, and what is told of the others.

    Raises:
        SchemaError: not one can be read.
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
    joined = joined.with_columns(why=pl.coalesce(reasons))
    bad = joined.filter(pl.col("why").is_not_null())
    chosen = ["line", *NEEDED, *(n for n in OPTIONAL if n in values.columns)]
    kept = joined.filter(pl.col("why").is_null()).select(chosen)
    if bad.is_empty():
        return kept, []
    line, reason = bad["line"][0], bad["why"][0]
    if kept.is_empty():
        raise SchemaError(
            f"none of its {len(bad)} lines can be read; line {line}: {reason}",
            where=source,
            hint="Set columns, separator, decimal or time_format under providers.files",
        )
    return kept, [f"{_about(bad['line'], 'that cannot be read left out')}: {reason}"]


def _about(lines: pl.Series, what: str) -> str:
    count = len(lines)
    return f"{count} line{'s' * (count != 1)} {what}, the first is line {lines[0]}"


# Tables with types


def _typed(file: Path, source: str, options: TableOptions) -> CandleTable:
    """Return the candles of a Parquet, Arrow or JSON file."""
    frame = read_table(file, source)
    own, names = frame.columns, [name.strip() for name in frame.columns]
    if all(name.isdecimal() for name in names):
        columns = dict(sniff(as_csv(frame), options.form, source).series[0].columns)
    else:
        columns = find_columns(names, options.form.columns)
        check_columns(names, columns, source)
    notes = [] if "volume" in columns else ["no column of volume: read as 0"]
    used = {name: frame[own[place]].alias(name) for name, place in columns.items()}
    if {"date", "time"} <= set(used):
        used["open_time"] = join_clock(used["date"], used["time"]).alias("open_time")
    time = used["open_time"]
    if time.dtype == pl.String:
        micros, told = read_stamps(time, options.times, source)
        used["open_time"] = micros.cast(UTC_MICROS)
        notes += told
    elif options.times.zone and isinstance(time.dtype, pl.Datetime) and not time.dtype.time_zone:
        used["open_time"] = zoned(time, options.times.zone).cast(UTC_MICROS)
    table = pl.DataFrame([s for name, s in used.items() if name not in {"date", "time"}])
    if "volume" not in columns:
        table = table.with_columns(volume=pl.lit(0.0))
    unread = tuple(n for place, n in enumerate(names) if place not in columns.values())
    return CandleTable(table, unread, notes=tuple(notes))


# Rows


def _of_venue(frame: pl.DataFrame, wanted: str, source: str) -> pl.DataFrame:
    """Return the rows of the venue chosen.

    Raises:
        DataError: there are none, or none is chosen and there are several venues.
    """
    if "venue" not in frame.columns:
        return frame
    venue = pl.col("venue").cast(pl.String)
    names = frame.select(venue.drop_nulls().unique().sort()).to_series()
    found = ", ".join(names[:8])
    if not wanted and len(names) > 1:
        raise SchemaError(
            f"mixes venues ({found})", where=source, hint="Choose one with the key venue"
        )
    chosen = frame.filter(venue.str.to_lowercase() == wanted.lower()) if wanted else frame
    if chosen.is_empty():
        raise NoDataError(f"holds no rows of venue {wanted!r}, only of {found}", where=source)
    return chosen


def _of_interval(
    frame: pl.DataFrame, interval: Interval, stated: Interval | None, source: str
) -> pl.DataFrame:
    """Return the rows of one interval.

    Raises:
        NoDataError: there are only candles of others.
    """
    if "interval" not in frame.columns:
        step = usual_step(frame, source) or (stated.micros if stated else None)
        if step is None or step == interval.micros:
            return frame
        hint = fetch_hint(interval, step)
        if stated is not None and step == stated.micros:
            raise OtherIntervalError(
                f"holds no {interval} candles, only {stated}", where=source, hint=hint
            )
        raise NoDataError(
            f"has no interval column, and most of its candles are {timedelta(microseconds=step)} "
            f"apart, not {interval}",
            where=source,
            hint=hint,
        )
    lengths = pl.col("interval").cast(pl.String)
    found = frame.select(lengths.drop_nulls().unique().sort()).to_series().to_list()
    same = [name for name in found if _micros(name) == interval.micros]
    if found and not same:
        finer = [m for name in found if (m := _micros(name)) and interval.micros % m == 0]
        raise OtherIntervalError(
            f"holds no {interval} candles, only {', '.join(found[:8])}",
            where=source,
            hint=fetch_hint(interval, max(finer)) if finer else None,
        )
    return frame.filter(lengths.is_in(same)).drop("interval")


def fetch_hint(interval: Interval, step: int) -> str | None:
    """Return how to have candles of an interval made of finer ones; None where they cannot be."""
    if step % 1_000_000 or step >= interval.micros:
        return None
    finer = Interval.parse(f"{step // 1_000_000}s")
    if not interval.holds(finer):
        return None
    return f"Set base_interval: {finer} beside interval: {interval}, and they are joined from these"


def usual_step(frame: pl.DataFrame, source: str) -> int | None:
    """Return the most common time between two candles of a symbol, microseconds."""
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
