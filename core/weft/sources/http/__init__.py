"""What every HTTP provider gets from the core, so that its module holds only its API.

A provider carries an `Api`, asks through an `Http`, and reads what came through
`HttpResponse.read`. Keys, rate limits, retries, deadlines, the circuit breaker, the cache and
redaction are done here.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.sources.http.api import Api, HeaderKey, QueryKey, RateLimit
    from weft.sources.http.cache import ResponseCache
    from weft.sources.http.client import Http
    from weft.sources.http.errors import (
        BannedError,
        CircuitOpenError,
        ForbiddenError,
        InsecureError,
        MalformedError,
        NotCoveredError,
        RateLimitedError,
        RefusedError,
        SchemaChangedError,
        SourceError,
        UnauthorisedError,
        UnavailableError,
        UnlistedSymbolError,
    )
    from weft.sources.http.reader import Reader
    from weft.sources.http.response import HttpResponse
    from weft.sources.http.status import SourceState, SourceStatus

_ERRORS = (
    "BannedError",
    "CircuitOpenError",
    "ForbiddenError",
    "InsecureError",
    "MalformedError",
    "NotCoveredError",
    "RateLimitedError",
    "RefusedError",
    "SchemaChangedError",
    "SourceError",
    "UnauthorisedError",
    "UnavailableError",
    "UnlistedSymbolError",
)
_HOMES = {
    "weft.sources.http.response": ("HttpResponse",),
    "weft.sources.http.api": ("Api", "HeaderKey", "QueryKey", "RateLimit"),
    "weft.sources.http.cache": ("ResponseCache",),
    "weft.sources.http.client": ("Http",),
    "weft.sources.http.errors": _ERRORS,
    "weft.sources.http.reader": ("Reader",),
    "weft.sources.http.status": ("SourceState", "SourceStatus"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
__all__ = [
    "Api",
    "BannedError",
    "CircuitOpenError",
    "ForbiddenError",
    "HeaderKey",
    "Http",
    "HttpResponse",
    "InsecureError",
    "MalformedError",
    "NotCoveredError",
    "QueryKey",
    "RateLimit",
    "RateLimitedError",
    "Reader",
    "RefusedError",
    "ResponseCache",
    "SchemaChangedError",
    "SourceError",
    "SourceState",
    "SourceStatus",
    "UnauthorisedError",
    "UnavailableError",
    "UnlistedSymbolError",
]


# Naming an Api must not pay for a client: listing providers builds none.
def __getattr__(name: str) -> Any:  # noqa: ANN401  # whatever the name stands for
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)
