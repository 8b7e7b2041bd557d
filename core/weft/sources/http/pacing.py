"""What a server's headers say about when to come back."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from weft.foundation.times import DAY, SECOND, to_micros
from weft.sources.http.api import RateLimit
from weft.sources.http.sliding_window import SlidingWindow

LONGEST_BELIEVED_SECONDS = 3 * 86_400.0
"""No server means more than this; the longest bans known last three days."""

INSTEAD_SECONDS = 3_600.0
"""What is waited where a server asks for more than it can mean."""

_NUMBER = re.compile(r"[0-9]{1,18}(\.[0-9]{1,9})?")
_EPOCH_SECONDS, _EPOCH_MILLIS = 1e9, 1e12


def retry_after_seconds(headers: Mapping[str, str], now: int) -> float | None:
    """Return the seconds that Retry-After asks for.

    A date is measured against the server's own Date, so that a wrong clock here does no harm.

    Args:
        headers: of the answer, names in lower case.
        now: microseconds since 1970.

    Returns:
        None where it is absent, unreadable, in the past or no wait at all; an hour where it asks
        for more than `LONGEST_BELIEVED_SECONDS`.
    """
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        seconds = float(text)
    elif (until := _date(text)) is not None:
        seconds = (until - _server_time(headers, now)) / SECOND
    else:
        return None
    return believed_seconds(seconds)


def believed_seconds(seconds: float | None) -> float | None:
    """Return a wait that a server asks for as far as it is believed.

    Returns:
        None for None and for no wait at all; an hour for more than `LONGEST_BELIEVED_SECONDS`.
    """
    if seconds is None or not seconds > 0:
        return None
    return seconds if seconds <= LONGEST_BELIEVED_SECONDS else INSTEAD_SECONDS


def age_seconds(headers: Mapping[str, str]) -> float:
    """Return how old caches on the way say the answer was when it came; 0 where none says so."""
    text = headers.get("age", "").strip()
    return float(text) if _NUMBER.fullmatch(text) else 0.0


def follow(limit: RateLimit, window: SlidingWindow, headers: Mapping[str, str], now: int) -> None:
    """Let a window follow what the server reports of its limit."""
    used = _count(headers, limit.used)
    remaining = _count(headers, limit.remaining)
    if used is None and remaining is None:
        return
    told = max(used or 0, 0 if remaining is None else limit.units - remaining)
    window.learn_used(told, now, _reset(headers, limit.reset, now))


def _count(headers: Mapping[str, str], name: str | None) -> int | None:
    text = headers.get(name.lower(), "").strip() if name else ""
    return int(float(text)) if _NUMBER.fullmatch(text) else None


def _reset(headers: Mapping[str, str], name: str | None, now: int) -> int | None:
    """Return the instant of a reset given as seconds to go, or as an epoch in s or ms."""
    text = headers.get(name.lower(), "").strip() if name else ""
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    if value >= _EPOCH_SECONDS:
        epoch_seconds = value / 1_000 if value >= _EPOCH_MILLIS else value
        value = epoch_seconds - _server_time(headers, now) / SECOND
    return now + math.ceil(value * SECOND) if value > 0 else None


def _server_time(headers: Mapping[str, str], now: int) -> int:
    told = _date(headers.get("date", ""))
    # A Date that is off by more than a day says more about the header than about the clock.
    return told if told is not None and abs(told - now) <= DAY else now


def _date(text: str) -> int | None:
    try:
        return to_micros(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
