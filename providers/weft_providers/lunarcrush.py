"""Scores and social activity of coins from LunarCrush."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from pydantic import Field

from weft.components.base import ComponentConfig
from weft.foundation.times import DAY, SECOND
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import (
    NotCoveredError,
    RateLimitedError,
    SchemaChangedError,
    SourceError,
    UnavailableError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.sources.http import Http, HttpResponse, Reader
    from weft.sources.http.request import Params

_MESSAGES = {
    "not found": UnlistedSymbolError,
    "subscription": NotCoveredError,
    "plan": NotCoveredError,
    "limit": RateLimitedError,
}
_PAGE = 1_000


def _classify(status: int, body: Any, _: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    if status == 404:
        return UnlistedSymbolError
    if status != 200 or not body.get("error"):
        return None
    text = str(body["error"]).lower()
    return next((kind for words, kind in _MESSAGES.items() if words in text), UnavailableError)


def _limits(minute: int, day: int) -> tuple[RateLimit, ...]:
    spans = ((minute, 60.0), (day, 86_400.0))
    return tuple(RateLimit(units, seconds, per_request=True) for units, seconds in spans)


class LunarCrush(SeriesProvider):
    """Galaxy Score, AltRank, sentiment, posts, people who post, and the share of spam.

    The value of a day is true at the end of the day and counts as known one hour later; LunarCrush
    publishes it almost at once. The last three days are requested again, since a change of search
    terms rewrites them; larger rewrites of history are not followed. LunarCrush does not state
    whether the history of scores is what it published at the time: each fetch takes the present
    score only, true and known at that instant. Influencers are all who posted in a day, since the
    list of a topic's creators holds only the largest.

    https://github.com/lunarcrush/api
    """

    name = "lunarcrush"
    web = Api(
        base_url="https://lunarcrush.com/api4",
        key=HeaderKey("Authorization", "Bearer "),
        limits=(
            RateLimit(10, 60.0, per_request=True),
            RateLimit(2_000, 86_400.0, per_request=True),
        ),
        classify=_classify,
    )
    series = (
        Series(metric="galaxy_score", path="galaxy_score", step="30m", extra={"now": True}),
        Series(metric="alt_rank", path="alt_rank", step="30m", extra={"now": True}),
        Series(metric="social_sentiment", path="sentiment", factor=0.02),
        Series(metric="social_dominance", path="social_dominance", factor=0.01),
        Series(metric="social_volume", path="posts_active"),
        Series(metric="influencers", path="contributors_created"),
        Series(metric="spam_share", path="spam", extra={"of": "posts_created"}),
    )

    class Config(SeriesConfig):
        """Options."""

        requests_per_minute: int = Field(
            default=10, ge=1, description="requests a minute in the plan"
        )
        requests_per_day: int = Field(default=2_000, ge=1, description="daily limit of the plan")

    config: Config

    def __init__(self, config: ComponentConfig | None = None) -> None:
        super().__init__(config)
        limits = _limits(self.config.requests_per_minute, self.config.requests_per_day)
        self.web = replace(type(self).web, limits=limits)

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return the scores of all coins as one group, and the history of each coin as another."""
        groups: dict[str, list[Wanted]] = {}
        for one in wanted:
            groups.setdefault("" if _is_now(one) else one.own_id, []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of a group."""
        if _is_now(group[0]):
            return await self._scores(http, group)
        first = min(one.since for one in group) - DAY
        params: Params = {
            "bucket": "day",
            "start": first // SECOND,
            "end": group[0].until // SECOND,
        }
        path = f"/public/coins/{group[0].own_id}/time-series/v2"
        read = (await http.get(path, params=params)).read
        generated = read.instant("config", "generated", unit="s")
        return {
            one: self.points(read, "data", read=partial(_parse_day, one.series, generated))
            for one in group
        }

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the values of one series."""
        return list((await self.read_group(http, [wanted]))[wanted])

    async def _scores(self, http: "Http", group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        """Return the present scores, from as many pages of the list of coins as needed."""
        scores: dict[Wanted, list[Point]] = {}
        broken: list[SchemaChangedError] = []
        page, more = 0, True
        while more and len(scores) < len(group):
            params: Params = {"sort": "market_cap_rank", "limit": _PAGE, "page": page}
            answer = await http.get("/public/coins/list/v2", params=params)
            missing = [one for one in group if one not in scores]
            coins = answer.read.collect("data", read=_named, lost=self.tell)
            scores |= _parse_scores(answer, coins, missing, broken)
            page += 1
            more = _has_more(answer.read, page)
            if coins and not more:
                unlisted = [one for one in group if one not in scores]
                if unlisted:
                    absent = UnlistedSymbolError("it is not in the list of coins", where=self.name)
                    self.give_up(unlisted, absent)
        if broken and not any(scores.values()):
            raise broken[0]
        for error in broken:
            self.tell(error.message)
        return scores


def _parse_scores(
    answer: "HttpResponse",
    coins: "Sequence[tuple[set[str], Reader]]",
    wanted: Sequence[Wanted],
    broken: list[SchemaChangedError],
) -> dict[Wanted, list[Point]]:
    """Return the scores of the wanted coins that a page lists; append errors to `broken`."""
    scores: dict[Wanted, list[Point]] = {}
    # Symbols are not unique: the larger coin comes first.
    for names, row in sorted(coins, key=_rank):
        for one in (one for one in wanted if one not in scores and one.own_id in names):
            scores[one] = []
            try:
                value = _value(one.series, row)
            except SchemaChangedError as error:
                broken.append(error)
                continue
            at = min(answer.given_at, one.until)
            scores[one] += [] if value is None else [Point(at, value, answer.fetched_at)]
    return scores


def _has_more(read: "Reader", pages: int) -> bool:
    """Return whether the list of coins goes on after some pages."""
    size = len(read.rows("data"))
    if not read.has("config", "total_rows"):
        return size >= _PAGE
    return size > 0 and pages * _PAGE < read.integer("config", "total_rows")


def _is_now(wanted: Wanted) -> bool:
    return bool(wanted.series.extra.get("now"))


def _named(row: "Reader") -> "tuple[set[str], Reader]":
    """Return the names of a coin in the list, its id and its symbol if it has one, and its row."""
    symbol = {row.text("symbol")} if row.at("symbol").value is not None else set()
    return {str(row.integer("id")), *symbol}, row


def _rank(named: "tuple[set[str], Reader]") -> float:
    _, row = named
    return row.number("market_cap_rank") if row.has("market_cap_rank") else inf


def _parse_day(series: Series, generated: int, row: "Reader") -> Point | None:
    """Return the value of a day; None for the running day, and for early days without the field."""
    end = row.instant("time", unit="s") + DAY
    value = _value(series, row) if end <= generated else None
    return None if value is None else Point(end, value)


def _value(series: Series, row: "Reader") -> float | None:
    places = [row.at(name) for name in (series.path, series.extra.get("of", series.path))]
    if any(place.value is None for place in places):
        return None
    value, of = (place.number() for place in places)
    if "of" in series.extra:
        return value / of if of else None
    # Sentiment is the share of favourable posts in percent.
    return value - 50.0 if series.metric == "social_sentiment" else value
