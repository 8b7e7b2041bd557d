"""What items of The TIE say, and how they are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from weft.foundation.times import DAY, parse_time
from weft.sources.http.api import Headers
from weft.sources.http.errors import NotCoveredError, SourceError, UnlistedSymbolError
from weft.sources.series import Point, Series, Wanted

if TYPE_CHECKING:
    from weft.sources.http import HttpResponse, Reader


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
