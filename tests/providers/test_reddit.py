"""Reddit against the sandbox."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from tests.providers.sandboxed import CANARY, NOW, serve
from tests.providers.texts import Came, fetch
from weft.components.provider import FactKey
from weft.foundation.errors import ConfigError
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND
from weft.sources.http import SchemaChangedError, UnauthorisedError
from weft_providers.reddit import Reddit
from weft_sandbox import Sandbox

MIDNIGHT = NOW // DAY * DAY
SUBS = ("CryptoCurrency", "Bitcoin", "ethereum", "CryptoMarkets", "solana", "cardano")
NAMES = {"BTC": "Bitcoin", "ETH": "Ethereum"}


@pytest.fixture(scope="module")
def _served() -> Iterator[Sandbox]:
    yield from serve("reddit")


@pytest.fixture
def server(_served: Sandbox) -> Iterator[Sandbox]:
    yield _served
    _served.heal()
    _served.clock.move(NOW, 0)


def make(server: Sandbox, key: str = f"app:{CANARY}", **options: Any) -> Reddit:
    return Reddit(Reddit.Config(base_url=server.url("reddit"), api_key=SecretStr(key), **options))


def counts(fetched: Came, asset: str) -> dict[int, float]:
    return {row.event_time: row.value for row in fetched.rows if row.entity == asset}


def mentions(server: Sandbox, asset: str, day: int) -> int:
    """Posts of a day that mention an asset, or stand where all do, from the world's news."""
    result = 0
    for item in server.world.news(day - HOUR, day + DAY):
        extra = {"Bitcoin": "BTC", "ethereum": "ETH"}.get(SUBS[item.number % 6])
        # Bitcoin Cash is no Bitcoin.
        about = item.coin == asset
        times = [item.time + number * 30 * SECOND for number in range(20)]
        result += sum(day <= t < day + DAY for t in times) if about or extra == asset else 0
    return result


def test_posts_come_as_texts_known_when_they_were_fetched(server: Sandbox) -> None:
    fetched = fetch(make(server), since=NOW - 2 * DAY)
    assert (fetched.error, fetched.problems) == (None, [])
    assert {t["feed"] for t in fetched.texts} == {f"r/{sub}" for sub in SUBS}
    assert all(t["event_time"] <= t["known_at"] == NOW for t in fetched.texts)
    news = server.world.news(NOW - DAY, NOW - 10 * MINUTE)
    for item in news:
        same = [t for t in fetched.texts if t["event_time"] == item.time]
        assert f"{item.title}?" in {t["title"] for t in same}
        text = next(t for t in same if t["title"] == f"{item.title}?")
        assert text["summary"] == f"{item.text} Ups & downs of 0."
        assert item.coin in text["assets"]
        assert text["url"].startswith("https://www.reddit.com/r/")


def test_removed_posts_have_no_body(server: Sandbox) -> None:
    bodies = [t["summary"] for t in fetch(make(server), since=NOW - 2 * DAY).texts]
    assert "" in bodies
    assert "[removed]" not in bodies


def test_pages_are_read_as_far_as_wanted(server: Sandbox) -> None:
    provider = make(server, subreddits={"Bitcoin": ""})
    texts = fetch(provider, since=NOW - 4 * DAY).texts
    assert len(texts) > 300
    assert len({t["id"] for t in texts}) == len(texts)
    assert min(t["event_time"] for t in texts) < MIDNIGHT - 3 * DAY


def test_mentions_are_counted_a_day_once_it_is_over(server: Sandbox) -> None:
    fetched = fetch(make(server), since=NOW - 4 * DAY)
    for asset in NAMES:
        result = counts(fetched, asset)
        assert sorted(result) == [MIDNIGHT - back * DAY for back in (2, 1, 0)]
        for end, value in result.items():
            assert value == mentions(server, asset, end - DAY)
            assert value > 0
    assert {row.known_at for row in fetched.rows} == {NOW}


def test_days_beyond_the_listings_are_not_counted(server: Sandbox) -> None:
    result = counts(fetch(make(server), since=NOW - 30 * DAY), "BTC")
    assert 3 <= len(result) < 8
    assert all(value > 0 for value in result.values())


def test_only_new_posts_are_requested_and_stored(server: Sandbox) -> None:
    provider = make(server)
    first = fetch(provider, since=NOW - 4 * DAY)
    known = {FactKey("social_volume", "asset", r.entity): MIDNIGHT for r in first.rows}
    options: dict[str, Any] = {"known": known, "cursor": first.cursor, "since": NOW - 4 * DAY}
    again = fetch(provider, **options)
    assert (again.texts, again.rows) == ([], [])
    server.clock.move(NOW + HOUR, 0)
    later = fetch(provider, now=NOW + HOUR, **options)
    assert 0 < len(later.texts) < 120
    assert all(t["known_at"] == NOW + HOUR for t in later.texts)
    server.clock.move(NOW + DAY, 0)
    tomorrow = fetch(provider, now=NOW + DAY, **options)
    assert counts(tomorrow, "BTC") == {MIDNIGHT + DAY: mentions(server, "BTC", MIDNIGHT)}


def test_without_one_subreddit_nothing_is_counted(server: Sandbox) -> None:
    fetched = fetch(make(server, subreddits={"Bitcoin": "", "privatecoins": "", "nosuch": ""}))
    assert fetched.error is None
    assert len(fetched.problems) == 2
    assert fetched.texts
    assert fetched.rows == []


def test_a_token_that_is_refused_is_renewed_once(server: Sandbox) -> None:
    provider = make(server)
    fetch(provider, since=NOW - DAY)
    server.fault({"kind": "revoked_key", "path": "/r/*", "count": 1})
    assert fetch(provider, since=NOW - DAY).error is None
    server.heal()
    server.fault({"kind": "revoked_key", "path": "/r/*"})
    assert isinstance(fetch(provider, since=NOW - DAY).error, UnauthorisedError)


def test_an_unknown_key_is_an_error(server: Sandbox) -> None:
    fetched = fetch(make(server, "invalid:secret"))
    assert isinstance(fetched.error, UnauthorisedError)
    assert (fetched.texts, fetched.rows) == ([], [])


def test_a_key_without_a_secret_is_refused() -> None:
    with pytest.raises(ConfigError, match="client_id:client_secret"):
        Reddit(Reddit.Config(api_key=SecretStr("just-one-part")))


def test_a_renamed_field_is_an_error_and_stores_nothing(server: Sandbox) -> None:
    server.fault({"kind": "rename_field", "field": "data", "path": "/r/*"})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, SchemaChangedError)
    assert (fetched.texts, fetched.rows) == ([], [])


def test_an_empty_listing_is_no_day_without_mentions(server: Sandbox) -> None:
    server.fault({"kind": "empty_rows", "path": "/r/*"})
    fetched = fetch(make(server))
    assert (fetched.error, fetched.texts, fetched.rows) == (None, [], [])


def test_key_and_token_are_in_no_error_and_no_log(
    server: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    messages = []
    for fault in (
        {"kind": "status", "status": 500},
        {"kind": "revoked_key"},
        {"kind": "missing_field", "field": "data"},
        {"kind": "redirect"},
    ):
        server.heal()
        server.fault(fault)
        fetched = fetch(make(server))
        assert fetched.error is not None
        messages += [str(fetched.error), repr(fetched.error), *fetched.problems]
    shown = "".join([*messages, caplog.text])
    assert CANARY not in shown
    assert f"tok{NOW // DAY}" not in shown
