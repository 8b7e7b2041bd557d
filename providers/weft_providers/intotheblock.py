"""Holders of a coin, and addresses in profit, from IntoTheBlock."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from weft.foundation.times import DAY, iso, parse_time
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import NotCoveredError, SourceError, UnlistedSymbolError
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.sources.http import Http, HttpResponse, Reader

_HISTORY, _PRESENT = "financial", "overview"
_OPTIONAL = "byTimeHeldComposition"
_MILLIS_FROM = 1e11


def _classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # IntoTheBlock documents no bodies of errors.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


def _daily(metric: str, path: str, unit: str, *, confirmed: bool = True) -> Series:
    extra = {"from": _HISTORY, "unit": unit}
    return Series(metric=metric, path=path, lag="12h", extra=extra, confirmed=confirmed)


def _present(metric: str, path: str, unit: str) -> Series:
    return Series(
        metric=metric, path=path, step="6h", lag="1s", extra={"from": _PRESENT, "unit": unit}
    )


class IntoTheBlock(SeriesProvider):
    """Daily large transfers and addresses in profit; present large holders and holding times.

    The value of a day is true at the end of the day and counts as known twelve hours later. Present
    values have no date and no history: each is known when it was fetched. IntoTheBlock redraws its
    clusters of addresses, which probably restates history; stored values are kept. Some coins lack
    holding times, and a line names them; any other missing field is an error.

    Needs a contract. The reference is not public and the schema is not confirmed: every path and
    field can be set in the config. The bid-ask imbalance is requested only if `series` sets its
    path: a list of days with either one field from -1 to 1 (for percent set factor: 0.01), or the
    volumes of both sides, {bid_ask_imbalance: {path: list.bids/asks}}; the imbalance is then
    (bids - asks) / (bids + asks).

    Company: https://www.intotheblock.com
    """

    name = "intotheblock"
    web: Api = Api(
        base_url="https://api.intotheblock.com",
        key=HeaderKey("X-Api-Key"),
        classify=_classify,
        concurrent=1,
    )
    series = (
        _daily("large_transactions", "largeTxs.adjustedCount", "count"),
        _daily("in_the_money", "inOutOfTheMoneyHistory.inPercentage", "share"),
        _daily("out_of_the_money", "inOutOfTheMoneyHistory.outPercentage", "share"),
        _daily("bid_ask_imbalance", "", "imbalance", confirmed=False),
        _present("large_holder_share", "concentration", "share"),
        _present("hodl_over_1y", f"{_OPTIONAL}.hodler", "part"),
        _present("hodl_under_1m", f"{_OPTIONAL}.trader", "part"),
    )

    class Config(SeriesConfig):
        """Options. The path of a series is its list or object, a dot, and its field."""

        requests_per_minute: int = Field(
            default=60, ge=1, description="requests a minute; no limit is published"
        )
        history_path: str = Field(default="/{symbol}/financial", description="path of daily values")
        present_path: str = Field(
            default="/{symbol}/overview", description="path of present values"
        )
        symbol_case: Literal["lower", "upper"] = Field(
            default="lower", description="case of assets in paths"
        )
        date_fields: tuple[str, ...] = Field(
            default=("date", "timestamp", "time"),
            description="possible fields of the date",
        )
        shares_as: Literal["auto", "share", "percent"] = Field(
            default="auto", description="scale of shares; auto reads a value above 1 as percent"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of one answer together."""
        groups: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            groups.setdefault((one.entity, one.series.extra["from"]), []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of the series of one answer."""
        symbol = getattr(group[0].own_id, self.config.symbol_case)()
        if group[0].series.extra["from"] == _HISTORY:
            path, since = self.config.history_path, min(one.since for one in group)
            # An event time is the end of its day.
            span = {"since": iso(since - DAY)[:10], "until": iso(group[0].until)[:10]}
            answer = await http.get(path.format(symbol=symbol), params=span)
            return {one: self._parse_days(answer.read, one.series) for one in group}
        answer = await http.get(self.config.present_path.format(symbol=symbol))
        missing = self._give_up_missing(answer, group)
        values = {
            one: self._parse_present(answer.read, one.series) for one in group if one not in missing
        }
        at, known_at = answer.given_at, answer.fetched_at
        return {
            one: [Point(min(at, one.until), value, known_at)]
            for one, value in values.items()
            if value is not None
        }

    def _give_up_missing(self, answer: "HttpResponse", group: Sequence[Wanted]) -> Sequence[Wanted]:
        """Give up the series that a coin lacks, and return them."""
        tables = {name for name, place in answer.read.fields().items() if place.value is not None}
        present = [s for s in map(self._as_configured, self.series) if s.extra["from"] == _PRESENT]
        others = {_table(series) for series in present} - {_OPTIONAL}
        # An answer without any of the tables has another form.
        if _OPTIONAL in tables or not others & tables:
            return []
        missing = [one for one in group if _table(one.series) == _OPTIONAL]
        if missing:
            text = f"no {_OPTIONAL}, which some coins lack; if all coins lack it, it was renamed"
            self.give_up(missing, UnlistedSymbolError(f"{answer.what}: {text}", where=self.name))
        return missing

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    def _parse_days(self, read: "Reader", series: Series) -> list[Point]:
        """Return the daily values of one series."""
        table, _, field = series.path.partition(".")
        first, _, second = field.partition("/")

        def day(row: "Reader") -> tuple[int, float] | None:
            if any(row.at(name).value is None for name in (first, second) if name):
                return None
            value = _imbalance(row, first, second) if second else row.number(first)
            if series.extra["unit"] == "imbalance" and abs(value or 0.0) * series.factor > 1:
                raise row.at(first).unexpected("from -1 to 1; for percent set factor: 0.01")
            return None if value is None else (self._day(row), value)

        rows = read.collect(table, read=day, lost=self.tell)
        scale = self._scale(series, max((value for _, value in rows), default=0.0))
        return [Point(day + DAY, value * scale) for day, value in sorted(rows)]

    def _parse_present(self, read: "Reader", series: Series) -> float | None:
        """Return the present value of one series; None for a part of nothing."""
        table, _, field = series.path.partition(".")
        if series.extra["unit"] == "part":
            parts = read.fields(table)
            total = sum(part.number() for part in parts.values())
            return read.number(table, field) / total if total else None
        value = read.number(table, field) if field else read.number(table)
        return value * self._scale(series, value)

    def _scale(self, series: Series, largest: float) -> float:
        """Return the factor from a source's shares, or percent, to shares."""
        if series.extra["unit"] != "share" or self.config.shares_as == "share":
            return 1.0
        return 0.01 if self.config.shares_as == "percent" or largest > 1 else 1.0

    def _day(self, row: "Reader") -> int:
        """Return the start of a row's day: from a date, or seconds or milliseconds since 1970."""
        names = self.config.date_fields
        place = row.at(next((name for name in names if row.has(name)), names[0]))
        if isinstance(place.value, str):
            with place.parsing():
                return parse_time(f"{place.value[:10]}T00:00:00Z")
        unit: Literal["s", "ms"] = "ms" if place.number() > _MILLIS_FROM else "s"
        return place.instant(unit=unit) // DAY * DAY


def _table(series: Series) -> str:
    return series.path.partition(".")[0]


def _imbalance(row: "Reader", bids: str, asks: str) -> float | None:
    bid, ask = row.number(bids), row.number(asks)
    return (bid - ask) / (bid + ask) if bid + ask > 0 else None
