"""Nansen's recorded answers."""

from pathlib import Path
from typing import Any

import pytest

from tests.providers.recorded import body
from weft.foundation.times import DAY, parse_time
from weft.testing import Recorded, parse_recorded
from weft_providers.nansen import Nansen

FLOWS = "/tgm/flows"
NOW = parse_time("2026-10-30T12:34:00Z")


def make(**options: Any) -> Nansen:
    """Return the provider with the flow over bridges of one token."""
    extra = {"assets": ("ETH",), "metrics": ("bridge_netflow_usd",), "bridge_label": "bridge"}
    return Nansen(Nansen.Config(**{**extra, **options}))


@pytest.mark.parametrize("order", ["newest first", "oldest first"])
def test_hours_that_are_over_are_read_in_any_order(order: str) -> None:
    answer = body("nansen_flows_hourly")
    answer["data"].sort(key=lambda row: row["date"], reverse=order == "newest first")
    parsed = parse_recorded(make(), {FLOWS: answer}, now=NOW)
    assert (parsed.error, parsed.problems) == (None, ())
    (fact,) = parsed.facts
    # At noon 1,108 coins at 2 dollars, a day before 1,084: bridges took 24 coins in.
    assert (fact.event_time, fact.known_at) == (parse_time("2026-10-30T12:00:00Z"), NOW)
    assert fact.value == -48.0


def test_an_hour_without_a_number_costs_itself() -> None:
    answer = body("nansen_flows_hourly")
    answer["data"][1]["price_usd"] = None
    answer["data"][5]["token_amount"] = "many"
    parsed = parse_recorded(make(), {FLOWS: answer}, now=NOW)
    (fact,) = parsed.facts
    assert (fact.event_time, fact.value) == (parse_time("2026-10-30T11:00:00Z"), -48.0)
    assert "1 of 30 rows left out" in parsed.problems[0]


def test_a_refused_label_is_named_once_and_not_requested_again(tmp_path: Path) -> None:
    answers = {FLOWS: Recorded(status=422, body=body("nansen_label_422"))}
    first = parse_recorded(make(), answers, now=NOW, cache=tmp_path)
    assert first.error is None
    (line,) = first.problems
    assert "bridge_netflow_usd ETH" in line
    assert "set bridge_label if 'bridge' is no label there" in line
    # The next process keeps to it for a day, unless its options are other ones.
    later = parse_recorded(make(), answers, now=NOW + DAY // 2, cache=tmp_path)
    assert (later.asked, later.problems, later.error) == ((), (), None)
    other = parse_recorded(make(bridge_label="x"), answers, now=NOW + DAY // 2, cache=tmp_path)
    assert len(other.asked) == 1
    again = parse_recorded(make(), answers, now=NOW + 2 * DAY, cache=tmp_path)
    assert len(again.asked) == 1


def test_without_a_label_there_is_no_request() -> None:
    assert parse_recorded(make(bridge_label=""), {}, now=NOW).asked == ()
