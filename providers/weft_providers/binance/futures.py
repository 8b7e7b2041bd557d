"""USDT-M futures from Binance: candles, funding, open interest, who is long, and order books.

Paths and limits: https://developers.binance.com/docs/derivatives/usds-margined-futures.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.provider import Request
from weft.domain.instruments import Instrument, Kind, Scope, split_pair
from weft.foundation.times import DAY, HOUR, Interval
from weft.sources.candles import Page
from weft.sources.exchange import ExchangeConfig, ExchangeProvider, depth_series
from weft.sources.http import Api, Http, RateLimit, Reader, UnlistedSymbolError
from weft.sources.series import Point, Series, Wanted
from weft.sources.stream import StreamSpec
from weft_providers.binance.shared import (
    classify,
    cost_of,
    read_book,
    read_instrument,
    read_page,
    waits,
)
from weft_providers.binance.stream import StreamOptions, futures_streams

_FUNDING, _STATISTICS, _NOW = "funding", "statistics", "now"
STATISTICS_LIMIT = RateLimit(
    1_000, 300, "statistics in 5 minutes", per_request=True, only=_STATISTICS
)
FUNDING_LIMIT = RateLimit(500, 300, "funding in 5 minutes", per_request=True, only=_FUNDING)
"""Two groups of paths have no weight, but limits of their own."""
_STATISTICS_PAGE, _FUNDING_PAGE = 500, 1_000
_KEPT = 30 * DAY
_MOST_AHEAD = HOUR
"""A server's clock may be off by minutes; stored as of now, any other stamp would hide history."""
_MILLI = 1_000
_OPEN_INTEREST = "open interest"


def _statistic(metric: str, path: str, field: str, group: str = "") -> Series:
    path = f"/futures/data/{path}"
    extra = {"asked": _STATISTICS, "field": field, "group": group or path}
    scope = Scope.INSTRUMENT
    return Series(metric=metric, path=path, step="1h", lag="1h", scope=scope, extra=extra)


SERIES = (
    Series(
        metric="funding_rate",
        path="/fapi/v1/fundingRate",
        # Most contracts are paid every 8 hours, some every 4 or 1.
        step="1h",
        lag="1s",
        scope=Scope.INSTRUMENT,
        extra={"asked": _FUNDING},
    ),
    Series(
        metric="open_interest",
        path="/fapi/v1/openInterest",
        # Short, so that each round brings one, however often there are rounds.
        step="30s",
        lag="1s",
        scope=Scope.INSTRUMENT,
        # With the history, which is due only after a pause: neither is stored without the other.
        extra={"asked": _NOW, "group": _OPEN_INTEREST},
    ),
    _statistic("open_interest", "openInterestHist", "sumOpenInterest", _OPEN_INTEREST),
    _statistic("open_interest_usd", "openInterestHist", "sumOpenInterestValue", _OPEN_INTEREST),
    _statistic("long_short_ratio", "globalLongShortAccountRatio", "longShortRatio"),
    _statistic("top_long_short_accounts", "topLongShortAccountRatio", "longShortRatio"),
    _statistic("top_long_short_positions", "topLongShortPositionRatio", "longShortRatio"),
    _statistic("taker_buy_sell_ratio", "takerlongshortRatio", "buySellRatio"),
    *depth_series("/fapi/v1/depth"),
)


async def read_metrics(http: Http, group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
    """Return the values of what is asked for together, of one contract."""
    found: dict[Wanted, list[Point]] = {}
    past = [one for one in group if one.series.extra["asked"] == _STATISTICS]
    if past:
        since = min(one.since for one in past)
        rows = await _statistics(http, past[0], since)
        found = {one: [_point(one, row) for row in rows] for one in past}
    for one in group:
        if one.series.extra["asked"] == _FUNDING:
            found[one] = await _funding(http, one)
        elif one.series.extra["asked"] == _NOW:
            found[one] = await _now(http, one)
    return found


async def _funding(http: Http, wanted: Wanted) -> list[Point]:
    """Return the rates paid, each known as it is paid."""
    points: list[Point] = []
    start: int | None = -(-wanted.since // _MILLI)
    while start is not None:
        params: dict[str, str | int] = {
            "symbol": wanted.own_id,
            "startTime": start,
            "limit": _FUNDING_PAGE,
        }
        answer = await http.get(wanted.series.path, params=params, cost=0, group=_FUNDING)
        rows = answer.read.rows()
        for row in rows:
            paid = row.instant("fundingTime", unit="ms")
            points.append(Point(paid, row.number("fundingRate"), known_at=paid))
        following = max((point.event_time for point in points), default=0) // _MILLI + 1
        start = following if len(rows) >= _FUNDING_PAGE and following > start else None
    return points


async def _now(http: Http, wanted: Wanted) -> list[Point]:
    """Return the open interest of this moment."""
    answer = await http.get(wanted.series.path, params={"symbol": wanted.own_id})
    at = answer.read.instant("time", unit="ms")
    if at > wanted.until + _MOST_AHEAD:
        raise answer.read.at("time").unexpected("a time of now")
    value = answer.read.number("openInterest") * _coins(wanted)
    return [Point(min(at, wanted.until), value, known_at=answer.fetched_at)]


async def _statistics(http: Http, wanted: Wanted, since: int) -> list[Reader]:
    """Return rows of /futures/data, page by page: spans that one answer holds."""
    step = wanted.series.step_micros
    # Asked for what it no longer keeps, it refuses.
    first = -(-max(since, wanted.until - _KEPT + step) // step) * step
    rows: list[Reader] = []
    for start in range(first, wanted.until + 1, _STATISTICS_PAGE * step):
        last = min(start + (_STATISTICS_PAGE - 1) * step, wanted.until)
        params: dict[str, str | int] = {
            "symbol": wanted.own_id,
            "period": wanted.series.step,
            "limit": _STATISTICS_PAGE,
            "startTime": start // _MILLI,
            "endTime": last // _MILLI,
        }
        answer = await http.get(wanted.series.path, params=params, cost=0, group=_STATISTICS)
        rows += answer.read.rows()
    return rows


def _point(wanted: Wanted, row: Reader) -> Point:
    """Return a value, known no earlier than a period after the time it is stamped with."""
    series = wanted.series
    at = row.instant("timestamp", unit="ms")
    value = row.number(str(series.extra["field"]))
    value *= _coins(wanted) if series.metric == "open_interest" else 1
    return Point(at, value, known_at=at + max(series.lag_micros, series.step_micros))


def _coins(wanted: Wanted) -> int:
    """Return how many coins one unit of a contract is: 1000 of 1000PEPEUSDT."""
    _, _, multiplier = split_pair(wanted.entity) or ("", "", 1)
    return multiplier


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
