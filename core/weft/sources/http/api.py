"""The declaration of an HTTP API: address, key, rate limits and timeouts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from weft.sources.http.errors import SourceError

Headers: TypeAlias = Mapping[str, str]
"""Response headers, names in lower case."""

Classifier: TypeAlias = Callable[[int, Any, Headers], type[SourceError] | None]
"""Maps ``(status, parsed body, headers)`` to an error class; None lets the status decide.

The body is None if it is no JSON, or if the request's form was ``bytes`` and succeeded. Use a
classifier for errors with status 200 and for error codes of the API.
"""

Waiter: TypeAlias = Callable[[Any, Headers, int], float | None]
"""Maps ``(parsed body, headers, now)`` of a refusal to the seconds to wait.

Use a waiter for APIs that state the end of a ban or pause in the body or in special headers; None
leaves the wait to Retry-After. `now` is in microseconds since 1970.
"""


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """Sends the key in a header, for instance ``HeaderKey("Authorization", "Bearer ")``."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class QueryKey:
    """Sends the key as a query parameter, for instance ``QueryKey("api_key")``."""

    name: str


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits the units taken in any window of some seconds.

    Example: 1,200 units a minute, with the server's count in a header::

        RateLimit(1200, 60, used="x-mbx-used-weight-1m")

    Attributes:
        units: greatest number of units in a window; a request takes its cost.
        seconds: length of the window.
        name: label in the status; "" for a label made of the numbers.
        per_request: whether a request takes one unit, whatever its cost.
        only: group of requests that count; "" for all requests.
        used: header with the units counted by the server, other clients of the key included.
        remaining: header with the units left at the server.
        reset: header with the time of the next reset, as seconds from now or as an epoch.
    """

    units: int
    seconds: float
    name: str = ""
    per_request: bool = False
    only: str = ""
    used: str | None = None
    remaining: str | None = None
    reset: str | None = None

    def __post_init__(self) -> None:
        if self.units < 1 or self.seconds <= 0:
            raise ValueError(f"a rate limit needs positive units and seconds: {self}")

    @property
    def label(self) -> str:
        """Label of the limit in the status."""
        return self.name or f"{self.units} per {self.seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """An HTTP API: address, key, rate limits and timeouts.

    Example::

        web = Api(
            base_url="https://api.example.com",
            key=HeaderKey("X-Api-Key"),
            limits=(RateLimit(60, 60, remaining="x-ratelimit-remaining"),),
        )

    A provider whose limits depend on its config sets ``dataclasses.replace(API, limits=...)``.

    Attributes:
        base_url: address, unless the config names another one.
        key: place of the key in a request; None for an API without a key.
        limits: rate limits; all of them apply.
        classify: maps a reply to an error if its status alone does not tell.
        waits: maps a refusal to the seconds to wait if Retry-After alone does not tell.
        ban_statuses: statuses that stand for a temporary ban.
        longest_wait_seconds: a request that would wait longer for its turn raises
            `RateLimitedError` immediately.
        deadline_seconds: time for one request: all attempts, bodies and pauses between them. The
            wait for a turn under the rate limits does not count.
        connect_seconds: time to open a connection.
        read_seconds: longest silence within a response.
        concurrent: greatest number of concurrent requests.
        largest_bytes: greatest size of a body, after decompression.
        attempts: greatest number of attempts of one request.
        failures_to_open: unavailable replies in a row that open the circuit breaker.
        cool_down_seconds: time an open circuit breaker waits before it tries one request.
        refused_key_seconds: time a refused key is not sent again; a changed key is sent at once.
        ban_seconds: assumed length of a ban if the server does not state it.
        stale_seconds: time beyond its ttl for which a cached response may replace an error.
    """

    base_url: str
    key: HeaderKey | QueryKey | None = None
    limits: tuple[RateLimit, ...] = ()
    classify: Classifier | None = None
    waits: Waiter | None = None
    ban_statuses: frozenset[int] = frozenset({418})
    longest_wait_seconds: float = 120.0
    deadline_seconds: float = 60.0
    connect_seconds: float = 10.0
    read_seconds: float = 20.0
    concurrent: int = 4
    largest_bytes: int = 32 << 20
    attempts: int = 4
    failures_to_open: int = 6
    cool_down_seconds: float = 60.0
    refused_key_seconds: float = 900.0
    ban_seconds: float = 600.0
    stale_seconds: float = 86_400.0

    def __post_init__(self) -> None:
        positive = (
            self.deadline_seconds,
            self.connect_seconds,
            self.read_seconds,
            self.concurrent,
            self.largest_bytes,
            self.attempts,
            self.failures_to_open,
        )
        if min(positive) <= 0:
            raise ValueError(f"an Api needs positive deadlines, sizes and counts: {self}")
        labels = [limit.label for limit in self.limits]
        if len(set(labels)) < len(labels):
            raise ValueError(f"two rate limits share a name: {labels}")
