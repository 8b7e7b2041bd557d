"""Metrics of Binance's order book."""

import polars as pl
import pytest

from tests.providers.binance_fetches import fetch
from tests.providers.exchange import NOW, Exchange, Fault, json_reply
from weft.components.provider import Batch
from weft.foundation.times import HOUR, SECOND


def values(batches: list[Batch]) -> dict[str, float]:
    frames = [b.observations for b in batches if b.observations is not None]
    rows = pl.concat(frames).iter_rows(named=True) if frames else ()
    return {row["metric"]: row["value"] for row in rows}


def test_the_order_book_becomes_four_metrics(exchange: Exchange) -> None:
    # Eight levels of 2 on each side, a quarter apart: those from 99 to 101 are within 1 %.
    assert values(fetch(exchange)) == pytest.approx(
        {
            "bid_depth_usd": 2 * (99.75 + 99.5 + 99.25 + 99),
            "ask_depth_usd": 2 * (100.25 + 100.5 + 100.75 + 101),
            "book_imbalance": -5 / 800,
            "bid_ask_spread": 0.5 / 100,
        }
    )
    (asked,) = (params for path, params in exchange.asked if path == "/api/v3/depth")
    assert asked == {"symbol": "BTCUSDT", "limit": "1000"}
    frame = next(b.observations for b in fetch(exchange) if b.observations is not None)
    assert frame["entity"].unique().to_list() == ["BTCUSDT"]
    assert set(frame["known_at"].to_physical()) == set(frame["event_time"].to_physical()) == {NOW}


BOOKS: dict[str, tuple[list[list[str]], list[list[str]], set[str]]] = {
    "one side": ([], [["100", "1"]], set()),
    "crossed": ([["101", "1"]], [["100", "1"]], set()),
    "shallow": ([["99.9", "1"]], [["100.1", "1"]], {"book_imbalance", "bid_ask_spread"}),
    "one side shallow": (
        [["99.9", "1"], ["90", "5"]],
        [["100.1", "1"]],
        {"book_imbalance", "bid_ask_spread"},
    ),
}


@pytest.mark.parametrize("name", BOOKS)
def test_a_book_that_is_too_shallow_has_no_depth(exchange: Exchange, name: str) -> None:
    bids, asks, expected = BOOKS[name]
    exchange.faults = [
        lambda path, _: json_reply({"bids": bids, "asks": asks}) if path.endswith("depth") else None
    ]
    metrics = values(fetch(exchange))
    assert set(metrics) == expected
    # Equal distances are compared: what only one side reached does not count.
    assert metrics.get("book_imbalance", 0) == pytest.approx(0, abs=0.01)


def aged(seconds: int) -> Fault:
    status, headers, body = json_reply({"bids": [["99", "1"]], "asks": [["101", "1"]]})
    reply = status, {**headers, "Age": str(seconds)}, body
    return lambda path, _: reply if path.endswith("depth") else None


def test_a_cached_book_has_the_time_it_was_given(exchange: Exchange) -> None:
    exchange.faults = [aged(600)]
    frame = next(b.observations for b in fetch(exchange) if b.observations is not None)
    assert set(frame["event_time"].to_physical()) == {NOW - 600 * SECOND}
    assert set(frame["known_at"].to_physical()) == {NOW}


def test_a_book_older_than_the_requested_start_is_left_out_and_reported(exchange: Exchange) -> None:
    exchange.faults = [aged(5_000)]
    batches = fetch(exchange, since=NOW - HOUR)
    assert values(batches) == {}
    (line,) = (line for batch in batches for line in batch.problems)
    assert line.startswith("BTCUSDT: order book of ")
    assert "older than the requested span" in line


def test_only_candles(exchange: Exchange) -> None:
    assert values(fetch(exchange, only="candles")) == {}
    assert {path for path, _ in exchange.asked} == {"/api/v3/exchangeInfo", "/api/v3/klines"}


def test_a_pair_without_dollars_has_no_depth_in_dollars(exchange: Exchange) -> None:
    exchange.symbols["ETHBTC"] = ("ETH", 0.05)
    assert set(values(fetch(exchange, "ETHBTC"))) == {"book_imbalance", "bid_ask_spread"}
