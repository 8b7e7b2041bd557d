"""Parse times as files write them: counts since 1970, and dates in many orders."""

import re
from dataclasses import dataclass
from itertools import product
from typing import Final

import polars as pl

from weft.domain.columns import parse_iso_texts, read_times
from weft.foundation.errors import SchemaError
from weft.foundation.times import parse_time

EXCEL: Final = "excel"
"""Value of `time_format` for days since 1899-12-30, as spreadsheets count them."""

_EXCEL_ZERO = parse_time("1899-12-30T00:00:00Z")
_EXCEL_DAYS = (20_000, 80_000)
"""Serial days of 1954 and 2119: counts in this range are more likely days than seconds."""

_SAMPLE = 200
_HOURS_AND_MINUTES = 4
"""Digits of a clock without seconds."""
_YEARS = (1900, 2200)
_DATES: Final = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y"),
    *("%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y"),
    *("%b %d, %Y", "%b %d %Y", "%d %b %Y", "%d-%b-%Y", "%a %b %d %Y"),
)
_CLOCKS: Final = (
    *("", " %H:%M:%S%.f", " %H:%M", " %H%M%S", " %H%M"),
    *(" %I:%M %p", " %I:%M:%S %p", " %I-%p", " %I%p"),
)
_NUMBER = r"^[+-]?\d+(\.\d*)?$"
_COMPACT = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
_UNIT = re.compile(r"(?:read as|mixes) (?P<unit>\w+(?: and \w+)*) since 1970")
_OFFSET = r"(?i)\s*(?:GMT|UTC)?\s*([+-]\d\d):?(\d\d)$"


@dataclass(frozen=True, slots=True)
class TimeOptions:
    """What config states about times: their form, and the zone of times without one."""

    format: str | None = None
    zone: str | None = None


def join_clock(dates: pl.Series, clocks: pl.Series) -> pl.Series:
    """Join dates and times of day into one text each."""
    digits = clocks.str.contains(r"^\d+$").all() and clocks.len() > 0
    if digits:
        # 930 is 09:30; 93000 is 09:30:00.
        longest = clocks.str.len_chars().max()
        with_seconds = isinstance(longest, int) and longest > _HOURS_AND_MINUTES
        clocks = clocks.str.zfill(6 if with_seconds else _HOURS_AND_MINUTES)
    frame = pl.DataFrame({"date": dates, "clock": clocks})
    return frame.select(pl.concat_str("date", "clock", separator=" ")).to_series()


@dataclass(frozen=True, slots=True)
class Stamps:
    """A parsed column of times.

    Attributes:
        micros: microseconds since 1970; null where a text is no time.
        form: how the times are written: ``ISO 8601``, ``%d.%m.%Y``, ``milliseconds since 1970``.
        notes: assumptions, one readable line each.
    """

    micros: pl.Series
    form: str
    notes: tuple[str, ...] = ()


def parse_stamps(texts: pl.Series, options: TimeOptions, source: str) -> Stamps:
    """Parse texts of times.

    Raises:
        SchemaError: the texts can be read in two ways, or none of them can be read.
    """
    texts = texts.str.strip_chars().replace("", None)
    if options.format == EXCEL:
        return _in_zone(_excel(texts), "days of a spreadsheet", options, texts.name)
    if options.format is not None:
        local = _formatted(texts, options.format)
        return _in_zone(local, options.format, options, texts.name)
    numeric = texts.str.contains(_NUMBER)
    if int(numeric.sum()) * 2 > texts.len() - texts.null_count():
        return _numbers(texts, numeric, options, source)
    return _texts(texts, options, source)


def zoned(micros: pl.Series, zone: str) -> pl.Series:
    """Convert local times of a zone to UTC; null for an hour that occurs twice or never."""
    local = micros.cast(pl.Datetime("us"))
    there = local.dt.replace_time_zone(zone, ambiguous="null", non_existent="null")
    return there.dt.convert_time_zone("UTC").to_physical()


def _in_zone(local: pl.Series, form: str, options: TimeOptions, name: str) -> Stamps:
    if options.zone is not None:
        return Stamps(zoned(local, options.zone), f"{form}, in {options.zone}")
    return Stamps(local, form, (f"{name} has no time zone: read as UTC",))


def _excel(texts: pl.Series) -> pl.Series:
    days = texts.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
    # A serial day in float64 is exact only to some microseconds: round to the second.
    seconds = (days * 86_400).round().cast(pl.Int64, strict=False)
    return seconds * 1_000_000 + _EXCEL_ZERO


def _formatted(texts: pl.Series, form: str) -> pl.Series:
    """Parse times written in one form; null where a text has another."""
    if any(sign in form for sign in ("%z", "%:z", "%#z")):
        read = texts.str.to_datetime(form, time_unit="us", strict=False)
        return read.to_physical()
    if any(sign in form for sign in ("%H", "%I", "%T", "%R", "%s")):
        if ":" not in form and "%S" not in form and "%M" not in form:
            # Polars cannot parse an hour without minutes.
            texts = texts.str.replace(r"(\d\d?)([- ]?[AaPp][Mm])$", "${1}:00$2")
            form = form.replace("%I", "%I:%M").replace("%H", "%H:%M")
        read = texts.str.to_datetime(form, time_unit="us", strict=False)
    else:
        read = texts.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    within = read.dt.year().is_between(*_YEARS)
    return pl.select(pl.when(within).then(read.to_physical())).to_series()


def _numbers(texts: pl.Series, numeric: pl.Series, options: TimeOptions, source: str) -> Stamps:
    """Parse counts since 1970, or dates written only in digits."""
    name = texts.name
    digits = pl.select(pl.when(numeric).then(texts)).to_series()
    length = digits.str.len_chars().drop_nulls()
    form = _COMPACT.get(int(length[0])) if length.n_unique() == 1 else None
    if form is not None:
        compact = _formatted(digits, form) if form == "%Y%m%d" else _compact(digits, form)
        if compact.null_count() == digits.null_count():
            return _in_zone(compact, form, options, name)
    counts = digits.cast(pl.Float64)
    first, last = _EXCEL_DAYS
    if counts.is_between(first, last).sum() * 2 > counts.len() - counts.null_count():
        raise SchemaError(
            f"column {name!r} holds {digits.drop_nulls()[0]!r}, which looks like the days of a "
            "spreadsheet",
            where=source,
            hint=f"Set time_format: {EXCEL} if it is, or export dates as text",
        )
    counts_in_unit = digits.str.replace(r"\.0*$", "").cast(pl.Int64, strict=False).alias(name)
    micros, note = read_times(counts_in_unit, source)
    unit = _UNIT.search(note or "")
    form = f"{unit['unit'] if unit else 'milliseconds'} since 1970"
    return Stamps(micros, form, (note,) if note else ())


def _compact(digits: pl.Series, form: str) -> pl.Series:
    """Parse 12 or 14 digits as a time; Polars needs signs between the parts."""
    spread = digits.str.replace(r"^(\d{8})(\d\d)(\d\d)(\d\d)?$", "${1} ${2}:${3}:${4}")
    clock = "%H:%M:%S" if form.endswith("%S") else "%H:%M:"
    return _formatted(spread, f"%Y%m%d {clock}")


def _texts(texts: pl.Series, options: TimeOptions, source: str) -> Stamps:
    name, form = texts.name, "ISO 8601"
    read, has_zone = parse_iso_texts(texts)
    count = texts.len() - texts.null_count()
    if (read.is_not_null().sum()) * 2 <= count:
        read, has_zone, form = _by_form(texts, source)
    if not read.is_not_null().any():
        raise SchemaError(
            f"column {name!r} holds {texts.drop_nulls()[0]!r}, expected times like "
            "2025-03-01T00:00:00Z",
            where=source,
            hint='State how they are written with time_format, as in "%d.%m.%Y %H:%M"',
        )
    if (has_zone | texts.is_null()).all():
        return Stamps(read, form)
    local = _in_zone(read, form, options, name)
    micros = pl.select(pl.when(has_zone).then(read).otherwise(local.micros).alias(name)).to_series()
    return Stamps(micros, local.form, local.notes)


def _by_form(texts: pl.Series, source: str) -> tuple[pl.Series, pl.Series, str]:
    """Parse times in the form that fits most; also return which name a zone, and the form."""
    frame = pl.DataFrame({"text": texts})
    offset = pl.col("text").str.extract_groups(_OFFSET)
    frame = frame.with_columns(
        hours=offset.struct[0].cast(pl.Int64, strict=False),
        minutes=offset.struct[1].cast(pl.Int64, strict=False),
        text=pl.col("text")
        .str.replace(_OFFSET, "")
        .str.replace(r"(?i)\s*(Z|UTC|GMT)$", "")
        .str.replace(r"(\d)T(\d)", "${1} ${2}"),
    )
    plain = frame["text"]
    stated = frame["hours"].is_not_null() | texts.str.contains(r"(?i)(Z|UTC|GMT)$")
    micros, form = _best(plain, source, texts.name)
    shift = frame["hours"].abs() * 60 + frame["minutes"]
    shift = pl.select(pl.when(frame["hours"] < 0).then(-shift).otherwise(shift)).to_series()
    return micros - shift.fill_null(0) * 60_000_000, stated.fill_null(value=False), form


def _best(texts: pl.Series, source: str, name: str) -> tuple[pl.Series, str]:
    """Parse texts in the form that fits most of them, and return that form.

    Raises:
        SchemaError: two forms fit equally, and give different times.
    """
    distinct = texts.drop_nulls().unique(maintain_order=True)
    step = max(1, len(distinct) // _SAMPLE)
    sample = distinct.gather_every(step)
    forms = [date + clock for date, clock in product(_DATES, _CLOCKS)]
    likely = [f for f in forms if _formatted(sample, f).is_not_null().sum() * 2 > len(sample)]
    readings = {form: _formatted(texts, form) for form in likely}
    if not readings:
        return pl.repeat(None, len(texts), dtype=pl.Int64, eager=True), ""
    counts = {form: int(read.is_not_null().sum()) for form, read in readings.items()}
    best = max(counts, key=counts.__getitem__)
    for other, count in counts.items():
        if count == counts[best] and not readings[other].equals(readings[best]):
            raise SchemaError(
                f"column {name!r} holds {texts.drop_nulls()[0]!r}: is it day or month first?",
                where=source,
                hint=f'Set time_format: "{best}" or time_format: "{other}" under providers.files',
            )
    return readings[best], best
