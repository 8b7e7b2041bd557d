"""The status of a source, as users see it."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median

from weft.sources.http.errors import (
    BannedError,
    NotCoveredError,
    RefusedError,
    SourceError,
    UnauthorisedError,
    UnlistedSymbolError,
)


class SourceState(StrEnum):
    """State of a source."""

    IDLE = "idle"
    OK = "ok"
    DEGRADED = "degraded"
    OPEN = "open"
    UNAUTHORISED = "unauthorised"
    BANNED = "banned"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Status of a source at one instant, with counts since its client was opened.

    Attributes:
        name: name of the provider.
        state: idle before the first request; degraded if the last request failed; open while no
            requests are sent after failures.
        last_success: instant of the last successful response, microseconds since 1970; None
            before the first.
        latency_seconds: median of the last 64 responses; None before the first.
        left: units left, by rate limit.
        last_error: class and text of the last error, without secrets; None if there was none.
        requests: requests of the provider.
        retries: repeated attempts.
        cache_hits: requests answered from the cache.
        stale: requests answered with a stale response (see `HttpResponse.stale`).
    """

    name: str
    state: SourceState
    last_success: int | None
    latency_seconds: float | None
    left: Mapping[str, int]
    last_error: str | None
    requests: int
    retries: int
    cache_hits: int
    stale: int


@dataclass(slots=True)
class SourceCounters:
    """The counts behind `SourceStatus`."""

    requests: int = 0
    cache_hits: int = 0
    stale: int = 0
    last_success: int | None = None
    last_error: SourceError | None = None
    failing: bool = False
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    def count_success(self, now: int) -> None:
        """Count a response of the source."""
        self.last_success, self.failing = now, False

    def count_failure(self, error: SourceError) -> None:
        """Count a request that failed after all attempts."""
        # A refusal of one symbol, plan or request does not mean that the source is failing.
        self.failing = not isinstance(error, UnlistedSymbolError | NotCoveredError | RefusedError)
        self.last_error = error

    def status(
        self, name: str, cause: SourceError | None, left: Mapping[str, int], retries: int
    ) -> SourceStatus:
        """Return the status; `cause` is the error that opened the circuit breaker, if any."""
        error = self.last_error
        return SourceStatus(
            name=name,
            state=self._state(cause),
            last_success=self.last_success,
            latency_seconds=median(self.latencies) if self.latencies else None,
            left=left,
            last_error=f"{type(error).__name__}: {error}" if error else None,
            requests=self.requests,
            retries=retries,
            cache_hits=self.cache_hits,
            stale=self.stale,
        )

    def _state(self, cause: SourceError | None) -> SourceState:
        if isinstance(cause, BannedError):
            return SourceState.BANNED
        if isinstance(cause or (self.last_error if self.failing else None), UnauthorisedError):
            return SourceState.UNAUTHORISED
        if cause is not None:
            return SourceState.OPEN
        if self.failing:
            return SourceState.DEGRADED
        return SourceState.IDLE if self.last_success is None else SourceState.OK
