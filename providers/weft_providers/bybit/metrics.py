"""What Bybit's perpetuals tell beside prices: which metrics, and how each is asked for."""

from collections.abc import Callable
from functools import partial
from urllib.parse import unquote

from weft.domain.instruments import Scope, split_pair
from weft.foundation.times import iso
from weft.sources.http import Http, Reader
from weft.sources.series import Point, Series, Wanted

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


async def read_metric(http: Http, wanted: Wanted, tell: Callable[[str], None]) -> list[Point]:
    """Return the values of one metric; answers begin with the newest.

    Args:
        http: asks.
        wanted: which values.
        tell: takes a line about what is left out.
    """
    if "period" in wanted.series.extra:
        points = await _statistics(http, wanted, tell)
    else:
        points = await _funding(http, wanted, tell)
    return sorted(points, key=lambda point: point.event_time)


async def _statistics(http: Http, wanted: Wanted, tell: Callable[[str], None]) -> list[Point]:
    series, extra = wanted.series, wanted.series.extra
    period = _PERIODS.get(series.step, series.step)
    params: dict[str, str | int] = _span(wanted, wanted.until) | {
        extra["period"]: period,
        "limit": extra["page"],
    }
    told: list[tuple[int, float | None]] = []
    seen: set[str] = set()
    while True:
        answer = await http.get(series.path, params=params)
        result = answer.read.at("result")
        rows = result.rows("list")
        told += result.collect("list", read=partial(_row, wanted), lost=tell)
        # Empty after the last page, and never absent.
        cursor = result.text("nextPageCursor")
        if not rows or not cursor or min((at for at, _ in told), default=0) < wanted.since:
            break
        if cursor in seen:
            raise result.at("nextPageCursor").unexpected("a page that has not been told")
        seen.add(cursor)
        # It comes encoded for a URL, and is encoded again on its way out.
        params["cursor"] = unquote(cursor)
    lacking = [at for at, value in told if value is None]
    if lacking:
        count = f"{len(lacking)} row{'' if len(lacking) == 1 else 's'}"
        tell(
            f"{series.metric} {wanted.entity}: {count} left out, nobody is short, "
            f"first at {iso(min(lacking))}"
        )
    # Known no earlier than a period after the time it is stamped with.
    after = max(series.lag_micros, series.step_micros)
    return [Point(at, value, at + after) for at, value in told if value is not None]


async def _funding(http: Http, wanted: Wanted, tell: Callable[[str], None]) -> list[Point]:
    """Return the rates paid, each known as it is paid."""
    points: list[Point] = []
    until = wanted.until
    while until >= wanted.since:
        params: dict[str, str | int] = _span(wanted, until) | {"limit": _FUNDING_PAGE}
        answer = await http.get(wanted.series.path, params=params)
        rows = answer.read.rows("result", "list")
        points += answer.read.collect("result", "list", read=_paid, lost=tell)
        before = min((point.event_time for point in points), default=0) - _MILLI
        if len(rows) < _FUNDING_PAGE or before >= until:
            break
        until = before
    return points


def _span(wanted: Wanted, until: int) -> dict[str, str | int]:
    start, end = wanted.since // _MILLI, until // _MILLI
    return {"category": "linear", "symbol": wanted.own_id, "startTime": start, "endTime": end}


def _paid(row: Reader) -> Point:
    paid = row.instant("fundingRateTimestamp", unit="ms")
    return Point(paid, row.number("fundingRate"), known_at=paid)


def _row(wanted: Wanted, row: Reader) -> tuple[int, float | None]:
    return row.instant("timestamp", unit="ms"), _value(wanted, row)


def _value(wanted: Wanted, row: Reader) -> float | None:
    """Return what a row says; None where it would be a ratio to nothing."""
    if wanted.series.metric == "open_interest":
        _, _, coins = split_pair(wanted.entity) or ("", "", 1)
        return row.number(wanted.series.extra["field"]) * coins
    longs, shorts = row.number("buyRatio"), row.number("sellRatio")
    return longs / shorts if shorts else None
