"""Responses: the error or the content that a reply stands for, and its age."""

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
"""Without a ttl, a response that caches on the way held for longer than this counts as stale."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response, from the network or the cache.

    Attributes:
        where: name of the provider, for messages.
        what: the request, for messages.
        headers: names in lower case; values without secrets.
        body: decompressed body.
        json: parsed body; None if the request's form was ``bytes``.
        fetched_at: instant of arrival or of the last confirmation by the source, microseconds
            since 1970: the content was known then.
        age_seconds: time since `fetched_at` plus `added_age_seconds`.
        added_age_seconds: age on arrival, as stated by caches on the way (header ``Age``).
        stale: whether the response is older than the ttl of the request, or, without a ttl, than
            `LONGEST_ON_THE_WAY_SECONDS`. It then replaces an error, or comes from a cache on the
            way.
        not_modified: whether the source just confirmed the cached content (status 304).
        unchanged_since: instant of arrival of the first response with this body, microseconds
            since 1970; equal to `fetched_at` without a ttl.
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
        """Instant at which the source itself sent the content, microseconds since 1970.

        This is `fetched_at` minus `added_age_seconds`, at least 0. Values about the present, such
        as an order book, were true at this instant.
        """
        return max(0, self.fetched_at - round(self.added_age_seconds * SECOND))

    @property
    def text(self) -> str:
        """Body as text, in the charset of its header or UTF-8; broken characters become U+FFFD."""
        kind = self.headers.get("content-type", "").lower()
        charset = kind.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
        try:
            return self.body.decode(charset, errors="replace").removeprefix("\ufeff")
        except LookupError:
            return self.body.decode(errors="replace").removeprefix("\ufeff")

    @property
    def read(self) -> Reader:
        """`Reader` at the root of `json`, which names a field of an unexpected form."""
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

_LONGEST_EXCERPT = 200
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def meaning(api: Api, status: int, parsed: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the error that a reply stands for, or None for a success.

    The API's classifier decides first, then the status.
    """
    kind = _classified(api, status, parsed, headers)
    if kind is not None:
        return kind
    if status in api.ban_statuses:
        return BannedError
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return UnavailableError
    return None if status in {200, 203, 304} else RefusedError


def _classified(api: Api, status: int, parsed: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    if api.classify is None:
        return None
    try:
        return api.classify(status, parsed, headers)
    except (LookupError, TypeError, ValueError, AttributeError):
        # The classifier met an unexpected form. A body that is no JSON, and an error status, are
        # classified without it.
        return SchemaChangedError if status < 400 and parsed is not None else None


def excerpt(body: bytes, redact: Redactor) -> str:
    """Return the beginning of a body on one line without secrets; "" for an empty body."""
    if not body:
        return ""
    if is_markup(body):
        return ": a page, not data"
    # Redacted before cutting: otherwise half a key could remain.
    text = _BLANKS.sub(" ", redact(body[: 64 << 10].decode(errors="replace"))).strip()
    return f": {text[:_LONGEST_EXCERPT]}{'...' if len(text) > _LONGEST_EXCERPT else ''}"


@dataclass(frozen=True, slots=True)
class ParsedResponse:
    """A successful response, its JSON, and whether the source confirmed it with status 304."""

    response: CachedResponse
    json: Any = field(repr=False)
    not_modified: bool = False


class ResponseParser:
    """Parses the replies of one source into responses or errors.

    Args:
        where: name of the provider, for messages.
        api: the API, with its classifier.
        redact: removes secrets from quoted text.
    """

    def __init__(self, where: str, api: Api, redact: Redactor) -> None:
        self._where = where
        self._api = api
        self._redact = redact

    def parse_cached(
        self, request: HttpRequest, cached: CachedResponse | None
    ) -> ParsedResponse | None:
        """Return a cached response with its JSON; None if there is none or its JSON is broken."""
        try:
            parsed = parse_json(cached.body) if cached and request.form == "json" else None
        except ValueError:
            return None
        return ParsedResponse(cached, parsed) if cached else None

    def parse(
        self, request: HttpRequest, cached: ParsedResponse | None, reply: Reply, now: int
    ) -> ParsedResponse:
        """Parse a reply.

        Args:
            request: the request.
            cached: the cached response to the same request.
            reply: status, headers and body from the network.
            now: instant of arrival, microseconds since 1970.

        Raises:
            SourceError: the reply stands for an error, or its body is not of the requested form.
        """
        age = age_seconds(reply.headers)
        if reply.status == 304 and cached is not None:
            headers = {**cached.response.headers, **reply.headers}
            confirmed = replace(
                cached.response, fetched_at=now, added_age_seconds=age, headers=headers
            )
            return ParsedResponse(confirmed, cached.json, not_modified=True)
        parsed, broken = None, ""
        if request.form == "json" or reply.status >= 400:
            try:
                parsed = parse_json(reply.body)
            except ValueError as error:
                broken = f"broken JSON, {error}"
        kind = meaning(self._api, reply.status, parsed, reply.headers)
        if kind is not None:
            raise self._failure(kind, request.what, reply, parsed, now)
        if reply.status == 304:
            broken = "HTTP 304 (not modified), but no response is cached"
        if broken:
            problem = "a page, not data" if is_markup(reply.body) else self._redact(broken)
            raise MalformedError(f"{request.what} answered {problem}", where=self._where)
        same = cached is not None and cached.response.body == reply.body
        since = cached.response.unchanged_since if cached is not None and same else now
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
        message = f"{what} answered HTTP {reply.status}{excerpt(reply.body, self._redact)}"
        return kind(message, where=self._where, retry_after_seconds=seconds)

    def _wait(self, reply: Reply, parsed: Any, now: int) -> float | None:  # noqa: ANN401  # JSON
        """Return the longest wait that the reply demands, in seconds; None for none."""
        waits = [retry_after_seconds(reply.headers, now)]
        if self._api.waits is not None:
            # A refusal may have any form; Retry-After alone then decides.
            with suppress(LookupError, TypeError, ValueError, AttributeError, OverflowError):
                waits.append(believed_seconds(self._api.waits(parsed, reply.headers, now)))
        return max((seconds for seconds in waits if seconds is not None), default=None)
