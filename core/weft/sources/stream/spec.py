"""The declaration of a venue's streams."""

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
"""Maps a message to its events. Raises `SchemaChangedError` for an unexpected form."""

Subscribe: TypeAlias = Callable[[Sequence[str], int], str]
"""Maps names of topics and the number of the request to the message that subscribes."""

Snapshot: TypeAlias = "Callable[[Http, str], Awaitable[BookSnapshot]]"
"""Requests the complete order book of a symbol. Raises `SourceError`."""

Fetch: TypeAlias = "Callable[[Request, Http, Clock], AsyncIterator[Batch]]"
"""Fetches past candles, as `Provider.fetch` does."""

Tells: TypeAlias = Callable[[str, str], bool]
"""Maps a metric and a symbol to whether the stream reports it.

False for a metric in another unit, and for one that requests bring.
"""

Headers: TypeAlias = Mapping[str, str]
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
TOPICS: tuple[type[Event], ...] = (Candle, Trade, Liquidation, BookUpdate)
"""Events that a topic may bring."""


@dataclass(frozen=True, slots=True)
class Topic:
    """One subscription.

    Attributes:
        name: the venue's name of the topic.
        symbol: instrument of the topic.
        brings: class of its events.
        quiet_seconds: silence after which the topic counts as broken; None if silence is normal.
    """

    name: str
    symbol: str
    brings: type[Event]
    quiet_seconds: float | None = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """The limits of a venue, and the timeouts of the client.

    Attributes:
        connects: greatest number of new connections in `connects_seconds`.
        connects_seconds: length of that window.
        messages_per_second: greatest number of messages sent, pings included.
        topics_per_connection: greatest number of topics on one connection.
        topics_per_message: greatest number of topics in one subscription message.
        life_seconds: age at which the venue closes a connection; it is replaced before that.
        overlap_seconds: longest time the old connection waits for the new one to deliver.
        heartbeat_seconds: silence, pongs included, after which a connection is dead.
        acknowledge_seconds: time to confirm a subscription.
        open_seconds: time to open a connection.
        longest_pause_seconds: longest pause between two attempts to connect.
        stable_seconds: life of a connection after which earlier failures no longer count.
        settle_seconds: time after a close until all trades before it have arrived.
        overdue_seconds: time after a close until a missing candle is requested.
        largest_bytes: greatest size of a message.
        queue: greatest number of waiting events; reading stops beyond.
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
    """Streams of one kind at one address; many topics are shared out over several connections.

    Example::

        StreamSpec(
            name="spot market",
            url="wss://stream.example.com/ws",
            topics=(Topic("btcusdt@kline_1m", "BTCUSDT", Candle),),
            subscribe=lambda names, number: f'{{"subscribe": {list(names)}, "id": {number}}}',
            parse=parse_message,
            backfill=self.fetch,
        )

    Attributes:
        name: name for status and messages.
        url: address, ``wss://...``.
        topics: topics to subscribe to.
        subscribe: returns the message that subscribes to topics.
        parse: translates a message into events.
        backfill: fetches missed candles, as `Provider.fetch` does.
        snapshot: requests a complete order book; required with book topics.
        tells: whether to report a metric of a symbol; None to report all.
        acknowledges: whether the venue confirms subscriptions.
        ping: message that keeps the connection alive, beside protocol pings; None without one.
        authorise: returns headers with a valid token; called for each connection.
        expired_codes: close codes that mean an expired token.
        limits: limits of the venue.

    Raises:
        ValueError: a topic brings no known event, a token would be sent unencrypted, or book topics
            have no snapshot.
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
            raise ValueError(f"{self.name} would send its token unencrypted; use wss")
        if BookUpdate in kinds and self.snapshot is None:
            raise ValueError(f"{self.name} has book topics but no snapshot function")

    def symbols(self, brings: type[Event]) -> tuple[str, ...]:
        """Return the symbols that have a topic of one kind."""
        return tuple(dict.fromkeys(t.symbol for t in self.topics if t.brings is brings))


@runtime_checkable
class Streaming(Protocol):
    """A provider with live streams."""

    def streams(self, request: "Request") -> Sequence[StreamSpec]:
        """Return the streams for the interval and symbols of a request; empty for none.

        Raises:
            ConfigError: the options of the streams are invalid.
        """
        ...
