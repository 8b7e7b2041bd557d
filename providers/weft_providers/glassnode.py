"""On-chain metrics from Glassnode: valuation, exchange flows, holders, miners."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.foundation.times import DAY, SECOND, Interval
from weft.sources.http import Api, HeaderKey, NotCoveredError, RateLimit, Reader
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http

_LAG = "3h"
_RESOLUTIONS = {"1d": "24h"}
_FLOWS = {"params": {"c": "native", "e": "aggregated"}}
_UNDER_1M = ("24h", "1d_1w", "1w_1m")
_OVER_1Y = ("1y_2y", "2y_3y", "3y_5y", "5y_7y", "7y_10y", "more_10y")


def _daily(metric: str, path: str, extra: Mapping[str, Any] | None = None) -> Series:
    return Series(metric=metric, path=path, lag=_LAG, extra=extra or {})


class Glassnode(SeriesProvider):
    """Daily on-chain metrics in canonical units: coins, shares, ratios, US dollars.

    The value of a day is true at the end of the day and known three hours later, the conservative
    end of Glassnode's figures; for finer resolutions set `step` and `lag` of a series
    (``step: 1h, lag: 15m``). The newest points may change, and exchange metrics are rewritten when
    addresses get new labels: history is as known today, not as known then. With `point_in_time` the
    provider takes the forms that are never rewritten, each value known when it was computed, and
    stores them as a separate source.

    https://docs.glassnode.com/basic-api/endpoints
    """

    name = "glassnode"
    web = Api(
        base_url="https://api.glassnode.com",
        key=HeaderKey("X-Api-Key"),
        limits=(
            RateLimit(
                600,
                60,
                name="requests a minute",
                remaining="x-rate-limit-remaining",
                reset="x-rate-limit-reset",
            ),
        ),
        # The plan lacks this metric or span of history; it may have other series.
        classify=lambda status, _body, _headers: NotCoveredError if status == 403 else None,
    )
    series = (
        _daily("nupl", "indicators/net_unrealized_profit_loss"),
        _daily("sopr", "indicators/sopr"),
        _daily("mvrv", "market/mvrv"),
        _daily("mvrv_zscore", "market/mvrv_z_score"),
        _daily("puell_multiple", "indicators/puell_multiple"),
        _daily("reserve_risk", "indicators/reserve_risk"),
        _daily("market_cap_usd", "market/marketcap_usd"),
        _daily("realized_cap_usd", "market/marketcap_realized_usd"),
        _daily("exchange_inflow", "transactions/transfers_volume_to_exchanges_sum", _FLOWS),
        _daily("exchange_outflow", "transactions/transfers_volume_from_exchanges_sum", _FLOWS),
        _daily("exchange_netflow", "transactions/transfers_volume_exchanges_net", _FLOWS),
        _daily("exchange_reserve", "distribution/balance_exchanges", _FLOWS),
        _daily("stablecoin_supply_ratio", "indicators/ssr", {"fields": ("v",)}),
        _daily("hodl_over_1y", "supply/hodl_waves", {"fields": _OVER_1Y}),
        _daily("hodl_under_1m", "supply/hodl_waves", {"fields": _UNDER_1M}),
    )

    class Config(SeriesConfig):
        """Options."""

        point_in_time: bool = Field(
            default=False, description="take the point-in-time forms, which are never rewritten"
        )
        history_days: int | None = Field(
            default=None, ge=1, description="days of history in the plan; null for all"
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._paths: dict[tuple[str, str], str] = {}

    def _as_configured(self, series: Series) -> Series:
        series = super()._as_configured(series)
        # Requested within minutes, since each row has the time it was known.
        return replace(series, lag="5m") if self.config.point_in_time else series

    @property
    def source(self) -> str:
        """Return the name of the stored source; point-in-time values are a separate one."""
        return f"{super().source}-pit" if self.config.point_in_time else super().source

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the metrics of one answer together."""
        groups: dict[object, list[Wanted]] = {}
        for one in wanted:
            key = (one.series.path, one.series.step, one.own_id, one.since)
            groups.setdefault(key, []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of the metrics of one answer."""
        first = group[0]
        step = first.series.step_micros
        path = await self._path(http, first)
        # A row is stamped with the start of its span.
        since = first.since - step
        if self.config.history_days is not None:
            since = max(since, first.until - self.config.history_days * DAY)
        params = {
            **first.series.extra.get("params", {}),
            "a": first.own_id,
            "i": _RESOLUTIONS.get(first.series.step, first.series.step),
            "s": since // SECOND,
            "u": first.until // SECOND,
        }
        answer = await http.get(f"/v1/metrics/{path}", params=params)
        return {
            one: self.points(answer.read, read=partial(self._parse_row, one.series, path))
            for one in group
        }

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series over a span."""
        return list((await self.read_group(http, [wanted]))[wanted])

    async def _path(self, http: "Http", wanted: Wanted) -> str:
        """Return the path of a metric, in its point-in-time form where there is one."""
        path = wanted.series.path
        if not self.config.point_in_time:
            return path
        key = (path, wanted.own_id)
        if key not in self._paths:
            params = {"path": f"/{path}", "a": wanted.own_id}
            answer = await http.get("/v1/metadata/metric", params=params, ttl=DAY / SECOND)
            has_variant = answer.read.has("refs", "metric_variant", "pit")
            self._paths[key] = f"{path}_pit" if has_variant else path
            if not has_variant:
                self.tell(
                    f"{wanted.series.metric} {wanted.entity}: no point-in-time form; "
                    "its history is as known today"
                )
        return self._paths[key]

    def _parse_row(self, series: Series, path: str, row: Reader) -> Point | None:
        """Return the value of a row; None where it or a part of its sum is null."""
        fields = series.extra.get("fields", ())
        ways: list[tuple[str, ...]] = [("o", field) for field in fields] or [("v",)]
        if row.at(ways[0][0]).value is None:
            return None
        parts = [row.at(*way) for way in ways]
        if any(part.value is None for part in parts):
            return None
        end = row.instant("t", unit="s") + series.step_micros
        known_at = None
        if path.endswith("_pit"):
            known_at = row.instant("computed_at", unit="s")
        elif self.config.point_in_time:
            known_at = end + Interval.parse(_LAG).micros
        return Point(end, sum(part.number() for part in parts), known_at)
