"""Exchange and miner flows and on-chain ratios from CryptoQuant."""

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.foundation.times import DAY, parse_time, to_datetime
from weft.sources.http import Api, HeaderKey, NotCoveredError, RateLimit, Reader
from weft.sources.http.api import Headers
from weft.sources.http.errors import (
    RateLimitedError,
    RefusedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http

_WINDOWS = {"1d": "day", "1h": "hour", "10m": "10min", "1m": "min"}
_EXCHANGES = {"exchange": "all_exchange"}
_MINERS = {"miner": "all_miner"}
_CODES = {
    400: RefusedError,
    401: UnauthorisedError,
    403: NotCoveredError,
    404: RefusedError,
    405: RefusedError,
    429: RateLimitedError,
    500: UnavailableError,
}


def _classify(_status: int, body: Any, _headers: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # CryptoQuant does not promise that the HTTP status agrees with the code in the body.
    return None if body is None else _CODES.get(int(body["status"]["code"]))


def _daily(metric: str, path: str, field: str, **params: str) -> Series:
    return Series(metric=metric, path=path, lag="2h", extra={"field": field, "params": params})


class CryptoQuant(SeriesProvider):
    """Flows and reserves of exchanges and miners, in coins, and ratios; inflow is positive.

    The value of a day is true at the end of the day and known two hours later: the documentation
    calls one hour safe. CryptoQuant clusters wallets again every week, which rewrites the history
    of flows, reserves and the leverage ratio; there are no vintages, so history is as known today,
    not as known then. Ratios of prices and chain data should be stable.

    ETH and tokens have some of the paths; a line names a missing metric once. The id of a token is
    its family and name, such as ``ids: {LINK: erc20/link}``.

    https://docs.cryptoquant.com
    """

    name = "cryptoquant"
    web = Api(
        base_url="https://api.cryptoquant.com",
        key=HeaderKey("Authorization", "Bearer "),
        limits=(RateLimit(60, 60, remaining="x-ratelimit-remaining", reset="x-ratelimit-reset"),),
        classify=_classify,
    )
    series = (
        _daily("exchange_reserve", "exchange-flows/reserve", "reserve", **_EXCHANGES),
        _daily("exchange_inflow", "exchange-flows/inflow", "inflow_total", **_EXCHANGES),
        _daily("exchange_outflow", "exchange-flows/outflow", "outflow_total", **_EXCHANGES),
        _daily("exchange_netflow", "exchange-flows/netflow", "netflow_total", **_EXCHANGES),
        _daily("miner_reserve", "miner-flows/reserve", "reserve", **_MINERS),
        _daily("miner_inflow", "miner-flows/inflow", "inflow_total", **_MINERS),
        _daily("miner_outflow", "miner-flows/outflow", "outflow_total", **_MINERS),
        _daily("miner_netflow", "miner-flows/netflow", "netflow_total", **_MINERS),
        _daily(
            "estimated_leverage_ratio",
            "market-indicator/estimated-leverage-ratio",
            "estimated_leverage_ratio",
            **_EXCHANGES,
        ),
        _daily(
            "stablecoin_supply_ratio",
            "market-indicator/stablecoin-supply-ratio",
            "stablecoin_supply_ratio",
        ),
        _daily("mvrv", "market-indicator/mvrv", "mvrv"),
        _daily("sopr", "market-indicator/sopr", "sopr"),
        _daily("nupl", "network-indicator/nupl", "nupl"),
        _daily("puell_multiple", "network-indicator/puell-multiple", "puell_multiple"),
        _daily("nvt", "network-indicator/nvt", "nvt"),
    )

    class Config(SeriesConfig):
        """Options."""

        page_size: int = Field(
            default=1_000,
            ge=2,
            le=100_000,
            description="values in one answer, as in the plan",
        )
        history_days: int | None = Field(
            default=None, ge=1, description="days of history in the plan; null for all"
        )
        requests_per_minute: int = Field(
            default=60,
            ge=1,
            description="most requests a minute; fewer where answers state a lower remaining quota",
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        limits = tuple(
            replace(limit, units=self.config.requests_per_minute) for limit in type(self).web.limits
        )
        self.web = replace(type(self).web, limits=limits)

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the family of paths of an asset, followed by its token if it is one."""
        asset = super().own_id(series, entity)
        return asset and asset.lower()

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series over a span, split so that no limit cuts an answer."""
        series, step = wanted.series, wanted.series.step_micros
        family, _, token = wanted.own_id.partition("/")
        points: list[Point] = []
        # A row is stamped with the start of its span.
        first = (wanted.since - step) // step * step
        if self.config.history_days is not None:
            oldest = wanted.until - self.config.history_days * DAY
            first = max(first, -(-oldest // step) * step)
        for start in range(first, wanted.until, self.config.page_size * step):
            last = min(start + (self.config.page_size - 1) * step, wanted.until)
            params = {
                **series.extra["params"],
                "token": token or None,
                "window": _WINDOWS.get(series.step, series.step),
                "from": _compact(start),
                "to": _compact(last),
                "limit": self.config.page_size,
            }
            answer = await http.get(f"/v1/{family}/{series.path}", params=params)
            points += self.points(answer.read, "result", "data", read=partial(_parse_row, series))
        # CryptoQuant sends the newest rows first.
        return sorted(points, key=lambda point: point.event_time)


def _compact(instant: int) -> str:
    return f"{to_datetime(instant):%Y%m%dT%H%M%S}"


def _parse_row(series: Series, row: Reader) -> Point | None:
    field = series.extra["field"]
    if row.at(field).value is None:
        return None
    return Point(_start(row) + series.step_micros, row.number(field))


def _start(row: Reader) -> int:
    """Return the start of a window: a date, or a UTC time without a zone."""
    place = row.at("datetime" if row.has("datetime") else "date")
    day, _, clock = place.text().partition(" ")
    with place.parsing():
        return parse_time(f"{day}T{clock or '00:00:00'}Z")
