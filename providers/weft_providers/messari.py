"""Unlocks, governance, supply, protocol fundamentals and attention from Messari."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from weft.foundation.times import DAY, iso
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import (
    NotCoveredError,
    RefusedError,
    SchemaChangedError,
    SourceError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http, Reader

# The fees after the minus sign go to suppliers.
_KEPT = "fees24HourUsd - feesSupplySide24HourUsd"
_SLUGS = """
    BTC:bitcoin ETH:ethereum BNB:bnb SOL:solana XRP:xrp DOGE:dogecoin ADA:cardano AVAX:avalanche
    LINK:chainlink DOT:polkadot LTC:litecoin TRX:tron BCH:bitcoin-cash UNI:uniswap ATOM:cosmos
    NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin PEPE:pepe
"""


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the error of an answer; Messari may answer status 200 with an error."""
    if status == 200:
        return UnavailableError if body["error"] is not None else None
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


def _series(
    metric: str,
    kind: str,
    path: str,
    lag: str = "1s",
    step: str = "1d",
    factor: float = 1.0,
    *,
    confirmed: bool = True,
) -> Series:
    return Series(
        metric=metric,
        path=path,
        step=step,
        lag=lag,
        factor=factor,
        extra={"kind": kind},
        confirmed=confirmed,
    )


def _span(group: Sequence[Wanted]) -> dict[str, str]:
    """Return the request parameters of the span of a group of series."""
    first = min(one.since for one in group) - DAY
    return {"start": iso(first), "end": iso(group[0].until)}


class _Columns:
    """Columns of an answer whose rows are lists, by the names in its ``pointSchemas``.

    Args:
        read: the answer.

    Raises:
        SchemaChangedError: the answer names no columns.
    """

    def __init__(self, read: "Reader") -> None:
        self._schemas = read.at("metadata", "pointSchemas")
        self._places = {
            "time" if column.at("is_timestamp").value is True else column.text("slug"): index
            for index, column in enumerate(self._schemas.rows())
        }

    def missing(self, path: str) -> list[str]:
        """Return the columns of a path that the answer lacks."""
        return [name for name in path.split(" - ") if name not in self._places]

    def has_any(self, paths: Iterable[str]) -> bool:
        """Return whether the answer has any column of some paths; if not, they were renamed."""
        return any(len(self.missing(path)) < len(path.split(" - ")) for path in paths)

    def parser(self, path: str) -> "Callable[[Reader], Point | None]":
        """Return a parser of the day of a row: the value of a column, or of one less others.

        Raises:
            SchemaChangedError: a column is missing.
        """
        names = path.split(" - ")
        if not {"time", *names} <= self._places.keys():
            raise self._schemas.unexpected(f"columns with {', '.join(('time', *names))}")
        time, *places = (self._places[name] for name in ("time", *names))

        def parse(row: "Reader") -> Point | None:
            if any(row.at(place).value is None for place in places):
                return None
            value, *less = (row.number(place) for place in places)
            return Point(row.instant(time, unit="s") + DAY, value - sum(less))

        return parse


def _day(event: "Reader") -> int:
    """Return the day on which Messari recorded an event, in days since 1970."""
    return event.instant("submissionDate", unit="iso") // DAY


def _slugs(event: "Reader") -> list[str]:
    """Return the slugs of an event's coins; none for a global event."""
    coins = event.at("primaryAssets")
    if coins.value is None and event.at("globalEvent").value is True:
        return []
    return [coin.text("slug") for coin in coins.rows()]


def _unlocked_coins(read: "Reader", now: int, until: int) -> float | None:
    """Return the coins that unlock after `now` and up to `until`, from a cumulative schedule.

    Returns:
        None where the schedule does not cover `now`, or ends before `until` with coins left to
        unlock.
    """
    total = 0.0
    for part in read.rows("data", "allocations"):
        days = [
            (
                day.instant("timestamp", unit="iso"),
                day.number("cumulativeUnlockedNative"),
                day.number("unlocksRemainingNative"),
            )
            for day in part.rows("dailySnapshots")
        ]
        before = max((day for day in days if day[0] <= now), default=None)
        after = max((day for day in days if day[0] <= until), default=None)
        if before is None or after is None:
            return None
        if after[0] <= until - DAY and after[2] > 0:
            return None
        total += after[1] - before[1]
    return total


_Values = Mapping[Wanted, list[Point]]
_AHEAD, _PAGE, _YEAR = 30 * DAY, 100, 365 * DAY


class Messari(SeriesProvider):
    """Coming unlocks, governance events, supply, protocol fundamentals and attention.

    The value of a day is true at the end of the day. Messari does not state when it is published:
    protocol values count as known 12 hours later, attention 6 hours later; days may be restated.
    Unlocks, supply and market caps are present values: each fetch gives one, true and known at that
    instant. Unlocks are the coins that unlock within the coming 30 days, priced here: Messari's
    dollar amounts are not at the price of the day. A coin without a supply limit has no maximum
    supply. Governance events count on the day Messari recorded them, not on the day they happen;
    global events count for no coin. Revenue is fees less the suppliers' part, which the dataset
    ``core`` lacks: `revenue_datasets` names a dataset with it for each protocol.

    Inflation is s(t) / s(t - 365 days) - 1 of the circulating supply s. The dataset with its daily
    history is not documented publicly: inflation is requested only if `series` names dataset and
    column, {supply_inflation: {path: dataset.column}}.

    https://docs.messari.io
    """

    name = "messari"
    web = Api(
        base_url="https://api.messari.io",
        key=HeaderKey("x-messari-api-key"),
        limits=(RateLimit(200, 60.0, per_request=True),),
        classify=_classify,
    )
    series = (
        _series("unlock_usd", "unlocks", "priceUsd", step="5h"),
        _series("unlock_share", "unlocks", "supply.circulating", step="5h"),
        _series("market_cap_usd", "details", "marketcap.circulatingUsd", step="30m"),
        _series("fully_diluted_cap_usd", "details", "marketcap.fullyDilutedUsd", step="30m"),
        _series("circulating_supply", "details", "supply.circulating", step="5h"),
        _series("max_supply", "details", "supply.max", step="5h"),
        _series("supply_inflation", "asset", "", "12h", confirmed=False),
        _series("governance_events", "events", "Governance", "1h"),
        _series("tvl_usd", "protocol", "tvl24HourUsd", "12h"),
        _series("fees_usd", "protocol", "fees24HourUsd", "12h"),
        _series("revenue_usd", "revenue", _KEPT, "12h"),
        _series("social_sentiment", "signal", "sentiment.score", "6h"),
        _series("social_volume", "signal", "postMetrics.totalPosts", "6h"),
        _series("mindshare", "signal", "mindshare.percentage", "6h", factor=0.01),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = dict(pair.split(":") for pair in _SLUGS.split())

    class Config(SeriesConfig):
        """Options."""

        protocols: Mapping[str, str] = Field(
            default={"AAVE": "aave", "UNI": "uniswap"}, description="slug of the protocol, by asset"
        )
        dataset: str = Field(default="core", description="dataset with value and fees")
        revenue_datasets: Mapping[str, str] = Field(
            default={"AAVE": "lending", "UNI": "dex"},
            description="protocol dataset with the suppliers' part of fees, by asset",
        )
        events_path: str = Field(default="/intel/v1/events", description="path of events")
        events_days: int = Field(default=90, ge=1, description="days of events to read")
        events_post: bool = Field(default=True, description="request events by POST, not GET")
        signal_asset: str = Field(default="assetIds", description="parameter that names the asset")
        signal_time: Literal["s", "ms", "iso"] = Field(default="s", description="unit of times")

    config: Config

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the slug of an asset, or of its protocol."""
        kind = series.extra["kind"]
        if kind == "revenue" and entity not in self.config.revenue_datasets:
            return None
        protocol = kind in {"protocol", "revenue"}
        return self.config.protocols.get(entity) if protocol else super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the series of one endpoint and asset together; events of all assets together."""
        groups: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            kind = one.series.extra["kind"]
            groups.setdefault((kind, "" if kind == "events" else one.own_id), []).append(one)
        return groups.values()

    async def read_group(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        """Return the values of a group."""
        ask = {
            "protocol": self._protocol,
            "revenue": self._protocol,
            "asset": self._growth,
            "signal": self._signal,
            "events": self._events,
        }
        return await ask.get(group[0].series.extra["kind"], self._present)(http, group)

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    async def _protocol(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        first, dataset = group[0], self.config.dataset
        if first.series.extra["kind"] == "revenue":
            dataset = self.config.revenue_datasets[first.entity]
        path = f"/metrics/v2/protocols/{first.own_id}/metrics/{dataset}"
        read = (await http.get(f"{path}/time-series/1d", params=_span(group))).read
        columns, values = _Columns(read), dict[Wanted, list[Point]]()
        for one in group:
            missing = columns.missing(one.series.path)
            if missing and columns.has_any(other.series.path for other in group):
                text = f"the dataset {dataset} of {one.own_id} has no column {', '.join(missing)}"
                self.give_up([one], RefusedError(text, where=self.name))
                continue
            values[one] = self.points(read, "data", "points", read=columns.parser(one.series.path))
        return values

    async def _growth(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        """Return the daily growth of a column over one year."""
        growth: dict[Wanted, list[Point]] = {}
        for one in group:
            dataset, _, column = one.series.path.rpartition(".")
            path = f"/metrics/v2/assets/{one.own_id}/metrics/{dataset}/time-series/1d"
            span = _span([replace(one, since=one.since - _YEAR)])
            read = (await http.get(path, params=span)).read
            rows = self.points(read, "data", "points", read=_Columns(read).parser(column))
            values = {point.event_time: point.value for point in rows}
            before = {end: values.get(end - _YEAR, 0.0) for end in values}
            growth[one] = [Point(e, v / before[e] - 1) for e, v in values.items() if before[e] > 0]
        return growth

    async def _signal(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        params = {self.config.signal_asset: group[0].own_id, **_span(group)}
        answer = await http.get("/signal/v1/assets/time-series/1d", params=params)
        return self._parse_signal(answer.read, group)

    def _parse_signal(self, read: "Reader", group: Sequence[Wanted]) -> _Values:
        """Return the attention to one asset, out of an answer about several."""
        unit = self.config.signal_time
        for asset in read.rows("data"):
            if group[0].own_id in {asset.text("slug"), asset.text("id")}:
                return {
                    one: self.points(
                        asset, "points", read=partial(_parse_attention, one.series, unit)
                    )
                    for one in group
                }
        raise UnlistedSymbolError(f"no attention to {group[0].own_id} listed", where=self.name)

    async def _events(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        last = group[0].until // DAY
        first = max((min(one.since for one in group) - 1) // DAY, last - self.config.events_days)
        path, post = self.config.events_path, self.config.events_post
        events: dict[str, Reader] = {}
        for page in count(1):
            params = {"limit": _PAGE, "page": page}
            answer = await (http.post(path, json=params) if post else http.get(path, params=params))
            new = {row.text("id"): row for row in answer.read.rows("data")}
            repeats = new.keys() <= events.keys()
            events = new | events
            if len(new) < _PAGE or repeats or max(map(_day, new.values())) < first:
                break
        return self._parse_events([*events.values()], group, first, last)

    def _parse_events(
        self, events: "Sequence[Reader]", group: Sequence[Wanted], first: int, last: int
    ) -> _Values:
        """Return the number of events about each asset on each day from `first` to `last`."""
        counts, unknown = Counter[tuple[str, int]](), set[int]()
        days = [_day(event) for event in events]
        for event, day in zip(events, days, strict=True):
            try:
                if event.text("category") == group[0].series.path:
                    counts.update((slug, day) for slug in _slugs(event))
            except SchemaChangedError as error:
                # A count without one of its events would be wrong.
                unknown.add(day)
                self.tell(f"events of a day not counted: {error.message}")
        # Days before the oldest listed event may have had events.
        begin = max(first, min([last, *days]))
        complete = [day for day in range(begin, last) if day not in unknown]
        return {
            one: [Point((day + 1) * DAY, counts[one.own_id, day]) for day in complete]
            for one in group
        }

    async def _present(self, http: "Http", group: Sequence[Wanted]) -> _Values:
        slug, until = group[0].own_id, group[0].until
        kind = group[0].series.extra["kind"]
        coins = await self._unlocked(http, slug, until) if kind == "unlocks" else 0.0
        if coins is None:
            self.tell(f"{slug}: its schedule does not reach 30 days ahead; no unlocks")
            return {one: [] for one in group}
        answer = await http.get("/metrics/v2/assets/details", params={"slugs": slug})
        rows = [row for row in answer.read.rows("data") if row.text("slug") == slug]
        if not rows:
            raise UnlistedSymbolError(f"there is no asset {slug}", where=self.name)
        market = rows[0].at("marketData")
        values: dict[Wanted, list[Point]] = {one: [] for one in group}
        at = min(answer.given_at, until)
        for one, points in values.items():
            if value := market.number(*one.series.path.split("."), null=0.0):
                unlocks = {"unlock_usd": coins * value, "unlock_share": coins / value}
                points.append(Point(at, unlocks.get(one.series.metric, value), answer.fetched_at))
        return values

    async def _unlocked(self, http: "Http", slug: str, now: int) -> float | None:
        """Return the coins that unlock within the coming 30 days; None where unknown.

        The path `/unlocks` has past unlocks only, and ends with the present.
        """
        times = {"startTime": iso(now - 2 * DAY), "endTime": iso(now + _AHEAD)}
        path = f"/token-unlocks/v1/assets/{slug}/vesting-schedule"
        try:
            answer = await http.get(path, params=times)
        except UnlistedSymbolError:
            raise UnlistedSymbolError(f"{slug} has no unlock schedule", where=self.name) from None
        return _unlocked_coins(answer.read, now, now + _AHEAD)


def _parse_attention(
    series: Series, unit: Literal["s", "ms", "iso"], row: "Reader"
) -> Point | None:
    """Return one value of a day; None where its field, or an object around it, is null."""
    end = row.instant("time", unit=unit) + DAY
    place = row
    for step in series.path.split("."):
        place = place.at(step)
        if place.value is None:
            return None
    return Point(end, place.number())
