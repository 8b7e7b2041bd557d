"""Feeds against the sandbox, which has each below the name of its host."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.providers.sandboxed import NOW, serve
from tests.providers.texts import fetch
from tests.support import PATIENCE_SECONDS
from weft.components.provider import SourceKind
from weft.foundation.times import DAY, HOUR, MINUTE
from weft.sources import texts as _texts
from weft.sources.http import ForbiddenError, HttpResponse
from weft.sources.http.errors import MalformedError
from weft.sources.texts import AssetFinder, plain, same_link, same_title
from weft_providers.rss.feeds import Feed, parse_items
from weft_providers.rss.provider import Rss
from weft_sandbox import Sandbox

ATOM = Feed(url="https://blog.example.com/atom.xml")
RDF = Feed(url="https://www.federalreserve.gov/feeds/h15.xml")


@pytest.fixture(scope="module")
def _served() -> Iterator[Sandbox]:
    yield from serve("rss")


@pytest.fixture
def server(_served: Sandbox) -> Iterator[Sandbox]:
    yield _served
    _served.heal()
    _served.clock.move(NOW, 0)


def make(server: Sandbox, **options: Any) -> Rss:
    return Rss(Rss.Config(base_url=server.url("rss"), **options))


def test_every_feed_brings_texts_that_pass_the_checks(server: Sandbox) -> None:
    fetched = fetch(make(server))
    assert (fetched.error, fetched.problems) == (None, [])
    assert {t["feed"] for t in fetched.texts} == set(Rss.Config().feeds) - {"sec"}
    assert len(Rss.Config().feeds) >= 12
    assert all(0.4 <= t["credibility"] <= 1 for t in fetched.texts)
    assert all(t["event_time"] <= t["known_at"] == NOW for t in fetched.texts)


def test_a_text_is_what_was_published_without_markup(server: Sandbox) -> None:
    news = server.world.news(NOW - 2 * DAY, NOW)
    texts = fetch(make(server)).texts
    by_title = {(t["title"], t["event_time"]): t for t in texts}
    # Some are from a feed that is not configured.
    result = [i for i in news if (f"{i.title} & more, {i.number}", i.time) in by_title]
    assert len(result) > 0.9 * len(news)
    for item in result:
        text = by_title[f"{item.title} & more, {item.number}", item.time]
        assert text["summary"] == item.text
        # The names of others are words besides, and few headlines say that the coin is meant.
        assert item.coin in text["assets"] or item.coin not in {"BTC", "ETH", "SOL", "DOGE", "LTC"}


def test_a_story_that_several_bring_comes_once_from_the_first(server: Sandbox) -> None:
    texts = fetch(make(server)).texts
    for item in server.world.news(NOW - DAY, NOW - HOUR):
        same = [t for t in texts if t["title"].endswith(f" {item.number}")]
        assert [t["event_time"] for t in same] in ([item.time], [])


@pytest.mark.parametrize("feed", [ATOM, RDF], ids=["atom", "rdf"])
def test_other_kinds_of_feeds(server: Sandbox, feed: Feed) -> None:
    fetched = fetch(make(server, feeds={"own": feed}))
    assert fetched.problems == []
    assert len(fetched.texts) > 5
    assert all(NOW - 12 * DAY < t["event_time"] <= NOW for t in fetched.texts)
    assert all("<" not in t["title"] + t["summary"] for t in fetched.texts)
    assert all(t["url"].startswith("https://") for t in fetched.texts)


def test_what_was_brought_is_not_brought_again(server: Sandbox) -> None:
    provider = make(server)
    first = fetch(provider)
    assert fetch(provider).texts == []
    server.clock.move(NOW + 6 * HOUR, 0)
    later = fetch(provider, now=NOW + 6 * HOUR)
    assert later.texts
    assert not {t["id"] for t in later.texts} & {t["id"] for t in first.texts}
    assert {t["known_at"] for t in later.texts} == {NOW + 6 * HOUR}


def test_after_a_restart_the_same_names_are_given(server: Sandbox) -> None:
    texts = [fetch(make(server)).texts for _ in range(2)]
    assert texts[0] == texts[1]


def test_an_unchanged_feed_is_known_since_its_first_fetch(server: Sandbox, tmp_path: Path) -> None:
    feeds = {"own": RDF}
    first = fetch(make(server, feeds=feeds), cache=tmp_path)
    again = fetch(make(server, feeds=feeds), cache=tmp_path, now=NOW + HOUR)
    assert again.texts == first.texts


def test_an_edited_text_is_a_further_version(server: Sandbox) -> None:
    provider = make(server, feeds={"own": RDF})
    (old, *_) = fetch(provider).texts
    provider._versions[old["id"]] = "what it said before"
    server.clock.move(NOW + MINUTE, 0)
    (new,) = fetch(provider, now=NOW + MINUTE).texts
    assert (new["id"], new["event_time"]) == (old["id"], old["event_time"])
    assert new["known_at"] == NOW + MINUTE


def test_a_date_to_come_counts_from_when_it_was_first_seen(server: Sandbox) -> None:
    # Who asks believes that it is earlier than the publishers do.
    early = NOW - 2 * DAY
    first = fetch(make(server, feeds={"own": RDF}), now=early)
    ahead = [t for t in first.texts if t["event_time"] == early]
    assert ahead
    again = fetch(make(server, feeds={"own": RDF}), now=NOW, cursor=first.cursor)
    assert {t["id"] for t in again.texts if t["event_time"] == early} == {t["id"] for t in ahead}


def test_a_feed_that_fails_is_reported_and_costs_no_other_feed(server: Sandbox) -> None:
    server.fault({"kind": "status", "status": 403, "path": "/decrypt.co/*"})
    server.fault({"kind": "html", "path": "/blockworks.co/*"})
    server.fault({"kind": "reset_body", "path": "/u.today/*"})
    fetched = fetch(make(server))
    assert fetched.error is None
    message = "\n".join(fetched.problems)
    assert [name for name in ("decrypt", "blockworks", "utoday") if f"{name}: " in message] == [
        "decrypt",
        "blockworks",
        "utoday",
    ]
    assert {"decrypt", "blockworks", "utoday"}.isdisjoint(t["feed"] for t in fetched.texts)
    assert len({t["feed"] for t in fetched.texts}) > 15


def test_where_no_feed_can_be_read_it_fails(server: Sandbox) -> None:
    server.fault({"kind": "status", "status": 403})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, ForbiddenError)
    assert fetched.texts == []


def test_a_truncated_feed_keeps_its_complete_items(server: Sandbox) -> None:
    server.fault({"kind": "truncate", "share": 0.5})
    fetched = fetch(make(server, feeds={"own": RDF}))
    assert 1 <= len(fetched.texts) <= 6


def test_the_contact_is_sent_to_publishers(server: Sandbox) -> None:
    assert not any(t["feed"] == "sec" for t in fetch(make(server)).texts)
    fetched = fetch(make(server, contact="somebody@example.com"))
    assert fetched.problems == []
    assert any(t["feed"] == "sec" for t in fetched.texts)


def test_each_feed_is_requested_from_its_host(server: Sandbox) -> None:
    url = server.url("rss") + "/www.federalreserve.gov/feeds/h15.xml"
    provider = Rss(Rss.Config(feeds={"own": Feed(url=url)}))
    fetched = fetch(provider)
    assert len(fetched.texts) > 5
    assert fetched.requests == 1
    assert (provider.source, provider.source_kind) == ("rss", SourceKind.REAL)


def test_the_sandbox_sends_nothing_twice(server: Sandbox) -> None:
    url = server.url("rss") + "/decrypt.co/feed"
    first = httpx.get(url)
    again = httpx.get(url, headers={"If-None-Match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


# Texts of any source


@pytest.mark.parametrize(
    ("text", "assets"),
    [
        ("Bitcoin and ETH rise", ["BTC", "ETH"]),
        ("Bitcoin Cash forks", ["BCH"]),
        ("Ethereum Classic is not it", ["ETC"]),
        ("click the LINK, then a DOT", []),
        ("$LINK and (DOT) and Chainlink", ["DOT", "LINK"]),
        ("an avalanche of cosmos", []),
        ("Avalanche and Cosmos", []),
        ("Avalanche and Cosmos Hub lead altcoins", ["ATOM", "AVAX"]),
        ("bitcoiners and ETHICS", []),
        ("SOL/USDT", ["SOL", "USDT"]),
    ],
)
def test_assets_are_recognised_by_name_and_ticker(text: str, assets: list[str]) -> None:
    assert AssetFinder().find(text) == assets


def test_further_names_and_tickers() -> None:
    finder = AssetFinder({"Maker": "MKR"}, ["JUP"])
    assert finder.find("maker and JUP") == ["JUP", "MKR"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<p>A &amp; B</p>", "A & B"),
        ("&lt;b&gt;bold&lt;/b&gt; &amp;#8217;s", "bold \u2019s"),
        ("<script>alert(1)</script>x", "x"),
        ("price < 5 and > 3", "price < 5 and > 3"),
        ("News. The post News appeared first on Somewhere.", "News."),
        ("a<br/>b\n\tc", "a b c"),
        ("a<!-- b > c -->d", "a d"),
        ("a<!-- b > c", "a"),
        ("a<style>b{}</style >c<SCRIPT type='x'>d</script>e", "a c e"),
        ("a<script>b", "a"),
        ("who wrote <script and why", "who wrote <script and why"),
        ("&#66;&#x43;", "BC"),
        (f"a&#{'9' * 5_000};b", "a\ufffdb"),
    ],
)
def test_markup_goes_and_words_stay(text: str, left: str) -> None:
    assert plain(text) == left


HOSTILE = {
    "comments": "<!--",
    "escaped comments": "&lt;!--",
    "twice escaped comments": "&amp;lt;!--",
    "scripts": "<script>",
    "scripts without an end": "<script ",
    "styles and scripts": "<style><script>",
    "closing": "<script></script ",
    "tags": "<",
    "tags without an end": "<a href='",
    "declarations": "<!DOCTYPE ",
    "instructions": "<?",
    "references": "&#",
    "nested": "<div>",
    "posts": "The post first appeared on ",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_no_text_takes_longer_than_its_length(what: str) -> None:
    beginning = "Bitcoin rises " + "again " * 10
    text = beginning + HOSTILE[what] * (8_000_000 // len(HOSTILE[what]))
    started = time.monotonic()
    assert plain(text).startswith(beginning.strip())
    assert AssetFinder().find(plain(text)) == ["BTC"]
    assert time.monotonic() - started < PATIENCE_SECONDS


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_never_closed_is_not_looked_for_again_and_again(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_texts, "_LONGEST_READ", sys.maxsize)
    started = time.monotonic()
    assert plain("a " + HOSTILE[what] * (1_000_000 // len(HOSTILE[what]))).startswith("a")
    assert time.monotonic() - started < PATIENCE_SECONDS


@pytest.mark.parametrize("what", HOSTILE)
def test_no_feed_takes_longer_than_its_length(what: str) -> None:
    hostile = HOSTILE[what] * (4_000_000 // len(HOSTILE[what]))
    body = (
        "<rss version='2.0'><channel><title>x</title><item><title>Bitcoin rises</title>"
        f"<description><![CDATA[{hostile}]]></description></item></channel></rss>"
    ).encode()
    answer = HttpResponse("test", "a feed", {}, body, None, NOW)
    started = time.monotonic()
    (item,) = parse_items(answer)
    assert item.title == "Bitcoin rises"
    assert time.monotonic() - started < PATIENCE_SECONDS


def test_what_is_the_same_page_or_title() -> None:
    assert same_link("https://www.a.com/x/?utm_source=rss#top") == same_link("http://a.com/x")
    assert same_link("https://a.com/?p=1") != same_link("https://a.com/?p=2")
    assert same_title("Bitcoin\u2019s price: up AGAIN!") == same_title("bitcoin s price up again")
    assert same_title("Market update") is None


def test_a_feed_with_an_invalid_number_is_reported() -> None:
    body = f"<rss version='2.0'><item><title>&#{'9' * 5_000};</title></item></rss>".encode()
    with pytest.raises(MalformedError, match="answered no feed"):
        parse_items(HttpResponse("test", "GET /feed", {}, body, None, NOW))
