"""The events of a stream, into which each venue's messages are translated.

Prices are in quote units, sizes in base units, instants in microseconds since 1970.
"""

from typing import NamedTuple, TypeAlias


class Candle(NamedTuple):
    """A candle; only a `closed` one is stored."""

    symbol: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool


class Trade(NamedTuple):
    """A trade, or several trades of one taker at one price.

    Attributes:
        symbol: instrument.
        time: instant of the trade.
        price: price of the trades.
        size: sum of the sizes.
        bought: whether the taker bought.
        trades: number of trades.
        id: number that increases by one from event to event of a symbol; None without numbers.
    """

    symbol: str
    time: int
    price: float
    size: float
    bought: bool
    trades: int = 1
    id: int | None = None


class Liquidation(NamedTuple):
    """A forced closing of a position; `long` is True if the position was long."""

    symbol: str
    time: int
    price: float
    size: float
    long: bool


class BookUpdate(NamedTuple):
    """Changed levels of an order book, with their new sizes; size 0 removes a level.

    Attributes:
        symbol: instrument.
        first: number of the first change in the update.
        last: number of the last change in the update.
        previous: number of the last change in the update before; None if the venue does not state
            it.
        bids: size by price.
        asks: size by price.
    """

    symbol: str
    first: int
    last: int
    previous: int | None
    bids: dict[float, float]
    asks: dict[float, float]


class BookSnapshot(NamedTuple):
    """A complete order book as deep as the venue sends it; `last` numbers its last change."""

    last: int
    bids: dict[float, float]
    asks: dict[float, float]


class Ticker(NamedTuple):
    """Best bid and ask prices now."""

    symbol: str
    bid: float
    ask: float


class Gap(NamedTuple):
    """A loss of messages: of one symbol, or of the connection if `symbol` is empty."""

    symbol: str
    why: str


class Acknowledged(NamedTuple):
    """A confirmed subscription: of one request, or of all if `request` is None."""

    request: int | None


class Refused(NamedTuple):
    """A refused subscription."""

    request: int | None
    why: str


class Closing(NamedTuple):
    """An announcement that the venue will close this connection."""

    why: str


Event: TypeAlias = (
    Candle | Trade | Liquidation | BookUpdate | Ticker | Gap | Acknowledged | Refused | Closing
)


class Parsed(NamedTuple):
    """The events of one message.

    Attributes:
        events: events; none for an irrelevant message.
        sent_at: instant of sending, for the lag; None if the venue does not state it.
    """

    events: tuple[Event, ...] = ()
    sent_at: int | None = None
