"""Messari's recorded answers."""

import copy
from typing import Any

import pytest

from tests.providers.recorded import body
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import SchemaChangedError
from weft.testing import Fact, parse_recorded
from weft_providers.messari import Messari

NOW = parse_time("2025-06-05T12:00:00Z")
FIRST, SECOND_DAY = parse_time("2025-06-02T00:00:00Z"), parse_time("2025-06-03T00:00:00Z")
PROTOCOLS = "/metrics/v2/protocols/{}/metrics/{}/time-series/1d"
SIGNAL = "/signal/v1/assets/time-series/1d"
DETAILS = "/metrics/v2/assets/details"
VESTING = "/token-unlocks/v1/assets/uniswap/vesting-schedule"


def make(*metrics: str, **options: Any) -> Messari:
    """Return the provider with some metrics of its own."""
    return Messari(Messari.Config(metrics=metrics, **options))


def values(facts: list[Fact]) -> list[tuple[int, float]]:
    return [(fact.event_time, fact.value) for fact in facts]


def test_attention_stands_below_the_asset_it_is_about() -> None:
    metrics = ("mindshare", "social_sentiment", "social_volume")
    answers = {SIGNAL: body("messari_signal_1d")}
    parsed = parse_recorded(make(*metrics, assets=("BTC",)), answers, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    shares = parsed.of("mindshare", "BTC")
    assert [fact.event_time for fact in shares] == [FIRST, SECOND_DAY]
    assert [fact.value for fact in shares] == pytest.approx([0.191125, 0.183274])
    moods = [fact.value for fact in parsed.of("social_sentiment", "BTC")]
    assert moods == [0.3207830721713327, 0.37748573901554394]
    assert [fact.value for fact in parsed.of("social_volume", "BTC")] == [974.0, 1643.0]
    assert {fact.known_at - fact.event_time for fact in parsed.facts} == {6 * HOUR}


def test_a_null_object_around_a_field_costs_only_that_value() -> None:
    answer = body("messari_signal_1d")
    answer["data"][0]["points"][0]["mindshare"] = None
    metrics = ("mindshare", "social_volume")
    parsed = parse_recorded(make(*metrics, assets=("BTC",)), {SIGNAL: answer}, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    assert [fact.event_time for fact in parsed.of("mindshare", "BTC")] == [SECOND_DAY]
    assert len(parsed.of("social_volume", "BTC")) == 2


def test_a_broken_row_costs_itself_and_a_line() -> None:
    answer = body("messari_signal_1d")
    answer["data"][0]["points"][0]["postMetrics"]["totalPosts"] = "many"
    metrics = ("mindshare", "social_volume")
    parsed = parse_recorded(make(*metrics, assets=("BTC",)), {SIGNAL: answer}, now=NOW)
    assert parsed.error is None
    assert len(parsed.of("mindshare", "BTC")) == 2
    assert [fact.value for fact in parsed.of("social_volume", "BTC")] == [1643.0]
    (line,) = parsed.problems
    assert "1 of 2 rows left out" in line
    assert "totalPosts" in line


def test_a_field_missing_in_all_rows_is_an_error_and_costs_no_other_metric() -> None:
    answer = body("messari_signal_1d")
    for point in answer["data"][0]["points"]:
        point["mindshareV2"] = point.pop("mindshare")
    metrics = ("mindshare", "social_volume")
    parsed = parse_recorded(make(*metrics, assets=("BTC",)), {SIGNAL: answer}, now=NOW)
    assert isinstance(parsed.error, SchemaChangedError)
    assert len(parsed.of("social_volume", "BTC")) == 2


def test_columns_of_protocols_have_their_documented_names() -> None:
    answers = {
        PROTOCOLS.format("aave", "core"): body("messari_protocol_core_1d"),
        PROTOCOLS.format("aave", "liquid-staking"): body("messari_protocol_liquid_staking_1d"),
    }
    extra = {"assets": ("AAVE",), "revenue_datasets": {"AAVE": "liquid-staking"}}
    parsed = parse_recorded(make("tvl_usd", "fees_usd", "revenue_usd", **extra), answers, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    locked = values(parsed.of("tvl_usd", "AAVE"))
    assert locked == [(FIRST, 40826647064.15), (SECOND_DAY, 41020000000.5)]
    assert [fact.value for fact in parsed.of("fees_usd", "AAVE")] == [1795405.46, 1802211.03]
    stored = [fact.value for fact in parsed.of("revenue_usd", "AAVE")]
    assert stored == pytest.approx([183534.875355, 190074.321888])
    assert {fact.known_at - fact.event_time for fact in parsed.facts} == {12 * HOUR}


def test_a_dataset_without_a_column_costs_the_metrics_that_need_it() -> None:
    answers = {PROTOCOLS.format("aave", "core"): body("messari_protocol_core_1d")}
    extra = {"assets": ("AAVE",), "revenue_datasets": {"AAVE": "core"}}
    provider = make("tvl_usd", "fees_usd", "revenue_usd", **extra)
    parsed = parse_recorded(provider, answers, now=NOW)
    assert parsed.error is None
    assert {fact.metric for fact in parsed.facts} == {"tvl_usd", "fees_usd"}
    (line,) = parsed.problems
    assert "the dataset core of aave has no column feesSupplySide24HourUsd" in line
    again = parse_recorded(provider, answers, now=NOW)
    assert again.problems == ()


def test_events_about_no_coin_count_for_none() -> None:
    answer = body("messari_global_event")
    about = copy.deepcopy(answer["data"][0])
    coin = {"id": "x", "name": "Uniswap", "slug": "uniswap", "symbol": "UNI"}
    answer["data"].append(about | {"id": "e3", "primaryAssets": [coin]})
    provider = make("governance_events", assets=("UNI",))
    parsed = parse_recorded(provider, {"/intel/v1/events": answer}, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    assert [ask.method for ask in parsed.asked] == ["POST"]
    day = parse_time("2025-06-04T00:00:00Z")
    counts = dict(values(parsed.of("governance_events", "UNI")))
    assert counts == {day + n * DAY: float(n == 0) for n in range(-5, 2)}


def test_present_market_data_of_an_asset() -> None:
    metrics = ("market_cap_usd", "fully_diluted_cap_usd", "circulating_supply", "max_supply")
    answers = {DETAILS: body("messari_details")}
    parsed = parse_recorded(make(*metrics, assets=("UNI",)), answers, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    result = {fact.metric: fact.value for fact in parsed.facts}
    assert result == {
        "market_cap_usd": 4.2e9,
        "fully_diluted_cap_usd": 7e9,
        "circulating_supply": 6e8,
    }
    assert {(fact.event_time, fact.known_at) for fact in parsed.facts} == {(NOW, NOW)}


def test_coming_unlocks_come_from_the_schedule_and_not_from_past_unlocks() -> None:
    past = body("messari_unlocks")
    (part,) = past["data"]["allocations"]
    coins = {
        parse_time(row["timestamp"]): row["unlockedInPeriodNative"]
        for row in part["dailySnapshots"]
    }
    # This path ends five days short of the 30 days, and would miss 500 of 3,000 coins.
    assert sum(count for day, count in coins.items() if NOW < day <= NOW + 30 * DAY) == 2_500
    answers = {
        DETAILS: body("messari_details"),
        VESTING: body("messari_vesting_schedule"),
        "/token-unlocks/v1/assets/uniswap/unlocks": past,
    }
    parsed = parse_recorded(make("unlock_usd", "unlock_share", assets=("UNI",)), answers, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    (dollars,), (share,) = parsed.of("unlock_usd", "UNI"), parsed.of("unlock_share", "UNI")
    assert dollars.value == pytest.approx(3_000 * 7.0)
    assert share.value == pytest.approx(3_000 / 6e8)
    assert not any(
        "/unlocks" in ask.url.removeprefix("https://api.messari.io/token-unlocks")
        for ask in parsed.asked
    )


def test_a_schedule_shorter_than_30_days_gives_no_unlocks() -> None:
    answer = body("messari_vesting_schedule")
    (part,) = answer["data"]["allocations"]
    part["dailySnapshots"] = part["dailySnapshots"][:20]
    answers = {DETAILS: body("messari_details"), VESTING: answer}
    provider = make("unlock_usd", assets=("UNI",))
    cut = parse_recorded(provider, answers, now=NOW)
    assert cut.facts == ()
    assert "does not reach 30 days ahead" in cut.problems[0]
    # With nothing left to unlock it has come to its end.
    part["dailySnapshots"][-1]["unlocksRemainingNative"] = 0.0
    (whole,) = parse_recorded(provider, answers, now=NOW).of("unlock_usd", "UNI")
    assert whole.value == pytest.approx(1_700 * 7.0)


def test_a_day_with_an_event_that_cannot_be_read_has_no_count() -> None:
    answer = body("messari_global_event")
    answer["data"][0]["primaryAssets"] = [{"id": "x", "name": "Uniswap"}]
    provider = make("governance_events", assets=("UNI",))
    parsed = parse_recorded(provider, {"/intel/v1/events": answer}, now=NOW)
    assert parsed.error is None
    assert "slug" in parsed.problems[0]
    day = parse_time("2025-06-04T00:00:00Z")
    counts = dict(values(parsed.of("governance_events", "UNI")))
    assert counts == {day + n * DAY: 0.0 for n in range(-5, 2) if n}
