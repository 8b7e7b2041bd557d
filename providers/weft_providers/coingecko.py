"""Market caps, dominance and trending coins from CoinGecko."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weft.domain.instruments import Scope
from weft.foundation.times import DAY
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import (
    NotCoveredError,
    SourceError,
    UnauthorisedError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.sources.http import Http, Reader
    from weft.sources.http.request import Params

_GLOBAL, _TRENDING = "/api/v3/global", "/api/v3/search/trending"
_CACHED_SECONDS = 600.0


class PaidKeyError(UnauthorisedError):
    """A paid key was sent to the host of demo keys."""

    advice = "The key is a paid one, for pro-api.coingecko.com: set providers.coingecko.plan: paid"


class DemoKeyError(UnauthorisedError):
    """A demo key was sent to the host of paid keys."""

    advice = "The key is a demo one, for api.coingecko.com: set providers.coingecko.plan: demo"


_CODES: Mapping[int, type[SourceError]] = {
    10002: UnauthorisedError,
    10005: NotCoveredError,
    10010: PaidKeyError,
    10011: DemoKeyError,
    10012: NotCoveredError,
}


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    if status < 400:
        return None
    if status == 404 or (status == 400 and "not found" in str(body.get("error"))):
        return UnlistedSymbolError
    # CoinGecko puts the error code at any of three depths.
    error = body.get("error")
    objects = (body, body.get("status"), error.get("status") if isinstance(error, dict) else None)
    codes = [one["error_code"] for one in objects if one and "error_code" in one]
    return next((_CODES[code] for code in codes if code in _CODES), None)


class CoinGecko(SeriesProvider):
    """Daily market caps, the total market cap, Bitcoin's share of it, and trending coins.

    A market cap stamped with a midnight is of that instant, and counts as known one hour later. The
    total market cap and the trending coins have no history: it begins with the first fetch, and
    each value is known when it was fetched. CoinGecko may correct supplies and prices later,
    without vintages: stored values are kept.

    Works without a key, slowly; a free demo key is faster and reaches back one year.
    Documentation: https://docs.coingecko.com/reference/introduction
    """

    name = "coingecko"
    web: Api = Api(
        base_url="https://api.coingecko.com",
        key=HeaderKey("x-cg-demo-api-key"),
        classify=_classify,
        longest_wait_seconds=300.0,
        concurrent=2,
    )
    series = (
        Series(metric="market_cap_usd", path="/api/v3/coins/{id}/market_chart", lag="1h"),
        Series(
            metric="total_market_cap_usd", path=_GLOBAL, step="1h", lag="1s", scope=Scope.MARKET
        ),
        Series(
            metric="btc_dominance",
            path=_GLOBAL,
            step="1h",
            lag="1s",
            scope=Scope.MARKET,
            factor=0.01,
        ),
        Series(metric="trending_rank", path=_TRENDING, step="1h", lag="1s"),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = {
        "BTC": "bitcoin",
        "ETH": "ethereum",
        "BNB": "binancecoin",
        "SOL": "solana",
        "XRP": "ripple",
        "DOGE": "dogecoin",
        "ADA": "cardano",
        "AVAX": "avalanche-2",
        "LINK": "chainlink",
        "DOT": "polkadot",
        "LTC": "litecoin",
        "TRX": "tron",
        "BCH": "bitcoin-cash",
        "UNI": "uniswap",
        "ATOM": "cosmos",
        "NEAR": "near",
        "AAVE": "aave",
        "ARB": "arbitrum",
        "FIL": "filecoin",
        "PEPE": "pepe",
    }

    class Config(SeriesConfig):
        """Options."""

        plan: Literal["demo", "paid"] = Field(
            default="demo", description="kind of the key: each kind has its host and header"
        )
        requests_per_minute: int | None = Field(
            default=None,
            ge=1,
            description="null for 8 without a key, 80 with a demo key, 400 with a paid key",
        )
        history_days: int = Field(
            default=365, ge=2, description="days of history in the plan; 365 with a demo key"
        )
        first_trending_score: int = Field(
            default=0,
            description="score of the most searched coin, which becomes rank 1",
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        paid = self.config.plan == "paid"
        usual = 8 if not self.config.api_key else 400 if paid else 80
        limits = (RateLimit(self.config.requests_per_minute or usual, 60),)
        self.web = replace(type(self).web, limits=limits)
        if paid:
            key = HeaderKey("x-cg-pro-api-key")
            self.web = replace(self.web, base_url="https://pro-api.coingecko.com", key=key)

    def ready(self) -> bool:
        """Return true: CoinGecko answers without a key, at a lower rate limit."""
        return True

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of one answer together: the whole market, the trending coins."""
        for path in (_GLOBAL, _TRENDING):
            group = [one for one in wanted if one.series.path == path]
            if group:
                yield group
        yield from ([one] for one in wanted if one.series.path not in {_GLOBAL, _TRENDING})

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of a group."""
        if group[0].series.path == _GLOBAL:
            return await self._market(http, group)
        if group[0].series.path == _TRENDING:
            return await self._trending(http, group)
        return {one: await self.read(http, one) for one in group}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the daily market caps of a coin."""
        days = min((wanted.until - wanted.since) // DAY + 2, self.config.history_days)
        path = wanted.series.path.format(id=wanted.own_id)
        params: Params = {"vs_currency": "usd", "days": days, "interval": "daily"}
        answer = await http.get(path, params=params)
        caps = answer.read.collect("market_caps", read=_parse_cap, lost=self.tell)
        # The latest cap is of now, not of a midnight; an unknown cap is 0.
        now = max((at for at, _ in caps), default=0)
        return [Point(at, cap) for at, cap in caps if at % DAY == 0 and at < now and cap > 0]

    async def _market(self, http: "Http", group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        answer = await http.get(_GLOBAL, ttl=_CACHED_SECONDS)
        data = answer.read.at("data")
        values = {
            "total_market_cap_usd": data.number("total_market_cap", "usd"),
            "btc_dominance": data.number("market_cap_percentage", "btc"),
        }
        updated = data.instant("updated_at", unit="s")
        return {
            one: [Point(min(updated, one.until), values[one.series.metric], answer.fetched_at)]
            for one in group
        }

    async def _trending(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the ranks of the trending coins; other coins have no rank."""
        answer = await http.get(_TRENDING, ttl=_CACHED_SECONDS)
        scores = dict(answer.read.collect("coins", read=_parse_trending, lost=self.tell))
        first = self.config.first_trending_score
        at, known_at = answer.given_at, answer.fetched_at
        return {
            one: [Point(min(at, one.until), scores[one.own_id] - first + 1, known_at)]
            for one in group
            if one.own_id in scores
        }


def _parse_cap(row: "Reader") -> tuple[int, float]:
    return row.instant(0, unit="ms"), row.number(1, null=0.0)


def _parse_trending(row: "Reader") -> tuple[str, float] | None:
    item = row.at("item")
    return None if item.at("score").value is None else (item.text("id"), item.number("score"))
