"""The tone of the news and of posts about each asset, from The TIE."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from weft.foundation.times import DAY, iso, parse_time
from weft.sources.http.api import Api, HeaderKey, Headers, RateLimit
from weft.sources.http.errors import (
    NotCoveredError,
    SchemaChangedError,
    SourceError,
    UnlistedSymbolError,
)
from weft.sources.series import Point, Series, SeriesConfig, SeriesProvider, Wanted

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.components.provider import Request
    from weft.foundation.clock import Clock
    from weft.sources.http import Http, HttpResponse, Reader
    from weft.sources.http.request import Params

_MOST_REMEMBERED = 50_000


def _classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # The TIE documents no bodies of errors.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


class Scored(NamedTuple):
    """The score of a news item, from -1 to 1, at the instant The TIE stamps it with."""

    instant: int
    item: str
    score: float


class Subjects(NamedTuple):
    """Subjects of a news item: tickers of coins, and names of people, firms and topics."""

    coins: frozenset[str] = frozenset()
    entities: frozenset[str] = frozenset()


def _social(metric: str, **extra: Any) -> Series:  # noqa: ANN401  # as the field of `Series`
    extra = {"kind": "social", "param": "coin", **extra}
    return Series(metric=metric, lag="1h", extra=extra, confirmed=False)


class TheTie(SeriesProvider):
    """The mean tone of a day's news about an asset, the number of items, and the tone of posts.

    The TIE stamps each score; two versions of its documentation call the stamp the time of the
    calculation, or of the publication. The value of a day is true at the end of the day and counts
    as known one hour later, under both readings. An item that is scored again counts with the last
    score of its day. A day is left out where the answer does not reach back to its start; a day
    without news has no tone. An asset that no item has ever been about has no values; a line
    names it.

    Needs a contract. The coins of an item come from a second route; its path and fields are not
    confirmed and can be set in the config. Two groups of metrics are not documented publicly, and
    are requested only if `series` sets their path:

    - the names in an item: {news_entities: {path: entities}}, a field beside the coins that is a
      list of texts; the value of a day is the number of different names in items about the asset;
    - posts: {social_sentiment: {path: /v1/somewhere.some_field}}, likewise social_volume and
      social_dominance: rows with a `timestamp`, of the coin that the parameter `coin` names
      (another parameter: {extra: {param: symbol}}). The last row of a day is its value, known one
      hour after the day. Tone ranges from 0 to 100, 50 is neutral (extra: neutral, span); for a
      dominance in percent set factor: 0.01.

    Documentation: https://docs.thetie.io
    """

    name = "thetie"
    web: Api = Api(
        base_url="https://terminal-api.thetie.io",
        key=HeaderKey("Authorization", "Bearer "),
        classify=_classify,
    )
    series = (
        Series(metric="news_sentiment", path="score", lag="1h"),
        Series(metric="news_volume", path="count", lag="1h"),
        Series(metric="news_dominance", path="share", lag="1h"),
        Series(metric="news_entities", lag="1h", confirmed=False),
        _social("social_sentiment", neutral=50.0, span=50.0),
        _social("social_volume"),
        _social("social_dominance"),
    )

    class Config(SeriesConfig):
        """Options. Unconfirmed paths and fields are set here."""

        sentiment_path: str = Field(default="/v1/news_sentiment", description="path of scores")
        items_per_request: int = Field(default=1_000, ge=1, description="scores in one answer")
        since_param: str | None = Field(
            default=None,
            description="parameter that limits scores to those since a time, if there is one",
        )
        metadata_path: str = Field(
            default="/v1/news_metadata", description="path of the coins that items are about"
        )
        hash_param: str = Field(default="link_hash", description="its parameter, a list of items")
        hashes_per_request: int = Field(default=100, ge=1, description="items in one request")
        coins_field: str = Field(default="coins", description="its field, a list of tickers")
        rows_field: str = Field(
            default="data", description="field with the rows of an answer; a bare list works too"
        )
        neutral_score: float = Field(default=3.0, description="score of neutral news")
        score_span: float = Field(
            default=2.0, gt=0, description="from the neutral to the best score"
        )
        requests_per_minute: int = Field(
            default=60, ge=1, description="requests a minute; The TIE publishes no limit"
        )

    config: Config

    def __init__(self, config: "ComponentConfig | None" = None) -> None:
        super().__init__(config)
        limits = (RateLimit(self.config.requests_per_minute, 60),)
        self.web = replace(type(self).web, limits=limits)
        self._subjects: dict[str, Subjects] = {}
        self._seen: set[str] = set()
        self._incomplete: set[int | None] = set()

    async def begin(self, request: "Request", http: "Http", clock: "Clock") -> None:
        """Learn from stored facts which assets news has been about."""
        of_news = {series.metric for series in self.series if not _is_social(series)}
        self._seen |= {key.entity for key in request.known_facts if key.metric in of_news}

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return all news together, since one answer covers all assets; posts by asset."""
        groups: dict[tuple[str, str], list[Wanted]] = {}
        for one in wanted:
            path, _ = _endpoint(one.series)
            call = (path, one.own_id) if _is_social(one.series) else ("", "")
            groups.setdefault(call, []).append(one)
        return groups.values()

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the days of every asset from the news of all, or of one asset from its posts."""
        params = self._params(min(one.since for one in group))
        if _is_social(group[0].series):
            path, _ = _endpoint(group[0].series)
            params = {**params, group[0].series.extra["param"]: group[0].own_id}
            return self._parse_posts(await http.get(path, params=params), group)
        answer = await http.get(self.config.sentiment_path, params=params)
        self._incomplete = set()
        scores = self._parse_scores(answer)
        if not scores:
            return {}
        broken = await self._look_up(http, {score.item for score in scores})
        self._incomplete |= {None} if None in broken else set()
        self._incomplete |= {_day_of(score) for score in scores if score.item in broken}
        self._note_unknown(group)
        # The oldest item may not be the first of its day.
        first = -(-scores[0].instant // DAY) * DAY
        # Without an item that was left out, counts and means of its day are wrong.
        days = [
            day
            for day in range(first, group[0].until // DAY * DAY, DAY)
            if not self._incomplete & {day, None}
        ]
        return {
            one: list(_days(one, scores, days, self._subjects))
            for one in group
            if self._is_known(one)
        }

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the days of one series."""
        return list((await self.read_group(http, [wanted])).get(wanted, []))

    def _params(self, since: int) -> "Params":
        params: Params = {"limit": self.config.items_per_request}
        if self.config.since_param:
            text = iso(since // DAY * DAY - DAY)[:19].replace("T", " ")
            return {**params, self.config.since_param: text}
        return params

    async def _look_up(self, http: "Http", items: set[str]) -> set[str | None]:
        """Ask for the subjects of items that are not remembered.

        Return the items whose subjects are broken; None is an item without a name.
        """
        broken: set[str | None] = set()
        missing = sorted(items - self._subjects.keys())
        size = self.config.hashes_per_request
        for begin in range(0, len(missing), size):
            part = missing[begin : begin + size]
            params: Params = {self.config.hash_param: ",".join(part)}
            answer = await http.get(self.config.metadata_path, params=params)
            subjects = self._parse_subjects(answer, part, broken)
            self._subjects |= subjects
            self._seen |= {coin for subject in subjects.values() for coin in subject.coins}
        for item in list(self._subjects)[: max(0, len(self._subjects) - _MOST_REMEMBERED)]:
            if item not in items:
                del self._subjects[item]
        return broken

    def _is_known(self, wanted: Wanted) -> bool:
        return not self._seen.isdisjoint({wanted.own_id.upper(), wanted.entity})

    def _note_unknown(self, group: Sequence[Wanted]) -> None:
        for one in group:
            if not self._is_known(one):
                self.tell(
                    f"{one.entity}: unknown, none of the latest news is about it; each round looks "
                    f"again. If The TIE uses another name, set ids.{one.entity}",
                    once=True,
                )

    # Answers

    def _rows(self, answer: "HttpResponse") -> "Reader":
        """Return the list of rows in an answer, which may be the answer itself."""
        is_list = isinstance(answer.json, list)
        return answer.read if is_list else answer.read.at(self.config.rows_field)

    def _parse_scores(self, answer: "HttpResponse") -> list[Scored]:
        """Return the scores in an answer, oldest first, and note days that lack an item."""

        def parse(row: "Reader") -> Scored:
            try:
                return self._parse_score(row)
            except SchemaChangedError:
                self._incomplete.add(_day_or_none(row))
                raise

        scores = self._rows(answer).collect(read=parse, lost=self.tell)
        return sorted(scores)

    def _parse_score(self, row: "Reader") -> Scored:
        score = row.number("sentiment_score")
        score = (score - self.config.neutral_score) / self.config.score_span
        if not -1 <= score <= 1:
            raise row.at("sentiment_score").unexpected("a score on its scale")
        return Scored(_stamp(row), row.text("link_hash"), score)

    def _parse_subjects(
        self, answer: "HttpResponse", items: Sequence[str], broken: set[str | None]
    ) -> dict[str, Subjects]:
        """Return the subjects of items, and add to `broken` the items whose subjects are broken.

        Raises:
            SchemaChangedError: the answer is about other items only.
        """

        def parse(row: "Reader") -> tuple[str, Subjects]:
            try:
                return self._parse_subject(row)
            except SchemaChangedError:
                name = row.at("link_hash").value
                broken.add(name if isinstance(name, str) else None)
                raise

        subjects = dict(self._rows(answer).collect(read=parse, lost=self.tell))
        if subjects and subjects.keys().isdisjoint(items):
            raise answer.read.unexpected("about the requested items")
        return subjects

    def _parse_subject(self, row: "Reader") -> tuple[str, Subjects]:
        coins = _names(row, self.config.coins_field, str.upper)
        options = self.config.series.get("news_entities")
        path = options.path if options else None
        entities = _names(row, path, str.casefold) if path else frozenset[str]()
        return row.text("link_hash"), Subjects(coins, entities)

    def _parse_posts(
        self, answer: "HttpResponse", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the values of the last row of each day."""
        stamped = self._rows(answer).collect(read=_stamped, lost=self.tell)
        # Sorted by time, so that the last row of a day stays.
        ordered = sorted(stamped, key=lambda pair: pair[0])
        last = {instant // DAY * DAY: row for instant, row in ordered}
        return {one: self.points_in([*last.values()], partial(_post, one.series)) for one in group}


def _is_social(series: Series) -> bool:
    return series.extra.get("kind") == "social"


def _endpoint(series: Series) -> tuple[str, str]:
    """Return the two parts of the path of a series of posts: path and field."""
    path, _, field = series.path.rpartition(".")
    return path or field, field


def _stamp(row: "Reader") -> int:
    """Return the instant of a row, microseconds since 1970; its text is UTC and lacks a zone."""
    with row.parsing():
        return parse_time(f"{row.text('timestamp').replace(' ', 'T')}Z")


def _day_of(score: Scored) -> int:
    return score.instant // DAY * DAY


def _day_or_none(row: "Reader") -> int | None:
    """Return the day of an item; None where its time is broken."""
    try:
        return _stamp(row) // DAY * DAY
    except SchemaChangedError:
        return None


def _stamped(row: "Reader") -> "tuple[int, Reader]":
    return _stamp(row), row


def _names(row: "Reader", field: str, spelled: Callable[[str], str]) -> frozenset[str]:
    """Return the names in a field, each spelled in one way."""
    return frozenset(spelled(place.text()) for place in row.rows(field))


def _post(series: Series, row: "Reader") -> Point | None:
    """Return the value of a day, scaled to the range of its series; None where it is null."""
    _, field = _endpoint(series)
    if row.at(field).value is None:
        return None
    value, extra = row.number(field), series.extra
    if "neutral" in extra:
        value = (value - extra["neutral"]) / extra["span"]
        if not -1 <= value <= 1:
            raise row.at(field).unexpected("a score on its scale")
    return Point(_stamp(row) // DAY * DAY + DAY, value)


def _days(
    wanted: Wanted, scores: Sequence[Scored], days: Sequence[int], subjects: Mapping[str, Subjects]
) -> Iterable[Point]:
    """Yield the value of each day, from the day's items about one asset.

    Args:
        wanted: the series.
        scores: of all items, oldest first.
        days: starts of the days, microseconds since 1970.
        subjects: by item; an item without an entry is about no asset.
    """
    coin, nothing = wanted.own_id.upper(), Subjects()
    # Oldest first, so that the last score of an item stays.
    last: dict[int, dict[str, float]] = {day: {} for day in days}
    items: dict[int, set[str]] = {day: set() for day in days}
    for score in scores:
        day = _day_of(score)
        if day in last:
            items[day].add(score.item)
            if coin in subjects.get(score.item, nothing).coins:
                last[day][score.item] = score.score
    for day, by_item in last.items():
        value: float | None
        match wanted.series.metric:
            case "news_volume":
                value = float(len(by_item))
            case "news_dominance":
                value = len(by_item) / len(items[day]) if items[day] else None
            case "news_entities":
                value = float(len({name for item in by_item for name in subjects[item].entities}))
            case _:
                value = sum(by_item.values()) / len(by_item) if by_item else None
        if value is not None:
            yield Point(day + DAY, value)
