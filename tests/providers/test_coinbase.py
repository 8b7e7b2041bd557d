"""Coinbase against the sandbox, whose world is the independent answer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.providers.sandboxed import NOW, Fetched, fetch, serve
from weft.collect.checks.clean import clean_candles
from weft.components.provider import SourceKind
from weft.foundation.times import DAY, HOUR, SECOND, Interval
from weft.sources.http import SchemaChangedError, UnavailableError
from weft_providers.coinbase import Coinbase
from weft_sandbox import Sandbox
from weft_sandbox.market.bars import Grid
from weft_sandbox.market.venues import COINBASE

LAST_HOUR = NOW // HOUR * HOUR
SINCE = NOW - 40 * DAY
FIRST = -(-SINCE // HOUR) * HOUR


@pytest.fixture(scope="module")
def _served() -> Iterator[Sandbox]:
    yield from serve("coinbase")


@pytest.fixture
def server(_served: Sandbox) -> Iterator[Sandbox]:
    yield _served
    _served.heal()
    _served.clock.move(NOW, 0)


def make(server: Sandbox, **options: Any) -> Coinbase:
    options = {"symbols": ("BTC-USD",), **options}
    return Coinbase(Coinbase.Config(base_url=server.url("coinbase"), **options))


def opens(fetched: Fetched) -> list[int]:
    return [t for page in fetched.candles for t in page["open_time"].to_physical()]


def spans(fetched: Fetched) -> list[dict[str, Any]]:
    return [params for _, path, params in fetched.asked if path.endswith("/candles")]


def test_candles_come_in_pages_and_in_order(server: Sandbox) -> None:
    fetched = fetch(make(server), since=SINCE)
    assert (fetched.error, fetched.problems) == (None, [])
    assert opens(fetched) == list(range(FIRST, LAST_HOUR, HOUR))
    assert [len(page) for page in fetched.candles] == [300, 300, 300, 59]
    assert len(spans(fetched)) == 4
    frame = pl.concat(fetched.candles)
    world, coin = server.world, server.world.coin["BTC"]
    bars = world.candles(COINBASE, coin, Grid.of("1h"), FIRST, LAST_HOUR, NOW)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(frame[name].to_numpy(), getattr(bars, name) * coin.tick)
    np.testing.assert_allclose(frame["volume"].to_numpy(), bars.volume * coin.step)
    assert clean_candles(frame, Interval.parse("1h"), NOW, "coinbase").problems == ()


def test_products_are_described(server: Sandbox) -> None:
    provider = make(server, symbols=("BTC-USD", "ETH-USD"))
    first = fetch(provider)
    bitcoin, ether = first.instruments
    assert (bitcoin.symbol, bitcoin.base, bitcoin.quote) == ("BTC-USD", "BTC", "USD")
    assert (bitcoin.venue, bitcoin.tick, bitcoin.lot) == ("coinbase", 0.01, 0.00001)
    assert ether.base == "ETH"
    assert [path for _, path, _ in first.asked].count("/products") == 1
    assert "/products" not in [path for _, path, _ in fetch(provider).asked]


def test_candles_go_on_where_they_end(server: Sandbox) -> None:
    provider = make(server)
    known = {"BTC-USD": LAST_HOUR - 3 * HOUR}
    assert opens(fetch(provider, known_candles=known)) == [LAST_HOUR - 2 * HOUR, LAST_HOUR - HOUR]
    assert spans(fetch(provider, known_candles={"BTC-USD": LAST_HOUR - HOUR})) == []


def test_a_candle_is_taken_a_moment_after_its_close(server: Sandbox) -> None:
    provider, known = make(server), {"BTC-USD": LAST_HOUR - 3 * HOUR}
    for seconds, count in ((4, 1), (5, 2)):
        now = LAST_HOUR + seconds * SECOND
        server.clock.move(now, 0)
        assert len(opens(fetch(provider, now=now, known_candles=known))) == count
    hasty = make(server, settle_seconds=0)
    server.clock.move(LAST_HOUR, 0)
    assert len(opens(fetch(hasty, now=LAST_HOUR, known_candles=known))) == 2


@pytest.mark.parametrize("interval", list(Coinbase.intervals))
def test_intervals(server: Sandbox, interval: str) -> None:
    step = Interval.parse(interval)
    since = NOW - 5 * step.micros
    result = opens(fetch(make(server), interval=interval, since=since))
    assert result == [step.ceil(since) + i * step.micros for i in range(len(result))]
    assert result[-1] == step.floor(NOW) - step.micros


@pytest.mark.parametrize("interval", ["4h", "2h", "1w", "30m"])
def test_an_unsupported_interval_is_an_error(server: Sandbox, interval: str) -> None:
    fetched = fetch(make(server), interval=interval)
    message = f"the exchange has no {interval} candles. Choose one of 1m, 5m, 15m, 1h, 6h, 1d"
    assert str(fetched.error) == f"coinbase: {message}"
    assert fetched.asked == []


def test_candles_begin_at_the_listing(server: Sandbox) -> None:
    listed = server.world.coin["ARB"].listed
    provider = make(server, symbols=("ARB-USD",), page_size=100)
    fetched = fetch(provider, interval="1d", since=listed - 250 * DAY)
    assert (opens(fetched)[0], len(spans(fetched))) == (listed, 7)


def test_an_unknown_product_is_reported_and_not_requested_again(server: Sandbox) -> None:
    provider = make(server, symbols=("NO-USD", "BTC-USD"))
    fetched = fetch(provider)
    assert fetched.problems == [
        "NO-USD: coinbase lists no such symbol; not requested again until the next start"
    ]
    assert len(opens(fetched)) > 100
    again = fetch(provider)
    assert again.problems == []
    assert not any("NO-USD" in path for _, path, _ in again.asked)


def test_buckets_without_a_trade_are_left_out(server: Sandbox) -> None:
    server.fault({"kind": "empty_rows", "path": "/products/*/candles", "skip": 1, "count": 1})
    fetched = fetch(make(server), since=SINCE)
    assert fetched.error is None
    assert len(opens(fetched)) == 659


def test_a_repeated_page_is_an_error(server: Sandbox) -> None:
    server.fault({"kind": "cursor_loop", "path": "/products/*/candles"})
    fetched = fetch(make(server), since=SINCE)
    assert isinstance(fetched.error, SchemaChangedError)
    assert "should be a time between start and end" in str(fetched.error)
    assert opens(fetched) == list(range(FIRST, FIRST + 300 * HOUR, HOUR))


@pytest.mark.parametrize("fault", [{"kind": "swap_type", "field": "4"}, {"kind": "list_dict"}])
def test_a_renamed_field_is_an_error_and_stores_nothing(
    server: Sandbox, fault: dict[str, Any]
) -> None:
    server.fault({**fault, "path": "/products/*/candles"})
    fetched = fetch(make(server))
    if fault["kind"] == "swap_type":
        # A number as text is still a number.
        assert fetched.error is None
    else:
        assert isinstance(fetched.error, SchemaChangedError)
        assert fetched.candles == []


def test_limits_are_waited_for_and_failures_are_errors(server: Sandbox) -> None:
    server.fault({"kind": "rate_limit", "count": 2})
    assert fetch(make(server)).error is None
    server.fault({"kind": "status", "status": 500})
    assert isinstance(fetch(make(server)).error, UnavailableError)


@pytest.mark.parametrize(
    ("base_url", "kind"),
    [
        (None, SourceKind.REAL),
        ("https://api-public.sandbox.exchange.coinbase.com", SourceKind.SANDBOX),
        ("http://127.0.0.1:9000/coinbase", SourceKind.SANDBOX),
    ],
)
def test_only_the_exchange_itself_gives_real_data(base_url: str | None, kind: SourceKind) -> None:
    assert Coinbase(Coinbase.Config(base_url=base_url)).source_kind is kind
