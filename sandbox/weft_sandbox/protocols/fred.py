"""FRED and ALFRED: daily macro series with every vintage, JSON only where it is asked for.

Weekdays have values, but for a few holidays; the Fed funds rate has weekends too. A value is loaded
on the next weekday, the dollar index on the Monday after its week. The archive begins on its own
day: older values carry that one. Now and then a yield is corrected, and each February the dollar
index of the year before is published again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from weft.foundation.times import DAY, HOUR, TimeError, iso, parse_time, to_datetime
from weft_sandbox.limits import Budget
from weft_sandbox.market.coins import OPENING
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

ARCHIVE = parse_time("2021-01-04T00:00:00Z")
"""The first day the archive has vintages of."""
_NEVER = "9999-12-31"
_FIRST = "1776-07-04"
_HOLIDAYS = {(1, 1), (7, 4), (12, 25)}
_CHICAGO = 6 * HOUR


@dataclass(frozen=True, slots=True)
class _Kind:
    """A series: its series of the world, and its schedule of publication."""

    name: str
    title: str
    units: str
    digits: int
    hour: int
    weekends: bool = False
    weekly: bool = False


_SERIES = {
    "VIXCLS": _Kind("vix", "CBOE Volatility Index: VIX", "Index", 2, 14),
    "DTWEXBGS": _Kind(
        "dxy", "Nominal Broad U.S. Dollar Index", "Index Jan 2006=100", 4, 21, weekly=True
    ),
    "DGS10": _Kind("us10y", "10-Year Constant Maturity", "Percent", 2, 21),
    "DFF": _Kind("fed_funds", "Federal Funds Effective Rate", "Percent", 2, 14, weekends=True),
}


def _errors(problem: Problem, detail: str) -> Answer:
    status = {Problem.NOT_FOUND: 404, Problem.RATE_LIMITED: 429, Problem.SERVER: 500}
    code = status.get(problem, 400)
    message = {
        Problem.NO_KEY: "Variable api_key is not set.",
        Problem.BAD_KEY: "The value for variable api_key is not registered.",
        Problem.EXPIRED_KEY: "The value for variable api_key is not registered.",
        Problem.BAD_PARAMETER: detail,
        Problem.RATE_LIMITED: "Too Many Requests. Exceeded Rate Limit",
    }.get(problem, f"{problem}")
    text = f"Bad Request.  {message}" if code == 400 else message
    return Answer({"error_code": code, "error_message": text}, code)


api = Api("fred", errors=_errors, key=Key(query="api_key"), budgets=(Budget("minute", 120, 60),))


def _kind(ask: Ask) -> _Kind:
    kind = _SERIES.get(ask.text("series_id"))
    if kind is None:
        raise Refusal(Problem.BAD_PARAMETER, "The series does not exist.")
    if ask.query.get("file_type") != "json":
        raise Refusal(Answer(b"<?xml version='1.0'?><observations/>", media_type="text/xml"))
    return kind


def _date(ask: Ask, name: str, default: str) -> str:
    text = ask.query.get(name) or default
    try:
        parse_time(f"{text}T00:00:00Z")
    except TimeError:
        detail = f"Variable {name} is not a valid date (YYYY-MM-DD)."
        raise Refusal(Problem.BAD_PARAMETER, detail) from None
    return text


def _weekday(day: int) -> int:
    return to_datetime(day).weekday()


def _loaded(kind: _Kind, day: int) -> int:
    """Return the day a value is first published: the next weekday, or the Monday after its week."""
    after = 7 - _weekday(day) if kind.weekly else 1
    day += after * DAY
    return day + max(0, 7 - _weekday(day)) * DAY if _weekday(day) > 4 else day


def _versions(ask: Ask, kind: _Kind) -> Iterator[tuple[int, list[tuple[int, str]]]]:
    """Yield each day of a series with its releases by now: publication day and value."""
    days = [
        day
        for day in range(OPENING, ask.now // DAY * DAY, DAY)
        if kind.weekends or _weekday(day) < 5
    ]
    values = ask.world.series(kind.name, None, np.array(days, np.int64) + DAY)
    for day, value in zip(days, values.tolist(), strict=True):
        first = _loaded(kind, day)
        releases = [(max(first, ARCHIVE), value)]
        if kind.name == "us10y" and day // DAY % 23 == 0 and first >= ARCHIVE:
            releases.append((_loaded(kind, first), value + 0.02))
        if kind.weekly:
            february = parse_time(f"{to_datetime(day).year + 1}-02-12T00:00:00Z")
            releases.append((max(_loaded(kind, february), ARCHIVE + DAY), value * 1.002))
        when = to_datetime(day)
        holiday = (when.month, when.day) in _HOLIDAYS and not kind.weekends
        yield (
            day,
            [
                (loaded, "." if holiday else f"{number:.{kind.digits}f}")
                for loaded, number in releases
                if loaded + kind.hour * HOUR <= ask.now
            ],
        )


def _periods(releases: list[tuple[int, str]]) -> Iterable[tuple[str, str, str]]:
    """Return the start and end of the validity of each version of a value."""
    ends = [iso(loaded - DAY)[:10] for loaded, _ in releases[1:]] + [_NEVER]
    for (loaded, value), end in zip(releases, ends, strict=False):
        yield iso(loaded)[:10], end, value


@api.get("/fred/series/observations")
def observations(ask: Ask) -> Json:
    """Return the values of a series as published within a window of real time."""
    kind = _kind(ask)
    today = iso(ask.now - _CHICAGO)[:10]
    since, until = _date(ask, "observation_start", _FIRST), _date(ask, "observation_end", _NEVER)
    begin, end = _date(ask, "realtime_start", today), _date(ask, "realtime_end", today)
    limit = ask.integer("limit", 100_000, 1, 100_000)
    offset = ask.integer("offset", 0, 0)
    order = ask.text("sort_order", "asc", choices=("asc", "desc"))
    rows = [
        {
            "realtime_start": max(start, begin),
            "realtime_end": min(stop, end),
            "date": iso(day)[:10],
            "value": value,
        }
        for day, releases in _versions(ask, kind)
        if since <= iso(day)[:10] <= until
        for start, stop, value in _periods(releases)
        if start <= end and stop >= begin
    ]
    if order == "desc":
        rows.reverse()
    return {
        "realtime_start": begin,
        "realtime_end": end,
        "observation_start": since,
        "observation_end": until,
        "units": "lin",
        "output_type": 1,
        "file_type": "json",
        "order_by": "observation_date",
        "sort_order": order,
        "count": len(rows),
        "offset": offset,
        "limit": limit,
        "observations": rows[offset : offset + limit],
    }


@api.get("/fred/series")
def about(ask: Ask) -> Json:
    """Return the description of a series."""
    kind = _kind(ask)
    days = [day for day, releases in _versions(ask, kind) if releases]
    row = {
        "id": ask.text("series_id"),
        "title": kind.title,
        "observation_start": iso(days[0])[:10],
        "observation_end": iso(days[-1])[:10],
        "frequency": "Daily",
        "units": kind.units,
        "seasonal_adjustment": "Not Seasonally Adjusted",
    }
    return {"seriess": [row]}


@api.get("/fred/series/vintagedates")
def vintages(ask: Ask) -> Json:
    """Return the days on which a series changed."""
    versions = _versions(ask, _kind(ask))
    dates = {iso(loaded)[:10] for _, releases in versions for loaded, _ in releases}
    return {"count": len(dates), "offset": 0, "vintage_dates": sorted(dates)}
