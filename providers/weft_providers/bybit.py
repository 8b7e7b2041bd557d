"""Spot or perpetual candles, funding, open interest and account ratios from Bybit.

Paths, limits and error codes: https://bybit-exchange.github.io/docs/v5/intro.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal
from urllib.parse import unquote

from pydantic import Field

from weft.domain.instruments import Instrument, Kind, Scope, split_pair
from weft.foundation.times import SECOND, Interval, iso
from weft.sources.candles import Page, Row, parse_candles
from weft.sources.exchange import ExchangeConfig, ExchangeProvider
from weft.sources.http import (
    Api,
    ForbiddenError,
    Http,
    NotCoveredError,
    RateLimit,
    RateLimitedError,
    Reader,
    RefusedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.sources.http.api import Headers
from weft.sources.series import Point, Series, Wanted

_KLINE_FIELDS = 7
_TURNOVER_SLACK = 2.0
_PERIODS = {"5m": "5min", "15m": "15min", "30m": "30min"}
"""Bybit's names of periods in statistics, where they differ from Weft's."""
_FUNDING_PAGE = 200
_MILLI = 1_000

_SERIES = (
    Series(
        metric="funding_rate",
        path="/v5/market/funding/history",
        # Contracts pay every 8, 4, 2 or 1 hours.
        step="1h",
        lag="1s",
        scope=Scope.INSTRUMENT,
    ),
    Series(
        metric="open_interest",
        path="/v5/market/open-interest",
        step="1h",
        lag="1h",
        scope=Scope.INSTRUMENT,
        extra={"field": "singleOpenInterest", "period": "intervalTime", "page": 200},
    ),
    Series(
        metric="long_short_ratio",
        path="/v5/market/account-ratio",
        step="1h",
        lag="1h",
        scope=Scope.INSTRUMENT,
        extra={"period": "period", "page": 500},
    ),
)


async def _ask_metric(http: Http, wanted: Wanted, tell: Callable[[str], None]) -> list[Point]:
    """Return the values of one metric, oldest first.

    Args:
        http: client of the API.
        wanted: metric, contract and span.
        tell: takes a line about rows that are left out.
    """
    if "period" in wanted.series.extra:
        points = await _statistics(http, wanted, tell)
    else:
        points = await _funding(http, wanted, tell)
    return sorted(points, key=lambda point: point.event_time)


async def _statistics(http: Http, wanted: Wanted, tell: Callable[[str], None]) -> list[Point]:
    series, extra = wanted.series, wanted.series.extra
    period = _PERIODS.get(series.step, series.step)
    params: dict[str, str | int] = _span(wanted, wanted.until) | {
        extra["period"]: period,
        "limit": extra["page"],
    }
    values: list[tuple[int, float | None]] = []
    seen: set[str] = set()
    while True:
        answer = await http.get(series.path, params=params)
        result = answer.read.at("result")
        rows = result.rows("list")
        values += result.collect("list", read=partial(_parse_statistic, wanted), lost=tell)
        # The cursor is empty after the last page, never missing.
        cursor = result.text("nextPageCursor")
        if not rows or not cursor or min((at for at, _ in values), default=0) < wanted.since:
            break
        if cursor in seen:
            raise result.at("nextPageCursor").unexpected("another page")
        seen.add(cursor)
        # Bybit sends the cursor encoded for a URL; the client encodes it again.
        params["cursor"] = unquote(cursor)
    undefined = [at for at, value in values if value is None]
    if undefined:
        count = f"{len(undefined)} row{'' if len(undefined) == 1 else 's'}"
        tell(
            f"{series.metric} {wanted.entity}: {count} left out, no account is short, "
            f"first at {iso(min(undefined))}"
        )
    # A statistic is known one period after its stamp at the earliest.
    after = max(series.lag_micros, series.step_micros)
    return [Point(at, value, at + after) for at, value in values if value is not None]


async def _funding(http: Http, wanted: Wanted, tell: Callable[[str], None]) -> list[Point]:
    """Return the rates paid, each known when it is paid; pages begin with the newest."""
    points: list[Point] = []
    until = wanted.until
    while until >= wanted.since:
        params: dict[str, str | int] = _span(wanted, until) | {"limit": _FUNDING_PAGE}
        answer = await http.get(wanted.series.path, params=params)
        rows = answer.read.rows("result", "list")
        points += answer.read.collect("result", "list", read=_parse_funding, lost=tell)
        before = min((point.event_time for point in points), default=0) - _MILLI
        if len(rows) < _FUNDING_PAGE or before >= until:
            break
        until = before
    return points


def _span(wanted: Wanted, until: int) -> dict[str, str | int]:
    start, end = wanted.since // _MILLI, until // _MILLI
    return {"category": "linear", "symbol": wanted.own_id, "startTime": start, "endTime": end}


def _parse_funding(row: Reader) -> Point:
    paid = row.instant("fundingRateTimestamp", unit="ms")
    return Point(paid, row.number("fundingRate"), known_at=paid)


def _parse_statistic(wanted: Wanted, row: Reader) -> tuple[int, float | None]:
    return row.instant("timestamp", unit="ms"), _value(wanted, row)


def _value(wanted: Wanted, row: Reader) -> float | None:
    """Return the value of a row; None where no account is short, so that there is no ratio."""
    if wanted.series.metric == "open_interest":
        _, _, coins = split_pair(wanted.entity) or ("", "", 1)
        return row.number(wanted.series.extra["field"]) * coins
    longs, shorts = row.number("buyRatio"), row.number("sellRatio")
    return longs / shorts if shorts else None


_MINUTES = {"1h": "60", "2h": "120", "4h": "240", "6h": "360", "12h": "720"}
_INTERVALS = {f"{n}m": f"{n}" for n in (1, 3, 5, 15, 30)} | _MINUTES | {"1d": "D", "1w": "W"}


class ParameterError(RefusedError):
    """Bybit refused a parameter, such as a symbol (code 10001)."""


_TOO_MANY = 10006
_MEANINGS: dict[int, type[SourceError]] = {
    10001: ParameterError,
    10003: UnauthorisedError,
    10004: UnauthorisedError,
    33004: UnauthorisedError,
    10005: NotCoveredError,
    _TOO_MANY: RateLimitedError,
    10010: ForbiddenError,
    10016: UnavailableError,
    10029: UnlistedSymbolError,
}
_MILLI = 1_000


def classify(status: int, body: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401, ARG001  # JSON, in the form the contract fixes
    """Return the error of Bybit's code; most errors have HTTP status 200."""
    if status != 200 or body["retCode"] == 0:
        return None
    return _MEANINGS.get(body["retCode"], RefusedError)


def waits(body: Any, headers: Headers, now: int) -> float | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the seconds until a limit is lifted, from Bybit's header."""
    lifted = headers.get("x-bapi-limit-reset-timestamp", "")
    if body["retCode"] != _TOO_MANY or not lifted.isdecimal():
        return None
    return int(lifted) / _MILLI - now / SECOND


class Bybit(ExchangeProvider):
    """Closed candles of spot pairs or linear perpetuals, and metrics of perpetuals.

    A candle is known at its close, a funding rate when it is paid, open interest and the account
    ratio one period after their stamp. Bybit does not announce restatements; the last steps are
    requested again. Open interest is in coins of one side: Bybit's `openInterest` counts both.
    """

    name = "bybit"
    web = Api(
        base_url="https://api.bybit.com",
        # Bybit allows 600, and bans a client above that for ten minutes.
        limits=(RateLimit(500, 5),),
        classify=classify,
        waits=waits,
        ban_statuses=frozenset({403}),
        ban_seconds=600,
    )
    hosts = ("bybit.com", "bytick.com")
    intervals: ClassVar = _INTERVALS
    series = _SERIES

    class Config(ExchangeConfig):
        """Options."""

        category: Literal["linear", "spot"] = Field(
            default="linear",
            description="perpetuals or spot pairs; stored as two sources, spot without metrics",
        )
        symbols: tuple[str, ...] = Field(
            default=("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"),
            description="symbols to fetch unless a request names others",
        )
        requests_in_flight: int = Field(default=8, ge=1, le=20, description="concurrent requests")
        page_size: int = Field(default=1000, ge=1, le=1000, description="candles in one request")

    config: Config

    @property
    def source(self) -> str:
        """Return the name of the stored source; a symbol has other prices in each category."""
        source = super().source
        return source if self.config.category == "linear" else f"{source}-{self.config.category}"

    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Return a symbol as instruments-info describes it."""
        category = self.config.category
        params: dict[str, str | int] = {"category": category, "symbol": symbol}
        unlisted = UnlistedSymbolError(f"there is no {category} {symbol}", where=self.name)
        try:
            answer = await http.get("/v5/market/instruments-info", params=params)
        except ParameterError:
            # No other parameter of this request can be wrong.
            raise unlisted from None
        rows = answer.read.rows("result", "list")
        if not rows:
            raise unlisted
        return _parse_instrument(rows[0], category)

    async def page(self, http: Http, symbol: str, interval: Interval, first: int, now: int) -> Page:
        """Return the candles of one span."""
        size = self.config.page_size
        following = first + size * interval.micros
        params: dict[str, str | int] = {
            "category": self.config.category,
            "symbol": symbol,
            "interval": self.intervals[interval.name],
            "start": first // _MILLI,
            "end": following // _MILLI - 1,
            "limit": size,
        }
        answer = await http.get("/v5/market/kline", params=params)

        def parse(row: Reader) -> Row:
            opened = row.instant(0, unit="ms")
            o, h, low, c, v = (row.number(i) for i in range(1, 6))
            row.expect_length(_KLINE_FIELDS)
            if _have_traded_places(v, row.number(6), low, h):
                raise row.at(5).unexpected("the volume, not the turnover")
            return opened, o, h, low, c, v

        rows, problems = parse_candles(
            answer.read.rows("result", "list"),
            parse,
            lambda opened: first <= opened < following,
            "a time between start and end",
        )
        end = max(rows)[0] + interval.micros if rows else following
        return Page(rows, answer, end, problems)

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the symbol itself; None for spot, which has no metrics."""
        return super().own_id(series, entity) if self.config.category == "linear" else None

    async def read(self, http: Http, wanted: Wanted) -> list[Point]:
        """Return the values of one metric."""
        points = await _ask_metric(http, wanted, self.tell)
        if wanted.series.metric == "funding_rate":
            self.looked(wanted, points)
        return points


def _parse_instrument(entry: Reader, category: str) -> Instrument:
    pair = (entry.text("baseCoin"), entry.text("quoteCoin"))
    base, quote, multiplier = split_pair("/".join(pair)) or (*pair, 1)
    kind = Kind.SPOT
    if category == "linear":
        kind = Kind.PERPETUAL if "Perpetual" in entry.text("contractType") else Kind.FUTURE
    lot = entry.at("lotSizeFilter")
    return Instrument(
        symbol=entry.text("symbol"),
        base=base,
        quote=quote,
        kind=kind,
        venue="bybit",
        multiplier=multiplier,
        tick=entry.number("priceFilter", "tickSize"),
        lot=lot.number("qtyStep" if lot.has("qtyStep") else "basePrecision"),
        listed=_launched(entry),
    )


def _launched(entry: Reader) -> int | None:
    """Return when a contract was listed; None for spot pairs, and contracts that state 0."""
    if not entry.has("launchTime") or entry.number("launchTime") == 0:
        return None
    return entry.instant("launchTime", unit="ms")


def _have_traded_places(volume: float, turnover: float, low: float, high: float) -> bool:
    """Return whether volume and turnover fit the prices of a candle only the other way round."""

    def fits(quantity: float, value: float) -> bool:
        return low * quantity / _TURNOVER_SLACK <= value <= high * quantity * _TURNOVER_SLACK

    return fits(turnover, volume) and not fits(volume, turnover)
