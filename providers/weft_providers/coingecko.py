"""Market caps, dominance and what is searched for, from CoinGecko."""

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
    """A paid key came to the host of demo keys."""

    advice = "The key is a paid one, for pro-api.coingecko.com: set providers.coingecko.plan: paid"


class DemoKeyError(UnauthorisedError):
    """A demo key came to the host of paid keys."""

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
    # The code of an error stands at any of three depths.
    error = body.get("error")
    places = (body, body.get("status"), error.get("status") if isinstance(error, dict) else None)
    codes = [place["error_code"] for place in places if place and "error_code" in place]
    return next((_CODES[code] for code in codes if code in _CODES), None)


class CoinGecko(SeriesProvider):
    """Market caps a day, the whole market's, Bitcoin's share of it, and the coins searched for.

    A market cap stamped with a midnight is of that instant, and counts as known an hour later. The
    whole market and the searches are told as of now only: their history begins when they are first
    asked for, and each is known when it came. Supplies and prices may be corrected later, without
    vintages: what is stored first is kept.

    Works without a key, slowly; a free demo key is quicker, and reaches back a year.
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
            default="demo", description="the kind of the key: each has a host and a header"
        )
        requests_per_minute: int | None = Field(
            default=None,
            ge=1,
            description="null for 8 without a key, 80 with a demo, 400 with a paid",
        )
        history_days: int = Field(
            default=365, ge=2, description="the plan reaches back so far; a demo key a year"
        )
        first_trending_score: int = Field(
            default=0, description="score of what is searched for most, which becomes rank 1"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        paid = self.config.plan == "paid"
        usual = 8 if not self.config.api_key else 400 if paid else 80
        limits = (RateLimit(self.config.requests_per_minute or usual, 60),)
        own = replace(type(self).web, limits=limits)
        if paid:
            key = HeaderKey("x-cg-pro-api-key")
            own = replace(own, base_url="https://pro-api.coingecko.com", key=key)
        self.web = own

    def ready(self) -> bool:
        """It needs no key."""
        return True

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return each market cap alone, and what one answer tells together."""
        for path in (_GLOBAL, _TRENDING):
            group = [one for one in wanted if one.series.path == path]
            if group:
                yield group
        yield from ([one] for one in wanted if one.series.path not in {_GLOBAL, _TRENDING})

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of what one answer tells."""
        if group[0].series.path == _GLOBAL:
            return await self._market(http, group)
        if group[0].series.path == _TRENDING:
            return await self._trending(http, group)
        return {one: await self.read(http, one) for one in group}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the market caps of a coin, one a day."""
        days = min((wanted.until - wanted.since) // DAY + 2, self.config.history_days)
        path = wanted.series.path.format(id=wanted.own_id)
        params: Params = {"vs_currency": "usd", "days": days, "interval": "daily"}
        answer = await http.get(path, params=params)
        caps = answer.read.collect("market_caps", read=_cap, lost=self.tell)
        # The latest one is of now, not of a midnight. Of a cap that is not known it says 0.
        now = max((at for at, _ in caps), default=0)
        return [Point(at, cap) for at, cap in caps if at % DAY == 0 and at < now and cap > 0]

    async def _market(self, http: "Http", group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        answer = await http.get(_GLOBAL, ttl=_CACHED_SECONDS)
        data = answer.read.at("data")
        found = {
            "total_market_cap_usd": data.number("total_market_cap", "usd"),
            "btc_dominance": data.number("market_cap_percentage", "btc"),
        }
        told = data.instant("updated_at", unit="s")
        return {
            one: [Point(min(told, one.until), found[one.series.metric], answer.fetched_at)]
            for one in group
        }

    async def _trending(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the ranks of those that are searched for; of the others nothing is known."""
        answer = await http.get(_TRENDING, ttl=_CACHED_SECONDS)
        scores = dict(answer.read.collect("coins", read=_searched, lost=self.tell))
        first = self.config.first_trending_score
        at, known_at = answer.given_at, answer.fetched_at
        return {
            one: [Point(min(at, one.until), scores[one.own_id] - first + 1, known_at)]
            for one in group
            if one.own_id in scores
        }


def _cap(row: "Reader") -> tuple[int, float]:
    return row.instant(0, unit="ms"), row.number(1, null=0.0)


def _searched(row: "Reader") -> tuple[str, float] | None:
    item = row.at("item")
    return None if item.at("score").value is None else (item.text("id"), item.number("score"))
