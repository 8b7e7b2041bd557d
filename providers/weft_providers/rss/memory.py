"""What is remembered of feeds from fetch to fetch: what was listed, and when it was first seen."""

import json
from collections.abc import Iterable
from typing import Any

from weft.foundation.times import DAY

_UNDATED_KEPT = 30 * DAY
_OLDEST_NEWS = 14 * DAY
"""What is new in a feed that was read before, and older than this, bears a wrong date."""
_SHORT = 8


class FeedMemory:
    """Says when texts were published, as far as their dates can be believed.

    A text counts as published when it was first seen where it bears no date, a date to come, or
    where it is new in a feed that was read before and claims to be weeks old. The first time a feed
    is read, old dates are believed: many feeds list what is months old.

    Args:
        cursor: what the fetch before left; None at first.
        now: microseconds since 1970.
    """

    def __init__(self, cursor: str | None, now: int) -> None:
        told: dict[str, Any] = json.loads(cursor or "{}")
        # Earlier versions kept the first sights alone.
        whole = told if "first" in told else {"first": told, "listed": {}}
        self._now = now
        self._first: dict[str, int] = whole["first"]
        self._listed: dict[str, str] = whole["listed"]

    def published(self, feed: str, text: str, date: int | None, known_at: int) -> int:
        """Return when a text was published.

        Args:
            feed: its feed.
            text: its id.
            date: that it bears; None for none.
            known_at: since when the feed has been as it is.
        """
        if date is None or date > known_at or text in self._first:
            return self._first.setdefault(text, known_at)
        is_old = date < known_at - _OLDEST_NEWS
        if is_old and feed in self._listed and not self._lists(feed, text):
            return self._first.setdefault(text, known_at)
        return date

    def note(self, feed: str, texts: Iterable[str]) -> None:
        """Remember what a feed lists now."""
        self._listed[feed] = "".join(sorted(text[:_SHORT] for text in texts))

    @property
    def cursor(self) -> str:
        """What the next fetch is given."""
        shown = {short for listed in self._listed.values() for short in _shorts(listed)}
        first = {
            text: at
            for text, at in self._first.items()
            if self._now - at < _UNDATED_KEPT or text[:_SHORT] in shown
        }
        return json.dumps({"first": first, "listed": self._listed}, sort_keys=True)

    def _lists(self, feed: str, text: str) -> bool:
        return text[:_SHORT] in _shorts(self._listed[feed])


def _shorts(listed: str) -> set[str]:
    return {listed[at : at + _SHORT] for at in range(0, len(listed), _SHORT)}
