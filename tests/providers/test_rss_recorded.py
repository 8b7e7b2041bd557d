"""Recorded feeds: empty feeds, dates, and the assets of headlines."""

from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.providers.recorded import body
from weft.foundation.times import DAY, HOUR, MINUTE, iso, parse_time, to_micros
from weft.sources.texts import AssetFinder
from weft.testing import ParsedRows, Recorded, parse_recorded
from weft.text.tagging import Tagger
from weft_providers.rss.dates import parse_date
from weft_providers.rss.feeds import Feed
from weft_providers.rss.provider import FeedMemory, Rss

NOW = parse_time("2026-11-30T21:00:00Z")
ONE, OTHER = "https://one.example.com/rss", "https://other.example.com/rss"
ITEM = "<item><title>{}</title><guid>{}</guid><pubDate>{}</pubDate></item>"
TODAY = "Mon, 30 Nov 2026 20:00:00 GMT"
XML = {"content-type": "application/rss+xml"}


def feed(*items: tuple[str, str]) -> Recorded:
    """Return a feed of titles and dates."""
    rows = "".join(ITEM.format(title, title, date) for title, date in items)
    text = f'<rss version="2.0"><channel><title>t</title>{rows}</channel></rss>'
    return Recorded(body=text.encode(), headers=XML)


def read(answers: dict[str, Any], provider: Rss | None = None, **options: Any) -> ParsedRows:
    """Read feeds, one for each answer."""
    feeds = {url.split(".")[0].removeprefix("https://"): Feed(url=url) for url in (ONE, OTHER)}
    feeds = {name: feed for name, feed in feeds.items() if feed.url in answers}
    extra = provider or Rss(Rss.Config(feeds=feeds))
    return parse_recorded(extra, answers, **{"now": NOW, **options})


def times(parsed: ParsedRows) -> dict[str, str]:
    micros = parsed.texts.with_columns(pl.col("event_time").to_physical())
    return {t: iso(at) for t, at in micros.select("title", "event_time").iter_rows()}


def test_an_empty_feed_costs_no_other() -> None:
    empty = body("rss_empty_body")
    recorded = Recorded(
        body=empty["body"].encode(), status=empty["status"], headers=empty["headers"]
    )
    parsed = read({ONE: recorded, OTHER: feed(("Bitcoin rises on a quiet day", TODAY))})
    assert parsed.error is None
    (line,) = parsed.problems
    assert line.startswith("one: ")
    assert "answered no feed" in line
    assert parsed.texts["feed"].to_list() == ["other"]
    assert times(parsed) == {"Bitcoin rises on a quiet day": "2026-11-30T20:00:00Z"}


def test_a_feed_that_is_gone_is_named_once_and_not_requested_again(tmp_path: Path) -> None:
    answers = {ONE: Recorded(status=410, headers=XML), OTHER: feed(("Bitcoin rises again", TODAY))}
    first = read(answers, cache=tmp_path)
    (line,) = first.problems
    assert line.startswith("one: ")
    assert "not asked for again before 2026-12-01T03:00:00Z" in line
    later = read(answers, cache=tmp_path, now=NOW + 5 * HOUR)
    assert (later.problems, {ask.url for ask in later.asked}) == ((), {OTHER})
    again = read(answers, cache=tmp_path, now=NOW + 7 * HOUR)
    assert {ask.url for ask in again.asked} == {ONE, OTHER}


@pytest.mark.parametrize(
    "date",
    [
        "Mon, 30 Nov 2026 20:00:00 GMT",
        "Mon, 30 Nov 2026 20:00:00 +0000",
        "Mon, 30 Nov 2026 20:00:00",
        "30 Nov 26 20:00 UT",
        "Monday, 30 November 2026 20:00:00 Z",
        "Mon, 30 Nov 2026 15:00:00 EST",
        "Mon, 30 Nov 2026 12:00:00 PST",
        "Mon, 30 Nov 2026 21:00:00 CET",
        "Mon, 30 Nov 2026 22:00:00 EET",
        "Tue, 01 Dec 2026 05:00:00 JST",
        "Tue, 01 Dec 2026 01:30:00 +05:30",
        "Mon, 30 Nov 2026 8:00 PM GMT",
        "Mon, 30 Nov 2026 8:00 p.m. GMT",
        "November 30, 2026 8:00 PM",
        "Nov. 30th, 2026 at 8:00 PM UTC",
        "2026/11/30 20:00:00",
        "2026-11-30T20:00:00Z",
        "2026-11-30T20:00:00.123456Z",
        "2026-11-30 21:00:00+01:00",
        "20261130T200000Z",
        "1796068800",
        "1796068800000",
        "  Mon, 30 Nov 2026\n 20:00:00 GMT ",
    ],
)
def test_dates_in_all_their_forms(date: str) -> None:
    result = parse_date(date)
    assert result is not None
    assert iso(result) == "2026-11-30T20:00:00Z"
    parsed = read({ONE: feed(("Bitcoin falls again today", date))})
    assert times(parsed) == {"Bitcoin falls again today": "2026-11-30T20:00:00Z"}


@pytest.mark.parametrize(
    "date",
    [
        "",
        "today",
        "0",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Mon, 01 Jan 1900 00:00:00 GMT",
        "0000-00-00 00:00:00",
        "30/11/2026 20:00",
        "11-30-2026",
        "Mon, 30 Nov 2026 20:00:00 IST",
        "Mon, 30 Nov 2026 20:00:00 XYZ",
        "Mon, 31 Feb 2026 10:00:00 GMT",
        "Mon, 30 Nov 2026 20:00 PM GMT",
        "Mon, 30 Nov 2026 25:00:00 GMT",
        "2026-13-30T20:00:00Z",
        "9" * 5_000,
    ],
)
def test_a_date_that_cannot_be_meant_is_none(date: str) -> None:
    assert parse_date(date) is None
    parsed = read({ONE: feed(("Bitcoin falls again today", date))})
    assert times(parsed) == {"Bitcoin falls again today": iso(NOW)}


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2099, 1, 1)),  # noqa: DTZ001  # made zoned below
    st.integers(-720, 840),
)
def test_dates_of_mail_are_read_as_the_standard_library_reads_them(
    naive: datetime, minutes: int
) -> None:
    at = naive.replace(microsecond=0, tzinfo=UTC)
    sign, size = "-" if minutes < 0 else "+", abs(minutes)
    local = to_micros(at) + minutes * MINUTE
    text = format_datetime(datetime.fromtimestamp(local / 1e6, UTC))
    text = text.replace("+0000", f"{sign}{size // 60:02d}{size % 60:02d}")
    assert parse_date(text) == to_micros(at)


@given(st.text(max_size=80))
def test_any_text_is_a_date_or_none(text: str) -> None:
    parse_date(text)


def test_what_is_new_and_claims_to_be_weeks_old_bears_a_wrong_date() -> None:
    old, known = "a" * 24, "b" * 24
    memory = FeedMemory(None, NOW)
    # The first time a feed is read it may well list what is old.
    assert memory.published("fed", known, NOW - 60 * DAY, NOW) == NOW - 60 * DAY
    memory.note("fed", [known])
    later = NOW + 10 * MINUTE
    memory = FeedMemory(memory.cursor, later)
    assert memory.published("fed", old, NOW - 30 * DAY, later) == later
    assert memory.published("fed", known, NOW - 60 * DAY, later) == NOW - 60 * DAY
    assert memory.published("fed", "c" * 24, later - 13 * DAY, later) == later - 13 * DAY
    memory.note("fed", [known, old])
    # It stays so for as long as the feed lists it, after a restart as well.
    for _ in range(3):
        later += 20 * DAY
        memory = FeedMemory(memory.cursor, later)
        assert memory.published("fed", old, NOW - 30 * DAY, later) == NOW + 10 * MINUTE
    memory.note("fed", [known])
    assert old not in FeedMemory(memory.cursor, later + 40 * DAY).cursor


def test_the_state_of_an_earlier_version_is_read() -> None:
    text = "d" * 24
    memory = FeedMemory(f'{{"{text}": {NOW - DAY}}}', NOW)
    assert memory.published("fed", text, None, NOW) == NOW - DAY


WORDS = (
    "A whale bought heavily and prices surge",
    "IT budgets slashed, layoffs feared",
    "Judge: A strong win for Ripple",
    "ALL eyes on the Fed NOW",
    "They want it ALL, and NOW is the time",
)


@pytest.mark.parametrize("title", WORDS)
def test_words_that_are_tickers_are_no_marks(title: str) -> None:
    tickers = ["A", "IT", "ALL", "NOW", "AAPL"]
    marks = AssetFinder({}, tickers).find(title)
    assert set(marks).isdisjoint(tickers)
    tagger = Tagger(stocks=tickers)
    assert tagger.tag(title, marks=marks).assets.keys() <= {"XRP"}


def test_a_ticker_with_a_sign_is_a_mark() -> None:
    assert AssetFinder({}, ["A", "NOW"]).find("$A and $NOW beat estimates") == ["A", "NOW"]


@given(st.sampled_from(WORDS), st.sampled_from(["bitcoin", "SOL", "(DOT)", "$LINK", "Ripple"]))
def test_sources_and_layers_read_alike(title: str, other: str) -> None:
    text = f"{title} {other}"
    assert AssetFinder().find(text) == sorted(Tagger().tag(text).assets)
