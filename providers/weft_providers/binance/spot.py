"""Spot candles and order books from Binance, through its public REST API.

Paths, limits and error codes: https://github.com/binance/binance-spot-api-docs, rest-api.md.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import orjson
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.provider import Request
from weft.domain.instruments import Instrument
from weft.foundation.times import Interval
from weft.sources.candles import Page
from weft.sources.exchange import ExchangeConfig, ExchangeProvider, depth_series
from weft.sources.http import Api, Http, RateLimit, Reader, RefusedError, UnlistedSymbolError
from weft.sources.series import Point, Wanted
from weft.sources.stream import StreamSpec
from weft_providers.binance.shared import (
    ask_book,
    ask_page,
    classify,
    cost_of,
    parse_instrument,
    waits,
)
from weft_providers.binance.stream import StreamOptions, spot_streams

_INTERVALS = "1s 1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w"
_PAIRS_AT_ONCE = 100
_DEPTH_COSTS = ((100, 5), (500, 25), (1000, 50), (5000, 250))
"""Weight of a request for an order book, by its most levels."""


class Binance(ExchangeProvider):
    """Closed spot candles of chosen pairs, oldest first, and metrics of their present order books.

    A candle is known at its close; Binance rarely revises closed candles. A book is true when
    Binance gave it and known when it was fetched; there is no history of books. Depth counts USDT
    and other dollar coins as dollars, and is left out where the requested levels do not reach 1 %
    from the middle.
    """

    name = "binance"
    web = Api(
        base_url="https://api.binance.com",
        limits=(
            RateLimit(6_000, 60, "weight a minute", used="x-mbx-used-weight-1m"),
            RateLimit(61_000, 300, "requests in 5 minutes", per_request=True),
        ),
        classify=classify,
        waits=waits,
        # The firewall answers 403, and bans a client that goes on asking.
        ban_statuses=frozenset({403, 418}),
        longest_wait_seconds=300,
    )
    hosts = ("binance.com", "binance.vision")
    intervals: ClassVar = {Interval.parse(name).name: name for name in _INTERVALS.split()}
    series = depth_series("/api/v3/depth")
    streamed_metrics = ("trade_count", "taker_buy_sell_ratio", "vwap")

    class Config(ExchangeConfig, StreamOptions):
        """Options."""

        symbols: tuple[str, ...] = Field(
            default=("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT"),
            description="pairs to fetch unless a request names others",
        )
        page_size: int = Field(default=1000, ge=1, le=1000, description="candles in one request")
        depth_levels: int = Field(
            default=1000,
            ge=5,
            le=5000,
            description="levels of an order book; 5000 use five times the weight of 1000",
        )

    config: Config

    def streams(self, request: Request) -> Sequence[StreamSpec]:
        """Return the streams that the options ask for."""
        return spot_streams(self, request)

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._listed: dict[str, Reader] = {}

    async def prepare(self, http: Http, symbols: Sequence[str]) -> None:
        """Fetch the descriptions of many pairs in one request, which costs as much as one pair."""
        if len(symbols) < 2:
            return
        for start in range(0, len(symbols), _PAIRS_AT_ONCE):
            params = {"symbols": orjson.dumps(symbols[start : start + _PAIRS_AT_ONCE]).decode()}
            try:
                answer = await http.get("/api/v3/exchangeInfo", params=params, cost=20)
            except (RefusedError, UnlistedSymbolError):
                # One unlisted pair fails the request; `instrument` then asks for each pair.
                continue
            self._listed |= {e.text("symbol"): e for e in answer.read.rows("symbols")}

    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Return a pair as exchangeInfo describes it."""
        if symbol in self._listed:
            return parse_instrument(self._listed[symbol])
        answer = await http.get("/api/v3/exchangeInfo", params={"symbol": symbol}, cost=20)
        return parse_instrument(answer.read.at("symbols", 0))

    async def page(self, http: Http, symbol: str, interval: Interval, first: int, now: int) -> Page:
        """Return the oldest candles from `first` on."""
        name, size = self.intervals[interval.name], self.config.page_size
        return await ask_page(http, "/api/v3/klines", name, symbol, interval, first, size, cost=2)

    async def read(self, http: Http, wanted: Wanted) -> list[Point]:
        """Return one metric of the present order book."""
        return (await self.read_group(http, [wanted])).get(wanted, [])

    async def read_group(self, http: Http, group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        """Return the metrics of the present order book of one pair."""
        levels, first = self.config.depth_levels, group[0]
        cost = cost_of(levels, _DEPTH_COSTS)
        book, answer = await ask_book(http, first.series.path, first.own_id, levels, cost)
        return self.book_points(group, book, answer.given_at, answer.fetched_at)
