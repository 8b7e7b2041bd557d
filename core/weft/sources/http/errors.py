"""Every way in which asking a source over HTTP can fail, drawn as one tree.

::

    ProviderError                 (weft.foundation.errors)
    └── SourceError               a source was asked and did not give what was wanted
        ├── UnauthorisedError         401: the key is missing, wrong or revoked
        ├── ForbiddenError            403, 451: not allowed, whatever the key
        │   └── BannedError               418: this address or key is shut out for a while
        ├── NotCoveredError           402: the plan does not include it
        ├── UnlistedSymbolError       the source has no such instrument or asset
        ├── RefusedError              another 4xx, or a redirect that must not be followed
        ├── RateLimitedError          429, or the next turn is too far away      [retried]
        ├── UnavailableError          5xx, no connection, cut off, too slow      [retried]
        │   ├── CircuitOpenError          not asked: it failed too often just now
        │   └── InsecureError             TLS does not vouch for the host
        └── MalformedError            the answer is not what its form says: HTML, broken JSON
            └── SchemaChangedError        well-formed, but a field is missing or of another type

Each message says which provider, what was asked, what came, and what to do. What a server told is
shortened and holds no secret.
"""

from typing import ClassVar

from weft.foundation.errors import ProviderError


class SourceError(ProviderError):
    """A source was asked and did not give what was wanted.

    Attributes:
        worth_retrying: whether asking again within seconds may succeed; nothing else is retried.
        temporary: whether it may pass without anybody doing anything; an older answer, marked
            stale, may stand in meanwhile.
        advice: closes the message where no other hint is given.
        retry_after_seconds: how long to leave the source alone; None where nothing is known.
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
    """The key is missing, wrong, expired or revoked. Never retried: repeating invites a ban."""

    advice = "Check the key: it may be missing, mistyped, expired or revoked"


class ForbiddenError(SourceError):
    """The source does not serve this caller, whatever the key. Never retried."""

    advice = "The source does not serve this key or place: check its terms and your permissions"


class BannedError(ForbiddenError):
    """This address or key is shut out. Never retried; nothing is asked until the ban ends."""

    temporary = True
    advice = "Ask less often; nothing is asked until the ban ends"


class NotCoveredError(SourceError):
    """The plan behind the key does not include what was asked. Never retried."""

    advice = "Take a plan that includes it, or switch it off"


class UnlistedSymbolError(SourceError):
    """The source has no such instrument or asset. Never retried."""

    advice = "Check the symbol's spelling at this source, or drop it"


class RefusedError(SourceError):
    """The request as it stands will be refused each time: a 4xx or a forbidden redirect."""

    advice = "Check base_url and the options; if they are right, the API has changed"


class RateLimitedError(SourceError):
    """Too many requests, or the next free turn is further away than the API's longest wait."""

    worth_retrying = True
    temporary = True
    advice = "Ask for less, or wait; a plan with higher limits helps"


class UnavailableError(SourceError):
    """The source cannot be reached, fails, cuts its answer off, or is too slow."""

    worth_retrying = True
    temporary = True
    advice = "Try again later; `weft serve` does so by itself"


class CircuitOpenError(UnavailableError):
    """The source failed too often in a row, and is left alone for a while."""

    worth_retrying = False
    advice = "It is tried again by itself after the pause"


class InsecureError(UnavailableError):
    """TLS does not vouch for the host: expired, another name, an unknown authority."""

    worth_retrying = False
    advice = "Check base_url and this machine's clock and certificates; do not switch checks off"


class MalformedError(SourceError):
    """The answer is not what its form says: an HTML page, broken JSON, too large. Not retried."""

    temporary = True
    advice = "Check base_url; a login or block page may stand in between"


class SchemaChangedError(MalformedError):
    """Well-formed, but a field is missing, renamed or of another type. Not retried."""

    # An older answer of the old form would hide that the module needs work.
    temporary = False
    advice = "The API may have changed: look for a newer version of the provider"
