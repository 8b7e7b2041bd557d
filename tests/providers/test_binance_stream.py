"""Binance's streams: topics, the parsing of messages, and both against the sandbox."""

from typing import Any

import pytest

from tests.core.sources.stream.support import MINUTES, NOW, Futures, Spot, aio, live, made, sandbox
from weft.components.provider import Request
from weft.foundation.errors import ConfigError
from weft.foundation.times import MINUTE, SECOND, Interval
from weft.sources.http import Reader, SchemaChangedError
from weft.sources.stream.events import (
    Acknowledged,
    BookUpdate,
    Candle,
    Closing,
    Liquidation,
    Parsed,
    Refused,
    Trade,
)
from weft_providers.binance.stream import Kind, parse_message, subscribe
from weft_sandbox.protocols.binance.api import FUTURES

INTERVALS = {"1h": Interval.parse("1h")}
OPENED_MS = 1_767_225_600_000
KLINE: dict[str, Any] = {
    "e": "kline",
    "E": OPENED_MS + 3_600_005,
    "s": "BTCUSDT",
    "k": {
        "t": OPENED_MS,
        "T": OPENED_MS + 3_599_999,
        "s": "BTCUSDT",
        "i": "1h",
        "o": "87010.10",
        "c": "87188.02",
        "h": "87240.00",
        "l": "86955.55",
        "v": "412.5531",
        "x": True,
    },
}
TRADE: dict[str, Any] = {
    "e": "aggTrade",
    "E": OPENED_MS + 9,
    "s": "BTCUSDT",
    "a": 26_129,
    "p": "0.01633102",
}
TRADE |= {"q": "4.70443515", "f": 27_781, "l": 27_783, "T": OPENED_MS + 7, "m": True}
FORCED: dict[str, Any] = {
    "s": "BTCUSDT",
    "S": "SELL",
    "o": "LIMIT",
    "f": "IOC",
    "q": "0.250",
    "p": "86110.2",
}
FORCED |= {"ap": "86300.0", "X": "FILLED", "l": "0.250", "z": "0.250", "T": OPENED_MS + 1_120}


def parsed(message: Any) -> Parsed:
    return parse_message(Reader(message, "binance", "a message"), intervals=INTERVALS)


def request(*symbols: str, interval: Interval = MINUTES) -> Request:
    return Request(interval, symbols, since=NOW)


def test_a_kline_is_a_candle() -> None:
    values = (87010.10, 87240.0, 86955.55, 87188.02, 412.5531)
    candle = Candle("BTCUSDT", OPENED_MS * 1_000, *values, closed=True)
    assert parsed(KLINE) == Parsed((candle,), (OPENED_MS + 3_600_005) * 1_000)


def test_an_aggregated_trade_stands_for_several() -> None:
    at = (OPENED_MS + 7) * 1_000
    trade = Trade("BTCUSDT", at, 0.01633102, 4.70443515, bought=False, trades=3, id=26_129)
    assert parsed(TRADE).events == (trade,)


def test_who_is_sold_by_force_was_long() -> None:
    message = {"e": "forceOrder", "E": OPENED_MS + 1_123, "o": FORCED}
    at = (OPENED_MS + 1_120) * 1_000
    assert parsed(message).events == (Liquidation("BTCUSDT", at, 86300.0, 0.25, long=True),)
    bought = {**message, "o": {**FORCED, "S": "BUY", "z": "0.1"}}
    assert parsed(bought).events == (Liquidation("BTCUSDT", at, 86300.0, 0.1, long=False),)


def test_changes_of_a_book() -> None:
    spot = {"e": "depthUpdate", "E": OPENED_MS, "s": "BTCUSDT", "U": 157, "u": 160}
    spot |= {"b": [["0.0024", "10"]], "a": [["0.0026", "0.00"]]}
    update = BookUpdate("BTCUSDT", 157, 160, None, {0.0024: 10.0}, {0.0026: 0.0})
    assert parsed(spot).events == (update,)
    assert parsed({**spot, "pu": 149}).events == (update._replace(previous=149),)


def test_answers_and_notices() -> None:
    assert parsed({"result": None, "id": 3}).events == (Acknowledged(3),)
    refused = {"error": {"code": 2, "msg": "Invalid request: unknown"}, "id": 3}
    assert parsed(refused).events == (Refused(3, "Invalid request: unknown"),)
    assert parsed({"code": 2, "msg": "Invalid request"}).events == (
        Refused(None, "Invalid request"),
    )
    shutdown = {"e": "serverShutdown", "E": OPENED_MS}
    assert parsed(shutdown).events == (Closing("serverShutdown"),)
    assert parsed({"e": "unheardOf", "E": OPENED_MS}).events == ()


CHANGES = [
    {"k": None},
    {"s": 5},
    {"E": "soon"},
    {"k": {**KLINE["k"], "x": "true"}},
    {"k": {**KLINE["k"], "i": "7h"}},
    {"k": {**KLINE["k"], "t": OPENED_MS + 1}},
    {"k": {**KLINE["k"], "t": OPENED_MS // 1_000}},
    {"k": {**KLINE["k"], "c": "87,188.02"}},
    {"k": {**KLINE["k"], "c": "NaN"}},
    {"k": {name: value for name, value in KLINE["k"].items() if name != "v"}},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_a_message_with_another_schema_is_an_error_and_never_a_candle(
    change: dict[str, Any],
) -> None:
    with pytest.raises(SchemaChangedError, match=r"\$"):
        parsed({**KLINE, **change})


@pytest.mark.parametrize("message", [[], {}, 5, "text", None, [KLINE], {"id": 1}], ids=str)
def test_what_is_no_object_is_an_error(message: Any) -> None:
    with pytest.raises(SchemaChangedError):
        parsed(message)


def test_a_request_to_subscribe() -> None:
    asked = '{"method":"SUBSCRIBE","params":["btcusdt@kline_1h"],"id":1}'
    assert subscribe(["btcusdt@kline_1h"], 1) == asked


def test_no_stream_without_the_option() -> None:
    assert Spot().streams(request("BTCUSDT")) == []
    assert Futures().streams(request("BTCUSDT")) == []


def test_topics_and_addresses() -> None:
    kinds: tuple[Kind, ...] = ("candles", "trades", "book")
    (spot,) = Spot(Spot.Config(streams=kinds)).streams(request("BTCUSDT"))
    assert spot.url == "wss://stream.binance.com:9443/ws"
    names = [topic.name for topic in spot.topics]
    assert names == ["btcusdt@kline_1m", "btcusdt@aggTrade", "btcusdt@depth"]
    options = Futures.Config(streams=("candles", "liquidations", "book"))
    market, public = Futures(options).streams(request("BTCUSDT"))
    assert market.url == "wss://fstream.binance.com/market/ws"
    assert [t.name for t in market.topics] == ["btcusdt@kline_1m", "btcusdt@forceOrder"]
    assert public.url == "wss://fstream.binance.com/public/ws"
    assert [t.name for t in public.topics] == ["btcusdt@depth"]


def test_dollar_metrics_need_a_pair_quoted_in_dollars() -> None:
    (spot,) = Spot(Spot.Config(streams=("book",))).streams(request("ETHBTC", "BTCUSDT"))
    assert spot.tells is not None
    assert not spot.tells("bid_depth_usd", "ETHBTC")
    assert spot.tells("book_imbalance", "ETHBTC")
    assert spot.tells("bid_depth_usd", "BTCUSDT")
    market, _ = Futures(Futures.Config(streams=("trades", "book"))).streams(request("BTCUSDT"))
    assert market.tells is not None
    assert not market.tells("taker_buy_sell_ratio", "BTCUSDT"), "requests bring it, by the hour"


def test_an_interval_the_exchange_lacks_has_no_candles() -> None:
    options = Spot.Config(streams=("candles",))
    assert Spot(options).streams(request("BTCUSDT", interval=Interval.parse("7m"))) == []


def test_a_sandbox_never_passes_for_real() -> None:
    streams: tuple[Kind, ...] = ("candles",)
    for options in (
        {"stream_url": "ws://127.0.0.1:1/binance"},
        {"base_url": "http://127.0.0.1:1/binance"},
        {"stream_url": "wss://stream.testnet.binance.vision"},
        {"stream_url": "wss://stream.binance.com.example.org"},
    ):
        for kind in (Spot, Futures):
            with pytest.raises(ConfigError, match="only one of base_url and stream_url"):
                kind(kind.Config(streams=streams, **options)).streams(request("BTCUSDT"))  # type: ignore[arg-type]  # what a fault may bring


def test_spot_has_no_liquidations() -> None:
    with pytest.raises(ConfigError, match="no liquidations"):
        Spot(Spot.Config(streams=("liquidations",))).streams(request("BTCUSDT"))


@aio
async def test_sums_of_liquidations_are_those_of_the_world() -> None:
    with sandbox() as running:
        streams = ("candles", "trades", "liquidations", "book")
        async with live(running, Futures, streams=streams) as one:
            await one.until(lambda: len(one.kept.of("long_liquidations_usd")) >= 2)
            await one.until(lambda: one.kept.of("bid_depth_usd"))
        assert {status.name for status in one.streamer.status()} == {
            "futures market",
            "futures public",
        }
        stored = one.kept
        for close, value in stored.of("long_liquidations_usd").items():
            assert value == pytest.approx(_forced(running, close, sells=True))
            short = stored.of("short_liquidations_usd")[close]
            assert short == pytest.approx(_forced(running, close, sells=False))
        assert set(stored.of("trade_count")) == set(stored.of("vwap"))


def _forced(running: Any, close: int, *, sells: bool) -> float:
    """The last liquidation of each second of the minute before a close, in dollars."""
    world = running.world
    coin = next(c for c in world.coins if c.symbol == "BTCUSDT")
    every = world.derivatives.liquidations(FUTURES.venue, coin, close - MINUTE, close)
    last = {one.time // SECOND: one for one in every}.values()
    chosen = [one for one in last if one.sells is sells]
    return float(sum(one.price * coin.tick * one.size * coin.step for one in chosen))


def test_addresses_of_the_sandbox() -> None:
    with sandbox(0) as still:
        provider = made(Spot, still, streams=("candles",))
        (spec,) = provider.streams(request("BTCUSDT"))  # type: ignore[attr-defined]  # what a fault may bring
        assert spec.url == still.url("binance", "ws") + "/ws"
