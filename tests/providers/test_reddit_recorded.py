"""Reddit's documented answers."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.providers.recorded import body
from weft.foundation.times import DAY, HOUR, parse_time
from weft.sources.http import Reader, SchemaChangedError
from weft.testing import ParsedRows, Recorded, parse_recorded
from weft_providers.reddit import Reddit, parse_page

NOW = parse_time("2025-03-03T12:00:00Z")
TOKEN = "https://www.reddit.com/api/v1/access_token"  # an address
GRANTED = {"access_token": "tok", "token_type": "bearer", "expires_in": 86400, "scope": "*"}


def reddit(**subreddits: str) -> Reddit:
    key = SecretStr("an-id:a-secret")
    return Reddit(Reddit.Config(api_key=key, subreddits=subreddits, assets=("BTC",)))


def parse(answer: Any, provider: Reddit | None = None, **case: Any) -> ParsedRows:
    answers = {TOKEN: GRANTED, "/r/Bitcoin/new": answer}
    return parse_recorded(provider or reddit(Bitcoin="BTC"), answers, **{"now": NOW, **case})


def posts(answer: Any) -> list[dict[str, Any]]:
    """Return the posts in an answer, to change them."""
    return [child["data"] for child in answer["data"]["children"]]


def ids(parsed: ParsedRows) -> list[str]:
    return parsed.texts["id"].to_list()


def test_posts_whose_title_was_removed_are_left_out() -> None:
    parsed = parse(body("reddit_new"))
    assert (parsed.error, parsed.problems) == (None, ())
    assert ids(parsed) == ["t3_1abc03", "t3_1abc04", "t3_1abc05"]
    assert parsed.texts["summary"].to_list() == ["", "", "What happens to miners?"]
    assert parsed.texts["title"].to_list()[-1] == "Fees & the next halving"


def test_mentions_are_counted_from_the_posts_that_still_exist() -> None:
    parsed = parse(body("reddit_new"))
    counts = {fact.event_time: fact.value for fact in parsed.of("social_volume", "BTC")}
    midnight = parse_time("2025-03-03T00:00:00Z")
    assert counts[midnight] == 3.0
    assert counts[midnight - DAY] == 0.0


@pytest.mark.parametrize(
    ("field", "url"),
    [
        ("selftext", "/r/Bitcoin/comments/1abc05/fees_the_next_halving/"),
        ("permalink", "/comments/1abc05/"),
        ("name", "/r/Bitcoin/comments/1abc05/fees_the_next_halving/"),
        ("id", "/r/Bitcoin/comments/1abc05/fees_the_next_halving/"),
    ],
)
@pytest.mark.parametrize("is_null", [True, False])
def test_an_optional_field_costs_nothing(field: str, url: str, is_null: bool) -> None:
    answer = body("reddit_new")
    (post, *_) = posts(answer)
    if is_null:
        post[field] = None
    else:
        del post[field]
    parsed = parse(answer)
    assert (parsed.error, parsed.problems) == (None, ())
    assert ids(parsed) == ["t3_1abc03", "t3_1abc04", "t3_1abc05"]
    assert parsed.texts["url"].to_list()[-1] == f"https://www.reddit.com{url}"


@pytest.mark.parametrize("broken", [None, "soon", True])
def test_a_broken_post_costs_that_post_and_one_line(broken: Any) -> None:
    answer = body("reddit_new")
    posts(answer)[1]["created_utc"] = broken
    parsed = parse(answer)
    assert parsed.error is None
    assert ids(parsed) == ["t3_1abc03", "t3_1abc05"]
    (line,) = parsed.problems
    assert line.startswith("r/Bitcoin: 1 of 5 rows left out")


def test_a_page_without_a_valid_post_is_an_error() -> None:
    answer = body("reddit_new")
    for post in posts(answer):
        del post["created_utc"]
    parsed = parse(answer)
    assert isinstance(parsed.error, SchemaChangedError)
    assert parsed.texts.is_empty()


def test_an_old_post_among_new_ones_ends_no_reading() -> None:
    first, second = body("reddit_new"), body("reddit_new")
    first["data"] |= {"after": "t3_1abc04", "children": first["data"]["children"][:2]}
    second["data"]["children"] = second["data"]["children"][2:]
    # An old post before a newer one.
    old = {**posts(first)[0], "id": "1aaaaa", "name": "t3_1aaaaa", "created_utc": 1600000000.0}
    first["data"]["children"].insert(0, {"kind": "t3", "data": old})
    parsed = parse((first, second), days=2)
    assert ids(parsed) == ["t3_1aaaaa", "t3_1abc03", "t3_1abc04", "t3_1abc05"]
    assert [ask.url.partition("?")[0] for ask in parsed.asked].count(
        "https://oauth.reddit.com/r/Bitcoin/new"
    ) == 2


def test_a_post_that_two_pages_list_counts_once() -> None:
    first, second = body("reddit_new"), body("reddit_new")
    first["data"] |= {"after": "t3_1abc04", "children": first["data"]["children"][:2]}
    parsed = parse((first, second))
    counts = {fact.event_time: fact.value for fact in parsed.of("social_volume", "BTC")}
    assert counts[parse_time("2025-03-03T00:00:00Z")] == 3.0


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (403, {"reason": "private", "message": "Forbidden", "error": 403}),
        (404, {"reason": "banned", "message": "Not Found", "error": 404}),
    ],
)
def test_a_subreddit_that_is_closed_is_named_once(
    tmp_path: Path, status: int, answer: dict[str, Any]
) -> None:
    answers = {TOKEN: GRANTED, "/r/Bitcoin/new": body("reddit_new")}
    answers["/r/closed/new"] = Recorded(status=status, body=answer)
    provider = reddit(Bitcoin="BTC", closed="")
    parsed = parse_recorded(provider, answers, now=NOW, cache=tmp_path)
    assert parsed.error is None
    assert len(ids(parsed)) == 3
    # A count without the posts of one subreddit would be another count.
    assert parsed.facts == ()
    (line,) = parsed.problems
    assert line.startswith("r/closed: ")
    assert "removed from subreddits" in line
    again = parse_recorded(
        reddit(Bitcoin="BTC", closed=""), answers, now=NOW + HOUR, cache=tmp_path
    )
    assert again.problems == ()
    assert not any("closed" in ask.url for ask in again.asked)
    later = parse_recorded(provider, answers, now=NOW + 7 * HOUR, cache=tmp_path)
    assert len(later.problems) == 1


def test_a_page_without_a_cursor_field_is_an_error() -> None:
    answer = body("reddit_new")
    del answer["data"]["after"]
    with pytest.raises(SchemaChangedError, match=r"no \.after"):
        parse_page(Reader(answer, "reddit", "GET /r/Bitcoin/new"), print)
