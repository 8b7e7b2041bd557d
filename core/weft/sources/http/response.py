"""What a source answered, and how old that is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.foundation.times import SECOND
from weft.sources.http.reader import Reader

LONGEST_ON_THE_WAY_SECONDS = 60.0
"""Who states no ttl asks for the present: what caches kept for longer than this is not it."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An answer, from the network or the cache.

    Attributes:
        where: the provider, for messages.
        what: the request, for messages.
        headers: names in lower case; no secret stands in them.
        body: as it came, decompressed.
        json: the parsed body; None where bytes were asked for.
        fetched_at: when it came, or was confirmed, microseconds since 1970: it was known then.
        age_seconds: how old it is: the time since, and what caches on the way said they added.
        added_age_seconds: of these, what caches on the way said they had added when it came.
        stale: whether it is older than the ttl asked for, or without one than
            `LONGEST_ON_THE_WAY_SECONDS`: an error was bridged, or a cache on the way holds on to
            it.
        not_modified: whether the source just confirmed that nothing had changed.
        unchanged_since: when this very body came first, microseconds since 1970. Equal to
            `fetched_at` without a ttl; long ago where a feed repeats itself forever.
    """

    where: str
    what: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    json: Any = field(repr=False)
    fetched_at: int
    age_seconds: float = 0.0
    added_age_seconds: float = 0.0
    stale: bool = False
    not_modified: bool = False
    unchanged_since: int = 0
    redact: Callable[[str], str] = field(default=str, repr=False, compare=False)

    @property
    def given_at(self) -> int:
        """When the source itself gave it: what it tells of its present was true then, not later.

        `fetched_at` less what caches on the way said they had added, microseconds since 1970; 0
        where they said more than that.
        """
        return max(0, self.fetched_at - round(self.added_age_seconds * SECOND))

    @property
    def text(self) -> str:
        """The body as text, in the charset it names or UTF-8; broken characters become U+FFFD."""
        kind = self.headers.get("content-type", "").lower()
        charset = kind.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
        try:
            return self.body.decode(charset, errors="replace").removeprefix("\ufeff")
        except LookupError:
            return self.body.decode(errors="replace").removeprefix("\ufeff")

    @property
    def read(self) -> Reader:
        """Reads fields out of `json`, and names the field that is not as expected."""
        return Reader(self.json, self.where, self.what, redact=self.redact)
