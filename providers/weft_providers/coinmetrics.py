"""Hash rate, valuation, supply and activity of networks, from Coin Metrics."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.foundation.times import HOUR, SECOND, iso
from weft.sources.http import Api, NotCoveredError, QueryKey, RateLimit, Reader, RefusedError
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http

_COMPLETE = "AssetEODCompletionTime"


def _daily(metric: str, path: str, factor: float = 1.0, **extra: object) -> Series:
    # Requested from the first hour on, since each value has the time it was known.
    return Series(metric=metric, path=path, lag="15m", factor=factor, extra=extra)


class CoinMetrics(SeriesProvider):
    """Daily network data of many assets, in canonical units: hashes a second, shares, US dollars.

    The value of a day is true at the end of the day. It counts as known when its review status was
    set and all metrics of the day were complete, or `assumed_lag_hours` after the day where the
    answer has neither time. A value goes from flash to reviewed to revised, and only the latest one
    is served: in history, a value that was reviewed later counts as known later.

    The free host, for non-commercial use, has some of the metrics: set `base_url` to
    ``https://community-api.coinmetrics.io``, and no key. A line names the metrics that the
    catalogue lacks.

    https://docs.coinmetrics.io/api/v4
    """

    name = "coinmetrics"
    web = Api(
        base_url="https://api.coinmetrics.io",
        key=QueryKey("api_key"),
        # The limit of the free host; a key allows far more than needed here.
        limits=(RateLimit(10, 6, remaining="x-ratelimit-remaining", reset="x-ratelimit-reset"),),
        classify=lambda status, _body, _headers: NotCoveredError if status == 403 else None,
    )
    series = (
        _daily("hash_rate", "HashRate", 1e12),
        _daily("nvt", "NVTAdj"),
        _daily("realized_cap_usd", "CapRealUSD"),
        _daily("market_cap_usd", "CapMrktCurUSD"),
        _daily("thermocap_usd", "RevAllTimeUSD"),
        _daily("mvrv", "CapMVRVCur"),
        _daily("mvrv_zscore", "CapMVRVZ"),
        _daily("nupl", "NUPL"),
        _daily("sopr", "SOPR"),
        _daily("supply_in_profit", "SplyUTXOProf", rest="SplyUTXOLoss"),
        _daily("hodl_over_1y", "SplyActPct1yr", 0.01, less_than=100.0),
        _daily("active_addresses", "AdrActCnt"),
    )

    class Config(SeriesConfig):
        """Options."""

        page_size: int = Field(default=10_000, ge=1, le=10_000, description="rows in one answer")
        assumed_lag_hours: float = Field(
            default=6.0, ge=0, description="hours until a value without these times is known"
        )

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        self._listed: dict[str, set[tuple[str, str]]] = {}

    def ready(self) -> bool:
        """Return whether there is a key, or another host, which may need none."""
        return super().ready() or self.config.base_url is not None

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return Coin Metrics' id of an asset, in lower case."""
        asset = super().own_id(series, entity)
        return asset and asset.lower()

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of one frequency and span together."""
        groups: dict[object, list[Wanted]] = {}
        for one in wanted:
            groups.setdefault((one.series.step, one.since), []).append(one)
        return groups.values()

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series over a span."""
        return list((await self.read_group(http, [wanted])).get(wanted, []))

    async def read_group(self, http: "Http", group: Sequence[Wanted]) -> dict[Wanted, list[Point]]:
        """Return the values of the series that the catalogue lists."""
        offered: list[Wanted] = []
        for asset in dict.fromkeys(one.own_id for one in group):
            series = [one for one in group if one.own_id == asset]
            try:
                listed = await self._catalogue(http, asset)
            except RefusedError as error:
                self.give_up(series, error)
                continue
            missing = [
                one
                for one in series
                if not {(name, one.series.step) for name in _names(one.series)} <= listed
            ]
            if missing:
                absent = NotCoveredError("the catalogue does not list it for this key")
                self.give_up(missing, absent)
            offered += [one for one in series if one not in missing]
        rows = await self._rows(http, offered) if offered else {}
        return {one: self._points(rows.get(one.own_id, []), one) for one in offered}

    async def _catalogue(self, http: "Http", asset: str) -> set[tuple[str, str]]:
        """Return the metrics of an asset that the key can read, each with its frequencies."""
        if asset not in self._listed:
            answer = await http.get("/v4/catalog-v2/asset-metrics", params={"assets": asset})
            self._listed[asset] = {
                (metric.text("metric"), frequency.text("frequency"))
                for entry in answer.read.rows("data")
                for metric in entry.rows("metrics")
                for frequency in metric.rows("frequencies")
            }
        return self._listed[asset]

    async def _rows(self, http: "Http", group: Sequence[Wanted]) -> dict[str, list[Reader]]:
        """Return the rows of all pages, by asset."""
        step = group[0].series.step_micros
        metrics = dict.fromkeys(name for one in group for name in _names(one.series))
        params: dict[str, str | int] = {
            "assets": ",".join(dict.fromkeys(one.own_id for one in group)),
            "metrics": ",".join([*metrics, _COMPLETE]),
            "frequency": group[0].series.step,
            # A row is stamped with the start of its span.
            "start_time": iso((group[0].since - step) // SECOND * SECOND),
            "end_time": iso(group[0].until // SECOND * SECOND),
            "page_size": self.config.page_size,
            "paging_from": "start",
            # One asset without a metric must not fail the request for the others.
            "ignore_forbidden_errors": "true",
            "ignore_unsupported_errors": "true",
        }
        rows: dict[str, list[Reader]] = {}
        pages: list[object] = []
        while True:
            answer = await http.get("/v4/timeseries/asset-metrics", params=params)
            for row in answer.read.rows("data"):
                rows.setdefault(row.text("asset"), []).append(row)
            if not answer.read.has("next_page_url"):
                return rows
            pages.append(params)
            # Only the query is taken: the client adds the key, and sends it to its host only.
            query = parse_qsl(urlsplit(answer.read.text("next_page_url")).query)
            params = {name: value for name, value in query if name != "api_key"}
            if params in pages:
                raise answer.read.at("next_page_url").unexpected("another page")

    def _points(self, rows: Sequence[Reader], wanted: Wanted) -> list[Point]:
        name = _names(wanted.series)[0]
        if not any(name in row.value for row in rows):
            # A row omits a metric without a value; if all rows do, the metric was renamed.
            rows = rows[-1:]
            return self.points_in(rows, lambda row: Point(0, row.number(name)))
        return self.points_in(rows, partial(self._parse_row, wanted.series))

    def _parse_row(self, series: Series, row: Reader) -> Point | None:
        names = _names(series)
        unfinished = _COMPLETE in row.value and not row.has(_COMPLETE)
        if unfinished or not all(row.has(name) for name in names):
            return None
        end = row.instant("time", unit="iso") + series.step_micros
        value, *rest = (row.number(name) for name in names)
        value = value / (value + sum(rest) or 1.0) if rest else value
        if "less_than" in series.extra:
            value = series.extra["less_than"] - value
        return Point(end, value, self._known_at(row, names, end))

    def _known_at(self, row: Reader, names: Sequence[str], end: int) -> int:
        fields = [f"{name}-status-time" for name in names if row.has(f"{name}-status-time")]
        instants = [row.instant(field, unit="iso") for field in fields]
        if row.has(_COMPLETE):
            instants.append(row.instant(_COMPLETE, unit="s"))
        return max(instants, default=end + int(self.config.assumed_lag_hours * HOUR))


def _names(series: Series) -> list[str]:
    return [series.path, *([series.extra["rest"]] if "rest" in series.extra else [])]
