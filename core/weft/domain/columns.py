"""Reads columns of a frame from outside as times, numbers or texts."""

from typing import Final

import polars as pl

from weft.foundation.errors import SchemaError, nearest
from weft.foundation.times import DAY, SECOND, iso, parse_time

UTC_MICROS: Final = pl.Datetime("us", "UTC")
"""Type of every time column inside Weft."""

_EARLIEST, _LATEST = parse_time("1971-01-01T00:00:00Z"), parse_time("2200-01-01T00:00:00Z")
_FIRST_ISO, _LAST_ISO = parse_time("0001-01-02T00:00:00Z"), parse_time("9999-12-31T00:00:00Z")
# Microseconds in one unit times _NANO, so that nanoseconds too are a whole number of them.
_NANO = 1_000
_UNITS: Final = {"s": SECOND * _NANO, "ms": 1_000 * _NANO, "us": _NANO, "ns": 1}
_UNIT_NAMES: Final = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
_TOO_SMALL: Final = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
# Seconds of 1973-03-03 and 2286-11-20: between them no two units share a magnitude.
_FIRST_PLAIN, _LAST_PLAIN = 10**8, 10**10
_LARGEST = 2**63 - 1
_DECIMAL = r"(?i)^([+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|nan|[+-]?inf(inity)?)$"


class Columns:
    """Reads columns of one frame as times, numbers or texts.

    Attributes:
        notes: assumptions that were needed, one line each.

    Args:
        frame: the frame.
        source: origin of the frame, for messages.
    """

    def __init__(self, frame: pl.DataFrame, source: str) -> None:
        self._frame = frame
        self._source = source
        self.notes: list[str] = []

    def text(self, name: str) -> pl.Series:
        """Return a column of texts, or raise `SchemaError`."""
        column = self._get(name)
        if not isinstance(column.dtype, pl.String | pl.Categorical | pl.Enum | pl.Null):
            raise _wrong(column, "text", self._source)
        return column.cast(pl.String)

    def time(self, name: str) -> pl.Series:
        """Return a column of times as microseconds since 1970; see `read_times`."""
        micros, note = read_times(self._get(name), self._source)
        if note:
            self.notes.append(note)
        return micros.alias(name)

    def number(self, name: str) -> pl.Series:
        """Return a column of numbers, or of texts with decimal numbers, as float64.

        Raises:
            SchemaError: the column is missing, or a text in it is no number.
        """
        column = self._get(name)
        if column.dtype == pl.String:
            column = column.str.strip_chars().replace("", None)
            if not (clean := column.str.contains(_DECIMAL)).all():
                odd = column.filter(~clean)[0]
                raise _wrong(column, "decimal numbers", self._source, odd)
            return column.cast(pl.Float64)
        if not (column.dtype.is_numeric() or column.dtype == pl.Null):
            raise _wrong(column, "numbers", self._source)
        return column.cast(pl.Float64)

    def _get(self, name: str) -> pl.Series:
        if name in self._frame.columns:
            return self._frame[name]
        columns = self._frame.columns
        close = nearest(name, columns)
        raise SchemaError(
            f"column {name!r} is missing; found {', '.join(map(repr, columns[:20])) or 'none'}",
            where=self._source,
            hint=f"Did you mean {close!r}?" if close else "Rename or add the column",
        )


def read_times(column: pl.Series, source: str) -> tuple[pl.Series, str | None]:
    """Return a time column as microseconds since 1970, and the assumption made in reading it.

    Integers, and texts of digits, count seconds, milliseconds, microseconds or nanoseconds; the
    magnitude of each decides. Times without a zone are UTC. Values that are no time are null.

    Raises:
        SchemaError: the type of the column holds no times, or all values lie before 1971 or after
            2200, as after reading a wrong unit.
    """
    name, kind, note = column.name, column.dtype, None
    if kind == pl.String:
        texts = column.str.strip_chars().replace("", None)
        if not texts.str.contains(r"^[+-]?\d+(\.0+)?$").all():
            return _read_texts(texts, source)
        column = texts.cast(pl.Float64 if texts.str.contains(".", literal=True).any() else pl.Int64)
    elif isinstance(kind, pl.Datetime):
        note = None if kind.time_zone else f"{name} has no time zone: read as UTC"
        micros = _scaled(column.to_physical(), _UNITS[kind.time_unit])
        return _plausible(micros, column.to_physical(), kind.time_unit, source), note
    elif kind == pl.Date:
        days = column.cast(pl.Int64) * DAY
        return _plausible(days, days, "us", source), f"{name} holds dates: read as midnight UTC"
    if column.dtype.is_float() and (column.fill_nan(None) % 1 == 0).all():
        column = column.fill_nan(None).cast(pl.Int64, strict=False)
    if kind == pl.Null:
        return column.cast(pl.Int64), None
    if not column.dtype.is_integer():
        raise _wrong(column, "times", source)
    return _read_integers(column.cast(pl.Int64, strict=False), source)


def parse_iso_texts(texts: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Return ISO 8601 texts as microseconds since 1970, and which of them name a zone.

    Texts without a zone are read as UTC; texts that are no time are null.
    """
    name = texts.name
    zoned = texts.str.contains(r"(?i)(\d\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?))$|UTC$")
    frame = pl.DataFrame({"text": texts, "zoned": zoned})
    text = (
        pl.col("text").str.replace(r"(?i)\s*(Z|UTC)$", "+00:00").str.replace(r"\s+([+-]\d\d)", "$1")
    )
    text = text.str.replace(" ", "T")
    text = text.str.replace(r"(:\d\d.*[+-]\d\d)$", "$1:00").str.replace(
        r"^([\d-]{10})$", "${1}T00:00:00"
    )
    text = text.str.replace(r"T(\d\d:\d\d)([+-]|$)", "T$1:00$2")
    text = pl.when("zoned").then(text).otherwise(text + "+00:00")
    read = frame.select(
        text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", strict=False)
        .to_physical()
        .alias(name)
    )[name]
    return read, zoned.fill_null(value=False)


def _read_texts(texts: pl.Series, source: str) -> tuple[pl.Series, str | None]:
    name = texts.name
    read, zoned = parse_iso_texts(texts)
    zoned |= texts.is_null()
    if (lost := read.is_null() & texts.is_not_null()).any():
        raise _wrong(texts, "times like 2025-03-01T00:00:00Z", source, texts.filter(lost)[0])
    note = None if zoned.all() else f"{name} has no time zone: read as UTC"
    return _plausible(read, read, "us", source), note


def _read_integers(column: pl.Series, source: str) -> tuple[pl.Series, str | None]:
    """Return counts as microseconds, each in the unit that its magnitude implies.

    A count of ambiguous magnitude, such as one of 1972, is read in the unit of the median.
    """
    name, size = column.name, column.cast(pl.Float64).median()
    if not isinstance(size, float):
        return column, None
    plain = {
        unit: (_FIRST_PLAIN * _UNITS["s"] // nanos, _LAST_PLAIN * _UNITS["s"] // nanos)
        for unit, nanos in _UNITS.items()
    }
    usual = next((unit for unit, (first, last) in plain.items() if first <= size < last), None)
    if usual is None:
        expected = "seconds, milliseconds, microseconds or nanoseconds since 1970"
        raise _wrong(column, expected, source, int(size))
    read, units = _scaled(column, _UNITS[usual]), [usual]
    for unit, (first, last) in plain.items():
        if unit == usual:
            continue
        in_unit = column.is_between(first, min(last, _LARGEST), closed="left").fill_null(
            value=False
        )
        if in_unit.any():
            units.append(unit)
            read = read.zip_with(~in_unit, _scaled(column, _UNITS[unit]))
    if len(units) > 1:
        mixed = " and ".join(_UNIT_NAMES[unit] for unit in _UNITS if unit in units)
        return read, f"{name} mixes {mixed} since 1970: each value is read by its magnitude"
    note = f"{name} holds integers: read as {_UNIT_NAMES[usual]} since 1970"
    return read, None if usual == "ms" else note


def _scaled(column: pl.Series, nanos: int) -> pl.Series:
    """Return counts of a unit as microseconds; null where the result exceeds 64 bits."""
    if nanos < _NANO:
        return column // _NANO
    factor = nanos // _NANO
    most = _LARGEST // factor
    fits = column.is_between(-most, most)
    return pl.select(pl.when(fits).then(column * factor).alias(column.name)).to_series()


def _plausible(micros: pl.Series, raw: pl.Series, unit: str, source: str) -> pl.Series:
    """Return `micros`; raise where all raw counts lie before 1971 or after 2200."""
    counts = raw.drop_nulls().cast(pl.Float64) * (_UNITS[unit] / _NANO)
    least, most = counts.min(), counts.max()
    if not isinstance(least, float) or not isinstance(most, float):
        return micros
    if most >= _EARLIEST and least < _LATEST:
        return micros
    mistakes = {ratio: f"seconds read as {read}" for ratio, read in _TOO_SMALL.items()}
    mistakes |= {1 / ratio: f"{read} read as seconds" for ratio, read in _TOO_SMALL.items()}
    fit = [text for ratio, text in mistakes.items() if _EARLIEST <= least * ratio < _LATEST]
    side = "before 1971" if most < _EARLIEST else "after 2200"
    raise SchemaError(
        f"every value of column {micros.name!r} lies {side}, the first at {instant(int(least))}"
        + (f": it looks like an epoch in {fit[0]}, or the like" if fit else ""),
        where=source,
        hint="Give the raw integers, or convert them from the unit they are in",
    )


def _wrong(
    column: pl.Series, expected: str, source: str, value: object | None = None
) -> SchemaError:
    content = f"is {column.dtype}" if value is None else f"holds {str(value)[:60]!r}"
    return SchemaError(f"column {column.name!r} {content}, expected {expected}", where=source)


def instant(micros: int) -> str:
    """Return a time as ISO 8601, or as a plain count outside the years 1 to 9999."""
    return iso(micros) if _FIRST_ISO < micros < _LAST_ISO else f"{micros} microseconds"
