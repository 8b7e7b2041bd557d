"""Recorded answers of exchanges."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.providers.recorded import body
from weft.components.provider import Provider
from weft.foundation.times import HOUR, MINUTE, SECOND, parse_time
from weft.sources.http import BannedError, RateLimitedError, SchemaChangedError
from weft.testing import ParsedRows, Recorded, parse_recorded
from weft_providers.binance.futures import BinanceFutures
from weft_providers.binance.spot import Binance
from weft_providers.bybit import Bybit
from weft_providers.coinbase import Coinbase

OPEN_INTEREST = "/v5/market/open-interest"
FUNDING = "/fapi/v1/fundingRate"
NOW = parse_time("2024-03-05T00:30:00Z")


def bybit(*metrics: str) -> Bybit:
    """Return the provider with some metrics of one contract."""
    return Bybit(Bybit.Config(only="metrics", metrics=metrics, symbols=("BTCUSDT",)))


def test_bybit_sends_a_cursor_back_unchanged() -> None:
    first = body("bybit_open_interest_cursor")
    second = body("bybit_open_interest_cursor")
    row = {"openInterest": "10", "singleOpenInterest": "5", "timestamp": "1709589600000"}
    second["result"] |= {"list": [row], "nextPageCursor": ""}
    answers = {OPEN_INTEREST: (first, second)}
    parsed = parse_recorded(bybit("open_interest"), answers, now=NOW, days=2)
    assert (parsed.error, parsed.problems) == (None, ())
    assert "cursor=lastid%3D0%26lasttime%3D1709589600" in parsed.asked[1].url
    facts = parsed.of("open_interest", "BTCUSDT")
    # Coins of one side, not of both.
    assert [(fact.event_time, fact.value) for fact in facts] == [
        (1_709_589_600 * SECOND, 5.0),
        (1_709_593_200 * SECOND, 230567.192),
    ]
    assert {fact.known_at - fact.event_time for fact in facts} == {HOUR}


def test_a_broken_row_of_bybit_costs_that_row() -> None:
    answer = body("bybit_open_interest_cursor")
    broken = {"openInterest": "1", "singleOpenInterest": None, "timestamp": "1709589600000"}
    answer["result"] |= {"list": [*answer["result"]["list"], broken], "nextPageCursor": ""}
    parsed = parse_recorded(bybit("open_interest"), {OPEN_INTEREST: answer}, now=NOW, days=2)
    assert parsed.error is None
    assert len(parsed.facts) == 1
    assert "1 of 2 rows left out" in parsed.problems[0]


def test_bybit_names_the_end_of_a_limit_in_a_header() -> None:
    lifted = (NOW + 10 * MINUTE) // 1_000
    headers = {"X-Bapi-Limit-Reset-Timestamp": str(lifted)}
    message = {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "time": 1}
    answers = {OPEN_INTEREST: Recorded(body=message, headers=headers)}
    parsed = parse_recorded(bybit("open_interest"), answers, now=NOW)
    assert isinstance(parsed.error, RateLimitedError)
    assert parsed.error.retry_after_seconds == 600.0


def test_binance_names_the_end_of_a_ban_and_the_next_process_keeps_to_it(tmp_path: Path) -> None:
    until = NOW + 2 * HOUR + 17 * MINUTE
    message = (
        f"Way too much request weight used; IP(203.0.113.7) banned until {until // 1_000}. Please"
    )
    for status in (418, 429):
        answers = {FUNDING: Recorded(status=status, body={"code": -1003, "msg": message})}
        provider = BinanceFutures(
            BinanceFutures.Config(
                only="metrics", metrics=("funding_rate",), symbols=("BTCUSDT", "ETHUSDT")
            )
        )
        cache = tmp_path / str(status)
        banned = parse_recorded(provider, answers, now=NOW, cache=cache)
        assert isinstance(banned.error, BannedError)
        assert banned.error.retry_after_seconds == 8_220.0
        later = parse_recorded(provider, answers, now=until - SECOND, cache=cache)
        assert isinstance(later.error, BannedError)
        assert later.asked == ()
        over = parse_recorded(provider, {FUNDING: []}, now=until + SECOND, cache=cache)
        assert over.error is None
        assert len(over.asked) == 2


# Candles with a row that cannot be read

OPENED = parse_time("2024-03-04T20:00:00Z")
BROKEN: dict[str, Callable[[list[Any]], list[Any]]] = {
    "null": lambda row: [*row[:2], None, *row[3:]],
    "text": lambda row: [*row[:2], "n/a", *row[3:]],
    "missing field": lambda row: row[:3],
    "null time": lambda row: [None, *row[1:]],
}


def binance_rows(hours: Sequence[int]) -> list[list[Any]]:
    """Return klines as documented, times in milliseconds and prices as text."""
    opened = [(OPENED + hour * HOUR) // 1_000 for hour in hours]
    return [
        [t, "100.0", "102.0", "99.0", "101.0", "7.5", t + 3_599_999, "757.5", 42, "4", "404", "0"]
        for t in opened
    ]


def candle_answers(venue: str, rows: list[list[Any]]) -> tuple[Provider, dict[str, Any]]:
    """Return a provider of one symbol, and its documented answers around the given candles."""
    if venue == "binance":
        pair = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": []}
        spot = Binance(Binance.Config(only="candles", symbols=("BTCUSDT",)))
        return spot, {"/api/v3/exchangeInfo": {"symbols": [pair]}, "/api/v3/klines": rows}
    if venue == "bybit":
        instrument = {
            "symbol": "BTCUSDT",
            "baseCoin": "BTC",
            "quoteCoin": "USDT",
            "contractType": "LinearPerpetual",
            "launchTime": "1585526400000",
            "priceFilter": {"tickSize": "0.10"},
            "lotSizeFilter": {"qtyStep": "0.001"},
        }
        # Behind the volume stands the turnover, and no close time.
        cells = [[*row[:6], *row[7:8]] for row in rows]
        texts = [[cell if cell is None else str(cell) for cell in row] for row in cells]
        linear = Bybit(Bybit.Config(only="candles", symbols=("BTCUSDT",)))
        return linear, {
            "/v5/market/instruments-info": {"retCode": 0, "result": {"list": [instrument]}},
            "/v5/market/kline": {"retCode": 0, "result": {"list": texts[::-1]}},
        }
    product = {
        "id": "BTC-USD",
        "base_currency": "BTC",
        "quote_currency": "USD",
        "quote_increment": "0.01",
        "base_increment": "0.00000001",
    }
    coinbase = Coinbase(Coinbase.Config(symbols=("BTC-USD",)))
    seconds = [[row[0] and row[0] // 1_000, *row[1:6]] for row in rows]
    for row in seconds:
        # Low and high stand before the open.
        row[1:5] = [row[index] for index in (3, 2, 1, 4) if index < len(row)]
    return coinbase, {"/products": [product], "/products/BTC-USD/candles": seconds[::-1]}


def opens(parsed: ParsedRows) -> list[int]:
    return parsed.candles["open_time"].to_physical().to_list()


@pytest.mark.parametrize("venue", ["binance", "bybit", "coinbase"])
@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_candle_costs_that_candle_and_one_line(venue: str, fault: str) -> None:
    rows = binance_rows(range(4))
    rows[1] = BROKEN[fault](rows[1])
    provider, answers = candle_answers(venue, rows)
    parsed = parse_recorded(provider, answers, now=NOW, days=0.2)
    assert parsed.error is None
    assert opens(parsed) == [OPENED + hour * HOUR for hour in (0, 2, 3)]
    assert parsed.candles.row(0)[3:8] == (100.0, 102.0, 99.0, 101.0, 7.5)
    (line,) = parsed.problems
    assert line.startswith(parsed.candles["symbol"][0])
    assert "1 of 4 rows left out, the first: " in line


@pytest.mark.parametrize("venue", ["binance", "bybit", "coinbase"])
def test_a_page_without_a_valid_candle_is_an_error(venue: str) -> None:
    rows = [BROKEN["null"](row) for row in binance_rows(range(4))]
    provider, answers = candle_answers(venue, rows)
    parsed = parse_recorded(provider, answers, now=NOW, days=0.2)
    assert isinstance(parsed.error, SchemaChangedError)
    assert parsed.candles.is_empty()


def test_a_page_that_cannot_be_read_costs_no_other_symbol() -> None:
    symbols = ("AAAUSDT", "BBBUSDT", "CCCUSDT")
    pairs = [
        {"symbol": name, "baseAsset": name[:3], "quoteAsset": "USDT", "filters": []}
        for name in symbols
    ]
    answers: dict[str, Any] = {"/api/v3/exchangeInfo": {"symbols": pairs}}
    answers |= {f"/api/v3/klines?symbol={name}": binance_rows(range(4)) for name in symbols}
    answers["/api/v3/klines?symbol=AAAUSDT"] = {"rows": []}
    provider = Binance(Binance.Config(only="candles", symbols=symbols, requests_in_flight=1))
    parsed = parse_recorded(provider, answers, now=NOW, days=0.2)
    assert isinstance(parsed.error, SchemaChangedError)
    assert set(parsed.candles["symbol"]) == {"BBBUSDT", "CCCUSDT"}


def statistics() -> list[dict[str, Any]]:
    """Return hourly open interest as documented, times in milliseconds and numbers as text."""
    return [
        {
            "symbol": "BTCUSDT",
            "sumOpenInterest": f"{20_400 + hour}.5",
            "sumOpenInterestValue": "1505707840.07",
            "timestamp": (OPENED + hour * HOUR) // 1_000,
        }
        for hour in range(4)
    ]


def parse_open_interest(rows: list[dict[str, Any]]) -> ParsedRows:
    present = {"symbol": "BTCUSDT", "openInterest": "20500.5", "time": NOW // 1_000}
    answers = {"/futures/data/openInterestHist": rows, "/fapi/v1/openInterest": present}
    options = {"only": "metrics", "metrics": ("open_interest",), "symbols": ("BTCUSDT",)}
    provider = BinanceFutures(BinanceFutures.Config.model_validate(options))
    return parse_recorded(provider, answers, now=NOW, days=0.2)


@pytest.mark.parametrize("change", [{"sumOpenInterest": "n/a"}, {"timestamp": None}])
def test_a_broken_statistic_costs_that_row_and_one_line(change: dict[str, Any]) -> None:
    rows = statistics()
    rows[1] |= change
    parsed = parse_open_interest(rows[::-1])
    assert parsed.error is None
    values = [fact.value for fact in parsed.of("open_interest", "BTCUSDT")]
    assert values == [20_400.5, 20_402.5, 20_403.5, 20_500.5]
    (line,) = parsed.problems
    assert "1 of 4 rows left out" in line


def test_a_broken_history_of_open_interest_stores_no_present_value() -> None:
    parsed = parse_open_interest([{**row, "sumOpenInterest": "n/a"} for row in statistics()])
    assert isinstance(parsed.error, SchemaChangedError)
    assert parsed.facts == ()


def test_a_candle_whose_volume_and_turnover_traded_places_is_left_out() -> None:
    rows = binance_rows(range(4))
    rows[1][5], rows[1][7] = rows[1][7], rows[1][5]
    provider, answers = candle_answers("bybit", rows)
    parsed = parse_recorded(provider, answers, now=NOW, days=0.2)
    assert len(parsed.candles) == 3
    assert 757.5 not in parsed.candles["volume"].to_list()
    assert any("the volume, not the turnover" in line for line in parsed.problems)
