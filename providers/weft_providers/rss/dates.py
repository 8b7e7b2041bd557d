"""Parsing of the dates in feeds; an ambiguous date counts as missing."""

import re
from typing import Final

from weft.foundation.times import HOUR, MINUTE, SECOND, parse_time

EARLIEST: Final = parse_time("1990-01-01T00:00:00Z")
"""An earlier date in a feed is a default value, or in another unit."""

_MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec".split()  # noqa: SIM905  # one line to read
_HOURS: Final = {
    "Z": 0, "UT": 0, "UTC": 0, "GMT": 0, "WET": 0,
    "WEST": 1, "BST": 1, "CET": 1, "MET": 1,
    "CEST": 2, "MEST": 2, "EET": 2, "SAST": 2,
    "EEST": 3, "MSK": 3, "GST": 4, "PKT": 5, "WIB": 7,
    "SGT": 8, "HKT": 8, "PHT": 8, "AWST": 8,
    "JST": 9, "KST": 9, "AEST": 10, "AEDT": 11, "NZST": 12, "NZDT": 13,
    "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8, "PDT": -7,
    "AKST": -9, "AKDT": -8, "HST": -10, "BRT": -3, "ART": -3,
}  # fmt: skip
"""Hours ahead of UTC by zone name, without ambiguous names such as IST, used in three zones."""

_CLOCK = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,]\d{1,9})?)?"
    r"(?:\s*(?P<half>[AaPp])\.?[Mm]\.?)?"
)
_ZONE = r"(?:\s*(?P<offset>[+-]\d{2}:?\d{2})|\s*\(?(?P<zone>[A-Za-z]{1,5})\)?)?"
_TIME = rf"(?:(?:,?\s+|[Tt])(?:at\s+)?{_CLOCK}{_ZONE})?"
_WEEKDAY = r"(?:[A-Za-z]{3,9}\.?,?\s+)?"
_NAMED = r"(?P<name>[A-Za-z]{3,9})\.?"
_DIGITS = (
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    r"[Tt](?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})"
)
_FORMS: Final = tuple(
    re.compile(form)
    for form in (
        rf"{_WEEKDAY}(?P<day>\d{{1,2}})[\s-]{_NAMED}[\s-](?P<year>\d{{4}}|\d{{2}}){_TIME}",
        rf"{_WEEKDAY}{_NAMED}\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<year>\d{{4}}){_TIME}",
        rf"(?P<year>\d{{4}})[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}}){_TIME}",
        rf"{_DIGITS}{_ZONE}",
    )
)
_EPOCH: Final = re.compile(r"(\d{9,10}|\d{13})(?:\.0*)?")
_MILLIS_DIGITS = 13
_LONGEST = 64


def parse_date(text: str) -> int | None:
    """Return the instant of a date in microseconds since 1970; None where it has no clear meaning.

    Accepted forms are RFC 822 and ISO 8601, English names of months, twelve-hour clocks, and
    seconds or milliseconds since 1970. A date without a zone is UTC. Not accepted are numeric dates
    with an unclear order of day and month, unknown zones, and instants before 1990.
    """
    text = " ".join(text[: 2 * _LONGEST].split())
    if len(text) > _LONGEST:
        return None
    instant = _epoch(text)
    for form in _FORMS:
        if instant is None and (match := form.fullmatch(text)) is not None:
            instant = _instant({name: part for name, part in match.groupdict().items() if part})
    return instant if instant is not None and instant >= EARLIEST else None


def _epoch(text: str) -> int | None:
    match = _EPOCH.fullmatch(text)
    if match is None:
        return None
    return int(match[1]) * (1_000 if len(match[1]) == _MILLIS_DIGITS else SECOND)


def _instant(parts: dict[str, str]) -> int | None:
    offset = _offset(parts)
    month = _month(parts)
    if offset is None or month is None:
        return None
    year, hour = int(parts["year"]), int(parts.get("hour", 0))
    year += 2_000 if len(parts["year"]) == 2 else 0  # digits
    if half := parts.get("half", "").lower():
        if not 1 <= hour <= 12:  # hours of a half
            return None
        hour = hour % 12 + (12 if half == "p" else 0)
    minute, second = int(parts.get("minute", 0)), int(parts.get("second", 0))
    # A leap second counts as the second before.
    numbers = (year, month, int(parts["day"]), hour, minute, min(second, 59))
    try:
        return parse_time("{:04d}-{:02d}-{:02d}T{:02d}:{:02d}:{:02d}Z".format(*numbers)) - offset
    except ValueError:
        return None


def _month(parts: dict[str, str]) -> int | None:
    if "month" in parts:
        return int(parts["month"])
    name = parts["name"].lower()
    return _MONTHS.index(name[:3]) + 1 if name[:3] in _MONTHS else None


def _offset(parts: dict[str, str]) -> int | None:
    """Return how far local time is ahead of UTC; None for an unknown zone."""
    if "offset" in parts:
        sign, digits = parts["offset"][0], parts["offset"][1:].replace(":", "")
        ahead = int(digits[:2]) * HOUR + int(digits[2:]) * MINUTE
        return -ahead if sign == "-" else ahead
    zone = parts.get("zone", "UTC").upper()
    return _HOURS[zone] * HOUR if zone in _HOURS else None
