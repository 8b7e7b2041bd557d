"""Rates, the dollar index and stock volatility from FRED, with every vintage of every value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.provider import Request
from weft.domain.instruments import Scope
from weft.foundation.times import DAY, HOUR, YEAR, Interval, iso, parse_time
from weft.sources.http.api import Api, Headers, QueryKey, RateLimit
from weft.sources.http.errors import (
    RefusedError,
    SourceError,
    UnauthorisedError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.foundation.clock import Clock
    from weft.sources.http import Http, Reader
    from weft.sources.http.request import Params

_OBSERVATIONS = "/fred/series/observations"
_MISSING = "."
_FOREVER = parse_time("9999-12-31T00:00:00Z")
_WINDOW = 5 * YEAR
"""One answer holds at most 2,000 vintages, and no series has more than one a day."""


class VintageLimitError(RefusedError):
    """The real-time period has more vintages than one answer may hold."""


@dataclass(frozen=True, slots=True)
class _Vintage:
    """One version of a value; days as instants of their midnights."""

    day: int
    loaded: int
    value: float | None


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # FRED answers status 400 to a bad key, an unknown series and a bad value alike.
    message = str(body["error_message"]) if status == 400 else ""
    if "vintage dates" in message:
        return VintageLimitError
    if "api_key" in message:
        return UnauthorisedError
    if "does not exist" in message:
        return UnlistedSymbolError
    return UnavailableError if status == 423 else None


def _daily(metric: str, path: str, factor: float = 1.0) -> Series:
    # A value is loaded on the next business day in Chicago, which ends at 06:00 UTC.
    return Series(metric=metric, path=path, lag="30h", scope=Scope.MARKET, factor=factor)


class Fred(SeriesProvider):
    """The VIX, the broad dollar index, the ten-year yield and the Fed funds rate.

    The event time of a business day's value is the end of that day. Each vintage is a separate row.
    FRED states the day on which a vintage was loaded, in Chicago and without the hour: the vintage
    counts as known at 06:00 UTC of the next day. Values from before the archive began are stamped
    with the archive's first day; they count as known after the usual lag of their series instead.

    The dollar index is the Fed's trade-weighted index, published on Mondays for the week before;
    its history changes with the weights. The other series are seldom restated.

    Documentation: https://fred.stlouisfed.org/docs/api/fred/
    """

    name = "fred"
    web: Api = Api(
        base_url="https://api.stlouisfed.org",
        key=QueryKey("api_key"),
        limits=(RateLimit(120, 60),),
        classify=_classify,
    )
    series = (
        _daily("vix", "VIXCLS"),
        # The Fed publishes the five values of a week together, on the Monday after.
        Series(
            metric="dollar_index",
            path="DTWEXBGS",
            step="1w",
            lag="78h",
            scope=Scope.MARKET,
            extra={"archive_lag": "8d"},
        ),
        _daily("treasury_10y", "DGS10", 0.01),
        _daily("fed_funds", "DFF", 0.01),
    )

    class Config(SeriesConfig):
        """Options. The path of a series is its id at FRED."""

        page_size: int = Field(default=100_000, ge=1, le=100_000, description="rows in a request")
        margin_hours: int = Field(
            default=6,
            ge=0,
            description="hours from the end of the day of loading to being known",
        )
        archive_gap_days: int = Field(
            default=30,
            ge=1,
            description="a first vintage later than this marks the start of the archive",
        )
        revision_days: int = Field(
            default=30, ge=0, description="days of history to ask for new vintages"
        )

    config: Config

    async def begin(self, request: Request, http: "Http", clock: "Clock") -> None:
        """Remember the earliest instant to ask for new vintages from."""
        self._earliest = request.since

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of one series, from `revision_days` before the due values."""
        (one,) = group
        since = max(one.since - self.config.revision_days * DAY, self._earliest)
        wider = replace(one, since=min(since, one.since))
        return {wider: await self.read(http, wider)}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return every vintage of every value."""
        # An event time is the end of its day. No vintage is older than its value, so a real-time
        # period that begins with the values cuts none of them.
        first, vintages = wanted.since - DAY, list[_Vintage]()
        starts = range(first, max(wanted.until, first + DAY), _WINDOW)
        for start, end in pairwise([*starts, _FOREVER]):
            last = end if end == _FOREVER else end - DAY
            vintages += await self._vintages(http, wanted, start, last)
        return self._points(_without_cuts(vintages), wanted.series)

    async def _vintages(
        self, http: "Http", wanted: Wanted, start: int, last: int
    ) -> list[_Vintage]:
        """Return the vintages of a real-time period; split it in two if it has too many."""
        try:
            return await self._pages(http, wanted, start, last)
        except VintageLimitError:
            days = (min(last, wanted.until) - start) // DAY
            if days < 1:
                raise
            middle = start + (days + 1) // 2 * DAY
            return [
                *await self._vintages(http, wanted, start, middle - DAY),
                *await self._vintages(http, wanted, middle, last),
            ]

    async def _pages(self, http: "Http", wanted: Wanted, start: int, last: int) -> list[_Vintage]:
        vintages, offset = list[_Vintage](), 0
        while True:
            params: Params = {
                "series_id": wanted.series.path,
                "file_type": "json",
                "observation_start": _date(wanted.since - DAY),
                "realtime_start": _date(start),
                "realtime_end": _date(last),
                "limit": self.config.page_size,
                "offset": offset,
            }
            read = (await http.get(_OBSERVATIONS, params=params)).read
            vintages += read.collect("observations", read=_parse_vintage, lost=self.tell)
            size = len(read.rows("observations"))
            offset += size
            if not size or offset >= read.integer("count"):
                return vintages

    def _points(self, vintages: Sequence[_Vintage], series: Series) -> list[Point]:
        lag = Interval.parse(series.extra.get("archive_lag", series.lag)).micros
        points, before = [], None
        for one in vintages:
            known_at = one.loaded + DAY + self.config.margin_hours * HOUR
            is_first = before is None or before.day != one.day
            if is_first and one.loaded - one.day > self.config.archive_gap_days * DAY:
                known_at = one.day + DAY + lag
            if one.value is not None:
                points.append(Point(one.day + DAY, one.value, known_at))
            before = one
        return points


def _without_cuts(vintages: Sequence[_Vintage]) -> list[_Vintage]:
    """Return vintages in order, without repetitions at the start of a real-time period.

    FRED cuts a vintage at the end of the requested period: in the next period the same value seems
    to be loaded on the first day.
    """
    distinct = list[_Vintage]()
    for one in sorted(vintages, key=lambda one: (one.day, one.loaded)):
        if distinct and distinct[-1].day == one.day and distinct[-1].value == one.value:
            continue
        distinct.append(one)
    return distinct


def _parse_vintage(row: "Reader") -> _Vintage:
    value = None if row.text("value") == _MISSING else row.number("value")
    return _Vintage(_day(row, "date"), _day(row, "realtime_start"), value)


def _day(row: "Reader", field: str) -> int:
    with row.parsing():
        return parse_time(f"{row.text(field)}T00:00:00Z")


def _date(instant: int) -> str:
    return iso(instant)[:10]
