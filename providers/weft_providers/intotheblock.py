"""Who holds a coin, and who is in profit, from IntoTheBlock."""

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
    # Its bodies are not documented.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


def _daily(metric: str, path: str, unit: str, *, confirmed: bool = True) -> Series:
    extra = {"from": _HISTORY, "unit": unit}
    return Series(metric=metric, path=path, lag="12h", extra=extra, confirmed=confirmed)


def _present(metric: str, path: str, unit: str) -> Series:
    return Series(
        metric=metric, path=path, step="6h", lag="1s", extra={"from": _PRESENT, "unit": unit}
    )


class IntoTheBlock(SeriesProvider):
    """Large transfers and addresses in profit a day; large holders and holding times as of now.

    The value of a day is true at its end, and counts as known twelve hours later. What is told as
    of now bears no date and has no history: it is known when it came. Clusters of addresses are
    redrawn, which probably restates history; what is stored first is kept. Holding times are known
    to be missing for some coins, which is told; anything else that is missing is another form.

    Needs a contract. The reference is not public, and the schema is unconfirmed: every path and
    field may be set in the config. The path of the bid and ask imbalance is not documented
    publicly: it is asked for only where `series` names it, as a list of days and either one field
    from -1 to 1 (of percent with factor: 0.01), or the volumes of both sides, of which it is
    (bids - asks) / (bids + asks): {bid_ask_imbalance: {path: list.bids/asks}}. Company: https://www.intotheblock.com
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
            default=60, ge=1, description="limits are not published; others ask once a second"
        )
        history_path: str = Field(default="/{symbol}/financial", description="where days are told")
        present_path: str = Field(default="/{symbol}/overview", description="where now is told")
        symbol_case: Literal["lower", "upper"] = Field(
            default="lower", description="how paths spell assets"
        )
        date_fields: tuple[str, ...] = Field(
            default=("date", "timestamp", "time"), description="any of these dates a row"
        )
        shares_as: Literal["auto", "share", "percent"] = Field(
            default="auto", description="scale of shares; auto takes a value above 1 for percent"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return together what one answer tells of an asset."""
        groups: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            groups.setdefault((one.entity, one.series.extra["from"]), []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return what one answer tells."""
        symbol = getattr(group[0].own_id, self.config.symbol_case)()
        if group[0].series.extra["from"] == _HISTORY:
            path, since = self.config.history_path, min(one.since for one in group)
            # An event time is the end of its day.
            span = {"since": iso(since - DAY)[:10], "until": iso(group[0].until)[:10]}
            answer = await http.get(path.format(symbol=symbol), params=span)
            return {one: self._days(answer.read, one.series) for one in group}
        answer = await http.get(self.config.present_path.format(symbol=symbol))
        lacking = self._lacking_of(answer, group)
        found = {one: self._now(answer.read, one.series) for one in group if one not in lacking}
        at, known_at = answer.given_at, answer.fetched_at
        return {
            one: [Point(min(at, one.until), value, known_at)]
            for one, value in found.items()
            if value is not None
        }

    def _lacking_of(self, answer: "HttpResponse", group: Sequence[Wanted]) -> Sequence[Wanted]:
        """Return what a coin lacks; give it up, and say so."""
        held = {name for name, place in answer.read.fields().items() if place.value is not None}
        present = [s for s in map(self._as_configured, self.series) if s.extra["from"] == _PRESENT]
        others = {_table(series) for series in present} - {_OPTIONAL}
        # Where nothing else is there either, the form is another one.
        if _OPTIONAL in held or not others & held:
            return []
        lacking = [one for one in group if _table(one.series) == _OPTIONAL]
        if lacking:
            told = f"there is no {_OPTIONAL}, which some coins lack; if all do, it was renamed"
            self.give_up(lacking, UnlistedSymbolError(f"{answer.what}: {told}", where=self.name))
        return lacking

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    def _days(self, read: "Reader", series: Series) -> list[Point]:
        table, _, field = series.path.partition(".")
        first, _, second = field.partition("/")

        def day(row: "Reader") -> tuple[int, float] | None:
            if any(row.at(name).value is None for name in (first, second) if name):
                return None
            value = _imbalance(row, first, second) if second else row.number(first)
            if series.extra["unit"] == "imbalance" and abs(value or 0.0) * series.factor > 1:
                raise row.at(first).unexpected("from -1 to 1; of percent the factor is 0.01")
            return None if value is None else (self._day(row), value)

        found = read.collect(table, read=day, lost=self.tell)
        scale = self._scale(series, max((value for _, value in found), default=0.0))
        return [Point(day + DAY, value * scale) for day, value in sorted(found)]

    def _now(self, read: "Reader", series: Series) -> float | None:
        table, _, field = series.path.partition(".")
        if series.extra["unit"] == "part":
            parts = read.fields(table)
            whole = sum(part.number() for part in parts.values())
            return read.number(table, field) / whole if whole else None
        value = read.number(table, field) if field else read.number(table)
        return value * self._scale(series, value)

    def _scale(self, series: Series, largest: float) -> float:
        if series.extra["unit"] != "share" or self.config.shares_as == "share":
            return 1.0
        return 0.01 if self.config.shares_as == "percent" or largest > 1 else 1.0

    def _day(self, row: "Reader") -> int:
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
