"""Fees, users and value of chains and protocols, from Artemis."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.series import Point, Series, SeriesConfig, SeriesProvider, Wanted
from weft.http.api import Api, Headers, QueryKey, RateLimit
from weft.http.errors import NotCoveredError, SourceError, UnlistedSymbolError
from weft.times import DAY, iso, parse_time

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.http import Http, Reader
    from weft.http.asked import Params

_NOT_THERE = ("metric not", "market data not")


def _classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # Its bodies are not documented.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


class Artemis(SeriesProvider):
    """Fees, revenue, users, transactions, value locked and market cap, a value a day.

    A day's value is true at its end. The hour it appears at is not stated: it counts as known
    twelve hours later. History is recomputed when labels or methods change, and there are no
    vintages: what is backfilled is as known today, what is stored first is kept.

    Commits and developers are asked for only where `series` gives their keys, which Artemis does
    not document: {dev_commits: {path: ...}}. A metric that Artemis does not have for an asset is
    told so with HTTP 200, and not asked for again. Documentation: https://docs.artemis.ai
    """

    name = "artemis"
    web: Api = Api(
        base_url="https://data-svc.artemisxyz.com", key=QueryKey("APIKey"), classify=_classify
    )
    series = (
        Series(metric="fees_usd", path="FEES", lag="12h"),
        Series(metric="revenue_usd", path="REVENUE", lag="12h"),
        Series(metric="active_users", path="DAU", lag="12h"),
        Series(metric="transactions", path="DAILY_TXNS", lag="12h"),
        Series(metric="tvl_usd", path="TVL", lag="12h"),
        Series(metric="market_cap_usd", path="MC", lag="12h"),
        Series(metric="dev_commits", path="WEEKLY_COMMITS", lag="12h", confirmed=False),
        Series(metric="active_developers", path="WEEKLY_DEVELOPERS", lag="12h", confirmed=False),
    )

    class Config(SeriesConfig):
        """Options. The path of a series is its key, as /supported-metrics/ spells it."""

        data_path: str = Field(
            default="/data/api/{metric}/", description="with the slash it ends with"
        )
        days_per_request: int = Field(
            default=1_000, ge=1, le=1_000, description="longer spans are asked for in parts"
        )
        requests_per_minute: int = Field(default=60, ge=1, description="limits are not published")

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the days of a span, asked for in parts."""
        path = self.config.data_path.format(metric=wanted.series.path)
        # An event time is the end of its day.
        first, last = wanted.since // DAY * DAY - DAY, wanted.until // DAY * DAY
        step = self.config.days_per_request * DAY
        points: list[Point] = []
        for begin in range(first, last + 1, step):
            params: Params = {
                "symbols": wanted.own_id.lower(),
                "startDate": iso(begin)[:10],
                "endDate": iso(min(begin + step - DAY, last))[:10],
                "granularity": "DAY",
                "limit": self.config.days_per_request,
            }
            answer = await http.get(path, params=params)
            symbols = answer.read.at("data", "symbols")
            rows = _named(_named(symbols, wanted.own_id), wanted.series.path)
            if isinstance(rows.value, str):
                if rows.value.lower().startswith(_NOT_THERE):
                    told = f"{answer.what}: {answer.redact(rows.value)[:80]}"
                    raise UnlistedSymbolError(told, where=answer.where)
                continue
            points += [_point(row) for row in rows.rows() if row.at("val").value is not None]
        return sorted(points, key=lambda point: point.event_time)


def _named(place: "Reader", name: str) -> "Reader":
    """Return a field whose name may be spelled in other cases than it was asked for."""
    fields = place.fields()
    own = next((key for key in fields if key.lower() == name.lower()), name)
    return place.at(own)


def _point(row: "Reader") -> Point:
    with row.parsing():
        day = parse_time(f"{row.text('date')[:10]}T00:00:00Z")
    return Point(day + DAY, row.number("val"))
