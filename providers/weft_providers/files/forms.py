"""Find out from the first lines of a text file how it is written."""

import codecs
import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from weft.foundation.errors import NoDataError, SchemaError, nearest
from weft_providers.files.columns import (
    NAMES,
    NEEDED,
    PRICES,
    Series,
    find_columns,
    is_header,
    looks_like_number,
    stated_columns,
    tick_volume,
)

HEAD: Final = 1 << 16
"""Bytes at the beginning of a file from which its form is found."""

BLANKS: Final = " "
"""Separator of files whose fields are separated by one or more spaces."""

_FEWEST_FIELDS = 5
_MOST_PREAMBLE = 60
_SAMPLE = 200
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LAYOUTS = (
    ("open", "high", "low", "close"),
    ("open", "close", "high", "low"),
    ("low", "high", "open", "close"),
)
"""Orders of prices in files without a header, the most common first."""

_CLOCK = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?")
_STAMP = re.compile(r"\d{4}[-./]?\d\d[-./]?\d\d.*|\d{1,2}[-./]\d{1,2}[-./]\d{4}.*|\d{9,19}(\.0+)?")
_BY_POSITION = "Name its columns in their order, as in columns: [open_time, open, high, low, close]"
_BY_NAME = "Name it with the option columns, as in {date: open_time}"


class NotCandlesError(SchemaError):
    """A file holds no candles; reported only if no file does."""


@dataclass(frozen=True, slots=True)
class FormOptions:
    """What config states about the form of files; None where the lines of each file decide.

    Attributes:
        columns: Weft's names by names in the file or by position from 1, or all in their order.
        separator: between fields.
        decimal: sign before decimals: a point or a comma.
        encoding: of the text.
        skip_rows: lines before the header, or before the first candle.
    """

    columns: Mapping[str, str] | Sequence[str] = field(default_factory=dict)
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None
    skip_rows: int | None = None


@dataclass(frozen=True, slots=True)
class FileForm:
    """How a text file of candles is written.

    Attributes:
        encoding: of the text.
        separator: between fields; `BLANKS` for runs of spaces.
        decimal: sign before decimals; the other of point and comma separates thousands.
        header: names of the columns; empty where the file has none.
        skip_rows: lines before the first candle, the header among them.
        width: fields in a line.
        series: the columns that are read; one entry for each symbol with separate columns.
        notes: assumptions, one readable line each.
        header_line: number of the line that names the columns, from 1; None without one.
    """

    encoding: str
    separator: str
    decimal: str
    header: tuple[str, ...]
    skip_rows: int
    width: int
    series: tuple[Series, ...]
    notes: tuple[str, ...] = ()
    header_line: int | None = None


def find_encoding(head: bytes) -> str:
    """Return the encoding of a text: by its byte order mark, zero bytes, or UTF-8; else cp1252."""
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    even, odd = head[0:400:2].count(0), head[1:400:2].count(0)
    if max(even, odd) > len(head[:400]) // 5:
        return "utf-16-be" if even > odd else "utf-16-le"
    # The head may end in the middle of a character.
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(head)
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def split_line(line: str, separator: str) -> list[str]:
    """Split a line into fields, without quotes and surrounding spaces."""
    if separator == BLANKS:
        return line.split()
    if '"' in line:
        return [part.strip() for part in next(csv.reader([line], delimiter=separator))]
    return [part.strip() for part in line.split(separator)]


def sniff(head: bytes, options: FormOptions, source: str) -> FileForm:
    """Find out how a file is written.

    Args:
        head: the first bytes of the file; the last line may be incomplete.
        options: what config states about the form.
        source: how errors name the file.

    Raises:
        NotCandlesError: nothing in the file looks like candles.
        SchemaError: a column is missing, or the notation is ambiguous.
        NoDataError: the file has a header and nothing below it.
    """
    encoding = options.encoding or find_encoding(head)
    lines = head.decode(encoding, errors="replace").splitlines()
    if len(head) >= HEAD:
        lines = lines[:-1]
    start = options.skip_rows or 0
    separator = options.separator or _find_separator(lines[start:])
    top = _find_header(lines, start, separator, options)
    if top is None:
        form = _without_header(lines, start, encoding, separator, options, source)
    else:
        form = _with_header(lines, top, encoding, separator, options, source)
    sample = _sample(lines, form)
    form = _joined_clock(form, sample)
    decimal = options.decimal or _find_decimal(sample, form, source)
    return replace(_with_ticks(form, sample), decimal=decimal)


def plain_form(head: bytes) -> FileForm:
    """Return the form of a text whose first line names its columns."""
    encoding = find_encoding(head)
    lines = head.decode(encoding, errors="replace").splitlines()
    separator = _find_separator(lines)
    header = split_line(lines[0], separator)
    return FileForm(encoding, separator, ".", tuple(header), 1, len(header), ())


def _find_separator(lines: Sequence[str]) -> str:
    """Return the sign that splits most lines into the same number of fields."""
    # Lines above the header may contain any signs; the last lines are candles.
    sample = [line for line in lines if line.strip()][-_SAMPLE:]
    for separator in ("\t", ";", "|"):
        if _is_split_by(sample, separator):
            return separator
    return "," if _is_split_by(sample, ",") or not _is_split_by(sample, BLANKS) else BLANKS


def _is_split_by(sample: Sequence[str], separator: str) -> bool:
    counts = [len(split_line(line, separator)) for line in sample]
    usual = max(set(counts), key=counts.count, default=0)
    return usual >= _FEWEST_FIELDS and counts.count(usual) * 2 > len(counts)


def _find_header(
    lines: Sequence[str], start: int, separator: str, options: FormOptions
) -> int | None:
    """Return the index of the line that names the columns; None where no line does."""
    fields = [split_line(line, separator) for line in lines[start : start + _MOST_PREAMBLE]]
    for number, line in enumerate(fields):
        if is_header(line, options.columns):
            return start + number
    first = next((n for n, line in enumerate(fields) if _is_data(line)), None)
    if first is None:
        # Without any candle, the error message shows the widest line.
        widest = max(range(len(fields)), key=lambda n: len(fields[n]), default=None)
        return None if widest is None or len(fields[widest]) == 1 else start + widest
    above = fields[first - 1] if first else []
    named = len(above) == len(fields[first]) and not any(map(looks_like_number, above))
    return start + first - 1 if named else None


def _is_data(fields: Sequence[str]) -> bool:
    return len(fields) >= _FEWEST_FIELDS and sum(map(looks_like_number, fields)) >= len(PRICES)


def _with_header(
    lines: Sequence[str],
    top: int,
    encoding: str,
    separator: str,
    options: FormOptions,
    source: str,
) -> FileForm:
    header = split_line(lines[top], separator)
    series, below = _yahoo(lines, top, separator)
    if not series:
        columns, below = find_columns(header, options.columns), top + 1
        check_columns(header, columns, source)
        series = (Series(columns),)
    notes = () if "volume" in series[0].columns else ("no column of volume: read as 0",)
    skipped = f"{top} line{'s' * (top != 1)} above the header passed over"
    notes = (*notes, *([skipped] if top else []))
    if not any(line.strip() for line in lines[below:]):
        raise NoDataError("the file holds no rows", where=source)
    width = len(header)
    return FileForm(
        encoding, separator, ".", tuple(header), below, width, series, notes, header_line=top + 1
    )


def check_columns(header: Sequence[str], columns: Mapping[str, int], source: str) -> None:
    """Check that a header has every column that candles need.

    Raises:
        NotCandlesError: the header names no price at all.
        SchemaError: a column is missing, or the volume may be in the quote currency.
    """
    listed = ", ".join(repr(name) for name in list(header)[:20])
    if not set(PRICES) & set(columns):
        raise NotCandlesError(
            f"no candle file: column 'open' is missing; found {listed}",
            where=source,
            hint=_BY_NAME,
        )
    for name in NEEDED[:-1]:
        if name in columns or (name == "open_time" and {"date", "time"} <= set(columns)):
            continue
        close = nearest(name, [h for h in header if h not in NAMES])
        hint = f"Did you mean {close!r}? {_BY_NAME}" if close else _BY_NAME
        raise SchemaError(f"column {name!r} is missing; found {listed}", where=source, hint=hint)
    _expect_volume(header, columns, source)


def _expect_volume(header: Sequence[str], columns: Mapping[str, int], source: str) -> None:
    """Raise where every column of volume may be in the quote currency: the user has to choose."""
    alike = [name for name in header if "vol" in name.lower()]
    if "volume" not in columns and alike:
        raise SchemaError(
            f"column 'volume' is missing; {', '.join(map(repr, alike))} may be in the quote "
            "currency",
            where=source,
            hint=f"Choose it with the option columns, as in {{{alike[0]}: volume}}",
        )


def _yahoo(lines: Sequence[str], top: int, separator: str) -> tuple[tuple[Series, ...], int]:
    """Return the series below a header of two levels, price and ticker, and their first line."""
    rows = [split_line(line, separator) for line in lines[top : top + 2]]
    if top and is_header(rows[0]):
        before = split_line(lines[top - 1], separator)
        if before[0].lower() in {"ticker", ""} and len(before) == len(rows[0]) and before[-1]:
            return _by_ticker(rows[0], before), _first_data(lines, top + 1, separator)
    if len(rows) == 1 or len(rows[0]) != len(rows[1]) or rows[1][0].lower() not in {"ticker", ""}:
        return (), top + 1
    if any(map(looks_like_number, rows[-1])) or not all(rows[-1][1:]):
        return (), top + 1
    return _by_ticker(rows[0], rows[-1]), _first_data(lines, top + 2, separator)


def _by_ticker(prices: Sequence[str], tickers: Sequence[str]) -> tuple[Series, ...]:
    series = []
    for ticker in dict.fromkeys(tickers[1:]):
        header = [name if t == ticker else "" for name, t in zip(prices, tickers, strict=True)]
        columns = {**find_columns(header), "open_time": 0}
        if set(PRICES) <= set(columns):
            series.append(Series(columns, ticker))
    return tuple(series)


def _first_data(lines: Sequence[str], start: int, separator: str) -> int:
    """Return the first line from `start` on that holds numbers; one above may name the dates."""
    for number in range(start, min(start + 3, len(lines))):
        if any(looks_like_number(field) for field in split_line(lines[number], separator)[1:]):
            return number
    return start


def _without_header(
    lines: Sequence[str],
    start: int,
    encoding: str,
    separator: str,
    options: FormOptions,
    source: str,
) -> FileForm:
    rows = [split_line(line, separator) for line in lines]
    first = next((n for n in range(start, len(rows)) if _is_data(rows[n])), None)
    if first is None:
        begin = next((line.strip() for line in lines[start:] if line.strip()), "")
        raise NotCandlesError(
            f"no candle file: no line holds a time and prices; it begins with {begin[:60]!r}",
            where=source,
            hint="If it is, set separator, encoding or skip_rows",
        )
    width = len(rows[first])
    columns = stated_columns((), options.columns)
    if not set(PRICES) <= set(columns):
        sample = [row for row in rows[first : first + _SAMPLE] if len(row) == width]
        columns = _by_position(sample, source) | columns
    names = sorted((place + 1, name) for name, place in columns.items())
    listed = ", ".join(f"{place} {name}" for place, name in names)
    notes = [f"no header row: its columns are read as {listed}"]
    if "volume" not in columns:
        notes.append("no column of volume: read as 0")
    return FileForm(encoding, separator, ".", (), first, width, (Series(columns),), tuple(notes))


def _by_position(sample: Sequence[Sequence[str]], source: str) -> dict[str, int]:
    """Find the columns of lines without a header.

    Raises:
        SchemaError: no usual order of prices fits the numbers.
    """
    width, row = len(sample[0]), sample[0]
    at = next((n for n, text in enumerate(row) if _STAMP.fullmatch(text)), None)
    if at is not None:
        columns = {"open_time": at}
        after = at + 1
        if after < width and _is_clock(row[after]):
            columns = {"date": at, "time": after}
            after += 1
        names = [n for n in range(after) if n not in columns.values() and row[n]]
        if len(names) == 1 and not looks_like_number(row[names[0]]):
            columns["symbol"] = names[0]
        for layout in _LAYOUTS:
            if after + len(layout) <= width and _fits(sample, layout, after):
                columns |= {name: after + n for n, name in enumerate(layout)}
                if after + len(layout) < width:
                    columns["volume"] = after + len(layout)
                return columns
    raise SchemaError(
        f"no header row, and the order of its {width} columns is not clear; it begins with "
        f"{', '.join(map(repr, row[:8]))}",
        where=source,
        hint=_BY_POSITION,
    )


def _is_clock(text: str) -> bool:
    return _CLOCK.fullmatch(text) is not None or re.fullmatch(r"\d{6}", text) is not None


def _fits(sample: Sequence[Sequence[str]], layout: Sequence[str], after: int) -> bool:
    """Whether high is the highest and low the lowest of the prices in nearly all lines."""
    good = 0
    for row in sample:
        values = [_rough(text) for text in row[after : after + len(layout)]]
        prices = dict(zip(layout, values, strict=True))
        known = [value for value in values if value is not None and value > 0]
        good += len(known) == len(layout) and (
            prices["high"] == max(known) and prices["low"] == min(known)
        )
    return good * 10 >= len(sample) * 9


def _rough(text: str) -> float | None:
    """Parse a number of any notation, precise enough to compare numbers of one notation."""
    try:
        return float(re.sub(r"[\s$€']", "", text).replace(",", "."))
    except ValueError:
        return None


def _sample(lines: Sequence[str], form: FileForm) -> list[list[str]]:
    rows = (split_line(line, form.separator) for line in lines[form.skip_rows :] if line.strip())
    return [row for row in rows if len(row) >= _FEWEST_FIELDS][:_SAMPLE]


def _joined_clock(form: FileForm, sample: Sequence[Sequence[str]]) -> FileForm:
    """Return a form that joins date and time from two columns, where the time has no date."""
    (first, *_), row = form.series, sample[0] if sample else []
    at, date = first.columns.get("open_time"), first.columns.get("date")
    if at is None or date is None or len(form.series) > 1:
        return form
    columns = {k: v for k, v in first.columns.items() if k not in {"open_time", "date", "time"}}
    header = form.header[at].lower() if form.header else ""
    clock = at < len(row) and (_is_clock(row[at]) or (header in {"time", "<time>"} and row[at]))
    stamp = at < len(row) and _STAMP.fullmatch(row[at]) is not None and not _is_clock(row[at])
    joined = {"date": date, "time": at} if clock and not stamp else {"open_time": at}
    return replace(form, series=(Series(columns | joined, first.symbol),))


def _with_ticks(form: FileForm, sample: Sequence[Sequence[str]]) -> FileForm:
    """Return a form that reads the count of ticks as volume, where the volume is always 0."""
    ticks, (first, *_) = tick_volume(form.header), form.series
    place = first.columns.get("volume")
    if ticks is None or place is None or len(form.series) > 1:
        return form
    if ticks == place:
        return replace(form, notes=(*form.notes, "volume counts ticks"))
    if any(place < len(row) and (_rough(row[place]) or 0) != 0 for row in sample):
        return form
    columns = {**first.columns, "volume": ticks}
    notes = (*form.notes, "its volume is always 0: the count of ticks is read instead")
    return replace(form, series=(Series(columns, first.symbol),), notes=notes)


def _find_decimal(sample: Sequence[Sequence[str]], form: FileForm, source: str) -> str:
    """Return the sign before decimals.

    Raises:
        SchemaError: commas may be decimals or thousands: each stands before three digits.
    """
    places = [s.columns[name] for s in form.series for name in PRICES if name in s.columns]
    texts = [row[place] for row in sample for place in places if place < len(row)]
    commas = [text for text in texts if "," in text]
    if not commas:
        return "."
    points = [text for text in texts if "." in text]
    both = next((text for text in commas if "." in text), None)
    if both is not None:
        return "," if both.rfind(",") > both.rfind(".") else "."
    if any(text.count(",") > 1 for text in commas):
        return "."
    if any(not re.fullmatch(r"\D*\d{1,3},\d{3}\D*", text) for text in commas):
        return ","
    if points:
        return "."
    raise SchemaError(
        f"{commas[0]!r} may be a decimal or a thousand: all commas stand before three digits",
        where=source,
        hint='Set decimal: "," or decimal: "." under providers.files',
    )
