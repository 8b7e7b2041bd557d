"""Value locked, fees, volumes and stablecoins of decentralised finance, from DefiLlama."""

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
# The charts by protocol and chain have several megabytes and are not needed.
_TOTALS = {"excludeTotalDataChart": "false", "excludeTotalDataChartBreakdown": "true"}


def _classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # Each series has one fixed path: only its chain or slug can be unknown.
    return UnlistedSymbolError if status in {400, 404} else None


class DefiLlama(SeriesProvider):
    """Value locked, fees, revenue and volume of chains and protocols; stablecoin supply and yield.

    Value locked and stablecoin supply are sampled at the midnight of their stamp; the last value is
    of the running day, so the value of a midnight counts as known 25 hours later. Fees, revenue and
    volume stamped with a day cover that day, and count as known twelve hours after its end. The
    yield is the median of the present pools, known when it was fetched: it has no history.

    DefiLlama recomputes history when an adapter or a token's price changes, without vintages:
    backfilled history is as known today; stored values are kept.

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

        requests_per_minute: int = Field(
            default=200, ge=1, description="requests a minute to each host"
        )
        pool_tvl_usd: float = Field(
            default=10e6, gt=0, description="smallest value of a pool whose yield counts"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)

    async def fetch(self, request: Request, http: "Http", clock: "Clock") -> AsyncIterator[Batch]:
        """Yield the values that are due, from all hosts; see `SeriesProvider.fetch`."""
        batches = super().fetch(request, http, clock)
        async with Hosts(http) as self._hosts, aclosing(batches):  # type: ignore[type-var]  # a generator is one
            async for batch in batches:
                yield batch

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series, always its full history."""
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
            return self._parse_midnights(answer.read.rows(), "tvl")
        answer = await http.get(f"/protocol/{name}")
        return self._parse_midnights(answer.read.rows("tvl"), "totalLiquidityUSD")

    def _parse_midnights(self, rows: "list[Reader]", field: str) -> list[Point]:
        """Return the values at midnights; the last value of some series is of the running hour."""
        points = self.points_in(rows, partial(_parse_dated, field))
        return [point for point in points if point.event_time % DAY == 0]

    async def _totals(self, http: "Http", wanted: Wanted) -> list[Point]:
        kind, _, name = wanted.own_id.partition(":")
        table = "overview" if kind == "chain" else "summary"
        path = f"/{table}/{wanted.series.path}/{name}"
        answer = await http.get(path, params={**_TOTALS, **wanted.series.extra})
        return self.points(answer.read, "totalDataChart", read=_parse_day)

    async def _stablecoins(self, http: "Http", wanted: Wanted) -> list[Point]:
        host = await self._client(http, _STABLECOINS)
        answer = await host.get(wanted.series.path)
        points = self.points(answer.read, read=_parse_supply)
        return [point for point in points if point.value > 0 and point.event_time % DAY == 0]

    async def _yields(self, http: "Http", wanted: Wanted) -> list[Point]:
        host = await self._client(http, _YIELDS)
        answer = await host.get(wanted.series.path, ttl=_CACHED_SECONDS)
        yields = answer.read.collect("data", read=self._parse_pool, lost=self.tell)
        at = min(answer.given_at, wanted.until)
        return [Point(at, median(yields), known_at=answer.fetched_at)] if yields else []

    def _parse_pool(self, pool: "Reader") -> float | None:
        """Return the yield of a large pool of stablecoins in percent; None for other pools."""
        is_large = pool.number("tvlUsd", null=0.0) >= self.config.pool_tvl_usd
        counts = pool.at("stablecoin").value is True and pool.at("apy").value is not None
        return pool.number("apy") if counts and is_large else None

    async def _client(self, http: "Http", host: str) -> "Http":
        """Return the client of a host; a configured address replaces all hosts."""
        if self.config.base_url:
            return http
        return await self._hosts.client(replace(self.web, base_url=host))


def _parse_dated(field: str, row: "Reader") -> Point | None:
    if row.at(field).value is None:
        return None
    return Point(row.instant("date", unit="s"), row.number(field))


def _parse_day(row: "Reader") -> Point | None:
    """Return the value of the day that begins at the row's stamp."""
    if row.at(1).value is None:
        return None
    return Point(row.instant(0, unit="s") + DAY, row.number(1))


def _parse_supply(row: "Reader") -> Point:
    pegs = row.fields("totalCirculatingUSD")
    supply = sum(peg.number(null=0.0) for peg in pegs.values())
    return Point(row.instant("date", unit="s"), supply)
