"""Bybit: spot or perpetual candles, funding, open interest, and who is long.

Paths, limits and error codes: https://bybit-exchange.github.io/docs/v5/intro.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field

from weft.domain.instruments import Instrument, Kind, split_pair
from weft.foundation.times import SECOND, Interval
from weft.sources.candles import Page, Row
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
from weft_providers.bybit.metrics import SERIES, read_metric

_MINUTES = {"1h": "60", "2h": "120", "4h": "240", "6h": "360", "12h": "720"}
_INTERVALS = {f"{n}m": f"{n}" for n in (1, 3, 5, 15, 30)} | _MINUTES | {"1d": "D", "1w": "W"}


class ParameterError(RefusedError):
    """A parameter was refused, which a symbol is: what 10001 means."""


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
    """Return what a code means: most errors come with HTTP 200."""
    if status != 200 or body["retCode"] == 0:
        return None
    return _MEANINGS.get(body["retCode"], RefusedError)


def waits(body: Any, headers: Headers, now: int) -> float | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the seconds up to the instant a limit is lifted, which a header of its own names."""
    lifted = headers.get("x-bapi-limit-reset-timestamp", "")
    if body["retCode"] != _TOO_MANY or not lifted.isdecimal():
        return None
    return int(lifted) / _MILLI - now / SECOND


class Bybit(ExchangeProvider):
    """Closed candles of spot pairs or linear perpetuals, and what perpetuals tell beside prices.

    A candle is known at its close, a funding rate when it is paid; open interest and the ratio one
    period after the time they are stamped with. Restatements are not announced; the last steps are
    asked for again. Open interest is in coins, of one side: Bybit's `openInterest` counts both.
    """

    name = "bybit"
    web = Api(
        base_url="https://api.bybit.com",
        # 600 are allowed; but who passes them is shut out for ten minutes.
        limits=(RateLimit(500, 5),),
        classify=classify,
        waits=waits,
        ban_statuses=frozenset({403}),
        ban_seconds=600,
    )
    hosts = ("bybit.com", "bytick.com")
    intervals: ClassVar = _INTERVALS
    series = SERIES

    class Config(ExchangeConfig):
        """Options."""

        category: Literal["linear", "spot"] = Field(
            default="linear",
            description="perpetuals or spot pairs; each is another source, and spot has no metrics",
        )
        symbols: tuple[str, ...] = Field(
            default=("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"),
            description="symbols to fetch where none are asked for in particular",
        )
        requests_in_flight: int = Field(default=8, ge=1, le=20, description="requests open at once")
        page_size: int = Field(default=1000, ge=1, le=1000, description="candles in one request")

    config: Config

    @property
    def source(self) -> str:
        """Differs by category: the same symbol has other prices there."""
        own = super().source
        return own if self.config.category == "linear" else f"{own}-{self.config.category}"

    async def instrument(self, http: Http, symbol: str) -> Instrument:
        """Return what instruments-info says about a symbol."""
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
        return _instrument(rows[0], category)

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
        rows: list[Row] = []
        for row in answer.read.rows("result", "list"):
            opened = row.instant(0, unit="ms")
            if not first <= opened < following:
                raise row.at(0).unexpected("a time between start and end")
            o, h, low, c, v = (row.number(i) for i in range(1, 6))
            rows.append((opened, o, h, low, c, v))
        return Page(rows, answer, max(rows)[0] + interval.micros if rows else following)

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the symbol itself; None for spot, which has none of the metrics."""
        return super().own_id(series, entity) if self.config.category == "linear" else None

    async def read(self, http: Http, wanted: Wanted) -> list[Point]:
        """Return the values of one metric."""
        points = await read_metric(http, wanted, self.tell)
        if wanted.series.metric == "funding_rate":
            self.looked(wanted, points)
        return points


def _instrument(entry: Reader, category: str) -> Instrument:
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
    """Return when a contract was listed; spot pairs do not say it, and some contracts say 0."""
    if not entry.has("launchTime") or entry.number("launchTime") == 0:
        return None
    return entry.instant("launchTime", unit="ms")
