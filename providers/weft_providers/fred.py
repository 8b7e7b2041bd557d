"""Rates, the dollar and stock volatility from FRED, every vintage of every value."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.provider import Request
from weft.components.series import Point, Series, SeriesConfig, SeriesProvider, Wanted
from weft.http.api import Api, Headers, QueryKey, RateLimit
from weft.http.errors import (
    SourceError,
    UnauthorisedError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.market.instruments import Scope
from weft.times import DAY, HOUR, Interval, iso, parse_time

if TYPE_CHECKING:
    from weft.clock import Clock
    from weft.http import Http, Reader
    from weft.http.asked import Params

_OBSERVATIONS = "/fred/series/observations"
_MISSING = "."


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # A bad key, an unknown series and a bad value all have status 400.
    told = str(body["error_message"]) if status == 400 else ""
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
        rows: list[Reader] = []
        while True:
            params: Params = {
                "series_id": wanted.series.path,
                "file_type": "json",
                # An event time is the end of its day. No vintage is older than its value, so none
                # is cut short by a window that begins where the values do.
                "observation_start": _date(wanted.since - DAY),
                "realtime_start": _date(wanted.since - DAY),
                "realtime_end": "9999-12-31",
                "limit": self.config.page_size,
                "offset": len(rows),
            }
            answer = await http.get(_OBSERVATIONS, params=params)
            page = answer.read.rows("observations")
            rows += page
            if not page or len(rows) >= answer.read.integer("count"):
                return self._points(rows, wanted.series)

    def _points(self, rows: "list[Reader]", series: Series) -> list[Point]:
        versions: dict[int, list[tuple[int, Reader]]] = {}
        for row in rows:
            versions.setdefault(_day(row, "date"), []).append((_day(row, "realtime_start"), row))
        lag = Interval.parse(series.extra.get("archive_lag", series.lag)).micros
        points = []
        for day, told in sorted(versions.items()):
            for number, (loaded, row) in enumerate(sorted(told, key=lambda one: one[0])):
                known_at = loaded + DAY + self.config.margin_hours * HOUR
                if number == 0 and loaded - day > self.config.archive_gap_days * DAY:
                    known_at = day + DAY + lag
                if row.text("value") != _MISSING:
                    points.append(Point(day + DAY, row.number("value"), known_at))
        return points


def _day(row: "Reader", field: str) -> int:
    with row.parsing():
        return parse_time(f"{row.text(field)}T00:00:00Z")


def _date(instant: int) -> str:
    return iso(instant)[:10]
