"""GitHub's documented answers."""

from typing import Any

import pytest

from tests.providers.recorded import body
from weft.foundation.times import DAY, parse_time
from weft.sources.http import SchemaChangedError, UnavailableError
from weft.testing import ParsedRows, Recorded, parse_recorded
from weft_providers.github import GitHub

NOW = parse_time("2025-03-08T12:00:00Z")
FIRST, SECOND_WEEK = parse_time("2025-02-23T00:00:00Z"), parse_time("2025-03-02T00:00:00Z")
COMMITS = "/repos/bitcoin/bitcoin/stats/commit_activity"
CONTRIBUTORS = "/repos/bitcoin/bitcoin/stats/contributors"


def parse(metric: str, answers: dict[str, Any], asset: str = "BTC") -> ParsedRows:
    provider = GitHub(GitHub.Config(metrics=(metric,), assets=(asset,)))
    return parse_recorded(provider, answers, now=NOW, days=40)


def weeks(parsed: ParsedRows, asset: str = "BTC") -> list[tuple[int, float]]:
    return [(fact.event_time, fact.value) for fact in parsed.facts if fact.entity == asset]


def test_commits_of_the_running_week_are_left_out() -> None:
    parsed = parse("dev_commits", {COMMITS: body("github_commit_activity")})
    assert (parsed.error, parsed.problems) == (None, ())
    assert weeks(parsed) == [(FIRST, 18.0), (SECOND_WEEK, 25.0)]
    assert {fact.known_at - fact.event_time for fact in parsed.facts} == {DAY}


def test_a_week_without_a_total_costs_that_week_and_one_line() -> None:
    answer = body("github_commit_activity")
    answer[1]["total"] = None
    parsed = parse("dev_commits", {COMMITS: answer})
    assert parsed.error is None
    assert weeks(parsed) == [(FIRST, 18.0)]
    (line,) = parsed.problems
    assert "1 of 3 rows left out" in line
    assert "total" in line


def test_developers_are_accounts_of_people_with_commits() -> None:
    parsed = parse("active_developers", {CONTRIBUTORS: body("github_contributors")})
    assert (parsed.error, parsed.problems) == (None, ())
    assert weeks(parsed) == [(FIRST, 1.0), (SECOND_WEEK, 2.0)]


def test_the_order_of_contributors_and_weeks_changes_nothing() -> None:
    answer = body("github_contributors")[::-1]
    for row in answer:
        row["weeks"].reverse()
    parsed = parse("active_developers", {CONTRIBUTORS: answer})
    assert weeks(parsed) == [(FIRST, 1.0), (SECOND_WEEK, 2.0)]


def test_an_author_without_a_field_is_no_person_or_no_bot() -> None:
    answer = body("github_contributors")
    del answer[2]["author"], answer[0]["author"]["type"]
    parsed = parse("active_developers", {CONTRIBUTORS: answer})
    assert (parsed.error, parsed.problems) == (None, ())
    assert weeks(parsed) == [(FIRST, 1.0), (SECOND_WEEK, 2.0)]


def test_a_week_with_unknown_commits_has_no_count_of_developers() -> None:
    answer = body("github_contributors")
    answer[1]["weeks"][1]["c"] = None
    parsed = parse("active_developers", {CONTRIBUTORS: answer})
    assert parsed.error is None
    assert weeks(parsed) == [(FIRST, 1.0)]


def test_a_broken_contributor_costs_that_row_and_one_line() -> None:
    answer = body("github_contributors")
    answer[1]["weeks"] = None
    parsed = parse("active_developers", {CONTRIBUTORS: answer})
    assert parsed.error is None
    assert weeks(parsed) == [(FIRST, 1.0), (SECOND_WEEK, 1.0)]
    (line,) = parsed.problems
    assert "1 of 5 rows left out" in line


def test_an_answer_without_a_valid_contributor_is_an_error() -> None:
    answer = [row | {"weeks": {}} for row in body("github_contributors")]
    parsed = parse("active_developers", {CONTRIBUTORS: answer})
    assert isinstance(parsed.error, SchemaChangedError)
    assert parsed.facts == ()


def test_a_person_in_two_repositories_counts_once() -> None:
    other = body("github_contributors")[:1]
    path = "/repos/ethereum/{}/stats/contributors"
    answers = {path.format("go-ethereum"): body("github_contributors")}
    answers[path.format("solidity")] = other
    parsed = parse("active_developers", answers, asset="ETH")
    assert weeks(parsed, "ETH") == [(FIRST, 1.0), (SECOND_WEEK, 2.0)]


@pytest.mark.parametrize("answer", [b"", {}])
def test_statistics_under_computation_are_unknown(answer: Any) -> None:
    parsed = parse("dev_commits", {COMMITS: Recorded(status=202, body=answer)})
    assert isinstance(parsed.error, UnavailableError)
    assert parsed.facts == ()
    assert len(parsed.asked) > 1
