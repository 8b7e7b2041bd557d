"""How a stream is doing, for people to see beside the status of the HTTP sources."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

from weft.foundation.times import iso, parse_time
from weft.sources.http.errors import BannedError, ForbiddenError, UnauthorisedError

_Instant = Annotated[
    int,
    PlainSerializer(iso, return_type=str),
    BeforeValidator(lambda told: parse_time(told) if isinstance(told, str) else told),
]
"""Microseconds since 1970; ISO 8601 UTC where it is handed out."""


class StreamState(StrEnum):
    """How a stream is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    DEGRADED = "degraded"
    UNAUTHORISED = "unauthorised"
    BANNED = "banned"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """How one stream is doing at one instant, counted since the start.

    The API hands it out as it stands here, with instants in ISO 8601.

    Attributes:
        provider: whose stream.
        name: of the stream.
        state: connecting before it delivered first; degraded while it is down, or while it is up
            and some of its topics are silent.
        connected_since: when the present connection was ready, microseconds since 1970.
        last_message: when something was heard last, microseconds since 1970.
        lag_seconds: median age of the latest messages when they came; negative where the venue's
            clock is ahead.
        messages: read.
        reconnects: connections made after the first, planned replacements included.
        gaps: places where something was missed: candles asked for again, broken intervals, books
            begun anew.
        conflated: updates replaced by a newer one of the same key before anybody looked.
        duplicates: candles, trades and liquidations that had come before.
        malformed: messages that could not be read.
        dropped: events left out, and why is told in the problems of the provider.
        silent: topics that never delivered although they should.
        error: the kind of the last error and its text; None where none.
    """

    provider: str
    name: str
    state: StreamState
    connected_since: _Instant | None
    last_message: _Instant | None
    lag_seconds: float | None
    messages: int
    reconnects: int
    gaps: int
    conflated: int
    duplicates: int
    malformed: int
    dropped: int
    silent: tuple[str, ...]
    error: str | None


@dataclass(slots=True)
class StreamCounters:
    """Counts what `StreamStatus` shows."""

    provider: str
    name: str
    connected_since: int | None = None
    last_message: int | None = None
    messages: int = 0
    connects: int = 0
    gaps: int = 0
    conflated: int = 0
    duplicates: int = 0
    malformed: int = 0
    dropped: int = 0
    silent: tuple[str, ...] = ()
    last_error: Exception | None = None
    lags: deque[int] = field(default_factory=lambda: deque(maxlen=256))

    @property
    def where(self) -> str:
        """How messages name the stream."""
        return f"provider {self.provider}, {self.name}"

    def lost(self, error: Exception | None) -> None:
        """Note that no connection is left."""
        self.connected_since = None
        self.last_error = error or self.last_error

    def show(self) -> StreamStatus:
        """Return it as it is shown."""
        error = self.last_error
        return StreamStatus(
            provider=self.provider,
            name=self.name,
            state=self._state(),
            connected_since=self.connected_since,
            last_message=self.last_message,
            lag_seconds=median(self.lags) / 1e6 if self.lags else None,
            messages=self.messages,
            reconnects=max(0, self.connects - 1),
            gaps=self.gaps,
            conflated=self.conflated,
            duplicates=self.duplicates,
            malformed=self.malformed,
            dropped=self.dropped,
            silent=self.silent,
            error=None if error is None else f"{type(error).__name__}: {error}",
        )

    def _state(self) -> StreamState:
        if self.connected_since is not None:
            return StreamState.DEGRADED if self.silent else StreamState.LIVE
        match self.last_error:
            case UnauthorisedError():
                return StreamState.UNAUTHORISED
            case BannedError() | ForbiddenError():
                return StreamState.BANNED
        return StreamState.DEGRADED if self.connects else StreamState.CONNECTING


def in_words(names: Iterable[str], most: int = 5) -> str:
    """Return some names, and how many more there are."""
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
