"""Instants and intervals: int64 microseconds since 1970 inside, ISO 8601 UTC at the edges."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from weft.foundation.errors import WeftError

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
YEAR = 365 * DAY + 6 * HOUR

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}
_1970 = datetime(1970, 1, 1, tzinfo=UTC)
# 1970-01-01 was a Thursday; weekly candles open on Monday.
_MONDAY = 4 * DAY


class TimeError(WeftError, ValueError):
    """A text is no instant or no interval; raised while config and arguments are parsed."""


def parse_time(text: str) -> int:
    """Return the instant of an ISO 8601 text, in microseconds since 1970.

    A text without a zone is refused, because a wrong guess would move every candle.

    Raises:
        TimeError: the text is no ISO 8601 instant, or it has no zone.
    """
    hint = "Write it like 2025-03-01T00:00:00Z"
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise TimeError(f"{text!r} is not an ISO 8601 time", hint=hint) from None
    if instant.tzinfo is None:
        raise TimeError(f"{text!r} has no time zone", hint=hint)
    try:
        return to_micros(instant)
    except OverflowError:
        raise TimeError(f"{text!r} lies outside the years 1 to 9999 in UTC", hint=hint) from None


def parse_instant(text: str) -> int:
    """Return a day (its midnight UTC) or an ISO 8601 time as microseconds since 1970.

    Raises:
        TimeError: the text is neither, or a time without a zone.
    """
    return parse_time(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)


def to_micros(instant: datetime) -> int:
    """Return a zone-aware datetime as microseconds since 1970, without passing through a float."""
    delta = instant.astimezone(UTC) - _1970
    return (delta.days * 86_400 + delta.seconds) * SECOND + delta.microseconds


def to_datetime(micros: int) -> datetime:
    """Return microseconds since 1970 as a datetime in UTC.

    Raises:
        TimeError: the instant lies outside the years 1 to 9999.
    """
    try:
        # timedelta takes no NumPy integers.
        return _1970 + timedelta(microseconds=int(micros))
    except OverflowError:
        raise TimeError(f"{micros} microseconds lie outside the years 1 to 9999") from None


def iso(micros: int) -> str:
    """Return microseconds since 1970 as ISO 8601 in UTC, ending in ``Z``."""
    return to_datetime(micros).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """The length of a candle, aligned to 1970-01-01 UTC (weeks to Monday).

    Intervals of the same length are equal and have the same name: ``60m`` is ``1h``.

    Attributes:
        micros: length in microseconds.
        name: a whole number of the largest unit that divides it, for instance ``1h``.
    """

    micros: int
    name: str

    @staticmethod
    def parse(text: "str | Interval") -> "Interval":
        """Return the interval of a text such as ``5m``, ``1h``, ``4h`` or ``1d``.

        Raises:
            TimeError: the text is no whole number followed by s, m, h, d or w, or is too long.
        """
        return text if isinstance(text, Interval) else _parse_interval(text)

    def floor(self, micros: int) -> int:
        """Return the last boundary at or before an instant: the latest close known by then."""
        offset = self._offset
        return (micros - offset) // self.micros * self.micros + offset

    def ceil(self, micros: int) -> int:
        """Return the first boundary at or after an instant: the row that first knows it."""
        return self.floor(micros + self.micros - 1)

    def index(self, micros: int) -> int:
        """Return the number of a boundary on the grid, counted from 1970."""
        return (micros - self._offset) // self.micros

    def holds(self, finer: "Interval") -> bool:
        """Return whether candles of this length consist of whole candles of `finer`."""
        boundary = self.floor(0)
        return self.micros % finer.micros == 0 and finer.floor(boundary) == boundary

    @property
    def _offset(self) -> int:
        return _MONDAY if self.micros % WEEK == 0 else 0

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=64)
def _parse_interval(text: str) -> Interval:
    hint = "Write a whole number and a unit: 5m, 15m, 1h, 4h, 1d, 1w"
    match = re.fullmatch(r"([1-9][0-9]{0,8})([smhdw])", text)
    if match is None:
        raise TimeError(f"{text!r} is not an interval", hint=hint)
    micros = int(match[1]) * _UNITS[match[2]]
    if micros > YEAR:
        raise TimeError(f"{text!r} is longer than a year", hint=hint)
    unit = max((u for u in _UNITS if micros % _UNITS[u] == 0), key=_UNITS.__getitem__)
    return Interval(micros, f"{micros // _UNITS[unit]}{unit}")
