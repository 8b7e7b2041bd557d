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

# What stands after the minus goes to suppliers.
KEPT = "fees24HourUsd - feesSupplySide24HourUsd"
SLUGS = """
    BTC:bitcoin ETH:ethereum BNB:bnb SOL:solana XRP:xrp DOGE:dogecoin ADA:cardano AVAX:avalanche
    LINK:chainlink DOT:polkadot LTC:litecoin TRX:tron BCH:bitcoin-cash UNI:uniswap ATOM:cosmos
    NEAR:near-protocol AAVE:aave ARB:arbitrum FIL:filecoin PEPE:pepe
"""


def classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return which error an answer means."""
    own = {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)
    return UnavailableError if status == 200 and body["error"] is not None else own


def listed(
    metric: str,
    kind: str,
    path: str,
    lag: str = "1s",
    step: str = "1d",
    factor: float = 1.0,
    *,
    confirmed: bool = True,
) -> Series:
    """Return a series that an endpoint lists for many assets at once."""
    return Series(
        metric=metric,
        path=path,
        step=step,
        lag=lag,
        factor=factor,
        extra={"kind": kind},
        confirmed=confirmed,
    )


def span_of(group: Sequence[Wanted]) -> dict[str, str]:
    """Return the request parameters of the span that a group of series needs."""
    first = min(one.since for one in group) - DAY
    return {"start": iso(first), "end": iso(group[0].until)}


class Columns:
    """Columns of an answer whose rows are lists, by the names in its ``pointSchemas``.

    Args:
        read: the answer.

    Raises:
        SchemaChangedError: it names no columns.
    """

    def __init__(self, read: "Reader") -> None:
        self._schemas = read.at("metadata", "pointSchemas")
        self._places = {
            "time" if column.at("is_timestamp").value is True else column.text("slug"): index
            for index, column in enumerate(self._schemas.rows())
        }

    def lacking(self, path: str) -> list[str]:
        """Return the columns of a path that are not there."""
        return [name for name in path.split(" - ") if name not in self._places]

    def knows_any(self, paths: Iterable[str]) -> bool:
        """Whether any column of some paths is there, so that others were not merely renamed."""
        return any(len(self.lacking(path)) < len(path.split(" - ")) for path in paths)

    def reader(self, path: str) -> "Callable[[Reader], Point | None]":
        """Return what reads the day of a row: of a column, or of one less others.

        Raises:
            SchemaChangedError: a column is not there.
        """
        names = path.split(" - ")
        if not {"time", *names} <= self._places.keys():
            raise self._schemas.unexpected(f"columns with {', '.join(('time', *names))}")
        time, *places = (self._places[name] for name in ("time", *names))

        def read(row: "Reader") -> Point | None:
            if any(row.at(place).value is None for place in places):
                return None
            value, *less = (row.number(place) for place in places)
            return Point(row.instant(time, unit="s") + DAY, value - sum(less))

        return read


def day_of(event: "Reader") -> int:
    """Return the day an event was recorded on, counted from 1970."""
    return event.instant("submissionDate", unit="iso") // DAY


def slugs_of(event: "Reader") -> list[str]:
    """Return the coins an event is about; none for one about no coin in particular."""
    coins = event.at("primaryAssets")
    if coins.value is None and event.at("globalEvent").value is True:
        return []
    return [coin.text("slug") for coin in coins.rows()]


def unlocking(read: "Reader", now: int, until: int) -> float | None:
    """Return the coins that unlock after `now` and up to `until`, by a cumulative schedule.

    Returns:
        None where the schedule does not say what is unlocked now, or ends before `until` with
        coins left to unlock.
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


_Found = Mapping[Wanted, list[Point]]
_AHEAD, _PAGE, _YEAR = 30 * DAY, 100, 365 * DAY


class Messari(SeriesProvider):
    """Coming unlocks, governance events, protocols' fees, revenue and value locked, attention.

    Values of a day count from its end; when they are published is not stated: those of protocols
    are taken to be known 12 hours later, attention 6, and days may be restated. Unlocks, supply and
    market caps are told as they are now: each fetch gives one value, true and known at that
    instant. Unlocks are priced here, from coins: Messari's own dollars are not those of the day. A
    coin without a limit has no most supply. Governance events are counted on the day Messari
    recorded them, not the day they are about; those about no coin in particular count for none.
    Revenue is fees less what suppliers get, which some protocol datasets have and ``core`` has not:
    `revenue_datasets` names the one of each protocol.

    Inflation is s(t) / s(t - 365 days) - 1 of the supply s in circulation. Which of the datasets of
    `/metrics/v2/assets/metrics` has that by day is not documented publicly: it is asked for only
    where `series` names dataset and column, {supply_inflation: {path: dataset.column}}.

    https://docs.messari.io
    """

    name = "messari"
    web = Api(
        base_url="https://api.messari.io",
        key=HeaderKey("x-messari-api-key"),
        limits=(RateLimit(200, 60.0, per_request=True),),
        classify=classify,
    )
    series = (
        listed("unlock_usd", "unlocks", "priceUsd", step="5h"),
        listed("unlock_share", "unlocks", "supply.circulating", step="5h"),
        listed("market_cap_usd", "details", "marketcap.circulatingUsd", step="30m"),
        listed("fully_diluted_cap_usd", "details", "marketcap.fullyDilutedUsd", step="30m"),
        listed("circulating_supply", "details", "supply.circulating", step="5h"),
        listed("max_supply", "details", "supply.max", step="5h"),
        listed("supply_inflation", "asset", "", "12h", confirmed=False),
        listed("governance_events", "events", "Governance", "1h"),
        listed("tvl_usd", "protocol", "tvl24HourUsd", "12h"),
        listed("fees_usd", "protocol", "fees24HourUsd", "12h"),
        listed("revenue_usd", "revenue", KEPT, "12h"),
        listed("social_sentiment", "signal", "sentiment.score", "6h"),
        listed("social_volume", "signal", "postMetrics.totalPosts", "6h"),
        listed("mindshare", "signal", "mindshare.percentage", "6h", factor=0.01),
    )
    only_ids = True
    ids: ClassVar[Mapping[str, str]] = dict(pair.split(":") for pair in SLUGS.split())

    class Config(SeriesConfig):
        """Options."""

        protocols: Mapping[str, str] = Field(
            default={"AAVE": "aave", "UNI": "uniswap"}, description="slugs of assets' protocols"
        )
        dataset: str = Field(default="core", description="protocol dataset of value and fees")
        revenue_datasets: Mapping[str, str] = Field(
            default={"AAVE": "lending", "UNI": "dex"},
            description="protocol datasets with what suppliers get, by asset",
        )
        events_path: str = Field(default="/intel/v1/events", description="list of events")
        events_days: int = Field(default=90, ge=1, description="how far back events are listed")
        events_post: bool = Field(default=True, description="whether that list is asked by POST")
        signal_asset: str = Field(default="assetIds", description="parameter that names the asset")
        signal_time: Literal["s", "ms", "iso"] = Field(default="s", description="form of its times")

    config: Config

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return the slug of an asset, or of its protocol."""
        kind = series.extra["kind"]
        if kind == "revenue" and entity not in self.config.revenue_datasets:
            return None
        protocol = kind in {"protocol", "revenue"}
        return self.config.protocols.get(entity) if protocol else super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return together what one endpoint tells: of one asset, or events of all."""
        together: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            kind = one.series.extra["kind"]
            together.setdefault((kind, "" if kind == "events" else one.own_id), []).append(one)
        return together.values()

    async def read_group(self, http: "Http", group: Sequence[Wanted]) -> _Found:
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

    async def _protocol(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        first, dataset = group[0], self.config.dataset
        if first.series.extra["kind"] == "revenue":
            dataset = self.config.revenue_datasets[first.entity]
        path = f"/metrics/v2/protocols/{first.own_id}/metrics/{dataset}"
        read = (await http.get(f"{path}/time-series/1d", params=span_of(group))).read
        columns, found = Columns(read), dict[Wanted, list[Point]]()
        for one in group:
            lacking = columns.lacking(one.series.path)
            if lacking and columns.knows_any(other.series.path for other in group):
                told = f"the dataset {dataset} of {one.own_id} has no column {', '.join(lacking)}"
                self.give_up([one], RefusedError(told, where=self.name))
                continue
            found[one] = self.points(read, "data", "points", read=columns.reader(one.series.path))
        return found

    async def _growth(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        """Return by how much something grew over a year, by day."""
        found: dict[Wanted, list[Point]] = {}
        for one in group:
            dataset, _, column = one.series.path.rpartition(".")
            path = f"/metrics/v2/assets/{one.own_id}/metrics/{dataset}/time-series/1d"
            span = span_of([replace(one, since=one.since - _YEAR)])
            read = (await http.get(path, params=span)).read
            rows = self.points(read, "data", "points", read=Columns(read).reader(column))
            held = {point.event_time: point.value for point in rows}
            before = {end: held.get(end - _YEAR, 0.0) for end in held}
            found[one] = [Point(e, v / before[e] - 1) for e, v in held.items() if before[e] > 0]
        return found

    async def _signal(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        params = {self.config.signal_asset: group[0].own_id, **span_of(group)}
        read = (await http.get("/signal/v1/assets/time-series/1d", params=params)).read
        for asset in read.rows("data"):
            if group[0].own_id in {asset.text("slug"), asset.text("id")}:
                return {
                    one: self.points(asset, "points", read=partial(self._attention, one.series))
                    for one in group
                }
        raise UnlistedSymbolError(f"there is no attention to {group[0].own_id}", where=self.name)

    def _attention(self, series: Series, row: "Reader") -> Point | None:
        """Return one value of a day: the field itself, or all around it, may be null."""
        end = row.instant("time", unit=self.config.signal_time) + DAY
        place = row
        for step in series.path.split("."):
            place = place.at(step)
            if place.value is None:
                return None
        return Point(end, place.number())

    async def _events(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        last = group[0].until // DAY
        first = max((min(one.since for one in group) - 1) // DAY, last - self.config.events_days)
        path, post = self.config.events_path, self.config.events_post
        counts, unknown = Counter[tuple[str, int]](), set[int]()
        seen, oldest = set[str](), last
        for page in count(1):
            asked = {"limit": _PAGE, "page": page}
            answer = await (http.post(path, json=asked) if post else http.get(path, params=asked))
            new = {row.text("id"): row for row in answer.read.rows("data")}
            days = [day_of(row) for row in new.values()]
            for (own_id, row), day in zip(new.items(), days, strict=True):
                try:
                    if own_id not in seen and row.text("category") == group[0].series.path:
                        counts.update((slug, day) for slug in slugs_of(row))
                except SchemaChangedError as error:
                    # A count without one of its events is another count.
                    unknown.add(day)
                    self.tell(f"no events are counted on the day of one: {error.message}")
            oldest = min([oldest, *days])
            if len(new) < _PAGE or max(days) < first or new.keys() <= seen:
                break
            seen |= new.keys()
        # Only of days that the list reaches back to is it known that nothing happened.
        whole = [day for day in range(max(first, oldest), last) if day not in unknown]
        return {one: [Point((d + 1) * DAY, counts[one.own_id, d]) for d in whole] for one in group}

    async def _present(self, http: "Http", group: Sequence[Wanted]) -> _Found:
        slug, until = group[0].own_id, group[0].until
        kind = group[0].series.extra["kind"]
        coins = await self._unlocked(http, slug, until) if kind == "unlocks" else 0.0
        if coins is None:
            self.tell(f"{slug}: its schedule does not reach 30 days ahead; no unlocks are read")
            return {one: [] for one in group}
        answer = await http.get("/metrics/v2/assets/details", params={"slugs": slug})
        rows = [row for row in answer.read.rows("data") if row.text("slug") == slug]
        if not rows:
            raise UnlistedSymbolError(f"there is no asset {slug}", where=self.name)
        market = rows[0].at("marketData")
        found: dict[Wanted, list[Point]] = {one: [] for one in group}
        at = min(answer.given_at, until)
        for one, points in found.items():
            if told := market.number(*one.series.path.split("."), null=0.0):
                own = {"unlock_usd": coins * told, "unlock_share": coins / told}
                points.append(Point(at, own.get(one.series.metric, told), answer.fetched_at))
        return found

    async def _unlocked(self, http: "Http", slug: str, now: int) -> float | None:
        """Return the coins that unlock within the coming 30 days; None where it is not known.

        `/unlocks` beside it holds what did unlock, and ends with the present.
        """
        times = {"startTime": iso(now - 2 * DAY), "endTime": iso(now + _AHEAD)}
        path = f"/token-unlocks/v1/assets/{slug}/vesting-schedule"
        try:
            answer = await http.get(path, params=times)
        except UnlistedSymbolError:
            raise UnlistedSymbolError(f"{slug} has no unlock schedule", where=self.name) from None
        return unlocking(answer.read, now, now + _AHEAD)
