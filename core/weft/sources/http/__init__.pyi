from .api import (
    Api,
    HeaderKey,
    QueryKey,
    RateLimit,
)
from .cache import ResponseCache
from .client import Http
from .errors import (
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
from .reader import Reader
from .response import HttpResponse
from .status import (
    SourceState,
    SourceStatus,
)

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
