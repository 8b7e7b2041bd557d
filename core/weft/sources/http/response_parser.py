"""Turns what came over the wire into an answer that can be kept, or into the error it means."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from weft.sources.http.api import Api
from weft.sources.http.cache import CachedResponse
from weft.sources.http.classify import excerpt, meaning
from weft.sources.http.connection import Reply
from weft.sources.http.errors import (
    BannedError,
    MalformedError,
    RateLimitedError,
    SourceError,
    UnavailableError,
)
from weft.sources.http.pacing import age_seconds, believed_seconds, retry_after_seconds
from weft.sources.http.redact import Redactor
from weft.sources.http.request import HttpRequest
from weft.sources.http.strict_json import is_markup, parse_json


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
