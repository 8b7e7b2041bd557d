"""What a provider declares about its API, once, for the client to honour."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from weft.sources.http.errors import SourceError

Headers: TypeAlias = Mapping[str, str]
"""Response headers, names in lower case."""

Classifier: TypeAlias = Callable[[int, Any, Headers], type[SourceError] | None]
"""``(status, parsed body, headers)`` to the error it means, or None to let the status decide.

The body is None where it is not JSON, and where bytes were asked for and came. Use it for errors
with HTTP 200 and for an API's own codes.
"""

Waiter: TypeAlias = Callable[[Any, Headers, int], float | None]
"""``(parsed body, headers, now)`` to the seconds a refusal asks callers to stay away.

For APIs that name the end of a ban or of a pause in the body or in headers of their own; None
leaves it to Retry-After. `now` is in microseconds since 1970.
"""


@dataclass(frozen=True, slots=True)
class HeaderKey:
    """The key travels in a header, for instance ``HeaderKey("Authorization", "Bearer ")``."""

    name: str
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class QueryKey:
    """The key travels as a query parameter, for instance ``QueryKey("api_key")``."""

    name: str


@dataclass(frozen=True, slots=True)
class RateLimit:
    """So many units in any stretch of so many seconds.

    Attributes:
        units: at most this many; a request takes its cost.
        seconds: length of the stretch.
        name: how status calls it; made from the numbers where empty.
        per_request: a request takes one unit, whatever its cost.
        only: counts requests alone that name this group; all requests where empty.
        used: header with the units the server has counted, ours and others' with the same key.
        remaining: header with the units the server has left.
        reset: header with when they are given back, as seconds from now or as an epoch.
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
        """How status calls it."""
        return self.name or f"{self.units} per {self.seconds:g} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Api:
    """An HTTP API: where it is, how to ask it, and how much it bears.

    A provider whose limits depend on its options returns ``dataclasses.replace(API, limits=...)``.

    Attributes:
        base_url: where it is, unless the options name another place.
        key: how the key is sent; None where there is none.
        limits: all of them hold at once.
        classify: what an answer means where its status alone does not say.
        waits: how long a refusal asks to stay away, where Retry-After alone does not say it.
        ban_statuses: statuses that shut the caller out for a while.
        longest_wait_seconds: a turn further away is refused at once with `RateLimitedError`.
        deadline_seconds: for one request, all attempts, bodies and pauses between them; turns
            waited for under the limits do not count.
        connect_seconds: for one connection.
        read_seconds: silence tolerated in the middle of an answer.
        concurrent: requests on the wire at once.
        largest_bytes: of a body, after decompression.
        attempts: of one request, the first included.
        failures_to_open: unavailable in a row before the source is left alone.
        cool_down_seconds: how long it is left alone before it is tried with one request.
        refused_key_seconds: how long a refused key is not shown again; a new key is, at once.
        ban_seconds: length of a ban of which the server does not say how long it lasts.
        stale_seconds: how far beyond its ttl a cached answer may stand in for an error.
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
