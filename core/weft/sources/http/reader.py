"""Strict JSON: parses a body, reads its fields, and names a field of an unexpected form."""

import codecs
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import Any, Literal, TypeVar

import orjson

from weft.foundation.times import SECOND, YEAR, TimeError, parse_time
from weft.sources.http.errors import SchemaChangedError


def parse_json(body: bytes) -> Any:  # noqa: ANN401  # JSON
    """Parse a UTF-8 body; a byte order mark is ignored.

    The last of two equal keys wins. Integers beyond 64 bits become floats.

    Raises:
        ValueError: the body is no JSON (NaN and infinity are none), has a number too large for a
            float, or is nested more than 1024 levels deep.
    """
    return orjson.loads(body.removeprefix(codecs.BOM_UTF8))


def is_markup(body: bytes) -> bool:
    """Whether a body looks like an HTML or XML page."""
    return body.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<"


_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_PLAIN = re.compile(r"[0-9.+\-\n]*")
"""Characters of which `float` accepts only decimals: no ``nan``, ``inf`` or underscores."""

_UNITS = {"s": SECOND, "ms": 1_000, "us": 1}

# Seconds read as milliseconds give 1970; milliseconds read as seconds give a year beyond 2100.
_FIRST, _LAST = YEAR, 130 * YEAR

_MISSING = object()
_T = TypeVar("_T")


class Reader:
    """A position in parsed JSON, with methods that read the fields below it.

    Each method takes keys and indices from the position to the field. A parser tested with a
    recorded body starts from such a reader::

        read = Reader({"data": [{"price": "94250.5"}]}, "provider example", "GET /v1/price")
        assert read.number("data", 0, "price") == 94250.5

    Args:
        value: JSON at the position.
        where: name of the provider, for messages.
        what: the request, for messages.
        path: path to the position, such as ``$.data[0]``.
        redact: removes secrets from quoted text.
    """

    __slots__ = ("_path", "_redact", "_what", "_where", "value")

    def __init__(
        self,
        value: Any,  # noqa: ANN401  # JSON
        where: str,
        what: str,
        path: str = "$",
        redact: Callable[[str], str] = str,
    ) -> None:
        self.value = value
        self._where = where
        self._what = what
        self._path = path
        self._redact = redact

    def at(self, *way: str | int) -> "Reader":
        """Return the reader of a field.

        Raises:
            SchemaChangedError: the field is missing.
        """
        value, path = self.value, self._path
        for step in way:
            value, parent = _step(value, step), value
            if value is _MISSING:
                keys = f"; there are {', '.join(map(str, parent))[:120]}" if _is_map(parent) else ""
                problem = f"no {_spell(step)} in {path}, which is {self._describe(parent)}{keys}"
                raise self._changed(problem)
            path += _spell(step)
        return Reader(value, self._where, self._what, path, self._redact)

    def has(self, *way: str | int) -> bool:
        """Whether a field exists and is not null."""
        value = self.value
        for step in way:
            value = _step(value, step)
        return value is not _MISSING and value is not None

    def number(self, *way: str | int, null: float | None = None) -> float:
        """Return a finite number from a JSON number or decimal text; not ``1,234`` or true.

        Args:
            way: keys and indices to the field.
            null: value returned for null; None raises for null.

        Raises:
            SchemaChangedError: the field is missing or no number.
        """
        place = self.at(*way)
        value = place.value
        if value is None and null is not None:
            return null
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise place.unexpected("a number")
        # Not isfinite, which fails for a very large integer.
        if not abs(value) <= sys.float_info.max:
            raise place.unexpected("a number")
        return float(value)

    def integer(self, *way: str | int) -> int:
        """Return an integer from a JSON number or text.

        Raises:
            SchemaChangedError: the field is missing or no integer.
        """
        place = self.at(*way)
        value = place.value
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,30}", value):
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise place.unexpected("an integer")
        return value

    def text(self, *way: str | int) -> str:
        """Return a text.

        Raises:
            SchemaChangedError: the field is missing or no text.
        """
        place = self.at(*way)
        if not isinstance(place.value, str):
            raise place.unexpected("a text")
        return place.value

    def instant(self, *way: str | int, unit: Literal["s", "ms", "us", "iso"]) -> int:
        """Return an instant in microseconds since 1970.

        Args:
            way: keys and indices to the field.
            unit: unit of an epoch, or ``iso`` for ISO 8601 with a zone.

        Raises:
            SchemaChangedError: the field is missing, no time, or an epoch outside 1971 to 2099,
                which suggests another unit.
        """
        place = self.at(*way)
        if unit == "iso":
            try:
                return parse_time(place.text())
            except TimeError:
                raise place.unexpected("an ISO 8601 time with a zone") from None
        micros = round(place.number() * _UNITS[unit])
        if not _FIRST <= micros <= _LAST:
            raise place.unexpected(f"an epoch in {unit} between 1971 and 2099")
        return micros

    def rows(self, *way: str | int) -> "list[Reader]":
        """Return one reader for each element of a list.

        Raises:
            SchemaChangedError: the field is missing or no list.
        """
        place = self.at(*way)
        if not isinstance(place.value, list):
            raise place.unexpected("a list")
        return [place.at(index) for index in range(len(place.value))]

    def expect_length(self, length: int) -> None:
        """Raise unless this is a list of so many elements.

        Raises:
            SchemaChangedError: it is no list, or has another number of elements.
        """
        if len(self.rows()) != length:
            raise self.unexpected(f"{length} fields")

    def collect(
        self,
        *way: str | int,
        read: "Callable[[Reader], _T | None]",
        lost: Callable[[str], None],
    ) -> "list[_T]":
        """Parse each row of a list, and leave out rows of an unexpected form.

        Args:
            way: keys and indices to the list.
            read: parses one row; returns None to leave it out silently.
            lost: receives one line about the rows of an unexpected form.

        Raises:
            SchemaChangedError: the field is missing or no list, or no row could be parsed: then
                the source has changed, not a row.
        """
        return read_rows(self.rows(*way), read, lost)

    def table(self, *way: str | int, width: int) -> list[tuple[float, ...]]:
        """Return the first `width` numbers of each row of a list of lists.

        Cells follow the rules of `number`. Much faster than `number` for the thousands of rows of
        an order book.

        Args:
            way: keys and indices to the list.
            width: numbers of each row; longer rows are cut.

        Raises:
            SchemaChangedError: the field is missing or no list of lists, a row is too short, or a
                cell is no number.
        """
        place = self.at(*way)
        rows = place.value
        if isinstance(rows, list) and all(isinstance(row, list) for row in rows):
            cells = [row[:width] for row in rows]
            texts = [cell for row in cells for cell in row]
            if len(texts) == len(rows) * width and all(type(text) is str for text in texts):
                try:
                    if _PLAIN.fullmatch("\n".join(texts)):
                        numbers = [float(text) for text in texts]
                        if all(map(isfinite, numbers)):
                            return list(zip(*[iter(numbers)] * width, strict=True))
                except ValueError:
                    # The slow path below names the cell that is no number.
                    pass
        return [tuple(row.number(i) for i in range(width)) for row in place.rows()]

    def fields(self, *way: str | int) -> "dict[str, Reader]":
        """Return one reader for each value of an object, by key.

        Raises:
            SchemaChangedError: the field is missing or no object.
        """
        place = self.at(*way)
        if not _is_map(place.value):
            raise place.unexpected("an object")
        return {key: place.at(key) for key in place.value}

    @contextmanager
    def parsing(self) -> Iterator[None]:
        """Convert errors of hand-written parsing into `SchemaChangedError` with this path.

        Raises:
            SchemaChangedError: for KeyError, IndexError, TypeError, ValueError, AttributeError.
        """
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            problem = f"{type(error).__name__}: {self._redact(str(error))[:80]}"
            # Not chained: the original error may quote a secret.
            raise self._changed(f"{self._path} has another form, {problem}") from None

    def unexpected(self, expected: str) -> SchemaChangedError:
        """Return an error for this position, to raise in further checks of a provider.

        Args:
            expected: what the position should be, such as "a positive number".
        """
        actual = self._describe(self.value)
        return self._changed(f"{self._path} should be {expected}, and is {actual}")

    def _changed(self, problem: str) -> SchemaChangedError:
        return SchemaChangedError(self._redact(f"{self._what}: {problem}"), where=self._where)

    def _describe(self, value: Any) -> str:  # noqa: ANN401  # JSON
        match value:
            case None:
                return "null"
            case str():
                text = self._redact(value)
                return f"the text {text[:40]!r}"
            case list():
                return f"a list of {len(value)}"
            case dict():
                return f"an object of {len(value)}"
            case _:
                return str(value)[:40]


def read_rows(
    rows: Sequence[Reader], read: Callable[[Reader], _T | None], lost: Callable[[str], None]
) -> list[_T]:
    """Parse rows of one or several responses, with the rules of `Reader.collect`."""
    parsed: list[_T] = []
    errors: list[SchemaChangedError] = []
    for row in rows:
        try:
            item = read(row)
        except SchemaChangedError as error:
            errors.append(error)
        else:
            if item is not None:
                parsed.append(item)
    if errors and not parsed:
        raise errors[0]
    if errors:
        lost(f"{len(errors)} of {len(rows)} rows left out, the first: {errors[0].message}")
    return parsed


def _step(value: Any, step: str | int) -> Any:  # noqa: ANN401  # JSON
    if isinstance(step, str):
        return value.get(step, _MISSING) if _is_map(value) else _MISSING
    fits = isinstance(value, list) and -len(value) <= step < len(value)
    return value[step] if fits else _MISSING


def _is_map(value: Any) -> bool:  # noqa: ANN401  # JSON
    return isinstance(value, Mapping)


def _spell(step: str | int) -> str:
    return f".{step}" if isinstance(step, str) else f"[{step}]"
