"""Santiment's recorded answers."""

from pathlib import Path
from typing import Any

from tests.providers.recorded import body
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import RateLimitedError
from weft.testing import Recorded, parse_recorded
from weft_providers.santiment import Santiment

NOW = parse_time("2026-11-10T12:00:00Z")
ACCESS: dict[str, Any] = {"data": {"getAccessRestrictions": []}}


def make(*metrics: str) -> Santiment:
    """Return the provider with some metrics of Bitcoin."""
    return Santiment(Santiment.Config(assets=("BTC",), metrics=metrics))


def values(*pairs: tuple[str, Any]) -> list[dict[str, Any]]:
    return [{"datetime": f"{day}T00:00:00Z", "value": value} for day, value in pairs]


def test_a_metric_outside_the_plan_is_named_in_one_line_and_requested_once(
    tmp_path: Path,
) -> None:
    answers = {"/graphql": (ACCESS, body("santiment_not_accessible"))}
    first = parse_recorded(make("age_consumed"), answers, now=NOW, cache=tmp_path)
    assert first.error is None
    (line,) = first.problems
    assert line.startswith("age_consumed BTC: The metric age_consumed is not accessible with")
    assert "has access to it.; not requested again before 2026-11-17T12:00:00Z" in line
    assert "\n" not in line
    later = parse_recorded(make("age_consumed"), answers, now=NOW + 6 * DAY, cache=tmp_path)
    assert (later.asked, later.problems) == ((), ())


def test_a_metric_that_the_plan_lacks_costs_no_other() -> None:
    refused = body("santiment_not_accessible")
    refused["data"] = {
        "q0": {"timeseriesDataJson": values(("2026-11-08", 1.5), ("2026-11-09", 1.6))},
        "q1": {"timeseriesDataJson": None},
    }
    refused["errors"][0]["path"][0] = "q1"
    answers = {"/graphql": (ACCESS, refused)}
    parsed = parse_recorded(make("mvrv", "age_consumed"), answers, now=NOW, days=2.5)
    assert parsed.error is None
    assert len(parsed.problems) == 1
    # The order of the two in the request follows the provider's own list.
    assert {fact.metric for fact in parsed.facts} <= {"mvrv", "age_consumed"}
    assert [fact.value for fact in parsed.facts] == [1.5, 1.6]


def test_a_row_without_a_number_costs_itself_and_order_does_not_matter() -> None:
    rows = values(
        ("2026-11-09", 3.0), ("2026-11-08", "n/a"), ("2026-11-07", None), ("2026-11-06", 1)
    )
    answer = {"data": {"q0": {"timeseriesDataJson": rows}}}
    parsed = parse_recorded(make("mvrv"), {"/graphql": (ACCESS, answer)}, now=NOW, days=4.5)
    assert parsed.error is None
    ends = [parse_time("2026-11-07T00:00:00Z"), parse_time("2026-11-10T00:00:00Z")]
    result = [(fact.event_time, fact.value) for fact in parsed.of("mvrv", "BTC")]
    assert result == list(zip(ends, [1.0, 3.0], strict=True))
    assert {fact.known_at - fact.event_time for fact in parsed.facts} == {2 * HOUR}
    assert ["1 of 4 rows left out" in line for line in parsed.problems] == [True]


def test_an_exhausted_quota_is_waited_for_as_long_as_the_text_states() -> None:
    text = "API Rate Limit Reached. Try again in 1800 seconds (hour limit)"
    used_up = Recorded(status=429, body={"errors": {"details": text}})
    parsed = parse_recorded(make("mvrv"), {"/graphql": used_up}, now=NOW)
    assert isinstance(parsed.error, RateLimitedError)
    assert parsed.error.retry_after_seconds == 1_800.0
    assert len(parsed.asked) == 1
