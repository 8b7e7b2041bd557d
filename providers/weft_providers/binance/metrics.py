"""What Binance's futures tell beside prices: which metrics, and how each is asked for."""

from collections.abc import Mapping, Sequence

from weft.domain.instruments import Scope, split_pair
from weft.foundation.times import DAY, HOUR
from weft.sources.exchange import depth_series
from weft.sources.http import Http, RateLimit, Reader
from weft.sources.series import Point, Series, Wanted

_FUNDING, _STATISTICS, _NOW = "funding", "statistics", "now"
STATISTICS_LIMIT = RateLimit(
    1_000, 300, "statistics in 5 minutes", per_request=True, only=_STATISTICS
)
FUNDING_LIMIT = RateLimit(500, 300, "funding in 5 minutes", per_request=True, only=_FUNDING)
"""Two groups of paths have no weight, but limits of their own."""
_STATISTICS_PAGE, _FUNDING_PAGE = 500, 1_000
_KEPT = 30 * DAY
_MOST_AHEAD = HOUR
"""A server's clock may be off by minutes; stored as of now, any other stamp would hide history."""
_MILLI = 1_000
_OPEN_INTEREST = "open interest"


def _statistic(metric: str, path: str, field: str, group: str = "") -> Series:
    path = f"/futures/data/{path}"
    extra = {"asked": _STATISTICS, "field": field, "group": group or path}
    scope = Scope.INSTRUMENT
    return Series(metric=metric, path=path, step="1h", lag="1h", scope=scope, extra=extra)


SERIES = (
    Series(
        metric="funding_rate",
        path="/fapi/v1/fundingRate",
        # Most contracts are paid every 8 hours, some every 4 or 1.
        step="1h",
        lag="1s",
        scope=Scope.INSTRUMENT,
        extra={"asked": _FUNDING},
    ),
    Series(
        metric="open_interest",
        path="/fapi/v1/openInterest",
        # Short, so that each round brings one, however often there are rounds.
        step="30s",
        lag="1s",
        scope=Scope.INSTRUMENT,
        # With the history, which is due only after a pause: neither is stored without the other.
        extra={"asked": _NOW, "group": _OPEN_INTEREST},
    ),
    _statistic("open_interest", "openInterestHist", "sumOpenInterest", _OPEN_INTEREST),
    _statistic("open_interest_usd", "openInterestHist", "sumOpenInterestValue", _OPEN_INTEREST),
    _statistic("long_short_ratio", "globalLongShortAccountRatio", "longShortRatio"),
    _statistic("top_long_short_accounts", "topLongShortAccountRatio", "longShortRatio"),
    _statistic("top_long_short_positions", "topLongShortPositionRatio", "longShortRatio"),
    _statistic("taker_buy_sell_ratio", "takerlongshortRatio", "buySellRatio"),
    *depth_series("/fapi/v1/depth"),
)


async def read_metrics(http: Http, group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
    """Return the values of what is asked for together, of one contract."""
    found: dict[Wanted, list[Point]] = {}
    past = [one for one in group if one.series.extra["asked"] == _STATISTICS]
    if past:
        since = min(one.since for one in past)
        rows = await _statistics(http, past[0], since)
        found = {one: [_point(one, row) for row in rows] for one in past}
    for one in group:
        if one.series.extra["asked"] == _FUNDING:
            found[one] = await _funding(http, one)
        elif one.series.extra["asked"] == _NOW:
            found[one] = await _now(http, one)
    return found


async def _funding(http: Http, wanted: Wanted) -> list[Point]:
    """Return the rates paid, each known as it is paid."""
    points: list[Point] = []
    start: int | None = -(-wanted.since // _MILLI)
    while start is not None:
        params: dict[str, str | int] = {
            "symbol": wanted.own_id,
            "startTime": start,
            "limit": _FUNDING_PAGE,
        }
        answer = await http.get(wanted.series.path, params=params, cost=0, group=_FUNDING)
        rows = answer.read.rows()
        for row in rows:
            paid = row.instant("fundingTime", unit="ms")
            points.append(Point(paid, row.number("fundingRate"), known_at=paid))
        following = max((point.event_time for point in points), default=0) // _MILLI + 1
        start = following if len(rows) >= _FUNDING_PAGE and following > start else None
    return points


async def _now(http: Http, wanted: Wanted) -> list[Point]:
    """Return the open interest of this moment."""
    answer = await http.get(wanted.series.path, params={"symbol": wanted.own_id})
    at = answer.read.instant("time", unit="ms")
    if at > wanted.until + _MOST_AHEAD:
        raise answer.read.at("time").unexpected("a time of now")
    value = answer.read.number("openInterest") * _coins(wanted)
    return [Point(min(at, wanted.until), value, known_at=answer.fetched_at)]


async def _statistics(http: Http, wanted: Wanted, since: int) -> list[Reader]:
    """Return rows of /futures/data, page by page: spans that one answer holds."""
    step = wanted.series.step_micros
    # Asked for what it no longer keeps, it refuses.
    first = -(-max(since, wanted.until - _KEPT + step) // step) * step
    rows: list[Reader] = []
    for start in range(first, wanted.until + 1, _STATISTICS_PAGE * step):
        last = min(start + (_STATISTICS_PAGE - 1) * step, wanted.until)
        params: dict[str, str | int] = {
            "symbol": wanted.own_id,
            "period": wanted.series.step,
            "limit": _STATISTICS_PAGE,
            "startTime": start // _MILLI,
            "endTime": last // _MILLI,
        }
        answer = await http.get(wanted.series.path, params=params, cost=0, group=_STATISTICS)
        rows += answer.read.rows()
    return rows


def _point(wanted: Wanted, row: Reader) -> Point:
    """Return a value, known no earlier than a period after the time it is stamped with."""
    series = wanted.series
    at = row.instant("timestamp", unit="ms")
    value = row.number(str(series.extra["field"]))
    value *= _coins(wanted) if series.metric == "open_interest" else 1
    return Point(at, value, known_at=at + max(series.lag_micros, series.step_micros))


def _coins(wanted: Wanted) -> int:
    """Return how many coins one unit of a contract is: 1000 of 1000PEPEUSDT."""
    _, _, multiplier = split_pair(wanted.entity) or ("", "", 1)
    return multiplier
