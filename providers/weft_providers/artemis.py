"""Fees, users and value of chains and protocols, and their shares among peers, from Artemis."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.foundation.times import DAY, iso, parse_time
from weft.sources.http.api import Api, Headers, QueryKey, RateLimit
from weft.sources.http.errors import NotCoveredError, SourceError, UnlistedSymbolError
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.sources.http import Http, HttpResponse, Reader
    from weft.sources.http.request import Params

_WEEK_LONG = 7 * DAY
_NOT_AVAILABLE = ("metric not", "market data not")
_NOT_YET_AVAILABLE = "latest data not"
PEERS = {
    "chains": (
        *("BTC", "ETH", "BNB", "SOL", "TRX", "AVAX", "ARB", "OP", "POL", "NEAR", "SUI", "APT"),
        *("ADA", "DOT", "ATOM", "TON", "SEI"),
    ),
    "exchanges": ("UNI", "CAKE", "CRV", "SUSHI", "DYDX"),
    "lending": ("AAVE", "COMP", "MORPHO"),
}
Days = dict[int, float]
"""Values by the end of their day or week, in microseconds since 1970."""


def _classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # Artemis documents no bodies of errors.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


def _daily(metric: str, path: str) -> Series:
    return Series(metric=metric, path=path, lag="12h")


def _weekly(metric: str, path: str, **extra: Any) -> Series:  # noqa: ANN401  # as the field of `Series`
    return Series(metric=metric, path=path, step="1w", lag="12h", extra=extra, confirmed=False)


def _share(metric: str, path: str) -> Series:
    return Series(metric=metric, path=path, lag="12h", extra={"share": True})


class Artemis(SeriesProvider):
    """Daily fees, revenue, users, transactions, value locked and market cap.

    The value of a day is true at the end of the day. Artemis does not state when it is published:
    it counts as known twelve hours later. History is recomputed when labels or methods change, and
    there are no vintages: backfilled history is as known today; stored values are kept.

    A share compares an asset with its group in `peers`: on day t it is
    x(t) / (sum of p(t) over the asset and its peers), where x and p are fees, active users, value
    locked or developers. A peer counts from its first value on. A day on which a peer has no value
    has no share, since the sum would be too small. An asset whose peers lack the metric has no
    share. Other peers make other shares: run `weft providers start-over artemis` after a change.

    The paths of commits and developers are not documented for the present host: these metrics and
    the share of developers are requested only if `series` sets their path. The paths of the older
    host are {dev_commits: {path: /weekly-commits}, active_developers: {path: /weekly-active-devs}},
    with rows of date (the first day of the week) and val. A path without a slash is a key of daily
    values from `/supported-metrics/`. Artemis answers HTTP 200 with a text where an asset lacks a
    metric; the metric is then not requested again for a day.

    Documentation: https://docs.artemis.ai
    """

    name = "artemis"
    web: Api = Api(
        base_url="https://data-svc.artemisxyz.com",
        key=QueryKey("APIKey"),
        classify=_classify,
    )
    series = (
        _daily("fees_usd", "FEES"),
        _daily("revenue_usd", "REVENUE"),
        _daily("active_users", "DAU"),
        _daily("transactions", "DAILY_TXNS"),
        _daily("tvl_usd", "TVL"),
        _daily("market_cap_usd", "MC"),
        _share("fees_share", "FEES"),
        _share("activity_share", "DAU"),
        _share("tvl_share", "TVL"),
        _weekly("dev_commits", "/weekly-commits"),
        _weekly("active_developers", "/weekly-active-devs"),
        _weekly("developer_share", "/weekly-active-devs", share=True),
    )

    class Config(SeriesConfig):
        """Options. The path of a series is its key in /supported-metrics/."""

        data_path: str = Field(
            default="/data/api/{metric}/", description="path of daily values, with its last slash"
        )
        peers: Mapping[str, tuple[str, ...]] = Field(
            default=PEERS, description="assets to compare with each other, by name of the group"
        )
        days_per_request: int = Field(
            default=1_000, ge=1, le=1_000, description="days in one answer; longer spans are split"
        )
        requests_per_minute: int = Field(
            default=60, ge=1, description="requests a minute; Artemis publishes no limit"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return Artemis' symbol of an asset; None for the share of an asset without peers."""
        if series.extra.get("share") and self._peer_group(entity) is None:
            self.tell(f"{entity}: it has no peers to compare with; add it to peers", once=True)
            return None
        return super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the shares of one metric among the same peers together, other series apart."""
        groups: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            shared = one.series.extra.get("share")
            among = f"peers {self._peer_group(one.entity)}" if shared else one.entity
            groups.setdefault((one.series.metric, among), []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of one series, or of the shares of several assets."""
        if group[0].series.extra.get("share"):
            return await self._shares(http, group)
        return {one: await self.read(http, one) for one in group}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series over a span."""
        if wanted.series.extra.get("share"):
            return list((await self._shares(http, [wanted])).get(wanted, []))
        asset = wanted.own_id
        histories = await self._histories(http, wanted.series, (asset,), wanted.since, wanted.until)
        days = histories[asset]
        if isinstance(days, UnlistedSymbolError):
            raise days
        return [Point(end, value) for end, value in sorted(days.items())]

    async def _shares(self, http: "Http", group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        series = group[0].series
        peers = self.config.peers[self._peer_group(group[0].entity) or ""]
        ids = {**self.ids, **self.config.ids}
        assets = tuple(dict.fromkeys(ids.get(peer, peer) for peer in peers))
        since = min(one.since for one in group)
        histories = await self._histories(http, series, assets, since - _WEEK_LONG, group[0].until)
        shares: dict[Wanted, list[Point]] = {}
        for one in group:
            days = histories[one.own_id]
            if isinstance(days, UnlistedSymbolError):
                self.give_up([one], days)
                continue
            others = {
                asset: other
                for asset, other in histories.items()
                if asset != one.own_id and isinstance(other, dict)
            }
            values = ((end, share_of(days, [*others.values()], end)) for end in sorted(days))
            # Days before `since` only show which peers had a value by then.
            shares[one] = [
                Point(e, share) for e, share in values if share is not None and e >= since
            ]
            self._note_silent_peers(one, days, others)
        return shares

    def _note_silent_peers(self, one: Wanted, days: Days, others: Mapping[str, Days]) -> None:
        """Name the peers whose values ended more than a week before the asset's."""
        silent = [
            asset
            for asset, other in others.items()
            if days and max(other, default=0) < max(days) - _WEEK_LONG
        ]
        if silent:
            self.tell(
                f"{one.series.metric} {one.entity}: no share, {', '.join(silent)} stopped having "
                "values; remove from peers",
                once=True,
            )

    def _peer_group(self, entity: str) -> str | None:
        """Return the name of the group of peers that an asset is in; None where it is in none."""
        groups = self.config.peers.items()
        return next((name for name, assets in groups if entity in assets), None)

    # Requests

    async def _histories(
        self, http: "Http", series: Series, assets: Sequence[str], since: int, until: int
    ) -> "dict[str, Days | UnlistedSymbolError]":
        """Return the values of each asset, or why it has none."""
        histories: dict[str, Days | UnlistedSymbolError] = {}
        if series.path.startswith("/"):
            for asset in assets:
                histories[asset] = await self._weeks(http, series, asset, since, until)
            return histories
        path = self.config.data_path.format(metric=series.path)
        for params in self._spans(assets, since, until):
            answer = await http.get(path, params=params)
            for asset, part in self._parse_days(answer, series.path, assets).items():
                before = histories.get(asset)
                if isinstance(part, dict) and isinstance(before, dict):
                    before.update(part)
                elif not isinstance(before, dict):
                    histories[asset] = part
        return histories

    def _spans(self, assets: Sequence[str], since: int, until: int) -> "Iterator[Params]":
        """Yield the parameters of the requests for a span of days."""
        # An event time is the end of its day.
        first, last = since // DAY * DAY - DAY, until // DAY * DAY
        # Artemis does not state whether the limit counts the rows of one asset, or of all.
        step = max(self.config.days_per_request // len(assets), 1) * DAY
        for begin in range(first, last + 1, step):
            yield {
                "symbols": ",".join(asset.lower() for asset in assets),
                "startDate": iso(begin)[:10],
                "endDate": iso(min(begin + step - DAY, last))[:10],
                "granularity": "DAY",
                "limit": self.config.days_per_request,
            }

    async def _weeks(
        self, http: "Http", series: Series, asset: str, since: int, until: int
    ) -> "Days | UnlistedSymbolError":
        """Return the weekly values of an ecosystem, or why it has none."""
        params: Params = {
            "ecosystem": asset.lower(),
            "includeForks": "false",
            "daysBack": (until - since) // DAY + 14,
        }
        try:
            answer = await http.get(series.path, params=params)
        except UnlistedSymbolError as error:
            return error
        place = answer.read if isinstance(answer.json, list) else answer.read.at("data")
        return dict(place.collect(read=partial(_parse_row, _WEEK_LONG), lost=self.tell))

    # Answers

    def _parse_days(
        self, answer: "HttpResponse", metric: str, assets: Sequence[str]
    ) -> "dict[str, Days | UnlistedSymbolError]":
        """Return the daily values of each asset in an answer, or why it has none."""
        symbols = answer.read.at("data", "symbols")
        listed = {key.lower(): place for key, place in symbols.fields().items()}
        missing = [asset for asset in assets if asset.lower() not in listed]
        # An answer about other assets only has another form; one without some lacks those.
        if listed and len(missing) == len(assets):
            symbols.at(assets[0].lower())
        histories: dict[str, Days | UnlistedSymbolError] = {}
        for asset in assets:
            if asset in missing:
                # Unknown values: a share without one of the peers would be too large.
                self.tell(f"{metric} {asset}: Artemis does not list {asset}", once=True)
                histories[asset] = {}
            else:
                place = _field(listed[asset.lower()], metric)
                histories[asset] = self._parse_values(answer, place)
        return histories

    def _parse_values(
        self, answer: "HttpResponse", place: "Reader"
    ) -> "Days | UnlistedSymbolError":
        """Return the daily values of one asset; a text in their place means that there are none."""
        if not isinstance(place.value, str):
            return dict(place.collect(read=partial(_parse_row, DAY), lost=self.tell))
        if place.value.lower().startswith(_NOT_YET_AVAILABLE):
            return {}
        if place.value.lower().startswith(_NOT_AVAILABLE):
            text = f"{answer.what}: {answer.redact(place.value)[:80]}"
            return UnlistedSymbolError(text, where=answer.where)
        raise place.unexpected("days, or a text that the metric is not available")


def _field(place: "Reader", name: str) -> "Reader":
    """Return a field by its name in any case: Artemis may not repeat the case of the request."""
    own_name = next((key for key in place.fields() if key.lower() == name.lower()), name)
    return place.at(own_name)


def _parse_row(length: int, row: "Reader") -> tuple[int, float] | None:
    """Return the end of a row's day or week and its value; None where the value is null."""
    if row.at("val").value is None:
        return None
    with row.parsing():
        day = parse_time(f"{row.text('date')[:10]}T00:00:00Z")
    return day + length, row.number("val")


def share_of(values: Days, others: Sequence[Days], end: int) -> float | None:
    """Return an asset's share in the sum of a day; None where the sum is unknown.

    Args:
        values: values of the asset.
        others: values of each peer.
        end: end of the day, microseconds since 1970.
    """
    # A peer without any value may have had some before the span: its absence makes no zero.
    parts = [values, *(days for days in others if not days or min(days) <= end)]
    # A negative value, such as revenue after rewards, is no part of a sum.
    if len(parts) < 2 or any(days.get(end, -1.0) < 0 for days in parts):
        return None
    total = sum(days[end] for days in parts)
    return values[end] / total if total else None
