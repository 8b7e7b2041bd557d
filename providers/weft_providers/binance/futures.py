"""USDT-M futures from Binance: candles, funding, open interest, who is long, and order books.

Paths and limits: https://developers.binance.com/docs/derivatives/usds-margined-futures.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.provider import Request
from weft.domain.instruments import Instrument, Kind
from weft.foundation.times import Interval
from weft.sources.candles import Page
from weft.sources.exchange import ExchangeConfig, ExchangeProvider
from weft.sources.http import Api, Http, RateLimit, Reader, UnlistedSymbolError
from weft.sources.series import Point, Wanted
from weft.sources.stream import StreamSpec
from weft_providers.binance.metrics import (
    FUNDING_LIMIT,
    SERIES,
    STATISTICS_LIMIT,
    read_metrics,
)
from weft_providers.binance.shared import (
    classify,
    cost_of,
    read_book,
    read_instrument,
    read_page,
    waits,
)
from weft_providers.binance.stream import StreamOptions, futures_streams

_INTERVALS = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w"
_KLINE_COSTS = ((99, 1), (499, 2), (1000, 5), (1500, 10))
_DEPTH_COSTS = ((50, 2), (100, 5), (500, 10), (1000, 20))
"""Weights of a request, up to so many rows."""
_MILLI = 1_000
_FAR_AWAY = 4_000_000_000_000
"""A perpetual is delivered at Christmas 2100: milliseconds beyond any other contract's date."""


class BinanceFutures(ExchangeProvider):
    """Closed candles of USDT-margined contracts, and what perpetuals tell beside prices.

    A candle is known at its close, a funding rate when it is paid, an order book and the present
    open interest when they came. Ratios and the history of open interest are known one period after
    the time they are stamped with, at the earliest; the exchange keeps them for 30 days. The last
    steps are asked for again, as any of it may be restated.

    Open interest is in coins (one contract of 1000PEPE is 1000 of them) and in USDT, as dollars.
    Depth is left out where the levels asked for do not reach 1 % from the middle.
    """

    name = "binance_futures"
    web = Api(
        base_url="https://fapi.binance.com",
        limits=(
            RateLimit(2_400, 60, "weight a minute", used="x-mbx-used-weight-1m"),
            STATISTICS_LIMIT,
            FUNDING_LIMIT,
        ),
        classify=classify,
        waits=waits,
        ban_statuses=frozenset({403, 418}),
        longest_wait_seconds=900,
    )
    hosts = ("binance.com",)
    intervals: ClassVar = {Interval.parse(name).name: name for name in _INTERVALS.split()}
    series = SERIES
    streamed_metrics = ("long_liquidations_usd", "short_liquidations_usd", "trade_count", "vwap")

    class Config(ExchangeConfig, StreamOptions):
        """Options."""

        symbols: tuple[str, ...] = Field(
            default=("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT"),
            description="contracts to fetch where none are asked for in particular",
        )
        requests_in_flight: int = Field(default=8, ge=1, le=20, description="requests open at once")
        page_size: int = Field(default=1000, ge=1, le=1500, description="candles in one request")
        depth_levels: Literal[5, 10, 20, 50, 100, 500, 1000] = Field(
            default=1000, description="levels of an order book"
        )

    config: Config

    def streams(self, request: Request) -> Sequence[StreamSpec]:
        """Return the streams its options ask for."""
        return futures_streams(self, request)

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._listed: dict[str, Reader] = {}

    async def prepare(self, http: Http, symbols: Sequence[str]) -> None:
        """Ask for the list of contracts, which comes as a whole."""
        answer = await http.get("/fapi/v1/exchangeInfo", cost=1)
        self._listed = {entry.text("symbol"): entry for entry in answer.read.rows("symbols")}

    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Return what the list of contracts says."""
        entry = self._listed.get(symbol)
        if entry is None:
            raise UnlistedSymbolError(f"there is no contract {symbol}", where=self.name)
        delivery = entry.integer("deliveryDate")
        return read_instrument(
            entry,
            Kind.PERPETUAL if "PERPETUAL" in entry.text("contractType") else Kind.FUTURE,
            listed=entry.instant("onboardDate", unit="ms"),
            delisted=delivery * _MILLI if 0 < delivery < _FAR_AWAY else None,
        )

    async def page(self, http: Http, symbol: str, interval: Interval, first: int, now: int) -> Page:
        """Return the oldest candles from `first` on."""
        name = self.intervals[interval.name]
        # A few rows cost a fifth of a full page.
        size = min(self.config.page_size, (now - first) // interval.micros + 2)
        cost = cost_of(size, _KLINE_COSTS)
        return await read_page(http, "/fapi/v1/klines", name, symbol, interval, first, size, cost)

    async def read(self, http: Http, wanted: Wanted) -> list[Point]:
        """Return the values of one metric."""
        return (await self.read_group(http, [wanted])).get(wanted, [])

    async def read_group(self, http: Http, group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        """Return the values of what stands in the same answers."""
        first = group[0]
        if not first.series.extra.get("book"):
            found = await read_metrics(http, group)
            if first.series.metric == "funding_rate":
                self.looked(first, found[first])
            return found
        levels = self.config.depth_levels
        cost = cost_of(levels, _DEPTH_COSTS)
        book, answer = await read_book(http, first.series.path, first.own_id, levels, cost)
        at = answer.read.instant("T", unit="ms")
        return self.book_points(group, book, at, answer.fetched_at)
