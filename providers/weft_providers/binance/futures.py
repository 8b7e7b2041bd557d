"""USDT-M futures from Binance: candles, funding, open interest, account ratios, order books.

Paths and limits: https://developers.binance.com/docs/derivatives/usds-margined-futures.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.provider import Request
from weft.domain.instruments import Instrument, Kind, Scope, split_pair
from weft.foundation.times import DAY, HOUR, Interval
from weft.sources.candles import Page
from weft.sources.exchange import ExchangeConfig, ExchangeProvider, depth_series
from weft.sources.http import Api, Http, HttpResponse, RateLimit, Reader, UnlistedSymbolError
from weft.sources.series import Point, Series, Wanted
from weft.sources.stream import StreamSpec
from weft_providers.binance.shared import (
    ask_book,
    ask_page,
    classify,
    cost_of,
    parse_instrument,
    waits,
)
from weft_providers.binance.stream import StreamOptions, futures_streams

_INTERVALS = "1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w"
_KLINE_COSTS = ((99, 1), (499, 2), (1000, 5), (1500, 10))
_DEPTH_COSTS = ((50, 2), (100, 5), (500, 10), (1000, 20))
"""Weight of a request by its most rows or levels."""
_FUNDING, _STATISTICS, _NOW = "funding", "statistics", "now"
_STATISTICS_LIMIT = RateLimit(
    1_000, 300, "statistics in 5 minutes", per_request=True, only=_STATISTICS
)
_FUNDING_LIMIT = RateLimit(500, 300, "funding in 5 minutes", per_request=True, only=_FUNDING)
"""Two groups of paths have limits of their own instead of a weight."""
_STATISTICS_PAGE, _FUNDING_PAGE = 500, 1_000
_STATISTICS_DAYS = 30 * DAY
_MOST_AHEAD = HOUR
"""A server's clock may be off by minutes; a stamp further ahead would hide history."""
_MILLI = 1_000
_OPEN_INTEREST = "open interest"
_FAR_AWAY = 4_000_000_000_000
"""A perpetual is delivered at Christmas 2100: milliseconds beyond any other contract's date."""


def _statistic(metric: str, path: str, field: str, group: str = "") -> Series:
    path = f"/futures/data/{path}"
    extra = {"kind": _STATISTICS, "field": field, "group": group or path}
    scope = Scope.INSTRUMENT
    return Series(metric=metric, path=path, step="1h", lag="1h", scope=scope, extra=extra)


class BinanceFutures(ExchangeProvider):
    """Closed candles of USDT-margined contracts, and metrics of perpetuals.

    A candle is known at its close, a funding rate when it is paid, an order book and the present
    open interest when they are fetched. Ratios and the history of open interest are known one
    period after their stamp at the earliest; Binance keeps them for 30 days. The last steps are
    requested again, since Binance may restate any of them.

    Open interest is in coins (one contract of 1000PEPE is 1000 coins) and in USDT, counted as
    dollars. Depth is left out where the requested levels do not reach 1 % from the middle.
    """

    name = "binance_futures"
    web = Api(
        base_url="https://fapi.binance.com",
        limits=(
            RateLimit(2_400, 60, "weight a minute", used="x-mbx-used-weight-1m"),
            _STATISTICS_LIMIT,
            _FUNDING_LIMIT,
        ),
        classify=classify,
        waits=waits,
        ban_statuses=frozenset({403, 418}),
        longest_wait_seconds=900,
    )
    hosts = ("binance.com",)
    intervals: ClassVar = {Interval.parse(name).name: name for name in _INTERVALS.split()}
    series = (
        Series(
            metric="funding_rate",
            path="/fapi/v1/fundingRate",
            # Most contracts pay every 8 hours, some every 4 hours or every hour.
            step="1h",
            lag="1s",
            scope=Scope.INSTRUMENT,
            extra={"kind": _FUNDING},
        ),
        Series(
            metric="open_interest",
            path="/fapi/v1/openInterest",
            # Shorter than any round, so that each round fetches one value.
            step="30s",
            lag="1s",
            scope=Scope.INSTRUMENT,
            # Grouped with its history, which is due only after a pause: a present value stored
            # without the history would hide the gap between them.
            extra={"kind": _NOW, "group": _OPEN_INTEREST},
        ),
        _statistic("open_interest", "openInterestHist", "sumOpenInterest", _OPEN_INTEREST),
        _statistic("open_interest_usd", "openInterestHist", "sumOpenInterestValue", _OPEN_INTEREST),
        _statistic("long_short_ratio", "globalLongShortAccountRatio", "longShortRatio"),
        _statistic("top_long_short_accounts", "topLongShortAccountRatio", "longShortRatio"),
        _statistic("top_long_short_positions", "topLongShortPositionRatio", "longShortRatio"),
        _statistic("taker_buy_sell_ratio", "takerlongshortRatio", "buySellRatio"),
        *depth_series("/fapi/v1/depth"),
    )
    streamed_metrics = ("long_liquidations_usd", "short_liquidations_usd", "trade_count", "vwap")

    class Config(ExchangeConfig, StreamOptions):
        """Options."""

        symbols: tuple[str, ...] = Field(
            default=("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT", "ADAUSDT"),
            description="contracts to fetch unless a request names others",
        )
        requests_in_flight: int = Field(default=8, ge=1, le=20, description="concurrent requests")
        page_size: int = Field(default=1000, ge=1, le=1500, description="candles in one request")
        depth_levels: Literal[5, 10, 20, 50, 100, 500, 1000] = Field(
            default=1000, description="levels of an order book"
        )

    config: Config

    def streams(self, request: Request) -> Sequence[StreamSpec]:
        """Return the streams that the options ask for."""
        return futures_streams(self, request)

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._listed: dict[str, Reader] = {}

    async def prepare(self, http: Http, symbols: Sequence[str]) -> None:
        """Fetch the list of all contracts."""
        answer = await http.get("/fapi/v1/exchangeInfo", cost=1)
        self._listed = {entry.text("symbol"): entry for entry in answer.read.rows("symbols")}

    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Return a contract as the list of contracts describes it."""
        entry = self._listed.get(symbol)
        if entry is None:
            raise UnlistedSymbolError(f"there is no contract {symbol}", where=self.name)
        delivery = entry.integer("deliveryDate")
        return parse_instrument(
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
        return await ask_page(http, "/fapi/v1/klines", name, symbol, interval, first, size, cost)

    async def read(self, http: Http, wanted: Wanted) -> list[Point]:
        """Return the values of one metric."""
        return (await self.read_group(http, [wanted])).get(wanted, [])

    async def read_group(self, http: Http, group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        """Return the values of metrics from the same answers, all of one contract."""
        first = group[0]
        if first.series.extra.get("book"):
            levels = self.config.depth_levels
            cost = cost_of(levels, _DEPTH_COSTS)
            book, answer = await ask_book(http, first.series.path, first.own_id, levels, cost)
            at = answer.read.instant("T", unit="ms")
            return self.book_points(group, book, at, answer.fetched_at)
        values: dict[Wanted, list[Point]] = {}
        past = [one for one in group if one.series.extra["kind"] == _STATISTICS]
        rows: list[Reader] = []
        if past:
            rows = await self._statistics(http, past[0], min(one.since for one in past))
            values = {one: self.points_in(rows, partial(_statistic_point, one)) for one in past}
        broken = {one.series.metric for one, points in values.items() if rows and not points}
        for one in group:
            if one.series.extra["kind"] == _FUNDING:
                values[one] = await self._funding(http, one)
                self.looked(one, values[one])
            elif one.series.extra["kind"] == _NOW and one.series.metric not in broken:
                answer = await http.get(one.series.path, params={"symbol": one.own_id})
                values[one] = [_present_point(answer, one)]
        return values

    async def _funding(self, http: Http, wanted: Wanted) -> list[Point]:
        """Return the rates paid, from all pages."""
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
            points += self.points_in(rows, _funding_point)
            following = max((point.event_time for point in points), default=0) // _MILLI + 1
            start = following if len(rows) >= _FUNDING_PAGE and following > start else None
        return points

    async def _statistics(self, http: Http, wanted: Wanted, since: int) -> list[Reader]:
        """Return the rows of /futures/data from all pages: spans that one answer holds."""
        step = wanted.series.step_micros
        # Binance refuses a request for older rows than it keeps.
        first = -(-max(since, wanted.until - _STATISTICS_DAYS + step) // step) * step
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


def _funding_point(row: Reader) -> Point:
    """Return a funding rate, known when it is paid."""
    paid = row.instant("fundingTime", unit="ms")
    return Point(paid, row.number("fundingRate"), known_at=paid)


def _present_point(answer: HttpResponse, wanted: Wanted) -> Point:
    """Return the present open interest."""
    at = answer.read.instant("time", unit="ms")
    if at > wanted.until + _MOST_AHEAD:
        raise answer.read.at("time").unexpected("a time of now")
    value = answer.read.number("openInterest") * _coins(wanted)
    return Point(min(at, wanted.until), value, known_at=answer.fetched_at)


def _statistic_point(wanted: Wanted, row: Reader) -> Point | None:
    """Return a statistic, known one period after its stamp at the earliest; None where null."""
    series = wanted.series
    field = str(series.extra["field"])
    if row.at(field).value is None:
        return None
    at, value = row.instant("timestamp", unit="ms"), row.number(field)
    value *= _coins(wanted) if series.metric == "open_interest" else 1
    return Point(at, value, known_at=at + max(series.lag_micros, series.step_micros))


def _coins(wanted: Wanted) -> int:
    """Return the coins in one unit of a contract: 1000 for 1000PEPEUSDT."""
    _, _, multiplier = split_pair(wanted.entity) or ("", "", 1)
    return multiplier
