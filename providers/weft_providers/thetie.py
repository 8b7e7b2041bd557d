"""The tone of the news and of posts about each asset, from The TIE."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from weft.foundation.times import DAY, iso, parse_time
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import NotCoveredError, SourceError, UnlistedSymbolError
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.components.provider import Request
    from weft.foundation.clock import Clock
    from weft.sources.http import Http, HttpResponse, Reader
    from weft.sources.http.request import Params


def classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return which error a status means."""
    # Its bodies are not documented.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


class Scored(NamedTuple):
    """A score of a news item, from -1 to 1; the instant is when it was computed."""

    instant: int
    item: str
    score: float


class About(NamedTuple):
    """What a news item is about: tickers of coins, and names of people, firms and topics."""

    coins: frozenset[str] = frozenset()
    entities: frozenset[str] = frozenset()


def social(metric: str, **extra: Any) -> Series:  # noqa: ANN401  # as the field of `Series`
    """Return a series made of posts."""
    own = {"kind": "social", "param": "coin", **extra}
    return Series(metric=metric, lag="1h", extra=own, confirmed=False)


def endpoint_of(series: Series) -> tuple[str, str]:
    """Return path and field that the path of a series of posts is made of."""
    path, _, field = series.path.rpartition(".")
    return path or field, field


def stamp_of(row: "Reader") -> int:
    """Return the instant of a row, microseconds since 1970."""
    with row.parsing():
        return parse_time(f"{row.text('timestamp').replace(' ', 'T')}Z")


def names_in(row: "Reader", field: str, spelled: Callable[[str], str]) -> frozenset[str]:
    """Return the names in a field of a row, each spelled in one way."""
    return frozenset(spelled(place.text()) for place in row.rows(field))


def post_of(wanted: Wanted, row: "Reader") -> Iterable[float]:
    """Yield the value of a post, scaled to the range of its series."""
    _, field = endpoint_of(wanted.series)
    if row.at(field).value is None:
        return
    value, extra = row.number(field), wanted.series.extra
    if "neutral" in extra:
        value = (value - extra["neutral"]) / extra["span"]
        if not -1 <= value <= 1:
            raise row.at(field).unexpected("a score on its scale")
    yield value


def days_of(
    wanted: Wanted, scored: Sequence[Scored], days: range, about: Mapping[str, About]
) -> Iterable[Point]:
    """Yield what a day's items say of one asset, by what is known about each item."""
    coin, nothing = wanted.own_id.upper(), About()
    # Sorted by time, so that the last score of an item stays.
    last: dict[int, dict[str, float]] = {day: {} for day in days}
    every: dict[int, set[str]] = {day: set() for day in days}
    for one in scored:
        day = one.instant // DAY * DAY
        if day in last:
            every[day].add(one.item)
            if coin in about.get(one.item, nothing).coins:
                last[day][one.item] = one.score
    for day, scores in last.items():
        value: float | None
        match wanted.series.metric:
            case "news_volume":
                value = float(len(scores))
            case "news_dominance":
                value = len(scores) / len(every[day]) if every[day] else None
            case "news_entities":
                value = float(len({n for item in scores for n in about[item].entities}))
            case _:
                value = sum(scores.values()) / len(scores) if scores else None
        if value is not None:
            yield Point(day + DAY, value)


def rows_in(answer: "HttpResponse", field: str) -> "list[Reader]":
    """Return the rows of an answer, which may be the answer itself."""
    if isinstance(answer.json, list):
        return answer.read.rows()
    return answer.read.rows(field)


def scored_in(row: "Reader", neutral: float, span: float) -> Scored:
    """Return an item's score, -1 to 1."""
    score = (row.number("sentiment_score") - neutral) / span
    if not -1 <= score <= 1:
        raise row.at("sentiment_score").unexpected("a score on its scale")
    return Scored(stamp_of(row), row.text("link_hash"), score)


def scores_in(answer: "HttpResponse", config: Any) -> list[Scored]:  # noqa: ANN401  # the provider's own options
    """Return the scores of an answer, the oldest first."""
    rows = rows_in(answer, config.rows_field)
    return sorted(scored_in(row, config.neutral_score, config.score_span) for row in rows)


def last_of_days(answer: "HttpResponse", field: str) -> "dict[int, Reader]":
    """Return the last row of each day, by the day's first instant."""
    rows = sorted(
        ((stamp_of(row), row) for row in rows_in(answer, field)), key=lambda told: told[0]
    )
    # Sorted by time, so that the last row of a day stays.
    return {instant // DAY * DAY: row for instant, row in rows}


_MOST_REMEMBERED = 50_000


class TheTie(SeriesProvider):
    """The mean tone of a day's news about an asset, how much there was, and the tone of posts.

    The source stamps a score with the instant it was computed at, which is when it could be known;
    a day's value is true at its end, and counts as known an hour later. An item scored again
    counts with the last score of its day. A day that the answer does not reach back to the
    beginning of is left out, and so is the tone of a day without news. A day has no items about an
    asset only if there ever was one: of an asset that none has been about nothing is known, which
    is told.

    Needs a contract. Which coins an item is about comes from a second route, whose path and fields
    are unconfirmed: they may be set in the config. Not documented publicly at all, and asked for
    only where `series` names the path, are

    - the names in an item: {news_entities: {path: entities}}, a field beside the coins that is a
      list of texts; a day's number is that of different names in all items about the asset;
    - posts: {social_sentiment: {path: /v1/somewhere.some_field}}, and so for social_volume and
      social_dominance: rows as of news, each with its `timestamp`, of one coin that the parameter
      `coin` names (another: {extra: {param: symbol}}). The last row of a day is its value, known
      an hour after the day. Tone is 0 to 100, 50 being neutral (extra: neutral, span); of a
      dominance in percent the factor is 0.01.

    Documentation: https://docs.thetie.io
    """

    name = "thetie"
    web: Api = Api(
        base_url="https://terminal-api.thetie.io",
        key=HeaderKey("Authorization", "Bearer "),
        classify=classify,
    )
    series = (
        Series(metric="news_sentiment", path="score", lag="1h"),
        Series(metric="news_volume", path="count", lag="1h"),
        Series(metric="news_dominance", path="share", lag="1h"),
        Series(metric="news_entities", lag="1h", confirmed=False),
        social("social_sentiment", neutral=50.0, span=50.0),
        social("social_volume"),
        social("social_dominance"),
    )

    class Config(SeriesConfig):
        """Options. Paths and fields that are unconfirmed are named here."""

        sentiment_path: str = Field(default="/v1/news_sentiment", description="where scores are")
        items_per_request: int = Field(default=1_000, ge=1, description="scores asked for at once")
        since_param: str | None = Field(
            default=None,
            description="parameter that narrows scores to those since, if there is one",
        )
        metadata_path: str = Field(
            default="/v1/news_metadata", description="where it is told what items are about"
        )
        hash_param: str = Field(default="link_hash", description="its parameter, a list of items")
        hashes_per_request: int = Field(default=100, ge=1, description="items asked about at once")
        coins_field: str = Field(default="coins", description="its field, a list of tickers")
        rows_field: str = Field(
            default="data", description="where the rows of an answer are; a bare list will do"
        )
        neutral_score: float = Field(default=3.0, description="what is neither good nor bad")
        score_span: float = Field(default=2.0, gt=0, description="from neutral to the best")
        requests_per_minute: int = Field(default=60, ge=1, description="limits are not published")

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)
        self._about: dict[str, About] = {}
        self._seen: set[str] = set()

    async def begin(self, request: "Request", http: "Http", clock: "Clock") -> None:
        """Learn which assets there has been news about."""
        of_news = {series.metric for series in self.series if "kind" not in series.extra}
        self._seen |= {key.entity for key in request.known_facts if key.metric in of_news}

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return all news together, told without regard to what it is about; posts by asset."""
        together: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            posts = one.series.extra.get("kind") == "social"
            call = (endpoint_of(one.series)[0], one.own_id) if posts else ("", "")
            together.setdefault(call, []).append(one)
        return together.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the days of every asset, from the items of all, or those of one asset's posts."""
        if group[0].series.extra.get("kind") == "social":
            return await self._posts(http, group)
        params = self._asked(min(one.since for one in group))
        answer = await http.get(self.config.sentiment_path, params=params)
        scored = scores_in(answer, self.config)
        if not scored:
            return {}
        await self._look_up(http, {one.item for one in scored})
        self._tell_unknown(group)
        # The oldest item may not be the first of its day.
        first = -(-scored[0].instant // DAY) * DAY
        days = range(first, group[0].until // DAY * DAY, DAY)
        known = [one for one in group if self._is_known(one)]
        return {one: list(days_of(one, scored, days, self._about)) for one in known}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the days of one series."""
        return list((await self.read_group(http, [wanted])).get(wanted, []))

    def _asked(self, since: int) -> "Params":
        params: Params = {"limit": self.config.items_per_request}
        if self.config.since_param:
            text = iso(since // DAY * DAY - DAY)[:19].replace("T", " ")
            return {**params, self.config.since_param: text}
        return params

    def _is_known(self, wanted: Wanted) -> bool:
        return not self._seen.isdisjoint({wanted.own_id.upper(), wanted.entity})

    def _tell_unknown(self, group: Sequence[Wanted]) -> None:
        for one in group:
            if not self._is_known(one):
                self.tell(
                    f"{one.entity}: unknown, none of the latest news is about it; it is looked for "
                    f"again in each round. If it has another name there, set ids.{one.entity}",
                    once=True,
                )

    async def _posts(self, http: "Http", group: Sequence[Wanted]) -> Mapping[Wanted, list[Point]]:
        path, _ = endpoint_of(group[0].series)
        asked = {group[0].series.extra["param"]: group[0].own_id}
        params = {**self._asked(min(one.since for one in group)), **asked}
        answer = await http.get(path, params=params)
        last = last_of_days(answer, self.config.rows_field)
        return {
            one: [
                Point(day + DAY, value) for day, row in last.items() for value in post_of(one, row)
            ]
            for one in group
        }

    async def _look_up(self, http: "Http", items: set[str]) -> None:
        """Learn what items are about."""
        missing = sorted(items - self._about.keys())
        size = self.config.hashes_per_request
        for begin in range(0, len(missing), size):
            part = missing[begin : begin + size]
            params: Params = {self.config.hash_param: ",".join(part)}
            answer = await http.get(self.config.metadata_path, params=params)
            rows = {row.text("link_hash"): row for row in rows_in(answer, self.config.rows_field)}
            if rows and rows.keys().isdisjoint(part):
                raise answer.read.unexpected("about the items that were asked for")
            for item, row in rows.items():
                coins = names_in(row, self.config.coins_field, str.upper)
                own = self.config.series.get("news_entities")
                entities = (
                    names_in(row, own.path, str.casefold) if own and own.path else frozenset()
                )
                self._about[item] = About(coins, entities)
                self._seen |= coins
        for item in list(self._about)[: max(0, len(self._about) - _MOST_REMEMBERED)]:
            if item not in items:
                del self._about[item]
