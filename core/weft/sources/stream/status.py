"""The status of a stream, as users see it."""

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
    BeforeValidator(lambda value: parse_time(value) if isinstance(value, str) else value),
]
"""Microseconds since 1970; ISO 8601 UTC in JSON."""


class StreamState(StrEnum):
    """State of a stream."""

    CONNECTING = "connecting"
    LIVE = "live"
    DEGRADED = "degraded"
    UNAUTHORISED = "unauthorised"
    BANNED = "banned"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """Status of one stream at one instant, with counts since the start.

    The API returns it in this form, with instants in ISO 8601.

    Attributes:
        provider: name of the provider.
        name: name of the stream.
        state: connecting before the first delivery; degraded while disconnected, or connected with
            silent topics.
        connected_since: instant the current connection was subscribed, microseconds since 1970.
        last_message: instant of the last message or pong, microseconds since 1970.
        lag_seconds: median age of the latest messages on arrival; negative if the venue's clock is
            ahead.
        messages: messages read.
        reconnects: connections after the first, planned replacements included.
        gaps: candles requested over HTTP, incomplete intervals, and order books started again.
        conflated: events merged into a newer one before they were counted.
        duplicates: candles, trades and liquidations received more than once.
        malformed: messages that could not be parsed.
        dropped: events left out; the provider's problems state the reasons.
        silent: topics that never delivered although they should.
        error: class and text of the last error; None without one.
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
    """The counts behind `StreamStatus`."""

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
        """Name of the stream in messages."""
        return f"provider {self.provider}, {self.name}"

    def lost(self, error: Exception | None) -> None:
        """Note that the last connection ended."""
        self.connected_since = None
        self.last_error = error or self.last_error

    def show(self) -> StreamStatus:
        """Return the status."""
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


def list_names(names: Iterable[str], most: int = 5) -> str:
    """Return the first names, and the number of the others."""
    listed = list(names)
    rest = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {rest} more" if rest > 0 else "")
