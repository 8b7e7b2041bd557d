"""Decentralised finance from DefiLlama: value locked, fees, volumes, stablecoins."""

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from weft.components.provider import Batch, Request
from weft.domain.instruments import Scope
from weft.foundation.times import DAY
from weft.sources.hosts import Hosts
from weft.sources.http.api import Api, Headers, RateLimit
from weft.sources.http.errors import SourceError, UnlistedSymbolError
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.foundation.clock import Clock
    from weft.sources.http import Http, Reader

_CACHED_SECONDS = 1_200.0
_STABLECOINS, _YIELDS = "https://stablecoins.llama.fi", "https://yields.llama.fi"
# The charts by protocol and chain are several megabytes that nobody reads.
_TOTALS = {"excludeTotalDataChart": "false", "excludeTotalDataChartBreakdown": "true"}


def _classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # The one path there is for each series: what is not found, or refused, is its chain or slug.
    return UnlistedSymbolError if status in {400, 404} else None


class DefiLlama(SeriesProvider):
    """Value locked, fees, revenue and volume of chains and protocols, and the stablecoins' side.

    Value locked and stablecoin supply are sampled at the midnight they are stamped with; the last
    value is of the running day, so a midnight's one counts as known 25 hours later. Fees, revenue
    and volume stamped with a day cover it, and count as known twelve hours after its end. The
    yield is the middle of the present pools, known when it was asked for: it has no history.

    History is recomputed when an adapter or a token's price changes, and there are no vintages:
    what is backfilled is as known today, what is stored first is kept.

    Documentation: https://api-docs.defillama.com
    """

    name = "defillama"
    web = Api(base_url="https://api.llama.fi", classify=_classify)
    series = (
        Series(metric="tvl_usd", path="tvl", lag="25h"),
        Series(metric="fees_usd", path="fees", lag="12h", extra={"dataType": "dailyFees"}),
        Series(metric="revenue_usd", path="fees", lag="12h", extra={"dataType": "dailyRevenue"}),
        Series(metric="dex_volume_usd", path="dexs", lag="12h"),
        Series(
            metric="stablecoin_supply_usd",
            path="/stablecoincharts/all",
            lag="25h",
            scope=Scope.MARKET,
        ),
        Series(
            metric="stablecoin_yield",
            path="/pools",
            step="4h",
            lag="1s",
            scope=Scope.MARKET,
            factor=0.01,
        ),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = {
        "BTC": "chain:Bitcoin",
        "ETH": "chain:Ethereum",
        "BNB": "chain:BSC",
        "SOL": "chain:Solana",
        "XRP": "chain:XRPL",
        "DOGE": "chain:Doge",
        "ADA": "chain:Cardano",
        "AVAX": "chain:Avalanche",
        "DOT": "chain:Polkadot",
        "LTC": "chain:Litecoin",
        "TRX": "chain:Tron",
        "BCH": "chain:Bitcoincash",
        "UNI": "protocol:uniswap",
        "ATOM": "chain:CosmosHub",
        "NEAR": "chain:Near",
        "AAVE": "protocol:aave",
        "ARB": "chain:Arbitrum",
        "FIL": "chain:Filecoin",
    }

    class Config(SeriesConfig):
        """Options. An id is ``chain:`` and a name, or ``protocol:`` and a slug."""

        requests_per_minute: int = Field(default=200, ge=1, description="asked of each host")
        pool_tvl_usd: float = Field(
            default=10e6, gt=0, description="value from which on a pool's yield counts"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield what is due, from each host what it has; see `SeriesProvider.fetch`."""
        batches = super().fetch(request, http, clock)
        async with Hosts(http) as self._hosts, aclosing(batches):  # type: ignore[type-var]  # a generator is one
            async for batch in batches:
                yield batch

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series, whole as it always comes."""
        match wanted.series.metric:
            case "stablecoin_supply_usd":
                return await self._stablecoins(http, wanted)
            case "stablecoin_yield":
                return await self._yields(http, wanted)
            case "tvl_usd":
                return await self._locked(http, wanted)
            case _:
                return await self._totals(http, wanted)

    async def _locked(self, http: "Http", wanted: Wanted) -> list[Point]:
        kind, _, name = wanted.own_id.partition(":")
        if kind == "chain":
            answer = await http.get(f"/v2/historicalChainTvl/{name}")
            return self._at_midnight(answer.read.rows(), "tvl")
        answer = await http.get(f"/protocol/{name}")
        return self._at_midnight(answer.read.rows("tvl"), "totalLiquidityUSD")

    def _at_midnight(self, rows: "list[Reader]", field: str) -> list[Point]:
        """Return the daily values; the last one of some series is of the running hour."""
        points = self.points_in(rows, partial(_dated, field))
        return [point for point in points if point.event_time % DAY == 0]

    async def _totals(self, http: "Http", wanted: Wanted) -> list[Point]:
        kind, _, name = wanted.own_id.partition(":")
        table = "overview" if kind == "chain" else "summary"
        path = f"/{table}/{wanted.series.path}/{name}"
        answer = await http.get(path, params={**_TOTALS, **wanted.series.extra})
        # A row covers the day that begins at its stamp.
        return self.points(answer.read, "totalDataChart", read=_of_day)

    async def _stablecoins(self, http: "Http", wanted: Wanted) -> list[Point]:
        host = await self._at(http, _STABLECOINS)
        answer = await host.get(wanted.series.path)
        points = self.points(answer.read, read=_supply)
        return [point for point in points if point.value > 0 and point.event_time % DAY == 0]

    async def _yields(self, http: "Http", wanted: Wanted) -> list[Point]:
        host = await self._at(http, _YIELDS)
        answer = await host.get(wanted.series.path, ttl=_CACHED_SECONDS)

        def read(pool: "Reader") -> float | None:
            is_large = pool.number("tvlUsd", null=0.0) >= self.config.pool_tvl_usd
            counts = pool.at("stablecoin").value is True and pool.at("apy").value is not None
            return pool.number("apy") if counts and is_large else None

        yields = answer.read.collect("data", read=read, lost=self.tell)
        at = min(answer.given_at, wanted.until)
        return [Point(at, median(yields), known_at=answer.fetched_at)] if yields else []

    async def _at(self, http: "Http", host: str) -> "Http":
        """Return the client of a host; another address of the API stands for all of them."""
        if self.config.base_url:
            return http
        return await self._hosts.client(replace(self.web, base_url=host))


def _dated(field: str, row: "Reader") -> Point | None:
    if row.at(field).value is None:
        return None
    return Point(row.instant("date", unit="s"), row.number(field))


def _of_day(row: "Reader") -> Point | None:
    if row.at(1).value is None:
        return None
    return Point(row.instant(0, unit="s") + DAY, row.number(1))


def _supply(row: "Reader") -> Point:
    pegs = row.fields("totalCirculatingUSD")
    supply = sum(peg.number(null=0.0) for peg in pegs.values())
    return Point(row.instant("date", unit="s"), supply)
