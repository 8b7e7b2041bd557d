"""The TIE's documented answers. Its route of coins is not documented: its form is assumed."""

from typing import Any

import pytest

from tests.providers.recorded import body
from weft.foundation.times import HOUR, parse_time
from weft.sources.http import SchemaChangedError
from weft.sources.series import SeriesOptions
from weft.testing import ParsedRows, parse_recorded
from weft_providers.thetie import TheTie

NOW = parse_time("2025-03-03T12:00:00Z")
SATURDAY, SUNDAY = parse_time("2025-03-02T00:00:00Z"), parse_time("2025-03-03T00:00:00Z")
SCORES, COINS = "/v1/news_sentiment", "/v1/news_metadata"
METADATA: list[dict[str, Any]] = [
    {"link_hash": "9f3c2ab17d5e", "coins": ["BTC", "eth"]},
    {"link_hash": "0b77de4410aa", "coins": ["BTC"]},
    {"link_hash": "71c90d5e2b3f", "coins": ["BTC"]},
    {"link_hash": "4410aa0b77de", "coins": []},
]


def parse(scores: Any, metadata: Any = METADATA, **options: Any) -> ParsedRows:
    provider = TheTie(TheTie.Config(**{"assets": ("BTC",), "metrics": METRICS, **options}))
    return parse_recorded(provider, {SCORES: scores, COINS: metadata}, now=NOW)


METRICS = ("news_sentiment", "news_volume")


def values(parsed: ParsedRows, metric: str, asset: str = "BTC") -> list[tuple[int, float]]:
    return [(fact.event_time, round(fact.value, 9)) for fact in parsed.of(metric, asset)]


def test_scores_of_one_to_five_become_a_tone_from_minus_one_to_one() -> None:
    parsed = parse(body("thetie_news_sentiment"))
    assert (parsed.error, parsed.problems) == (None, ())
    tone = (0.335 - 0.75) / 2
    assert values(parsed, "news_sentiment") == [(SATURDAY, 1.0), (SUNDAY, tone)]
    assert values(parsed, "news_volume") == [(SATURDAY, 1.0), (SUNDAY, 2.0)]
    assert {fact.known_at - fact.event_time for fact in parsed.facts} == {HOUR}


def test_neither_the_order_nor_the_envelope_of_rows_matters() -> None:
    rows = body("thetie_news_sentiment")["data"]
    parsed = parse(rows[::-1], {"data": METADATA[::-1]})
    assert parsed.facts == parse(body("thetie_news_sentiment")).facts


@pytest.mark.parametrize(
    "change", [{"sentiment_score": None}, {"sentiment_score": 50}, {"link_hash": 7}]
)
def test_a_broken_score_costs_its_day_and_one_line(change: dict[str, Any]) -> None:
    answer = body("thetie_news_sentiment")
    answer["data"][1] |= change
    parsed = parse(answer)
    assert parsed.error is None
    assert values(parsed, "news_sentiment") == [(SATURDAY, 1.0)]
    assert values(parsed, "news_volume") == [(SATURDAY, 1.0)]
    (line,) = parsed.problems
    assert "1 of 4 rows left out" in line


@pytest.mark.parametrize("time", [None, "yesterday"])
def test_a_score_of_an_unknown_day_leaves_no_day_complete(time: str | None) -> None:
    answer = body("thetie_news_sentiment")
    answer["data"][1]["timestamp"] = time
    parsed = parse(answer)
    assert (parsed.error, parsed.facts) == (None, ())
    (line,) = parsed.problems
    assert "1 of 4 rows left out" in line


@pytest.mark.parametrize("row", [{}, {"coins": None}, {"coins": "BTC"}])
def test_a_broken_row_of_coins_costs_the_day_of_its_item_and_one_line(row: dict[str, Any]) -> None:
    metadata = [{"link_hash": "0b77de4410aa", **row}, *METADATA[:1], *METADATA[2:]]
    parsed = parse(body("thetie_news_sentiment"), metadata)
    assert parsed.error is None
    assert values(parsed, "news_sentiment") == [(SATURDAY, 1.0)]
    (line,) = parsed.problems
    assert "1 of 4 rows left out" in line
    assert "coins" in line


def test_an_answer_without_a_valid_score_is_an_error() -> None:
    answer = body("thetie_news_sentiment")
    for row in answer["data"]:
        row["score"] = row.pop("sentiment_score")
    parsed = parse(answer)
    assert isinstance(parsed.error, SchemaChangedError)
    assert parsed.facts == ()


def test_a_broken_post_costs_that_day_and_one_line() -> None:
    rows = [
        {"timestamp": "2025-03-02 23:00:00", "score": 75},
        {"timestamp": "2025-03-01 23:00:00", "score": "high"},
        {"timestamp": "2025-02-28 23:00:00", "score": None},
    ]
    provider = TheTie(
        TheTie.Config(
            assets=("BTC",),
            metrics=("social_sentiment",),
            series={"social_sentiment": SeriesOptions(path="/v1/posts.score")},
        )
    )
    parsed = parse_recorded(provider, {"/v1/posts": rows}, now=NOW)
    assert parsed.error is None
    assert values(parsed, "social_sentiment") == [(SUNDAY, 0.5)]
    (line,) = parsed.problems
    assert "1 of 3 rows left out" in line
