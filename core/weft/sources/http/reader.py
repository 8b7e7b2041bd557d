"""Strict JSON: parse a body, read its fields, and name the field that is not as expected."""

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
    """Return what a UTF-8 body holds; a byte order mark is ignored.

    Of a key that stands twice the last value holds. Integers beyond 64 bits become floats.

    Raises:
        ValueError: no JSON, a number too large for a float, or nested more than 1024 deep.
    """
    return orjson.loads(body.removeprefix(codecs.BOM_UTF8))


def is_markup(body: bytes) -> bool:
    """Whether a body looks like a page rather than data."""
    return body.removeprefix(codecs.BOM_UTF8).lstrip()[:1] == b"<"


_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_PLAIN = re.compile(r"[0-9.+\-\n]*")
"""Lines of which float takes only such as are decimals, and no others that it would take."""

_UNITS = {"s": SECOND, "ms": 1_000, "us": 1}

# Seconds taken for milliseconds land in 1970, milliseconds taken for seconds far beyond 2100.
_FIRST, _LAST = YEAR, 130 * YEAR

_MISSING = object()
_T = TypeVar("_T")


class Reader:
    """A place in parsed JSON, and the way from it to fields further in.

    Each method takes the way as keys and indices: ``read.number("data", 0, "price")``.

    Args:
        value: what stands at this place.
        where: the provider, for messages.
        what: the request, for messages.
        path: the way to this place, as in ``$.data[0]``.
        redact: applied to what messages quote.
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
        """Return the place there.

        Raises:
            SchemaChangedError: nothing is there.
        """
        value, path = self.value, self._path
        for step in way:
            value, held = _step(value, step), value
            if value is _MISSING:
                keys = f"; there are {', '.join(map(str, held))[:120]}" if _is_map(held) else ""
                wanted = f"no {_spell(step)} in {path}, which is {self._shown(held)}{keys}"
                raise self._changed(wanted)
            path += _spell(step)
        return Reader(value, self._where, self._what, path, self._redact)

    def has(self, *way: str | int) -> bool:
        """Whether something other than null is there."""
        value = self.value
        for step in way:
            value = _step(value, step)
        return value is not _MISSING and value is not None

    def number(self, *way: str | int, null: float | None = None) -> float:
        """Return a finite number, given as one or as decimal text; never from ``1,234`` or true.

        Args:
            way: where it is.
            null: returned for null; where None, null is refused.

        Raises:
            SchemaChangedError: something else is there, or nothing.
        """
        place = self.at(*way)
        value = place.value
        if value is None and null is not None:
            return null
        if isinstance(value, str) and _DECIMAL.fullmatch(value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise place.unexpected("a number")
        # Not isfinite: an integer may be too large to ask.
        if not abs(value) <= sys.float_info.max:
            raise place.unexpected("a number")
        return float(value)

    def integer(self, *way: str | int) -> int:
        """Return a whole number, given as one or as text.

        Raises:
            SchemaChangedError: something else is there, or nothing.
        """
        place = self.at(*way)
        value = place.value
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,30}", value):
            return int(value)
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise place.unexpected("a whole number")
        return value

    def text(self, *way: str | int) -> str:
        """Return a text.

        Raises:
            SchemaChangedError: something else is there, or nothing.
        """
        place = self.at(*way)
        if not isinstance(place.value, str):
            raise place.unexpected("a text")
        return place.value

    def instant(self, *way: str | int, unit: Literal["s", "ms", "us", "iso"]) -> int:
        """Return an instant in microseconds since 1970.

        Args:
            way: where it is.
            unit: of the epoch, or ``iso`` for ISO 8601 with a zone.

        Raises:
            SchemaChangedError: nothing or something else is there, or an epoch outside 1971 to
                2099, which is what one of another unit looks like.
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
        """Return the places in a list, empty for an empty one.

        Raises:
            SchemaChangedError: something else is there, or nothing.
        """
        place = self.at(*way)
        if not isinstance(place.value, list):
            raise place.unexpected("a list")
        return [place.at(index) for index in range(len(place.value))]

    def collect(
        self,
        *way: str | int,
        read: "Callable[[Reader], _T | None]",
        lost: Callable[[str], None],
    ) -> "list[_T]":
        """Return what is read out of each row of a list; a row that cannot be read costs itself.

        Args:
            way: where the list is.
            read: reads one row; returns None to leave it out without a word.
            lost: takes a line for people about the rows that could not be read.

        Raises:
            SchemaChangedError: something else is there, or nothing, or rows cannot be read and
                none gives anything: then the source has changed, not a row.
        """
        return read_rows(self.rows(*way), read, lost)

    def table(self, *way: str | int, width: int) -> list[tuple[float, ...]]:
        """Return the first numbers of each row of a list of lists, as `number` reads them.

        For the thousands of rows of an order book: much faster than a place for every number.

        Args:
            way: where the list is.
            width: numbers to take of each row; it may hold more.

        Raises:
            SchemaChangedError: something else is there, or nothing, or a row is too short.
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
                    # Read one by one below, the one that is no number is found.
                    pass
        return [tuple(row.number(i) for i in range(width)) for row in place.rows()]

    def fields(self, *way: str | int) -> "dict[str, Reader]":
        """Return the places in an object, by key.

        Raises:
            SchemaChangedError: something else is there, or nothing.
        """
        place = self.at(*way)
        if not _is_map(place.value):
            raise place.unexpected("an object")
        return {key: place.at(key) for key in place.value}

    @contextmanager
    def parsing(self) -> Iterator[None]:
        """Turn what parsing by hand trips over into `SchemaChangedError`, naming this place.

        Raises:
            SchemaChangedError: for KeyError, IndexError, TypeError, ValueError, AttributeError.
        """
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            told = f"{type(error).__name__}: {self._redact(str(error))[:80]}"
            # A parser's error may quote what the server sent; here that is redacted.
            raise self._changed(f"{self._path} has another form, {told}") from None

    def unexpected(self, wanted: str) -> SchemaChangedError:
        """Return the error that says what should stand here, for a provider's own checks."""
        return self._changed(f"{self._path} should be {wanted}, and is {self._shown(self.value)}")

    def _changed(self, told: str) -> SchemaChangedError:
        return SchemaChangedError(self._redact(f"{self._what}: {told}"), where=self._where)

    def _shown(self, value: Any) -> str:  # noqa: ANN401  # JSON
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
    """Return what is read out of rows that stand in one answer or in several; see `collect`."""
    sound: list[_T] = []
    broken: list[SchemaChangedError] = []
    for row in rows:
        try:
            one = read(row)
        except SchemaChangedError as error:
            broken.append(error)
        else:
            if one is not None:
                sound.append(one)
    if broken and not sound:
        raise broken[0]
    if broken:
        lost(f"{len(broken)} of {len(rows)} rows left out, the first: {broken[0].message}")
    return sound


def _step(value: Any, step: str | int) -> Any:  # noqa: ANN401  # JSON
    if isinstance(step, str):
        return value.get(step, _MISSING) if _is_map(value) else _MISSING
    fits = isinstance(value, list) and -len(value) <= step < len(value)
    return value[step] if fits else _MISSING


def _is_map(value: Any) -> bool:  # noqa: ANN401  # JSON
    return isinstance(value, Mapping)


def _spell(step: str | int) -> str:
    return f".{step}" if isinstance(step, str) else f"[{step}]"
