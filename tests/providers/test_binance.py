"""Binance against a server on this machine that speaks its protocol."""

import asyncio
import json
from typing import Any

import pytest

from tests.providers.binance_fetches import (
    H1,
    candles,
    fetch,
    opened,
    opens,
    pages,
)
from tests.providers.exchange import LISTED, NOW, Exchange, kline
from weft.collect.checks.clean import clean_candles
from weft.components.provider import Batch, Request, SourceKind
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ProviderError
from weft.foundation.times import HOUR
from weft_providers.binance.spot import Binance

# The protocol


def test_many_pairs_are_described_by_one_request(exchange: Exchange) -> None:
    exchange.symbols |= {f"C{n}USDT": (f"C{n}", 1.0) for n in range(120)}
    batches = fetch(exchange, *exchange.symbols, since=NOW - 3 * HOUR)
    described = [i.symbol for batch in batches for i in batch.instruments]
    assert sorted(described) == sorted(exchange.symbols)
    infos = [params for path, params in exchange.asked if path == "/api/v3/exchangeInfo"]
    assert [len(json.loads(params["symbols"])) for params in infos] == [100, 22]


def test_a_pair_that_is_not_listed_spoils_no_other(exchange: Exchange) -> None:
    batches = fetch(exchange, "BTCUSDT", "NONEUSDT", "1000SATSUSDT", since=NOW - 3 * HOUR)
    assert {i.symbol for b in batches for i in b.instruments} == {"BTCUSDT", "1000SATSUSDT"}
    problems = [line for batch in batches for line in batch.problems]
    assert len(problems) == 1
    assert problems[0].startswith("NONEUSDT: binance lists no such symbol")


def test_all_closed_candles_come_once_and_the_forming_one_does_not(exchange: Exchange) -> None:
    batches = fetch(exchange, page_size=20)
    assert opens(batches) == [LISTED + i * HOUR for i in range(50)]
    assert [len(b.candles) for b in batches if b.candles is not None] == [20, 20, 10]
    starts = [int(page["startTime"]) * 1000 for page in pages(exchange)]
    assert starts == [LISTED, LISTED + 20 * HOUR, LISTED + 40 * HOUR]
    assert all(page["limit"] == "20" and page["interval"] == "1h" for page in pages(exchange))


def test_fetched_candles_pass_the_checks_unchanged(exchange: Exchange) -> None:
    frame = candles(fetch(exchange))
    checked = clean_candles(frame, H1, NOW, "binance")
    assert checked.problems == ()
    assert len(checked.frame) == len(frame) == 50
    first = kline(LISTED // 1000, 3_600_000, 100.0)
    assert list(checked.frame.row(0)[3:8]) == [float(text) for text in first[1:6]]
    assert checked.frame["known_at"].to_physical()[0] == LISTED + HOUR


def test_a_last_page_that_is_just_full_needs_no_further_request(exchange: Exchange) -> None:
    exchange.now = (LISTED + 40 * HOUR) // 1000
    batches = fetch(exchange, page_size=20, clock=SimulatedClock(LISTED + 40 * HOUR))
    assert len(opens(batches)) == 40
    assert len(pages(exchange)) == 2


def test_a_candle_counts_from_the_instant_it_closes(exchange: Exchange) -> None:
    clock = SimulatedClock(LISTED + 3 * HOUR)
    assert len(opens(fetch(exchange, clock=clock))) == 3
    assert len(opens(fetch(exchange, clock=SimulatedClock(LISTED + 3 * HOUR - 1)))) == 2


def test_it_goes_on_where_the_store_ends(exchange: Exchange) -> None:
    batches = fetch(exchange, known={"BTCUSDT": LISTED + 46 * HOUR})
    assert opens(batches) == [LISTED + i * HOUR for i in (47, 48, 49)]
    exchange.asked.clear()
    assert candles([*fetch(exchange, known={"BTCUSDT": LISTED + 45 * HOUR})]).height == 4
    exchange.asked.clear()
    fetch(exchange, known={"BTCUSDT": LISTED + 49 * HOUR})
    assert pages(exchange) == []


def test_no_candle_opens_before_the_requested_start(exchange: Exchange) -> None:
    batches = fetch(exchange, since=LISTED + 47 * HOUR - 1)
    assert opens(batches) == [LISTED + i * HOUR for i in (47, 48, 49)]
    assert opens(fetch(exchange, since=LISTED + 47 * HOUR + 1)) == [
        LISTED + i * HOUR for i in (48, 49)
    ]
    assert opens(fetch(exchange, since=0))[0] == LISTED


def test_a_short_page_is_the_last_page(exchange: Exchange) -> None:
    exchange.delisted["BTCUSDT"] = (LISTED + 7 * HOUR) // 1000
    assert len(opens(fetch(exchange))) == 7
    assert len(pages(exchange)) == 1


def test_several_pairs_take_turns_within_the_limit(exchange: Exchange) -> None:
    for number in range(8):
        exchange.symbols[f"C{number}USDT"] = (f"C{number}", 1.0)
    batches = fetch(exchange, *exchange.symbols, page_size=10, requests_in_flight=3)
    for symbol in exchange.symbols:
        assert opens(batches, symbol) == [LISTED + i * HOUR for i in range(50)]
    assert exchange.most_at_once <= 3


def test_the_configured_pairs_are_the_default(exchange: Exchange) -> None:
    async def go() -> list[Batch]:
        provider = Binance(Binance.Config(base_url=exchange.url, symbols=("1000SATSUSDT",)))
        clock = SimulatedClock(NOW)
        async with opened(provider, clock) as http:
            return [b async for b in provider.fetch(Request(H1, (), LISTED), http, clock)]

    assert candles(asyncio.run(go()))["symbol"].unique().to_list() == ["1000SATSUSDT"]


def test_instruments_come_with_tick_lot_and_multiplier(exchange: Exchange) -> None:
    (instrument,) = (i for b in fetch(exchange, "1000SATSUSDT") for i in b.instruments)
    assert (instrument.base, instrument.quote, instrument.multiplier) == ("SATS", "USDT", 1000)
    assert (instrument.tick, instrument.lot) == (0.01, 0.00001)
    assert instrument.always_open


def test_intervals_have_the_names_of_binance(exchange: Exchange) -> None:
    assert len(candles(fetch(exchange, interval="240m"))) == 12
    assert pages(exchange)[-1]["interval"] == "4h"
    with pytest.raises(ProviderError, match=r"binance: the exchange has no 7m candles.*1s, 1m, 3m"):
        fetch(exchange, interval="7m")


def test_a_long_absence_leaves_no_hole(exchange: Exchange) -> None:
    """Missing candles are fetched from the last stored candle on, however old it is."""
    known = {"BTCUSDT": LISTED}
    first = opens(fetch(exchange, since=LISTED + 40 * HOUR, known=known))[0]
    assert first == LISTED + HOUR


# Identity


def test_another_address_is_another_source() -> None:
    assert Binance().source == "binance"
    assert Binance(Binance.Config(base_url="https://api.binance.com")).source == "binance"
    sandbox = Binance(Binance.Config(base_url="https://testnet.binance.vision")).source
    assert sandbox.startswith("binance-")
    assert len(sandbox) == len("binance-") + 8


@pytest.mark.parametrize(
    "options",
    [{"page_size": 0}, {"page_size": 1001}, {"base_url": "api.binance.com"}, {"symbol": "BTCUSDT"}],
)
def test_impossible_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        Binance.Config(**options)


@pytest.mark.parametrize(
    ("base_url", "kind"),
    [
        ("https://api.binance.com", SourceKind.REAL),
        ("https://data-api.binance.vision", SourceKind.REAL),
        ("https://testnet.binance.vision", SourceKind.SANDBOX),
        ("https://demo-api.binance.com", SourceKind.SANDBOX),
        ("http://127.0.0.1:9000/binance", SourceKind.SANDBOX),
        ("https://binance.com.example", SourceKind.SANDBOX),
    ],
)
def test_only_the_exchange_itself_gives_real_data(base_url: str, kind: SourceKind) -> None:
    assert Binance(Binance.Config(base_url=base_url)).source_kind is kind
