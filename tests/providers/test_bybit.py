"""Bybit against the sandbox, whose world is the independent answer."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest

from tests.providers.sandboxed import NOW, SINCE, Fetched, fetch, serve
from weft.collect.checks.clean import clean_candles
from weft.components.provider import SourceKind
from weft.domain.instruments import Kind
from weft.foundation.times import DAY, HOUR, Interval
from weft.sources.http import (
    BannedError,
    MalformedError,
    RefusedError,
    SchemaChangedError,
    UnavailableError,
)
from weft.sources.http.connection import Reply
from weft.testing.providers.wiretap import Ask, Tap
from weft_providers.bybit import Bybit, ParameterError, classify
from weft_sandbox import Sandbox
from weft_sandbox.market.bars import Grid
from weft_sandbox.market.venues import BYBIT_LINEAR, BYBIT_SPOT

LAST_HOUR = NOW // HOUR * HOUR
FIRST = -(-SINCE // HOUR) * HOUR


@pytest.fixture(scope="module")
def _served() -> Iterator[Sandbox]:
    yield from serve("bybit")


@pytest.fixture
def server(_served: Sandbox) -> Iterator[Sandbox]:
    yield _served
    _served.heal()
    _served.clock.move(NOW, 0)


def make(server: Sandbox, **options: Any) -> Bybit:
    options = {"symbols": ("BTCUSDT",), **options}
    return Bybit(Bybit.Config(base_url=server.url("bybit"), **options))


def opens(fetched: Fetched) -> list[int]:
    return [t for page in fetched.candles for t in page["open_time"].to_physical()]


# Candles


@pytest.mark.parametrize("category", ["linear", "spot"])
def test_candles_are_those_of_the_category(server: Sandbox, category: str) -> None:
    fetched = fetch(make(server, category=category, page_size=50))
    assert (fetched.error, fetched.problems) == (None, [])
    frame = pl.concat(fetched.candles)
    assert opens(fetched) == list(range(FIRST, LAST_HOUR, HOUR))
    assert [len(page) for page in fetched.candles] == [50, 50, 43]
    world, coin = server.world, server.world.coin["BTC"]
    venue = BYBIT_LINEAR if category == "linear" else BYBIT_SPOT
    bars = world.candles(venue, coin, Grid.of("1h"), FIRST, LAST_HOUR, NOW)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(frame[name].to_numpy(), getattr(bars, name) * coin.tick)
    np.testing.assert_allclose(frame["volume"].to_numpy(), bars.volume * coin.step)
    assert clean_candles(frame, Interval.parse("1h"), NOW, "bybit").problems == ()
    (instrument,) = fetched.instruments
    assert instrument.kind is (Kind.PERPETUAL if category == "linear" else Kind.SPOT)
    assert (instrument.base, instrument.quote, instrument.venue) == ("BTC", "USDT", "bybit")
    assert (instrument.tick, instrument.lot) == (0.01, 0.00001)
    assert bool(fetched.rows) is (category == "linear")


def test_candles_go_on_where_they_end(server: Sandbox) -> None:
    provider = make(server)
    assert opens(fetch(provider, known_candles={"BTCUSDT": LAST_HOUR - 2 * HOUR})) == [
        LAST_HOUR - HOUR
    ]
    again = fetch(provider, known_candles={"BTCUSDT": LAST_HOUR - HOUR})
    assert again.candles == []
    assert "/v5/market/kline" not in [path for _, path, _ in again.asked]


@pytest.mark.parametrize("interval", list(Bybit.intervals))
def test_intervals(server: Sandbox, interval: str) -> None:
    step = Interval.parse(interval)
    since = NOW - 7 * step.micros
    assert opens(
        fetch(make(server, metrics=("funding_rate",)), interval=interval, since=since)
    ) == [step.ceil(since) + i * step.micros for i in range(6 + (since == step.ceil(since)))]


def test_an_unsupported_interval_is_an_error(server: Sandbox) -> None:
    fetched = fetch(make(server), interval="8h")
    assert "bybit: the exchange has no 8h candles. Choose one of 1m, 3m, 5m" in str(fetched.error)
    assert fetched.asked == []


def test_candles_are_requested_from_the_listing_on(server: Sandbox) -> None:
    listed = server.world.coin["ARB"].listed
    provider = make(server, symbols=("ARBUSDT",), page_size=100, metrics=("funding_rate",))
    fetched = fetch(provider, interval="1d", since=listed - 300 * DAY)
    assert opens(fetched)[0] == listed
    assert len([1 for _, path, _ in fetched.asked if path == "/v5/market/kline"]) == 4


def test_an_unknown_symbol_is_reported_and_not_requested_again(server: Sandbox) -> None:
    provider = make(server, symbols=("NOSUCHUSDT", "BTCUSDT"))
    fetched = fetch(provider)
    assert fetched.error is None
    assert fetched.problems == [
        "NOSUCHUSDT: bybit lists no such symbol; not requested again until the next start"
    ]
    assert len(opens(fetched)) == 143
    asked = fetch(provider).asked
    assert not any("NOSUCHUSDT" in str(params) for _, _, params in asked)


# Metrics


def test_every_metric_has_values_known_after_their_event_time(server: Sandbox) -> None:
    fetched = fetch(make(server))
    assert {row.metric for row in fetched.rows} == set(Bybit.metrics)
    assert {(row.scope, row.entity) for row in fetched.rows} == {("instrument", "BTCUSDT")}
    assert all(SINCE <= row.event_time <= row.known_at <= NOW for row in fetched.rows)


def test_funding_is_known_when_it_is_paid(server: Sandbox) -> None:
    rows = fetch(make(server)).of("funding_rate", "BTCUSDT")
    world, coin = server.world, server.world.coin["BTC"]
    times = world.derivatives.funding_times(coin, SINCE, NOW)
    assert [(row.event_time, row.known_at) for row in rows] == [(t, t) for t in times.tolist()]
    rates = world.derivatives.funding_rates(BYBIT_LINEAR, coin, times)
    np.testing.assert_allclose([row.value for row in rows], rates, atol=1e-9)


def test_open_interest_counts_one_side(server: Sandbox) -> None:
    rows = fetch(make(server)).of("open_interest", "BTCUSDT")
    times = list(range(FIRST, LAST_HOUR, HOUR))
    assert [(row.event_time, row.known_at) for row in rows] == [(t, t + HOUR) for t in times]
    world, coin = server.world, server.world.coin["BTC"]
    both = world.derivatives.open_interest(BYBIT_LINEAR, coin, np.array(times))
    np.testing.assert_allclose([row.value for row in rows], both / 2, rtol=1e-6)
    sides = {"open_interest": {"extra": {"field": "openInterest"}}}
    fetched_rows = fetch(make(server, series=sides)).of("open_interest", "BTCUSDT")
    np.testing.assert_allclose([row.value for row in fetched_rows], both, rtol=1e-6)


def test_the_ratio_is_longs_over_shorts(server: Sandbox) -> None:
    rows = fetch(make(server)).of("long_short_ratio", "BTCUSDT")
    assert {row.known_at - row.event_time for row in rows} == {HOUR}
    times = np.array([row.event_time for row in rows])
    values = server.world.series("long_short_ratio", "BTC", times)
    np.testing.assert_allclose([row.value for row in rows], values, rtol=1e-3)


@pytest.mark.parametrize(
    ("metric", "days", "pages", "rows"),
    [
        ("funding_rate", 200, 4, 600),
        ("open_interest", 20, 3, 479),
        ("long_short_ratio", 50, 3, 1199),
    ],
)
def test_metrics_are_read_to_the_end(
    server: Sandbox, metric: str, days: int, pages: int, rows: int
) -> None:
    provider = make(server, metrics=(metric,), only="metrics")
    fetched = fetch(provider, since=LAST_HOUR - days * DAY)
    times = [row.event_time for row in fetched.of(metric, "BTCUSDT")]
    assert len(fetched.asked) == pages
    assert abs(len(set(times)) - rows) <= 1
    assert len(set(np.diff(times))) == 1


def test_stored_metrics_are_requested_when_they_are_due(server: Sandbox) -> None:
    provider = make(server, metrics=("open_interest", "long_short_ratio"), only="metrics")
    known = fetch(provider).known
    assert fetch(provider, known=known).asked == []
    server.clock.move(NOW + HOUR, 0)
    again = fetch(provider, now=NOW + HOUR, known=known)
    assert all(again.known[key] == last + HOUR for key, last in known.items())
    assert len(again.rows) == 2 * 5


# Faults


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (0, None),
        (10001, ParameterError),
        (10002, RefusedError),
        (10016, UnavailableError),
        (99999, RefusedError),
    ],
)
def test_codes_with_status_200_are_errors(code: int, kind: type[Exception] | None) -> None:
    assert classify(200, {"retCode": code}, {}) is kind


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v5/market/funding/history", "fundingRate"),
        ("/v5/market/open-interest", "singleOpenInterest"),
        ("/v5/market/account-ratio", "buyRatio"),
    ],
)
def test_a_renamed_field_is_an_error_and_stores_nothing(
    server: Sandbox, path: str, name: str
) -> None:
    server.fault({"kind": "rename_field", "path": path, "field": name})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, SchemaChangedError)
    assert name in str(fetched.error)
    assert len({row.metric for row in fetched.rows}) == 2
    assert len(opens(fetched)) == 143


def spoiled(path: str, change: Callable[[dict[str, Any]], None]) -> Tap:
    """Change the result of one path."""

    def spoil(ask: Ask, reply: Reply) -> Reply:
        if path not in ask.url:
            return reply
        body = orjson.loads(reply.body)
        change(body["result"])
        return replace(reply, body=orjson.dumps(body))

    return Tap(spoil=spoil)


@pytest.mark.parametrize("metric", ["open_interest", "long_short_ratio"])
@pytest.mark.parametrize("cursor", [None, "absent"])
def test_a_page_without_a_cursor_is_an_error(
    server: Sandbox, metric: str, cursor: str | None
) -> None:
    def cut(result: dict[str, Any]) -> None:
        if "nextPageCursor" in result:
            result["nextPageCursor"] = None
            if cursor:
                del result["nextPageCursor"]

    with spoiled("/v5/market/", cut).listening():
        fetched = fetch(make(server, metrics=(metric,), only="metrics"))
    assert isinstance(fetched.error, SchemaChangedError)
    assert "nextPageCursor" in str(fetched.error)
    assert fetched.rows == []


def test_cursors_that_lead_in_a_circle_end(server: Sandbox) -> None:
    cursors = iter(["a", "b"] * 50)

    def around(result: dict[str, Any]) -> None:
        result["nextPageCursor"] = next(cursors)

    server.fault({"kind": "cursor_loop"})
    provider = make(server, only="metrics", metrics=("open_interest",))
    with spoiled("/v5/market/open-interest", around).listening():
        fetched = fetch(provider, since=NOW - 300 * DAY)
    assert isinstance(fetched.error, SchemaChangedError)
    assert "another page" in str(fetched.error)
    assert len(fetched.asked) <= 4


def test_pages_before_the_requested_start_are_not_followed(server: Sandbox) -> None:
    def endless(result: dict[str, Any]) -> None:
        if not result["nextPageCursor"]:
            result["nextPageCursor"] = f"more{next(count)}"
            # As a source does that passes over startTime.
            last = dict(result["list"][-1])
            last["timestamp"] = str(int(last["timestamp"]) - 3_600_000)
            result["list"].append(last)

    count = itertools.count()
    provider = make(server, only="metrics", metrics=("open_interest",))
    with spoiled("/v5/market/open-interest", endless).listening():
        fetched = fetch(provider)
    assert fetched.error is None
    assert len(fetched.asked) == 1
    assert min(row.event_time for row in fetched.rows) == FIRST


def test_a_row_without_shorts_is_left_out_and_reported(server: Sandbox) -> None:
    def nobody(result: dict[str, Any]) -> None:
        result["list"][5]["sellRatio"] = "0"

    provider = make(server, only="metrics", metrics=("long_short_ratio",))
    clean = fetch(provider)
    with spoiled("/v5/market/account-ratio", nobody).listening():
        fetched = fetch(provider)
    assert fetched.error is None
    (line,) = fetched.problems
    assert line.startswith(
        "long_short_ratio BTCUSDT: 1 row left out, no account is short, first at "
    )
    assert len(fetched.rows) == len(clean.rows) - 1


@pytest.mark.parametrize("code", [10002, 99_999])
def test_only_a_refused_parameter_means_an_unknown_symbol(server: Sandbox, code: int) -> None:
    def refused(ask: Ask, reply: Reply) -> Reply:
        if "instruments-info" not in ask.url:
            return reply
        return replace(reply, body=orjson.dumps({"retCode": code, "retMsg": "no", "result": {}}))

    provider = make(server, only="candles")
    with Tap(spoil=refused).listening():
        fetched = fetch(provider)
    assert isinstance(fetched.error, RefusedError)
    assert fetched.problems == []
    # The symbol is not given up: the next round requests it.
    assert len(opens(fetch(provider))) == 143


def test_a_launch_in_the_near_future_is_awaited(server: Sandbox) -> None:
    def soon(result: dict[str, Any]) -> None:
        result["list"][0]["launchTime"] = str((NOW + 3 * DAY) // 1_000)

    provider = make(server, only="candles")
    with spoiled("instruments-info", soon).listening():
        fetched = fetch(provider)
    (line,) = fetched.problems
    assert line.startswith("BTCUSDT: bybit says that it lists at ")
    assert fetched.candles == []
    assert [i.listed for i in fetched.instruments] == [NOW // 1_000 * 1_000 + 3 * DAY]
    again = fetch(provider)
    assert again.problems == []
    assert len(opens(again)) == 143


def test_a_symbol_with_candles_cannot_list_tomorrow(server: Sandbox) -> None:
    def soon(result: dict[str, Any]) -> None:
        result["list"][0]["launchTime"] = str((NOW + DAY) // 1_000)

    provider = make(server, only="candles")
    known = {"BTCUSDT": LAST_HOUR - 3 * HOUR}
    with spoiled("instruments-info", soon).listening():
        fetched = fetch(provider, known_candles=known)
    assert "ignored as implausible" in fetched.problems[0]
    assert opens(fetched) == [LAST_HOUR - 2 * HOUR, LAST_HOUR - HOUR]


def test_a_launch_years_ahead_is_not_believed(server: Sandbox) -> None:
    def far(result: dict[str, Any]) -> None:
        result["list"][0]["launchTime"] = str((NOW + 3_650 * DAY) // 1_000)

    provider = make(server, only="candles", page_size=50)
    with spoiled("instruments-info", far).listening():
        fetched = fetch(provider)
    (line,) = fetched.problems
    assert "ignored as implausible" in line
    assert len(opens(fetched)) == 143
    assert [i.listed for i in fetched.instruments] == [None]


def test_a_page_is_no_answer(server: Sandbox) -> None:
    server.fault({"kind": "html", "path": "/v5/market/kline"})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, MalformedError)
    assert fetched.candles == []


def test_the_same_page_again_and_again_leaves_no_hole(server: Sandbox) -> None:
    server.fault({"kind": "cursor_loop"})
    fetched = fetch(make(server, page_size=50))
    assert isinstance(fetched.error, SchemaChangedError)
    assert opens(fetched) == list(range(FIRST, FIRST + 50 * HOUR, HOUR))
    provider = make(server, only="metrics", metrics=("open_interest", "funding_rate"))
    assert len(fetch(provider, since=NOW - 300 * DAY).asked) <= 6


def test_an_empty_page_in_the_middle_leaves_no_hole(server: Sandbox) -> None:
    server.fault({"kind": "empty_rows", "path": "/v5/market/kline", "skip": 1})
    provider = make(server, page_size=50, metrics=("funding_rate",))
    fetched = fetch(provider)
    assert fetched.error is None
    assert opens(fetched) == list(range(FIRST, FIRST + 50 * HOUR, HOUR))
    server.heal()
    rest = fetch(provider, known_candles={"BTCUSDT": opens(fetched)[-1]})
    assert opens(rest) == list(range(FIRST + 50 * HOUR, LAST_HOUR, HOUR))


def test_who_asks_too_often_is_shut_out(server: Sandbox) -> None:
    server.fault({"kind": "ban"})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, BannedError)
    assert len(fetched.asked) == 1


def test_a_rate_limit_is_waited_for(server: Sandbox) -> None:
    server.fault({"kind": "rate_limit", "count": 2})
    fetched = fetch(make(server))
    assert fetched.error is None
    assert len(opens(fetched)) == 143


# Identity


def test_each_category_and_address_is_a_source() -> None:
    spot = Bybit(Bybit.Config(category="spot"))
    assert (Bybit().source, spot.source) == ("bybit", "bybit-spot")
    sandbox = Bybit(Bybit.Config(base_url="http://127.0.0.1:9000/bybit", category="spot")).source
    assert sandbox.startswith("bybit-")
    assert sandbox.endswith("-spot")


@pytest.mark.parametrize(
    ("base_url", "kind"),
    [
        (None, SourceKind.REAL),
        ("https://api.bytick.com", SourceKind.REAL),
        ("https://api-testnet.bybit.com", SourceKind.SANDBOX),
        ("http://127.0.0.1:9000/bybit", SourceKind.SANDBOX),
    ],
)
def test_only_the_exchange_itself_gives_real_data(base_url: str | None, kind: SourceKind) -> None:
    assert Bybit(Bybit.Config(base_url=base_url)).source_kind is kind
