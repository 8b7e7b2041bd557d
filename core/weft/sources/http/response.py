"""What a source answered: its meaning, its content and its age."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from weft.foundation.times import SECOND
from weft.sources.http.api import Api, Headers
from weft.sources.http.cache import CachedResponse
from weft.sources.http.connection import Reply
from weft.sources.http.errors import (
    BannedError,
    ForbiddenError,
    MalformedError,
    NotCoveredError,
    RateLimitedError,
    RefusedError,
    SchemaChangedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)
from weft.sources.http.limits import age_seconds, believed_seconds, retry_after_seconds
from weft.sources.http.reader import Reader, is_markup, parse_json
from weft.sources.http.redact import Redactor
from weft.sources.http.request import HttpRequest

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


_BY_STATUS: dict[int, type[SourceError]] = {
    401: UnauthorisedError,
    402: NotCoveredError,
    403: ForbiddenError,
    407: UnavailableError,
    408: UnavailableError,
    425: UnavailableError,
    429: RateLimitedError,
    451: ForbiddenError,
}

_MOST_TOLD = 200
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def meaning(api: Api, status: int, parsed: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the error that an answer stands for, or None where it is what was asked for."""
    own = _own_meaning(api, status, parsed, headers)
    if own is not None:
        return own
    if status in api.ban_statuses:
        return BannedError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return UnavailableError
    return None if status in {200, 203, 304} else RefusedError


def _own_meaning(api: Api, status: int, parsed: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    if api.classify is None:
        return None
    try:
        return api.classify(status, parsed, headers)
    except (LookupError, TypeError, ValueError, AttributeError):
        # It met a form it does not know; what is no JSON, and a status that says enough, are
        # judged without it.
        return SchemaChangedError if status < 400 and parsed is not None else None


def excerpt(body: bytes, redact: Redactor) -> str:
    """Return the beginning of a body on one line, without secrets; empty for an empty one."""
    if not body:
        return ""
    if is_markup(body):
        return ": a page, not data"
    # Redacted before it is cut, or half a key might stay.
    text = _BLANKS.sub(" ", redact(body[: 64 << 10].decode(errors="replace"))).strip()
    return f": {text[:_MOST_TOLD]}{'...' if len(text) > _MOST_TOLD else ''}"


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """An answer that was understood."""

    kept: CachedResponse
    parsed: Any = field(repr=False)
    not_modified: bool = False


class ResponseParser:
    """Knows what the answers of one source mean.

    Args:
        where: the provider, for messages.
        api: its codes.
        redact: applied to what messages quote.
    """

    def __init__(self, where: str, api: Api, redact: Redactor) -> None:
        self._where = where
        self._api = api
        self._redact = redact

    def recall(self, asked: HttpRequest, kept: CachedResponse | None) -> ParsedResponse | None:
        """Return what was kept as an answer; None where it cannot be one."""
        try:
            parsed = parse_json(kept.body) if kept and asked.form == "json" else None
        except ValueError:
            return None
        return ParsedResponse(kept, parsed) if kept else None

    def understand(
        self, asked: HttpRequest, known: ParsedResponse | None, reply: Reply, now: int
    ) -> ParsedResponse:
        """Return what came as an answer.

        Args:
            asked: the request.
            known: what was kept of an earlier answer.
            reply: what came.
            now: microseconds since 1970.

        Raises:
            SourceError: what came stands for an error, or is not what its form says.
        """
        age = age_seconds(reply.headers)
        if reply.status == 304 and known is not None:
            headers = {**known.kept.headers, **reply.headers}
            kept = replace(known.kept, fetched_at=now, added_age_seconds=age, headers=headers)
            return ParsedResponse(kept, known.parsed, not_modified=True)
        parsed, broken = None, ""
        if asked.form == "json" or reply.status >= 400:
            try:
                parsed = parse_json(reply.body)
            except ValueError as error:
                broken = f"broken JSON, {error}"
        kind = meaning(self._api, reply.status, parsed, reply.headers)
        if kind is not None:
            raise self._failure(kind, asked.what, reply, parsed, now)
        if reply.status == 304:
            broken = "that nothing changed, but nothing was kept"
        if broken:
            told = "a page, not data" if is_markup(reply.body) else self._redact(broken)
            raise MalformedError(f"{asked.what} answered {told}", where=self._where)
        same = known is not None and known.kept.body == reply.body
        since = known.kept.unchanged_since if known is not None and same else now
        return ParsedResponse(CachedResponse(now, since, age, reply.headers, reply.body), parsed)

    def _failure(
        self,
        kind: type[SourceError],
        what: str,
        reply: Reply,
        parsed: Any,  # noqa: ANN401  # JSON
        now: int,
    ) -> SourceError:
        seconds = None
        if issubclass(kind, BannedError | RateLimitedError | UnavailableError):
            seconds = self._wait(reply, parsed, now)
        if issubclass(kind, BannedError):
            seconds = seconds or self._api.ban_seconds
        told = f"{what} answered HTTP {reply.status}{excerpt(reply.body, self._redact)}"
        return kind(told, where=self._where, retry_after_seconds=seconds)

    def _wait(self, reply: Reply, parsed: Any, now: int) -> float | None:  # noqa: ANN401  # JSON
        """Return the longest wait that the answer asks for, in seconds; None for none."""
        waits = [retry_after_seconds(reply.headers, now)]
        if self._api.waits is not None:
            # A refusal may come in any form; Retry-After then says what there is to say.
            with suppress(LookupError, TypeError, ValueError, AttributeError, OverflowError):
                waits.append(believed_seconds(self._api.waits(parsed, reply.headers, now)))
        return max((seconds for seconds in waits if seconds is not None), default=None)
