"""Artemis' documented answers."""

from typing import Any

import pytest

from tests.providers.recorded import body
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import SchemaChangedError
from weft.testing import ParsedRows, parse_recorded
from weft_providers.artemis import Artemis

NOW = parse_time("2025-03-05T00:00:00Z")
FIRST, SECOND_DAY, THIRD = (parse_time(f"2025-03-0{day}T00:00:00Z") for day in (2, 3, 4))
FEES = "/data/api/FEES/"


def provider(*metrics: str, **options: Any) -> Artemis:
    return Artemis(Artemis.Config(metrics=metrics, **options))


def only(*assets: str) -> dict[str, Any]:
    """Return the documented body with the given assets."""
    answer = body("artemis_days")
    symbols = answer["data"]["symbols"]
    answer["data"]["symbols"] = {asset: symbols[asset] for asset in assets}
    return {FEES: answer}


def values(parsed: ParsedRows) -> list[tuple[int, float]]:
    return [(fact.event_time, fact.value) for fact in parsed.facts]


def test_days_in_any_order_and_a_null_leaves_out_its_day() -> None:
    parsed = parse_recorded(provider("fees_usd", assets=("ETH",)), only("eth"), now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    assert values(parsed) == [(FIRST, 4120333.18), (THIRD, 4520333.18)]
    assert {fact.known_at - fact.event_time for fact in parsed.facts} == {12 * HOUR}


@pytest.mark.parametrize("broken", [{"date": "2025-03-02"}, {"date": "soon", "val": 1.0}, None])
def test_a_broken_day_costs_that_day_and_one_line(broken: Any) -> None:
    answers = only("eth")
    answers[FEES]["data"]["symbols"]["eth"]["FEES"][2] = broken
    parsed = parse_recorded(provider("fees_usd", assets=("ETH",)), answers, now=NOW)
    assert parsed.error is None
    assert values(parsed) == [(FIRST, 4120333.18), (THIRD, 4520333.18)]
    (line,) = parsed.problems
    assert "1 of 3 rows left out" in line


def test_a_metric_that_an_asset_lacks_is_named_once() -> None:
    artemis = provider("fees_usd", assets=("BTC",))
    parsed = parse_recorded(artemis, only("btc"), now=NOW)
    assert (parsed.error, parsed.facts) == (None, ())
    (line,) = parsed.problems
    assert line.startswith("fees_usd BTC: ")
    assert "Metric not available for asset." in line
    again = parse_recorded(artemis, only("btc"), now=NOW + HOUR)
    assert (again.problems, again.asked) == ((), ())


def test_a_peer_that_the_answer_lacks_leaves_shares_unknown_and_is_named_once() -> None:
    peers = {"mine": ("ETH", "SOL", "NOSUCH")}
    artemis = provider("fees_share", assets=("ETH", "SOL"), peers=peers)
    parsed = parse_recorded(artemis, only("eth", "sol"), now=NOW)
    assert (parsed.error, parsed.facts) == (None, ())
    assert "FEES NOSUCH: Artemis does not list NOSUCH" in parsed.problems
    assert sum("NOSUCH stopped having values; remove from peers" in p for p in parsed.problems) == 2
    assert parse_recorded(artemis, only("eth", "sol"), now=NOW).problems == ()


def test_a_share_is_of_the_sum_over_the_peers_with_a_value_that_day() -> None:
    artemis = provider("fees_share", assets=("ETH", "SOL"), peers={"mine": ("ETH", "SOL")})
    parsed = parse_recorded(artemis, only("eth", "sol"), now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    shares = {fact.entity: fact.value for fact in parsed.facts if fact.event_time == FIRST}
    assert shares == {"ETH": pytest.approx(0.8), "SOL": pytest.approx(0.2)}
    # A day on which one of them has no value has no shares.
    assert {fact.event_time for fact in parsed.facts} == {FIRST, THIRD}


def test_an_answer_about_other_assets_is_an_error() -> None:
    parsed = parse_recorded(provider("fees_usd", assets=("ETH",)), only("sol"), now=NOW)
    assert isinstance(parsed.error, SchemaChangedError)
    assert parsed.facts == ()


def test_names_are_read_in_any_case() -> None:
    answers = only("eth")
    answers[FEES]["data"]["symbols"] = {"ETH": {"fees": [{"date": "2025-03-03", "val": 7.0}]}}
    parsed = parse_recorded(provider("fees_usd", assets=("ETH",)), answers, now=NOW)
    assert values(parsed) == [(THIRD, 7.0)]


def test_weeks_end_seven_days_after_their_date() -> None:
    weeks = [{"date": "2025-02-17", "val": 55}, {"date": "2025-02-10", "val": None}]
    named = {"dev_commits": {"path": "/weekly-commits"}}
    artemis = provider("dev_commits", assets=("ETH",), series=named)
    parsed = parse_recorded(artemis, {"/weekly-commits": weeks}, now=NOW, days=30)
    assert values(parsed) == [(parse_time("2025-02-17T00:00:00Z") + 7 * DAY, 55.0)]
