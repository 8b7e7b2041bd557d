"""Fees, users and value of chains and protocols, and their share among peers, from Artemis."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from weft.foundation.times import DAY, iso
from weft.sources.http.api import Api, QueryKey, RateLimit
from weft.sources.http.errors import UnlistedSymbolError
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted
from weft_providers.artemis.series import (
    PEERS,
    WEEK_LONG,
    Days,
    classify,
    daily,
    named_place,
    peers_of,
    share_among,
    share_of,
    values_of,
    weekly,
    weeks_of,
)

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.sources.http import Http
    from weft.sources.http.request import Params


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
