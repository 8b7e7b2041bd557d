"""Rates, the dollar and stock volatility from FRED, every vintage of every value."""

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
"""One answer holds 2,000 vintages at most, and no series has more than one a day."""


class VintageLimitError(RefusedError):
    """The real-time period holds more vintages than one answer may."""


@dataclass(frozen=True, slots=True)
class _Vintage:
    """One version of a value; days as instants of their midnights."""

    day: int
    loaded: int
    value: float | None


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # A bad key, an unknown series and a bad value all have status 400.
    told = str(body["error_message"]) if status == 400 else ""
    if "vintage dates" in told:
        return VintageLimitError
    if "api_key" in told:
        return UnauthorisedError
    if "does not exist" in told:
        return UnlistedSymbolError
    return UnavailableError if status == 423 else None


def _daily(metric: str, path: str, factor: float = 1.0) -> Series:
    # Loaded on the next business day, which is known to be over six hours into the day after.
    return Series(metric=metric, path=path, lag="30h", scope=Scope.MARKET, factor=factor)


class Fred(SeriesProvider):
    """The VIX, the broad dollar index, the ten-year yield and the Fed funds rate.

    A value of a business day has the end of that day as its event time. Each vintage is a row of
    its own: loaded on a day in Chicago, whose hour is not told, it counts as known when that day
    is over, at 06:00 UTC of the next one. Values from before the archive began carry its first
    day; those count as known by the usual delay of their series instead.

    The dollar index is the Fed's trade-weighted one, published on Mondays for the week before; its
    past changes when the weights do. The others are seldom restated.

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
        # A week's values come at once, the last of them on the Monday after its Friday.
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
            default=6, ge=0, description="after the UTC day a vintage was loaded on it is known"
        )
        archive_gap_days: int = Field(
            default=30,
            ge=1,
            description="a first vintage that came later than this is where the archive begins",
        )
        revision_days: int = Field(
            default=30, ge=0, description="how far back new vintages are looked for"
        )

    config: Config

    async def begin(self, request: Request, http: "Http", clock: "Clock") -> None:
        """Remember how far back to look for new vintages at most."""
        self._earliest = request.since

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of one series, from further back than is due."""
        (one,) = group
        since = max(one.since - self.config.revision_days * DAY, self._earliest)
        wider = replace(one, since=min(since, one.since))
        return {wider: await self.read(http, wider)}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return every vintage of every value."""
        # An event time is the end of its day. No vintage is older than its value, so none is cut
        # short by a period that begins where the values do.
        first, vintages = wanted.since - DAY, list[_Vintage]()
        starts = range(first, max(wanted.until, first + DAY), _WINDOW)
        for start, end in pairwise([*starts, _FOREVER]):
            last = end if end == _FOREVER else end - DAY
            vintages += await self._vintages(http, wanted, start, last)
        return self._points(_joined(vintages), wanted.series)

    async def _vintages(
        self, http: "Http", wanted: Wanted, start: int, last: int
    ) -> list[_Vintage]:
        """Return the vintages of a real-time period, in two halves where it holds too many."""
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
            vintages += read.collect("observations", read=_vintage, lost=self.tell)
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


def _joined(vintages: Sequence[_Vintage]) -> list[_Vintage]:
    """Return vintages in order, without those that only go on in the next real-time period.

    A period that is asked for cuts the vintages at its ends: each goes on in the next one as if it
    had been loaded on its first day.
    """
    joined = list[_Vintage]()
    for one in sorted(vintages, key=lambda one: (one.day, one.loaded)):
        if joined and joined[-1].day == one.day and joined[-1].value == one.value:
            continue
        joined.append(one)
    return joined


def _vintage(row: "Reader") -> _Vintage:
    value = None if row.text("value") == _MISSING else row.number("value")
    return _Vintage(_day(row, "date"), _day(row, "realtime_start"), value)


def _day(row: "Reader", field: str) -> int:
    with row.parsing():
        return parse_time(f"{row.text(field)}T00:00:00Z")


def _date(instant: int) -> str:
    return iso(instant)[:10]
