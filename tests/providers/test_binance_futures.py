"""USDT-M futures against the sandbox, whose world is the independent answer."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.providers.sandboxed import NOW, SINCE, Fetched, Row, fetch, serve
from weft.collect.checks.clean import clean_candles
from weft.components.provider import FactKey, SourceKind
from weft.domain.instruments import Kind
from weft.foundation.errors import ConfigError
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, Interval
from weft.sources.http import BannedError, SchemaChangedError
from weft_providers.binance.futures import BinanceFutures
from weft_sandbox import Sandbox
from weft_sandbox.market.bars import Grid
from weft_sandbox.market.venues import PERPETUAL

LAST_HOUR = NOW // HOUR * HOUR
STAMPED = (
    "open_interest_usd",
    "long_short_ratio",
    "top_long_short_accounts",
    "top_long_short_positions",
    "taker_buy_sell_ratio",
)
BOOK = ("bid_depth_usd", "ask_depth_usd", "book_imbalance", "bid_ask_spread")


@pytest.fixture(scope="module")
def _served() -> Iterator[Sandbox]:
    yield from serve("binance")


@pytest.fixture
def server(_served: Sandbox) -> Iterator[Sandbox]:
    yield _served
    _served.heal()
    _served.clock.move(NOW, 0)


def make(server: Sandbox, **options: Any) -> BinanceFutures:
    options = {"symbols": ("BTCUSDT",), **options}
    return BinanceFutures(BinanceFutures.Config(base_url=server.url("binance"), **options))


def candles(fetched: Fetched, symbol: str = "BTCUSDT") -> pl.DataFrame:
    return pl.concat(fetched.candles).filter(pl.col("symbol") == symbol)


def of(fetched: Fetched, metric: str, symbol: str = "BTCUSDT") -> list[Row]:
    return fetched.of(metric, symbol)


# Candles


def test_candles_are_those_of_the_perpetual(server: Sandbox) -> None:
    fetched = fetch(make(server, page_size=50, metrics=("funding_rate",)))
    assert (fetched.error, fetched.problems) == (None, [])
    frame = candles(fetched)
    first = -(-SINCE // HOUR) * HOUR
    assert frame["open_time"].to_physical().to_list() == list(range(first, LAST_HOUR, HOUR))
    assert [len(page) for page in fetched.candles] == [50, 50, 43]
    coin = server.world.coin["BTC"]
    bars = server.world.candles(PERPETUAL, coin, Grid.of("1h"), first, LAST_HOUR, NOW)
    for name in ("open", "high", "low", "close"):
        np.testing.assert_allclose(frame[name].to_numpy(), getattr(bars, name) * coin.tick)
    np.testing.assert_allclose(frame["volume"].to_numpy(), bars.volume * coin.step)
    checked = clean_candles(frame, Interval.parse("1h"), NOW, "binance_futures")
    assert checked.problems == ()


def test_candles_go_on_where_they_end(server: Sandbox) -> None:
    known = {"BTCUSDT": LAST_HOUR - 3 * HOUR}
    frame = candles(fetch(make(server), known_candles=known))
    assert frame["open_time"].to_physical().to_list() == [LAST_HOUR - 2 * HOUR, LAST_HOUR - HOUR]


def test_contracts_are_described_and_listed_once(server: Sandbox) -> None:
    provider = make(server, symbols=("BTCUSDT", "ARBUSDT", "NOSUCHUSDT"))
    fetched = fetch(
        provider, since=NOW - 500 * DAY, interval="1w", known_candles={"BTCUSDT": NOW - 3 * HOUR}
    )
    bitcoin, arbitrum = sorted(fetched.instruments, key=lambda i: i.symbol, reverse=True)
    assert (bitcoin.base, bitcoin.quote, bitcoin.kind) == ("BTC", "USDT", Kind.PERPETUAL)
    assert (bitcoin.tick, bitcoin.lot, bitcoin.delisted) == (0.01, 0.00001, None)
    assert arbitrum.listed == server.world.coin["ARB"].listed
    message = "NOSUCHUSDT: binance_futures lists no such symbol; not requested again"
    assert fetched.problems == [f"{message} until the next start"]
    # No page before the listing is requested.
    starts = [p["startTime"] for _, path, p in fetched.asked if path == "/fapi/v1/klines"]
    assert min(starts) * 1000 > arbitrum.listed - 7 * DAY
    again = fetch(provider, known_candles={"BTCUSDT": LAST_HOUR - HOUR, "ARBUSDT": LAST_HOUR})
    assert "/fapi/v1/exchangeInfo" not in [path for _, path, _ in again.asked]
    assert (again.problems, again.instruments) == ([], [])


@pytest.mark.parametrize("interval", ["1m", "5m", "30m", "4h", "12h", "1d", "1w"])
def test_intervals(server: Sandbox, interval: str) -> None:
    step = Interval.parse(interval)
    since = NOW - max(1500 * MINUTE, 3 * step.micros)
    frame = candles(fetch(make(server, metrics=BOOK), interval=interval, since=since))
    opens = frame["open_time"].to_physical().to_list()
    assert opens == list(range(step.ceil(since), NOW - step.micros + 1, step.micros))


def test_seconds_there_are_none(server: Sandbox) -> None:
    fetched = fetch(make(server), interval="1s")
    assert "the exchange has no 1s candles. Choose one of 1m, 3m" in str(fetched.error)


def test_only_metrics(server: Sandbox) -> None:
    fetched = fetch(make(server, only="metrics", assets=("ETH",), symbols=("BTCUSDT", "ETHUSDT")))
    assert fetched.candles == fetched.instruments == []
    assert {row.entity for row in fetched.rows} == {"ETHUSDT"}
    assert {row.metric for row in fetched.rows} == set(BinanceFutures.metrics)


# Metrics


def test_every_metric_has_values_known_after_their_event_time(server: Sandbox) -> None:
    fetched = fetch(make(server))
    assert (fetched.error, fetched.problems) == (None, [])
    assert {row.metric for row in fetched.rows} == set(BinanceFutures.metrics)
    assert {(row.scope, row.entity) for row in fetched.rows} == {("instrument", "BTCUSDT")}
    assert all(SINCE <= row.event_time <= row.known_at <= NOW for row in fetched.rows)


def test_funding_is_known_when_it_is_paid(server: Sandbox) -> None:
    rows = of(fetch(make(server)), "funding_rate")
    coin = server.world.coin["BTC"]
    times = server.world.derivatives.funding_times(coin, SINCE, NOW)
    assert [row.event_time for row in rows] == times.tolist()
    assert all(row.known_at == row.event_time for row in rows)
    rates = server.world.derivatives.funding_rates(PERPETUAL, coin, times)
    np.testing.assert_allclose([row.value for row in rows], rates, atol=1e-9)


def test_funding_is_read_to_the_end(server: Sandbox) -> None:
    fetched = fetch(make(server, metrics=("funding_rate",), only="metrics"), since=NOW - 400 * DAY)
    assert len(fetched.rows) == len({row.event_time for row in fetched.rows}) == 1200
    assert len(fetched.asked) == 2


@pytest.mark.parametrize("metric", STAMPED)
def test_a_statistic_is_known_one_period_after_its_stamp(server: Sandbox, metric: str) -> None:
    rows = of(fetch(make(server)), metric)
    first = -(-SINCE // HOUR) * HOUR
    assert [row.event_time for row in rows] == list(range(first, LAST_HOUR, HOUR))
    assert {row.known_at - row.event_time for row in rows} == {HOUR}


def test_ratios_and_open_interest_are_the_worlds(server: Sandbox) -> None:
    fetched, world = fetch(make(server)), server.world
    coin = world.coin["BTC"]
    times = np.array([row.event_time for row in of(fetched, "long_short_ratio")])
    for metric, name in (
        ("long_short_ratio", "long_short_ratio"),
        ("top_long_short_accounts", "top_account_ratio"),
        ("top_long_short_positions", "top_position_ratio"),
    ):
        values = [row.value for row in of(fetched, metric)]
        np.testing.assert_allclose(values, world.series(name, "BTC", times), atol=1e-4)
    amounts = world.derivatives.open_interest(PERPETUAL, coin, times)
    rows = [row for row in of(fetched, "open_interest") if row.event_time != NOW]
    np.testing.assert_allclose([row.value for row in rows], amounts, rtol=1e-6)
    prices = [world.price(PERPETUAL, coin, int(t)) * coin.tick for t in times]
    dollars = [row.value for row in of(fetched, "open_interest_usd")]
    np.testing.assert_allclose(dollars, amounts * prices, rtol=1e-6)
    bars = world.candles(PERPETUAL, coin, Grid.of("1h"), int(times[0]) - HOUR, int(times[-1]), NOW)
    taken = bars.taker / (bars.volume - bars.taker)
    values = [row.value for row in of(fetched, "taker_buy_sell_ratio")]
    np.testing.assert_allclose(values, taken, atol=1e-4)


def test_open_interest_of_this_moment(server: Sandbox) -> None:
    provider = make(server, metrics=("open_interest",))
    first = fetch(provider)
    last = of(first, "open_interest")[-1]
    assert last.event_time == last.known_at == NOW
    coin = server.world.coin["BTC"]
    now = server.world.derivatives.open_interest(PERPETUAL, coin, np.array([NOW]))[0]
    assert last.value == pytest.approx(now, abs=1e-5)
    # A round a minute later requests the present value only; a round after a pause fills it.
    server.clock.move(NOW + MINUTE, 0)
    soon = fetch(provider, now=NOW + MINUTE, known=first.known)
    assert [row.event_time for row in soon.rows] == [NOW + MINUTE]
    server.clock.move(NOW + 6 * HOUR, 0)
    late = fetch(provider, now=NOW + 6 * HOUR, known=soon.known)
    assert {LAST_HOUR + i * HOUR for i in range(1, 6)} < {row.event_time for row in late.rows}


def test_statistics_reach_back_thirty_days_in_pages(server: Sandbox) -> None:
    fetched = fetch(make(server, metrics=("long_short_ratio",)), since=NOW - 90 * DAY)
    assert fetched.problems == []
    rows = fetched.rows
    assert [r.event_time for r in rows] == list(range(rows[0].event_time, LAST_HOUR, HOUR))
    assert NOW - 30 * DAY <= rows[0].event_time <= NOW - 30 * DAY + 2 * HOUR
    assert len([1 for _, path, _ in fetched.asked if path.startswith("/futures/data")]) == 2


def test_another_period(server: Sandbox) -> None:
    extra = {"long_short_ratio": {"step": "5m", "lag": "1m"}}
    rows = fetch(make(server, metrics=("long_short_ratio",), series=extra)).rows
    # Never earlier than a period after its stamp, whatever the lag.
    assert {row.known_at - row.event_time for row in rows} == {5 * MINUTE}
    assert rows[1].event_time - rows[0].event_time == 5 * MINUTE


def test_metrics_of_the_order_book(server: Sandbox) -> None:
    fetched = fetch(make(server, metrics=BOOK, only="metrics"))
    assert len(fetched.asked) == 1
    coin = server.world.coin["BTC"]
    book = server.world.book(PERPETUAL, coin, NOW, 1000)
    bids, asks = book.bids * [coin.tick, coin.step], book.asks * [coin.tick, coin.step]
    middle = (bids[0, 0] + asks[0, 0]) / 2
    below = bids[bids[:, 0] >= middle * 0.99].prod(axis=1).sum()
    above = asks[asks[:, 0] <= middle * 1.01].prod(axis=1).sum()
    expected = {
        "bid_depth_usd": below,
        "ask_depth_usd": above,
        "book_imbalance": (below - above) / (below + above),
        "bid_ask_spread": (asks[0, 0] - bids[0, 0]) / middle,
    }
    for metric, value in expected.items():
        (row,) = of(fetched, metric)
        assert row.value == pytest.approx(value, rel=1e-9)
        assert NOW - SECOND < row.event_time <= row.known_at == NOW


def test_a_book_that_does_not_reach_one_percent_has_no_depth(server: Sandbox) -> None:
    provider = make(server, metrics=BOOK, depth_levels=50)
    fetched = fetch(provider)
    assert {row.metric for row in fetched.rows} == {"book_imbalance", "bid_ask_spread"}
    (problem,) = fetched.problems
    assert problem.startswith("BTCUSDT: the order book reaches 0.")
    assert problem.endswith("no bid_depth_usd, ask_depth_usd; raise depth_levels")
    assert fetch(provider).problems == []


def test_dollar_metrics_need_a_dollar_quote() -> None:
    provider = BinanceFutures()
    usd, ratio = (
        next(s for s in provider.series if s.metric == metric)
        for metric in ("open_interest_usd", "long_short_ratio")
    )
    assert provider.own_id(usd, "BTCUSDT") == provider.own_id(usd, "BTCUSDC")[:-1] + "T"  # type: ignore[index]  # what a fault may bring
    assert provider.own_id(usd, "ETHBTC") is None
    assert provider.own_id(ratio, "ETHBTC") == "ETHBTC"


def test_stored_metrics_are_requested_when_they_are_due(server: Sandbox) -> None:
    provider = make(server, metrics=(*STAMPED, "open_interest", *BOOK), only="metrics")
    known = fetch(provider).known
    assert fetch(provider, known=known).asked == []
    later = NOW + HOUR
    server.clock.move(later, 0)
    again = fetch(provider, now=later, known=known)
    assert {row.metric for row in again.rows} == set(provider.config.metrics)
    assert all(again.known[key] > last for key, last in known.items())
    assert all(row.event_time >= LAST_HOUR - 5 * HOUR for row in again.rows)


def test_funding_is_looked_for_every_hour(server: Sandbox) -> None:
    provider = make(server, metrics=("funding_rate",), only="metrics")
    paid = NOW // (8 * HOUR) * 8 * HOUR
    known = {FactKey("funding_rate", "instrument", "BTCUSDT"): paid}

    def asked(minutes: int) -> int:
        return len(fetch(provider, known=known, now=paid + HOUR + minutes * MINUTE).asked)

    assert asked(0) == 0
    # A rate paid on the hour may be published a little later.
    assert [asked(minutes) for minutes in (1, 1, 2, 3, 30, 59, 60, 61, 62, 63)] == [
        *(1, 1, 1, 0, 0, 0),
        *(1, 1, 1, 0),
    ]


# Faults


def test_an_unknown_symbol_without_candles_is_reported_once(server: Sandbox) -> None:
    provider = make(server, symbols=("NOSUCHUSDT",), only="metrics")
    first = fetch(provider)
    assert (first.error, first.rows) == (None, [])
    assert all("not requested again" in line for line in first.problems)
    assert fetch(provider).asked == []


def test_an_unknown_metric_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"no metric 'funding'.*Did you mean funding_rate"):
        BinanceFutures(BinanceFutures.Config(metrics=("funding",)))


@pytest.mark.parametrize(
    ("path", "name", "metric"),
    [
        ("/fapi/v1/fundingRate", "fundingRate", "funding_rate"),
        ("/fapi/v1/openInterest", "openInterest", "open_interest"),
        ("/futures/data/openInterestHist", "sumOpenInterest", "open_interest"),
        ("/futures/data/globalLongShortAccountRatio", "longShortRatio", "long_short_ratio"),
        ("/futures/data/takerlongshortRatio", "buySellRatio", "taker_buy_sell_ratio"),
    ],
)
def test_a_renamed_field_is_an_error_and_stores_nothing(
    server: Sandbox, path: str, name: str, metric: str
) -> None:
    server.fault({"kind": "rename_field", "path": path, "field": name})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, SchemaChangedError)
    assert name in str(fetched.error)
    assert of(fetched, metric) == []
    assert len(fetched.rows) > 0


def test_a_book_with_another_schema_is_an_error(server: Sandbox) -> None:
    server.fault({"kind": "list_dict", "path": "/fapi/v1/depth"})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, SchemaChangedError)
    assert not {row.metric for row in fetched.rows} & set(BOOK)


def test_an_answer_without_rows_stores_nothing(server: Sandbox) -> None:
    server.fault({"kind": "empty_rows", "path": "/futures/data/*"})
    fetched = fetch(make(server))
    assert (fetched.error, fetched.problems) == (None, [])
    assert {row.metric for row in fetched.rows} == {"funding_rate", "open_interest", *BOOK}


def test_the_same_page_again_and_again_ends(server: Sandbox) -> None:
    server.fault({"kind": "cursor_loop", "path": "/fapi/v1/fundingRate"})
    provider = make(server, metrics=("funding_rate",), only="metrics")
    assert len(fetch(provider, since=NOW - 700 * DAY).asked) <= 3


def test_limits_are_waited_for(server: Sandbox) -> None:
    server.fault({"kind": "rate_limit", "count": 3})
    fetched = fetch(make(server))
    assert fetched.error is None
    assert {row.metric for row in fetched.rows} == set(BinanceFutures.metrics)


def test_a_ban_ends_the_fetch(server: Sandbox) -> None:
    server.fault({"kind": "ban", "path": "/futures/data/*"})
    fetched = fetch(make(server))
    assert isinstance(fetched.error, BannedError)
    assert candles(fetched).height > 100


def test_paths_without_weight_use_only_their_own_limits(server: Sandbox) -> None:
    server.desk.usage.reset()
    fetched = fetch(make(server))
    paths = [path for _, path, _ in fetched.asked]
    statistics = sum(path.startswith("/futures/data/") for path in paths)
    assert statistics
    assert fetched.left == {
        # The list of contracts, a page of less than 500 candles, the open interest, the book.
        "weight a minute": 2_400 - (1 + 2 + 1 + 20),
        "statistics in 5 minutes": 1_000 - statistics,
        "funding in 5 minutes": 500 - paths.count("/fapi/v1/fundingRate"),
    }


def test_a_few_candles_are_a_small_request(server: Sandbox) -> None:
    provider = make(server, only="candles")
    fetched = fetch(provider, known_candles={"BTCUSDT": LAST_HOUR - 3 * HOUR})
    assert candles(fetched)["open_time"].to_physical().to_list() == [
        LAST_HOUR - 2 * HOUR,
        LAST_HOUR - HOUR,
    ]
    (params,) = (params for _, path, params in fetched.asked if path == "/fapi/v1/klines")
    # Less than a hundred rows cost a fifth of a full page.
    assert 3 <= params["limit"] < 100


# Identity


@pytest.mark.parametrize(
    ("base_url", "kind"),
    [
        (None, SourceKind.REAL),
        ("https://demo-fapi.binance.com", SourceKind.SANDBOX),
        ("https://testnet.binancefuture.com", SourceKind.SANDBOX),
        ("http://127.0.0.1:9000/binance", SourceKind.SANDBOX),
    ],
)
def test_only_the_exchange_itself_gives_real_data(base_url: str | None, kind: SourceKind) -> None:
    assert BinanceFutures(BinanceFutures.Config(base_url=base_url)).source_kind is kind
