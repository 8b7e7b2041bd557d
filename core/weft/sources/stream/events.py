"""What a venue's messages mean: the few events every stream is translated into.

Prices are in quote units, sizes in base units, instants in microseconds since 1970.
"""

from typing import NamedTuple, TypeAlias


class Candle(NamedTuple):
    """A candle as the venue tells it; only a `closed` one is ever stored."""

    symbol: str
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    closed: bool


class Trade(NamedTuple):
    """A trade, or several of one taker at one price.

    Attributes:
        symbol: what was traded.
        time: when.
        price, size: of all of it.
        bought: whether the taker bought.
        trades: how many it stands for.
        id: counts up by one from event to event of a symbol; None where the venue has none.
    """

    symbol: str
    time: int
    price: float
    size: float
    bought: bool
    trades: int = 1
    id: int | None = None


class Liquidation(NamedTuple):
    """A position closed by force; `long` tells which side was closed."""

    symbol: str
    time: int
    price: float
    size: float
    long: bool


class BookUpdate(NamedTuple):
    """Levels of an order book that changed, with their sizes now; 0 where one is gone.

    Attributes:
        symbol: whose book.
        first, last: numbers of the first and the last change in it.
        previous: number of the last change in the update before; None where the venue tells none.
        bids, asks: size by price.
    """

    symbol: str
    first: int
    last: int
    previous: int | None
    bids: dict[float, float]
    asks: dict[float, float]


class BookSnapshot(NamedTuple):
    """A whole order book, as deep as it came; `last` numbers the last change that is in it."""

    last: int
    bids: dict[float, float]
    asks: dict[float, float]


class Ticker(NamedTuple):
    """The best prices now."""

    symbol: str
    bid: float
    ask: float


class Gap(NamedTuple):
    """Something was lost: of one symbol, or of the whole connection where it is empty."""

    symbol: str
    why: str


class Acknowledged(NamedTuple):
    """A subscription was confirmed: that of a request, or all of them where `request` is None."""

    request: int | None


class Refused(NamedTuple):
    """A request was refused."""

    request: int | None
    why: str


class Closing(NamedTuple):
    """The venue is about to close this connection."""

    why: str


Event: TypeAlias = (
    Candle | Trade | Liquidation | BookUpdate | Ticker | Gap | Acknowledged | Refused | Closing
)


class Parsed(NamedTuple):
    """What one message holds.

    Attributes:
        events: none for a message that is of no interest.
        sent_at: when the venue sent it, for the lag; None where it does not say.
    """

    events: tuple[Event, ...] = ()
    sent_at: int | None = None
