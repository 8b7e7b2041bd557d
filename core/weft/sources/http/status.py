"""How a source is doing, for people to see."""

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
    """How a source is doing."""

    IDLE = "idle"
    OK = "ok"
    DEGRADED = "degraded"
    OPEN = "open"
    UNAUTHORISED = "unauthorised"
    BANNED = "banned"


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """How a source is doing at one instant, counted since its client was built.

    Attributes:
        name: the provider.
        state: idle before it was asked; degraded where the last request failed; open while it is
            left alone after failures.
        last_success: when it last answered, microseconds since 1970; None where it never did.
        latency_seconds: median of the last answers; None where there were none.
        left: units left by limit.
        last_error: the kind of the last error and its text, without secrets; None where none.
        requests: asked for by the provider.
        retries: of these, asked again.
        cache_hits: answered without asking the source.
        stale: answered with an older answer than asked for: instead of an error, or as a cache on
            the way holds on to it.
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
    """Counts what `SourceStatus` shows."""

    requests: int = 0
    cache_hits: int = 0
    stale: int = 0
    last_success: int | None = None
    last_error: SourceError | None = None
    failing: bool = False
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    def succeeded(self, now: int) -> None:
        """Count an answer from the source."""
        self.last_success, self.failing = now, False

    def failed(self, error: SourceError) -> None:
        """Note a request that failed in the end."""
        # A plain no to one question says nothing against the source.
        self.failing = not isinstance(error, UnlistedSymbolError | NotCoveredError | RefusedError)
        self.last_error = error

    def show(
        self, name: str, cause: SourceError | None, left: Mapping[str, int], retries: int
    ) -> SourceStatus:
        """Return it as it is shown; `cause` is why the source is left alone, if it is."""
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
