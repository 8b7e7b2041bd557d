"""LunarCrush's recorded answers."""

from tests.providers.recorded import body
from weft.foundation.times import parse_time
from weft.testing import parse_recorded
from weft_providers.lunarcrush import LunarCrush

LIST = "/public/coins/list/v2"
NOW = parse_time("2025-06-22T14:30:00Z")


def make() -> LunarCrush:
    """Return the provider with the scores of two coins."""
    return LunarCrush(LunarCrush.Config(metrics=("galaxy_score", "alt_rank")))


def test_a_coin_without_a_symbol_costs_no_other() -> None:
    parsed = parse_recorded(make(), {LIST: body("lunarcrush_null_symbol")}, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    result = {(fact.metric, fact.entity): fact.value for fact in parsed.facts}
    assert result == {
        ("galaxy_score", "BTC"): 39.9,
        ("galaxy_score", "ETH"): 65.0,
        ("alt_rank", "BTC"): 212.0,
        ("alt_rank", "ETH"): 212.0,
    }
    assert {(fact.event_time, fact.known_at) for fact in parsed.facts} == {(NOW, NOW)}
    # The list does not say how long it is: a page that is not full is the last one.
    assert len(parsed.asked) == 1


def test_a_score_that_is_no_number_costs_itself_and_a_line() -> None:
    answer = body("lunarcrush_null_symbol")
    answer["data"][0]["galaxy_score"] = "high"
    parsed = parse_recorded(make(), {LIST: answer}, now=NOW)
    assert parsed.error is None
    assert [fact.entity for fact in parsed.facts if fact.metric == "galaxy_score"] == ["ETH"]
    assert "galaxy_score" in parsed.problems[0]


def test_of_two_coins_with_one_symbol_the_larger_counts_in_any_order() -> None:
    answer = body("lunarcrush_null_symbol")
    answer["data"][0]["market_cap_rank"] = 1
    answer["data"][1] |= {"symbol": "BTC", "galaxy_score": 1.0, "market_cap_rank": 900}
    for rows in (answer["data"], answer["data"][::-1]):
        parsed = parse_recorded(make(), {LIST: {**answer, "data": rows}}, now=NOW)
        assert [fact.value for fact in parsed.of("galaxy_score", "BTC")] == [39.9]
