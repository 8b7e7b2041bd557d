"""What Bybit's perpetuals tell beside prices: which metrics, and how each is asked for."""

from weft.components.series import Point, Series, Wanted
from weft.http import Http, Reader
from weft.market.instruments import Scope, split_pair

_PERIODS = {"5m": "5min", "15m": "15min", "30m": "30min"}
"""What statistics call a period, where it is not Weft's name."""
_FUNDING_PAGE = 200
_MILLI = 1_000

SERIES = (
    Series(
        metric="funding_rate",
        path="/v5/market/funding/history",
        # Contracts are paid every 8, 4, 2 or 1 hours.
        step="1h",
        lag="1s",
        scope=Scope.INSTRUMENT,
    ),
    Series(
        metric="open_interest",
        path="/v5/market/open-interest",
        step="1h",
        lag="1h",
        scope=Scope.INSTRUMENT,
        extra={"field": "singleOpenInterest", "period": "intervalTime", "page": 200},
    ),
    Series(
        metric="long_short_ratio",
        path="/v5/market/account-ratio",
        step="1h",
        lag="1h",
        scope=Scope.INSTRUMENT,
        extra={"period": "period", "page": 500},
    ),
)


async def read_metric(http: Http, wanted: Wanted) -> list[Point]:
    """Return the values of one metric; answers begin with the newest."""
    if "period" in wanted.series.extra:
        points = await _statistics(http, wanted)
    else:
        points = await _funding(http, wanted)
    return sorted(points, key=lambda point: point.event_time)


async def _statistics(http: Http, wanted: Wanted) -> list[Point]:
    series, extra = wanted.series, wanted.series.extra
    period = _PERIODS.get(series.step, series.step)
    params: dict[str, str | int] = _span(wanted, wanted.until) | {
        extra["period"]: period,
        "limit": extra["page"],
    }
    points: list[Point] = []
    while True:
        answer = await http.get(series.path, params=params)
        result = answer.read.at("result")
        rows = result.rows("list")
        points += [_statistic(wanted, row) for row in rows]
        cursor = result.text("nextPageCursor") if result.has("nextPageCursor") else ""
        if not rows or not cursor or cursor == params.get("cursor"):
            return points
        params["cursor"] = cursor


async def _funding(http: Http, wanted: Wanted) -> list[Point]:
    """Return the rates paid, each known as it is paid."""
    points: list[Point] = []
    until = wanted.until
    while until >= wanted.since:
        params: dict[str, str | int] = _span(wanted, until) | {"limit": _FUNDING_PAGE}
        answer = await http.get(wanted.series.path, params=params)
        rows = answer.read.rows("result", "list")
        for row in rows:
            paid = row.instant("fundingRateTimestamp", unit="ms")
            points.append(Point(paid, row.number("fundingRate"), known_at=paid))
        before = min((point.event_time for point in points), default=0) - _MILLI
        if len(rows) < _FUNDING_PAGE or before >= until:
            break
        until = before
    return points


def _span(wanted: Wanted, until: int) -> dict[str, str | int]:
    start, end = wanted.since // _MILLI, until // _MILLI
    return {"category": "linear", "symbol": wanted.own_id, "startTime": start, "endTime": end}


def _statistic(wanted: Wanted, row: Reader) -> Point:
    """Return a value, known no earlier than a period after the time it is stamped with."""
    series = wanted.series
    at = row.instant("timestamp", unit="ms")
    if series.metric == "open_interest":
        _, _, coins = split_pair(wanted.entity) or ("", "", 1)
        value = row.number(series.extra["field"]) * coins
    else:
        shorts = row.at("sellRatio")
        if not shorts.number():
            raise shorts.unexpected("a share above 0")
        value = row.number("buyRatio") / shorts.number()
    return Point(at, value, known_at=at + max(series.lag_micros, series.step_micros))
