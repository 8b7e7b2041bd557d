"""What a provider declares about a venue's streams, once, for the stream layer to honour."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable
from urllib.parse import urlsplit

from weft.sources.http.reader import Reader
from weft.sources.stream.events import (
    BookSnapshot,
    BookUpdate,
    Candle,
    Event,
    Liquidation,
    Parsed,
    Trade,
)

if TYPE_CHECKING:
    from weft.components.provider import Batch, Request
    from weft.foundation.clock import Clock
    from weft.sources.http import Http

Parse: TypeAlias = Callable[[Reader], Parsed]
"""One message to its events. Raises `SchemaChangedError` for one of another form."""

Subscribe: TypeAlias = Callable[[Sequence[str], int], str]
"""Names of topics and the number of the request to the message that asks for them."""

Snapshot: TypeAlias = "Callable[[Http, str], Awaitable[BookSnapshot]]"
"""Asks for the whole order book of a symbol. Raises `SourceError`."""

Fetch: TypeAlias = "Callable[[Request, Http, Clock], AsyncIterator[Batch]]"
"""Brings candles of the past, as `Provider.fetch` does."""

Tells: TypeAlias = Callable[[str, str], bool]
"""A metric and a symbol to whether it is told: not in a wrong unit, nor what requests bring."""

Headers: TypeAlias = Mapping[str, str]
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
TOPICS: tuple[type[Event], ...] = (Candle, Trade, Liquidation, BookUpdate)
"""What may be subscribed to."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One subscription.

    Attributes:
        name: as the venue calls it.
        symbol: what it is about.
        brings: the kind of event.
        quiet_seconds: silence after which it counts as not working; None where silence is normal.
    """

    name: str
    symbol: str
    brings: type[Event]
    quiet_seconds: float | None = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """How much a venue bears, and how patient a client is.

    Attributes:
        connects: new connections in any stretch of `connects_seconds`.
        connects_seconds: length of that stretch.
        messages_per_second: sent by the client, pings included.
        topics_per_connection: subscriptions on one connection.
        topics_per_message: in one message that subscribes.
        life_seconds: after which the venue closes a connection; it is replaced before that.
        overlap_seconds: how long the old connection may wait for the new one to deliver.
        heartbeat_seconds: silence, pongs included, after which a connection is dead.
        acknowledge_seconds: within which a subscription is confirmed.
        open_seconds: within which a connection is open.
        longest_pause_seconds: between two attempts to connect.
        stable_seconds: a connection that lived as long makes earlier failures forgotten.
        settle_seconds: after a close, until the trades before it have come.
        overdue_seconds: after a close, until a candle that has not come is asked for.
        largest_bytes: of one message.
        queue: events waiting at most; then nothing more is read.
    """

    connects: int = 300
    connects_seconds: float = 300.0
    messages_per_second: int = 4
    topics_per_connection: int = 200
    topics_per_message: int = 50
    life_seconds: float = 86_400.0
    overlap_seconds: float = 30.0
    heartbeat_seconds: float = 20.0
    acknowledge_seconds: float = 10.0
    open_seconds: float = 10.0
    longest_pause_seconds: float = 60.0
    stable_seconds: float = 30.0
    settle_seconds: float = 2.0
    overdue_seconds: float = 10.0
    largest_bytes: int = 4 << 20
    queue: int = 20_000

    def __post_init__(self) -> None:
        if min(getattr(self, name) for name in self.__slots__) <= 0:
            raise ValueError(f"stream limits are positive: {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """Streams of one kind at one address: more topics than fit share several connections.

    Attributes:
        name: for status and messages, such as ``spot market``.
        url: of the connection, ``wss://...``.
        topics: what is subscribed to.
        subscribe: makes the message that subscribes.
        parse: translates a message.
        backfill: brings candles that were missed, known and wanted as in its `Request`.
        snapshot: brings a whole order book; needed with book topics.
        tells: which of the metrics made here are told, of which symbols; None for all.
        acknowledges: whether the venue confirms subscriptions.
        ping: message by which the client keeps the connection alive, beside pings of the protocol;
            None where the venue wants none.
        authorise: headers of a new connection, with a token that holds; asked for each time.
        expired_codes: codes of a close that say the token holds no longer.
        limits: of the venue.
    """

    name: str
    url: str
    topics: tuple[Topic, ...]
    subscribe: Subscribe
    parse: Parse
    backfill: Fetch
    snapshot: "Snapshot | None" = None
    tells: Tells | None = None
    acknowledges: bool = True
    ping: str | None = None
    authorise: Callable[[], Awaitable[Headers]] | None = None
    expired_codes: frozenset[int] = frozenset({3000, 4001, 4401})
    limits: StreamLimits = StreamLimits()

    def __post_init__(self) -> None:
        kinds = {topic.brings for topic in self.topics}
        if not kinds <= set(TOPICS):
            raise ValueError(f"topics bring {TOPICS}, not {kinds - set(TOPICS)}")
        address = urlsplit(self.url)
        if self.authorise and address.scheme != "wss" and address.hostname not in _LOOPBACK:
            raise ValueError(f"{self.name} would send its token in the clear")
        if BookUpdate in kinds and self.snapshot is None:
            raise ValueError(f"{self.name} follows order books, and has no snapshot to begin with")

    def symbols(self, brings: type[Event]) -> tuple[str, ...]:
        """Return the symbols with a topic of one kind."""
        return tuple(dict.fromkeys(t.symbol for t in self.topics if t.brings is brings))


@runtime_checkable
class Streaming(Protocol):
    """A provider that has live streams beside what it fetches."""

    def streams(self, request: "Request") -> Sequence[StreamSpec]:
        """Return the streams of the candles and symbols of a request; none to have none.

        Raises:
            ConfigError: the options for streams do not fit together.
        """
        ...
