"""Faults: the requests and sockets that they affect, and how often.

A fault is one JSON object, for instance ``{"kind": "rate_limit", "provider": "binance",
"path": "/api/v3/klines", "count": 2, "retry_after": "date"}``. `KINDS` has all kinds.
"""

import random
import threading
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field

RequestKind: TypeAlias = Literal[
    "latency",  # wait `seconds` before the answer
    "rate_limit",  # 429 with `retry_after`
    "ban",  # the API's own ban: Binance 418
    "status",  # `status`, by default 503, with a page of HTML
    "revoked_key",  # the API's own answer to a bad key
    "redirect",  # 302 to `location`
    "reset",  # the connection is reset before the answer
    "half_open",  # no answer and no end: silence for `seconds`
]
BodyKind: TypeAlias = Literal[
    "truncate",  # only `share` of the body, with a matching length header
    "reset_body",  # the connection breaks after `share` of the body
    "slow_body",  # one byte every `seconds`
    "gzip_bomb",  # `size` megabytes of blanks in a few kilobytes
    "huge_body",  # `size` megabytes of blanks, as the header says
    "endless_body",  # `size` megabytes of blanks without a length header
    "age",  # header `Age` of `seconds`, as from a cache on the way
    "html",  # a page with status 200
    "content_type",  # `text/plain` for JSON
    "bom",  # a byte order mark before the JSON
    "duplicate_keys",  # every key twice in its object, with null before its value
    "deep",  # nesting `size` levels deep
]
JsonKind: TypeAlias = Literal[
    "rename_field",  # `field` gets another name
    "missing_field",  # `field` is left out
    "extra_field",  # an unknown field
    "swap_type",  # `field` as text where it is a number, and the other way round
    "null_field",  # `field` is null
    "list_dict",  # lists become objects, objects become lists
    "nan",  # `field` is NaN
    "huge_number",  # `field` is 1e400
    "negative",  # `field` times -1
    "scale",  # `field` times `factor`
    "stamp_unit",  # every number that is a time times `factor`: another unit
    "stamp_shift",  # every time `seconds` later
    "duplicate_rows",  # every row twice
    "shuffle_rows",  # rows in another order
    "empty_rows",  # no rows
    "cursor_loop",  # the first answer again and again, whatever page is asked for
]
SocketKind: TypeAlias = Literal[
    "ws_reset",  # the connection is reset
    "ws_mid_frame",  # the connection ends in the middle of a frame
    "ws_half_open",  # nothing is sent or read any more, and no end
    "ws_disconnect",  # the API's notice, then a close: what comes after 24 hours
    "ws_refuse",  # new connections are refused with `status`
    "ws_skip",  # a message is left out
    "ws_duplicate",  # a message comes twice
    "ws_reorder",  # a message comes after the next one
    "ws_burst",  # a message comes `size` times
    "ws_silent",  # subscriptions are confirmed, but nothing comes
    "ws_binary",  # a binary frame of nonsense
    "ws_huge",  # a text frame of `size` megabytes
    "ws_invalid",  # a text frame that is no UTF-8
    "ws_latency",  # messages come `seconds` late
]
WorldKind: TypeAlias = Literal[
    "clock_skew",  # the server's clock is `seconds` ahead
    "restate",  # prices of candles from `since` to `until` times `factor` from now on
]
Kind: TypeAlias = RequestKind | BodyKind | JsonKind | SocketKind | WorldKind
REQUEST_KINDS, BODY_KINDS, JSON_KINDS, SOCKET_KINDS, WORLD_KINDS = (
    frozenset(get_args(kinds)) for kinds in (RequestKind, BodyKind, JsonKind, SocketKind, WorldKind)
)
KINDS = REQUEST_KINDS | BODY_KINDS | JSON_KINDS | SOCKET_KINDS | WORLD_KINDS


class Fault(BaseModel):
    """One fault: its kind, the affected requests, and how often it strikes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    provider: str = Field(default="*", description="pattern of the provider's name")
    path: str = Field(default="*", description="pattern of the path below the provider's folder")
    probability: float = Field(default=1.0, ge=0, le=1)
    count: int | None = Field(default=None, ge=1, description="how often; None for ever")
    skip: int = Field(default=0, ge=0, description="how many times it is let through first")
    seed: int = 0
    seconds: float | None = Field(default=None, description="how long, or how late")
    status: int = Field(default=503, ge=100, le=599)
    retry_after: str | None = Field(
        default="1", description="header as it is; `date` for a date 2 s ahead; None for no header"
    )
    field: str | None = Field(default=None, description="name or column number; None for any")
    size: int | None = Field(default=None, ge=1)
    share: float = Field(default=0.5, gt=0, lt=1)
    location: str = "http://203.0.113.7/elsewhere"
    coin: str | None = None
    since: str | None = None
    until: str | None = None
    factor: float = Field(default=1.01, gt=0)

    def hits(self, provider: str, path: str) -> bool:
        """Whether the fault applies to a provider's path."""
        return fnmatchcase(provider, self.provider) and fnmatchcase(path, self.path)


class Armed:
    """An active fault, with its counts."""

    def __init__(self, number: int, fault: Fault) -> None:
        self.number, self.fault = number, fault
        self.seen = self.struck = 0
        self.memory: dict[str, Any] = {}
        """State of the fault between requests."""
        self.random = random.Random(fault.seed)  # noqa: S311  # faults are no secrets

    def strike(self) -> bool:
        """Count a request; return whether the fault strikes."""
        fault = self.fault
        self.seen += 1
        spent = fault.count is not None and self.struck >= fault.count
        if spent or self.seen <= fault.skip or self.random.random() >= fault.probability:
            return False
        self.struck += 1
        return True

    def report(self) -> dict[str, Any]:
        """Return the fault and its counts for the admin route."""
        fault = self.fault.model_dump(exclude_defaults=True)
        return {"id": self.number, **fault, "seen": self.seen, "struck": self.struck}


class Faults:
    """All faults of one sandbox; changes take effect immediately, from any thread."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._lock = threading.Lock()
        self._armed: list[Armed] = []
        self._next = 1
        for fault in faults:
            self.add(fault)

    def add(self, fault: Fault) -> int:
        """Arm a fault, and return its number."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._armed = [*self._armed, Armed(number, fault)]
            return number

    def remove(self, number: int | None = None) -> int:
        """Remove one fault, or all; return the number of removed faults."""
        with self._lock:
            keep = [] if number is None else [a for a in self._armed if a.number != number]
            gone = len(self._armed) - len(keep)
            self._armed = keep
            return gone

    def report(self) -> list[dict[str, Any]]:
        """Return all faults, in the order of arming."""
        return [armed.report() for armed in self._armed]

    def strikes(self, kinds: frozenset[str], provider: str, path: str) -> list[Armed]:
        """Return the faults that strike now, and count them."""
        if not self._armed:
            return []
        with self._lock:
            return [
                armed
                for armed in self._armed
                if armed.fault.kind in kinds and armed.fault.hits(provider, path) and armed.strike()
            ]

    def skew_seconds(self, provider: str, path: str) -> float:
        """Return the seconds that a provider's clock is ahead."""
        struck = self.strikes(frozenset({"clock_skew"}), provider, path)
        return sum(300.0 if a.fault.seconds is None else a.fault.seconds for a in struck)
