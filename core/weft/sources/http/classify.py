"""What an answer means: the API's own codes first, then its status."""

import re
from typing import Any

from weft.sources.http.api import Api, Headers
from weft.sources.http.errors import (
    BannedError,
    ForbiddenError,
    NotCoveredError,
    RateLimitedError,
    RefusedError,
    SchemaChangedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)
from weft.sources.http.redact import Redactor
from weft.sources.http.strict_json import is_markup

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
