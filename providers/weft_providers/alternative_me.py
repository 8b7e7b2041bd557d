"""The Crypto Fear & Greed Index of Alternative.me."""

from typing import TYPE_CHECKING, Any

from weft.domain.instruments import Scope
from weft.foundation.times import DAY
from weft.sources.http.api import Api, Headers, RateLimit
from weft.sources.http.errors import SourceError, UnavailableError
from weft.sources.series import Point, Series, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http, Reader


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    if status == 200 and body is not None and body["metadata"]["error"]:
        return UnavailableError
    return None


class AlternativeMe(SeriesProvider):
    """How greedy the market of Bitcoin is, from 0 to 100, a value a day since February 2018.

    The value of a day appears at 00:00 UTC and tells of the days before it: that instant is its
    event time. Publication may slip by minutes, so it counts as known 15 minutes later. History is
    not known to be restated; should a value change, it is kept beside the first one.

    The vendor asks that it be named where the index is shown.
    Documentation: https://alternative.me/crypto/fear-and-greed-index/#api
    """

    name = "alternative_me"
    web = Api(
        base_url="https://api.alternative.me", limits=(RateLimit(60, 60),), classify=_classify
    )
    series = (Series(metric="fear_greed", path="/fng/", lag="15m", scope=Scope.MARKET),)

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of the days since; days without one are left out."""
        # Rows are counted, not days: where days are missing, more come than are wanted.
        days = (wanted.until - wanted.since) // DAY + 2
        answer = await http.get(wanted.series.path, params={"limit": days, "format": "json"})
        points = self.points(answer.read, "data", read=_point)
        return sorted(points, key=lambda point: point.event_time)


def _point(row: "Reader") -> Point | None:
    if row.at("value").value is None:
        return None
    return Point(row.instant("timestamp", unit="s"), row.number("value"))
