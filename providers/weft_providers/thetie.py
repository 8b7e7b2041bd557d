"""The tone of the news about each asset, from The TIE."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import Field

from weft.components.series import Point, Series, SeriesConfig, SeriesProvider, Wanted
from weft.http.api import Api, HeaderKey, Headers, RateLimit
from weft.http.errors import NotCoveredError, SourceError, UnlistedSymbolError
from weft.times import DAY, iso, parse_time

if TYPE_CHECKING:
    from weft.components.base import ComponentConfig
    from weft.http import Answer, Http, Reader
    from weft.http.asked import Params

_MOST_REMEMBERED = 50_000


def _classify(status: int, _: Any, __: Headers) -> type[SourceError] | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    # Its bodies are not documented.
    return {403: NotCoveredError, 404: UnlistedSymbolError}.get(status)


class _Scored(NamedTuple):
    """A score of a news item, from -1 to 1; the instant is when it was computed."""

    instant: int
    item: str
    score: float


class TheTie(SeriesProvider):
    """The mean tone of a day's news items about an asset, and how many there were.

    The source stamps a score with the instant it was computed at, which is when it could be known;
    a day's value is true at its end, and counts as known an hour later. An item scored again
    counts with the last score of its day. A day that the answer does not reach back to the
    beginning of is left out, and so is the tone of a day without news.

    Needs a contract. Which coins an item is about comes from a second route, whose path and fields
    are unconfirmed: they may be set in the config. Documentation: https://docs.thetie.io
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
        self._coins: dict[str, frozenset[str]] = {}

    def groups(self, wanted: Sequence[Wanted]) -> Iterable[Sequence[Wanted]]:
        """Return all together: items are told without regard to what they are about."""
        return [wanted] if wanted else []

    async def read_group(
        self, http: "Http", group: Sequence[Wanted]
    ) -> Mapping[Wanted, list[Point]]:
        """Return the days of every asset, from the items of all."""
        params: Params = {"limit": self.config.items_per_request}
        if self.config.since_param:
            since = min(one.since for one in group) // DAY * DAY - DAY
            params = {**params, self.config.since_param: iso(since)[:19].replace("T", " ")}
        answer = await http.get(self.config.sentiment_path, params=params)
        scored = sorted(self._scored(row) for row in self._rows(answer))
        if not scored:
            return {}
        await self._look_up(http, {one.item for one in scored})
        # The oldest item may not be the first of its day.
        first = -(-scored[0].instant // DAY) * DAY
        days = range(first, group[0].until // DAY * DAY, DAY)
        return {one: list(self._days(one, scored, days)) for one in group}

    async def read(self, http: "Http", wanted: Wanted) -> list[Point]:
        """Return the days of one series."""
        return list((await self.read_group(http, [wanted])).get(wanted, []))

    def _days(self, wanted: Wanted, scored: Sequence[_Scored], days: range) -> Iterable[Point]:
        coin = wanted.own_id.upper()
        # Sorted by time, so that the last score of an item stays.
        last: dict[int, dict[str, float]] = {day: {} for day in days}
        for one in scored:
            day = one.instant // DAY * DAY
            if day in last and coin in self._coins.get(one.item, ()):
                last[day][one.item] = one.score
        for day, scores in last.items():
            if wanted.series.metric == "news_volume":
                yield Point(day + DAY, float(len(scores)))
            elif scores:
                yield Point(day + DAY, sum(scores.values()) / len(scores))

    async def _look_up(self, http: "Http", items: set[str]) -> None:
        """Learn what items are about."""
        missing = sorted(items - self._coins.keys())
        size = self.config.hashes_per_request
        for begin in range(0, len(missing), size):
            part = missing[begin : begin + size]
            params: Params = {self.config.hash_param: ",".join(part)}
            answer = await http.get(self.config.metadata_path, params=params)
            rows = {row.text("link_hash"): row for row in self._rows(answer)}
            if rows and rows.keys().isdisjoint(part):
                raise answer.read.unexpected("about the items that were asked for")
            for item, row in rows.items():
                coins = row.rows(self.config.coins_field)
                self._coins[item] = frozenset(coin.text().upper() for coin in coins)
        for item in list(self._coins)[: max(0, len(self._coins) - _MOST_REMEMBERED)]:
            if item not in items:
                del self._coins[item]

    def _rows(self, answer: "Answer") -> "list[Reader]":
        if isinstance(answer.json, list):
            return answer.read.rows()
        return answer.read.rows(self.config.rows_field)

    def _scored(self, row: "Reader") -> _Scored:
        with row.parsing():
            instant = parse_time(f"{row.text('timestamp').replace(' ', 'T')}Z")
        score = (row.number("sentiment_score") - self.config.neutral_score) / self.config.score_span
        if not -1 <= score <= 1:
            raise row.at("sentiment_score").unexpected("a score on its scale")
        return _Scored(instant, row.text("link_hash"), score)
