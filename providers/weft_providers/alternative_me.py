"""The Crypto Fear & Greed Index from Alternative.me."""

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
    """The daily greed of the Bitcoin market since February 2018, from 0 (fear) to 100 (greed).

    The value of a day appears at 00:00 UTC and summarises the days before: that instant is its
    event time. Publication may be minutes late, so a value counts as known 15 minutes later. No
    restatement of history is known; a changed value is stored beside the first one.

    Where the index is shown, the vendor asks to be named.
    Documentation: https://alternative.me/crypto/fear-and-greed-index/#api
    """

    name = "alternative_me"
    web = Api(
        base_url="https://api.alternative.me", limits=(RateLimit(60, 60),), classify=_classify
    )
    series = (Series(metric="fear_greed", path="/fng/", lag="15m", scope=Scope.MARKET),)

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values since an instant; days without a value are left out."""
        # The limit counts rows: where days are missing, the rows reach further back.
        days = (wanted.until - wanted.since) // DAY + 2
        answer = await http.get(wanted.series.path, params={"limit": days, "format": "json"})
        points = self.points(answer.read, "data", read=_parse_row)
        return sorted(points, key=lambda point: point.event_time)


def _parse_row(row: "Reader") -> Point | None:
    if row.at("value").value is None:
        return None
    return Point(row.instant("timestamp", unit="s"), row.number("value"))
