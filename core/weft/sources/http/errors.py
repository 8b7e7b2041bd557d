"""The tree of errors of requests to a source.

::

    ProviderError                 (weft.foundation.errors)
    └── SourceError               a request to a source failed
        ├── UnauthorisedError         401: the key is missing, wrong or revoked
        ├── ForbiddenError            403, 451: not allowed, whatever the key
        │   └── BannedError               418: this address or key is shut out for a while
        ├── NotCoveredError           402: the plan does not include the data
        ├── UnlistedSymbolError       the source has no such instrument or asset
        ├── RefusedError              another 4xx, or a redirect that must not be followed
        ├── RateLimitedError          429, or the next turn is too far away      [retried]
        ├── UnavailableError          5xx, no connection, cut off, too slow      [retried]
        │   ├── CircuitOpenError          not sent: too many requests failed before
        │   └── InsecureError             the TLS certificate is not trusted
        └── MalformedError            HTML, broken JSON, or a body that is too large
            └── SchemaChangedError        well-formed, but a field is missing or of another type

Each message states the provider, the request, the reply and what to do. Quoted replies are
shortened and contain no secret.
"""

from typing import ClassVar

from weft.foundation.errors import ProviderError


class SourceError(ProviderError):
    """A request to a source failed.

    Attributes:
        worth_retrying: whether the client retries the request within seconds.
        temporary: whether the error may pass without a change by the user; a stale cached response
            may replace a temporary error.
        advice: hint of the message if no other hint is given.
        retry_after_seconds: seconds to wait before the next request; None if unknown.
    """

    worth_retrying: ClassVar[bool] = False
    temporary: ClassVar[bool] = False
    advice: ClassVar[str] = "See weft providers status"

    def __init__(
        self,
        message: str,
        *,
        where: str | None = None,
        hint: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint or self.advice)
        self.retry_after_seconds = retry_after_seconds


class UnauthorisedError(SourceError):
    """The key is missing, wrong, expired or revoked. Never retried: a repetition risks a ban."""

    advice = "Check the key: it may be missing, mistyped, expired or revoked"


class ForbiddenError(SourceError):
    """The source does not serve this caller, whatever the key. Never retried."""

    advice = "The source does not serve this key or place: check its terms and your permissions"


class BannedError(ForbiddenError):
    """This address or key is banned. Never retried; no request is sent until the ban ends."""

    temporary = True
    advice = "Send fewer requests; none is sent until the ban ends"


class NotCoveredError(SourceError):
    """The plan of the key does not include the requested data. Never retried."""

    advice = "Choose a plan that includes the data, or switch the metric off"


class UnlistedSymbolError(SourceError):
    """The source has no such instrument or asset. Never retried."""

    advice = "Check the symbol's spelling at this source, or remove the symbol"


class RefusedError(SourceError):
    """The source refuses this request each time: another 4xx, or a forbidden redirect."""

    advice = "Check base_url and the options; if they are right, the API has changed"


class RateLimitedError(SourceError):
    """Too many requests, or the next free turn is further away than the API's longest wait."""

    worth_retrying = True
    temporary = True
    advice = "Request less data, or wait; a plan with higher limits helps"


class UnavailableError(SourceError):
    """The source cannot be reached, fails, cuts its response off, or is too slow."""

    worth_retrying = True
    temporary = True
    advice = "Try again later; `weft serve` retries by itself"


class CircuitOpenError(UnavailableError):
    """Too many requests to the source failed in a row; no request is sent during a pause."""

    worth_retrying = False
    advice = "Requests are sent again after the pause"


class InsecureError(UnavailableError):
    """The TLS certificate is expired, for another host, or of an unknown authority."""

    worth_retrying = False
    advice = "Check base_url and this machine's clock and certificates; do not switch checks off"


class MalformedError(SourceError):
    """The response is an HTML page, broken JSON, or too large. Not retried."""

    temporary = True
    advice = "Check base_url; the response may come from a login or block page"


class SchemaChangedError(MalformedError):
    """A field of the response is missing, renamed or of another type. Not retried."""

    # A cached response of the old form would hide that the provider needs a new version.
    temporary = False
    advice = "The API may have changed: look for a newer version of the provider"
