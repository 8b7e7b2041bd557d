"""Fees, users and value of chains and protocols, and their share among peers, from Artemis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
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

NOT_THERE = ("metric not", "market data not")
NOT_YET = "latest data not"
WEEK_LONG = 7 * DAY
PEERS = {
    "chains": (
        *("BTC", "ETH", "BNB", "SOL", "TRX", "AVAX", "ARB", "OP", "POL", "NEAR", "SUI", "APT"),
        *("ADA", "DOT", "ATOM", "TON", "SEI"),
    ),
    "exchanges": ("UNI", "CAKE", "CRV", "SUSHI", "DYDX"),
    "lending": ("AAVE", "COMP", "MORPHO"),
}
Days = dict[int, float]


def classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return which error a status means."""
    # Its bodies are not documented.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


def daily(metric: str, path: str) -> Series:
    """Return a series of one value a day."""
    return Series(metric=metric, path=path, lag="12h")


def weekly(metric: str, path: str, **extra: Any) -> Series:  # noqa: ANN401  # as the field of `Series`
    """Return a series of one value a week."""
    return Series(metric=metric, path=path, step="1w", lag="12h", extra=extra, confirmed=False)


def share_among(metric: str, path: str) -> Series:
    """Return a series of an asset's share among its peers."""
    return Series(metric=metric, path=path, lag="12h", extra={"share": True})


def values_of(answer: "HttpResponse", place: "Reader") -> "Days | UnlistedSymbolError":
    """Return the days in an answer; an error stands there as a text."""
    if not isinstance(place.value, str):
        return dict(value_in(row, DAY) for row in place.rows() if row.at("val").value is not None)
    if place.value.lower().startswith(NOT_YET):
        return {}
    if place.value.lower().startswith(NOT_THERE):
        told = f"{answer.what}: {answer.redact(place.value)[:80]}"
        return UnlistedSymbolError(told, where=answer.where)
    raise place.unexpected("days, or one of the texts that say there are none")


def share_of(own: Days, others: Sequence[Days], end: int) -> float | None:
    """Return an asset's part of a day's sum; None where the sum is not known."""
    # Of whom nothing came at all it is not known that there was nothing yet.
    parts = [own, *(days for days in others if not days or min(days) <= end)]
    # What is below zero, as revenue after rewards may be, is no part of a whole.
    if len(parts) < 2 or any(days.get(end, -1.0) < 0 for days in parts):
        return None
    whole = sum(days[end] for days in parts)
    return own[end] / whole if whole else None


def named_place(place: "Reader", name: str) -> "Reader":
    """Return a field whose name may be spelled in other cases than it was asked for."""
    fields = place.fields()
    own = next((key for key in fields if key.lower() == name.lower()), name)
    return place.at(own)


def value_in(row: "Reader", length: int) -> tuple[int, float]:
    """Return the end of a row's span and its value."""
    with row.parsing():
        day = parse_time(f"{row.text('date')[:10]}T00:00:00Z")
    return day + length, row.number("val")


def peers_of(peers: Mapping[str, Sequence[str]], entity: str) -> str | None:
    """Return under which name an asset stands among its peers; None where it has none."""
    return next((name for name, those in peers.items() if entity in those), None)


async def weeks_of(
    http: "Http", series: Series, name: str, since: int, until: int
) -> "Days | UnlistedSymbolError":
    """Return the weekly values of an ecosystem, or why there are none."""
    days_back = (until - since) // DAY + 14
    params: Params = {"ecosystem": name.lower(), "includeForks": "false", "daysBack": days_back}
    try:
        answer = await http.get(series.path, params=params)
    except UnlistedSymbolError as error:
        return error
    rows = answer.read.rows() if isinstance(answer.json, list) else answer.read.rows("data")
    return dict(value_in(row, WEEK_LONG) for row in rows if row.at("val").value is not None)


class Artemis(SeriesProvider):
    """Fees, revenue, users, transactions, value locked and market cap, a value a day.

    A day's value is true at its end. The hour it appears at is not stated: it counts as known
    twelve hours later. History is recomputed when labels or methods change, and there are no
    vintages: what is backfilled is as known today, what is stored first is kept.

    A share compares an asset with those it stands beside in `peers`: on a day t it is
    x(t) / (sum of p(t) over the asset and its peers), where x and p are fees, active users, value
    locked or developers. Each counts from its first value on; a day on which one of them has none
    is left out, for the sum would be too small. Where nobody else has the metric there is no share.
    Other peers make other shares: start afresh when changing them.

    Commits and developers, and shares of developers, are asked for only where `series` names their
    path, since on the present host it is not documented publicly: of the older host's
    {dev_commits: {path: /weekly-commits}, active_developers: {path: /weekly-active-devs}}, rows of
    date and val are expected, a date being the first of its week; a name without a slash is a key
    as `/supported-metrics/` spells it, of a value a day. A metric that Artemis does not have for an
    asset is told so with HTTP 200, and not asked for again. Documentation: https://docs.artemis.ai
    """

    name = "artemis"
    web: Api = Api(
        base_url="https://data-svc.artemisxyz.com",
        key=QueryKey("APIKey"),
        classify=classify,
    )
    series = (
        daily("fees_usd", "FEES"),
        daily("revenue_usd", "REVENUE"),
        daily("active_users", "DAU"),
        daily("transactions", "DAILY_TXNS"),
        daily("tvl_usd", "TVL"),
        daily("market_cap_usd", "MC"),
        share_among("fees_share", "FEES"),
        share_among("activity_share", "DAU"),
        share_among("tvl_share", "TVL"),
        weekly("dev_commits", "/weekly-commits"),
        weekly("active_developers", "/weekly-active-devs"),
        weekly("developer_share", "/weekly-active-devs", share=True),
    )

    class Config(SeriesConfig):
        """Options. The path of a series is its key, as /supported-metrics/ spells it."""

        data_path: str = Field(
            default="/data/api/{metric}/", description="with the slash it ends with"
        )
        peers: Mapping[str, tuple[str, ...]] = Field(
            default=PEERS, description="who is compared with whom, by a name of your own"
        )
        days_per_request: int = Field(
            default=1_000, ge=1, le=1_000, description="longer spans are asked for in parts"
        )
        requests_per_minute: int = Field(default=60, ge=1, description="limits are not published")

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)

    def own_id(self, series: Series, entity: str) -> str | None:
        """Return what Artemis calls an asset; None for a share of one without peers."""
        if series.extra.get("share") and peers_of(self.config.peers, entity) is None:
            self.tell(f"{entity}: it has no peers to be compared with; name it in peers", once=True)
            return None
        return super().own_id(series, entity)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return together the shares of one metric among the same peers; all else alone."""
        together: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            shared = one.series.extra.get("share")
            among = f"peers {peers_of(self.config.peers, one.entity)}" if shared else one.entity
            together.setdefault((one.series.metric, among), []).append(one)
        return together.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of one series, or of a share of several assets."""
        if group[0].series.extra.get("share"):
            return await self._shares(http, group)
        return {one: await self.read(http, one) for one in group}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the days of a span, asked for in parts."""
        if wanted.series.extra.get("share"):
            return list((await self._shares(http, [wanted])).get(wanted, []))
        names = (wanted.own_id,)
        days = (await self._histories(http, wanted.series, names, wanted.since, wanted.until))[
            names[0]
        ]
        if isinstance(days, UnlistedSymbolError):
            raise days
        return [Point(end, value) for end, value in sorted(days.items())]

    async def _shares(self, http: "Http", group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        series = group[0].series
        peers = self.config.peers[peers_of(self.config.peers, group[0].entity) or ""]
        ids = {**self.ids, **self.config.ids}
        names = tuple(dict.fromkeys(ids.get(peer, peer) for peer in peers))
        since = min(one.since for one in group)
        told = await self._histories(http, series, names, since - WEEK_LONG, group[0].until)
        found: dict[Wanted, list[Point]] = {}
        for one in group:
            own = told[one.own_id]
            if isinstance(own, UnlistedSymbolError):
                self.give_up([one], own)
                continue
            others = {n: d for n, d in told.items() if n != one.own_id and isinstance(d, dict)}
            shares = ((end, share_of(own, [*others.values()], end)) for end in sorted(own))
            # Before that, it is not known who had begun.
            found[one] = [Point(e, s) for e, s in shares if s is not None and e >= since]
            late = [
                n for n, d in others.items() if own and max(d, default=0) < max(own) - WEEK_LONG
            ]
            if late:
                told_late = f"{', '.join(late)} tell nothing any more; take them out of peers"
                self.tell(f"{series.metric} {one.entity}: {told_late}", once=True)
        return found

    async def _histories(
        self, http: "Http", series: Series, names: Sequence[str], since: int, until: int
    ) -> "dict[str, Days | UnlistedSymbolError]":
        """Return values by the end of their day or week, or why there are none, by asset."""
        told: dict[str, Days | UnlistedSymbolError] = {}
        if series.path.startswith("/"):
            for name in names:
                told[name] = await weeks_of(http, series, name, since, until)
            return told
        # An event time is the end of its day.
        first, last = since // DAY * DAY - DAY, until // DAY * DAY
        # It is not stated whether the limit is on rows of each asset, or of all of them.
        step = max(self.config.days_per_request // len(names), 1) * DAY
        for begin in range(first, last + 1, step):
            params: Params = {
                "symbols": ",".join(name.lower() for name in names),
                "startDate": iso(begin)[:10],
                "endDate": iso(min(begin + step - DAY, last))[:10],
                "granularity": "DAY",
                "limit": self.config.days_per_request,
            }
            path = self.config.data_path.format(metric=series.path)
            answer = await http.get(path, params=params)
            symbols = answer.read.at("data", "symbols")
            for name in names:
                part = values_of(answer, named_place(named_place(symbols, name), series.path))
                before = told.get(name)
                if isinstance(part, dict) and isinstance(before, dict):
                    before.update(part)
                elif not isinstance(before, dict):
                    told[name] = part
        return told
