"""The declaration of an API in a protocol module: routes, key, limits and error bodies."""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import orjson
from starlette.datastructures import Headers, QueryParams

from weft.foundation.times import TimeError, iso, parse_time
from weft_sandbox.clock import SandboxClock
from weft_sandbox.limits import Budget, Meter, Usage
from weft_sandbox.market.world import World

if TYPE_CHECKING:
    from weft_sandbox.sockets import Session

MILLI = 1_000
"""Microseconds in a millisecond, the unit of time of most APIs."""


class Problem(StrEnum):
    """Reason of a refused request; each API maps it to a status and a body."""

    BAD_PARAMETER = "bad_parameter"
    NOT_FOUND = "not_found"
    NO_KEY = "no_key"
    BAD_KEY = "bad_key"
    EXPIRED_KEY = "expired_key"
    PLAN = "plan"
    RATE_LIMITED = "rate_limited"
    BANNED = "banned"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class Answer:
    """A response.

    Attributes:
        body: bytes, or a value to encode as JSON.
        status: HTTP status.
        headers: headers beside content type and length.
        media_type: content type of the body.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def encoded(self) -> bytes:
        """Return the body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        try:
            return orjson.dumps(self.body, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError:
            # orjson accepts NaN, but no integers beyond 64 bits.
            return json.dumps(self.body).encode()


class Refusal(Exception):  # noqa: N818  # an answer, not a failure of the sandbox
    """Raised by a handler to answer with an error.

    Args:
        answer: the response; or a problem, which `Api.errors` maps to a response.
        detail: details for `Api.errors`, such as the name of a parameter.
    """

    def __init__(self, answer: "Answer | Problem", detail: str = "") -> None:
        super().__init__(detail)
        self.answer, self.detail = answer, detail


@dataclass(frozen=True, slots=True)
class Key:
    """The place of an API's key in a request.

    Every key is accepted, except keys that begin with ``invalid`` (unknown), ``expired``, or
    ``free`` (refused on routes with ``plan=True``).

    Attributes:
        header: name of a header; a prefix ``Bearer`` or ``Token`` is removed.
        query: name of a query parameter.
        required: whether requests without a key are refused.
    """

    header: str | None = None
    query: str | None = None
    required: bool = True

    def read(self, headers: Headers, query: QueryParams) -> str | None:
        """Return the key of a request, or None."""
        text = headers.get(self.header) if self.header else None
        text = text or (query.get(self.query) if self.query else None)
        return text.split()[-1] if text and text.strip() else None


Json: TypeAlias = Any
"""Any JSON value."""
Cost: TypeAlias = "int | Callable[[Ask], int]"
Handler: TypeAlias = "Callable[[Ask], Json]"
SocketHandler: TypeAlias = "Callable[[Session], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One path of an API; see `Api.get`."""

    path: str
    handler: Handler
    methods: tuple[str, ...]
    costs: Mapping[str, Cost]
    plan: bool
    open: bool


@dataclass(eq=False, slots=True)
class Api:
    """One provider's API, declared in its protocol module as the global ``api``.

    Attributes:
        name: folder of the API in the sandbox's URLs: ``/<name>/...``.
        errors: maps a `Problem` and its detail to a response; the detail of a rate limit is the
            number of seconds to wait.
        key: place of the key; None without a key.
        budgets: rate limits; by default a route costs 1 of each.
        headers: returns the headers for the meters of a call, by name of the budget.
        ban_after: calls over the limit after which the client is banned; None for no bans.
        shutdown: message of sockets before a forced close; None for no message.
    """

    name: str
    errors: Callable[[Problem, str], Answer]
    key: Key | None = None
    budgets: tuple[Budget, ...] = ()
    headers: Callable[[Mapping[str, Meter]], Mapping[str, str]] = lambda _: {}
    ban_after: int | None = None
    shutdown: Callable[[int], Any] | None = None
    endpoints: list[Endpoint] = field(default_factory=list)
    sockets: list[tuple[str, SocketHandler]] = field(default_factory=list)

    def get(
        self,
        path: str,
        *,
        methods: tuple[str, ...] = ("GET",),
        costs: Mapping[str, Cost] | None = None,
        plan: bool = False,
        open: bool = False,  # noqa: A002  # the word for it
    ) -> Callable[[Handler], Handler]:
        """Register a handler: a function from `Ask` to JSON or an `Answer`.

        Args:
            path: path below the API's folder, with parameters as in ``/coins/{id}``.
            methods: HTTP methods.
            costs: costs of a call by budget; a function of `Ask` if they depend on the call.
            plan: whether a key that begins with ``free`` is refused.
            open: whether the route needs no key although the API requires one.
        """

        def register(handler: Handler) -> Handler:
            cost = {b.name: 1 for b in self.budgets} if costs is None else costs
            self.endpoints.append(Endpoint(path, handler, methods, cost, plan, open))
            return handler

        return register

    def socket(self, path: str) -> Callable[[SocketHandler], SocketHandler]:
        """Register a WebSocket handler: a coroutine function of `Session`."""

        def register(handler: SocketHandler) -> SocketHandler:
            self.sockets.append((path, handler))
            return handler

        return register


@dataclass(frozen=True, slots=True)
class Desk:
    """The state shared by all handlers of one sandbox."""

    world: World
    clock: SandboxClock
    usage: Usage
    options: Mapping[str, float]
    """Settings of protocols, such as ``binance.ping_seconds``."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request to a handler, with the world.

    Attributes:
        desk: state shared by requests.
        query: query parameters.
        headers: request headers.
        path: parameters of the path.
        now: sandbox time, microseconds since 1970; a handler must not return later data.
        server_now: the server's clock; differs from `now` under a clock fault.
        key: key of the request, or None.
        body: request body.
        client: address of the client.
    """

    desk: Desk
    query: QueryParams
    headers: Headers
    path: Mapping[str, str]
    now: int
    server_now: int
    key: str | None = None
    body: bytes = b""
    client: str = ""

    @property
    def world(self) -> World:
        """The market."""
        return self.desk.world

    @property
    def server_ms(self) -> int:
        """`server_now` in milliseconds."""
        return self.server_now // MILLI

    def text(
        self, name: str, default: str | None = None, choices: "tuple[str, ...] | None" = None
    ) -> str:
        """Return a query parameter; refuse the request if it is missing or no choice."""
        value = self.query.get(name) or default
        if value is None or (choices is not None and value not in choices):
            raise Refusal(Problem.BAD_PARAMETER, name)
        return value

    def integer(
        self, name: str, default: int | None = None, low: int = -(2**63), high: int = 2**63
    ) -> int:
        """Return an integer parameter; refuse the request if it is missing, invalid or too big."""
        text = self.query.get(name)
        if not text:
            if default is None:
                raise Refusal(Problem.BAD_PARAMETER, name)
            return default
        try:
            value = int(text)
        except ValueError:
            raise Refusal(Problem.BAD_PARAMETER, name) from None
        if not low <= value <= high:
            raise Refusal(Problem.BAD_PARAMETER, name)
        return value

    def instant(self, name: str, default: int, unit: int | None = MILLI) -> int:
        """Return a time parameter in microseconds since 1970.

        Args:
            name: name of the query parameter.
            default: value for a missing parameter, microseconds since 1970.
            unit: microseconds in the API's unit of time; None for ISO 8601.
        """
        text = self.query.get(name)
        if not text:
            return default
        if unit is not None and text.lstrip("-").isdecimal():
            return int(text) * unit
        try:
            return parse_time(text if "T" in text and text[-1] in "Zz" else _zoned(text))
        except TimeError:
            raise Refusal(Problem.BAD_PARAMETER, name) from None


def _zoned(text: str) -> str:
    day, _, clock = text.replace(" ", "+").partition("T")
    if not clock:
        return f"{day}T00:00:00Z"
    return text if "+" in clock or "-" in clock else f"{text}Z"


def iso_millis(instant: int) -> str:
    """Return an instant as ISO 8601 with milliseconds."""
    text = iso(instant // MILLI * MILLI).removesuffix("Z")
    return f"{text[:23]}Z" if "." in text else f"{text}.000Z"
