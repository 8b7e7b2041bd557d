"""WebSockets of the three exchanges: subscriptions, sequences, pings and limits."""

import time
from itertools import pairwise
from typing import Any

import httpx
import orjson
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import ClientConnection, connect

from tests.sandbox.conftest import NOW, make_sandbox
from tests.support import PATIENCE_SECONDS
from weft_sandbox import Sandbox

Book = dict[str, dict[str, str]]


def open_socket(sandbox: Sandbox, path: str, provider: str = "binance") -> ClientConnection:
    return connect(sandbox.url(provider, "ws") + path, ping_interval=None, max_size=None)


def receive(socket: ClientConnection, seconds: float = PATIENCE_SECONDS) -> Any:
    return orjson.loads(socket.recv(timeout=seconds))


def say(socket: ClientConnection, **message: Any) -> None:
    socket.send(orjson.dumps(message).decode())


def test_a_closed_kline_is_marked_and_equals_rest(running: Sandbox, http: httpx.Client) -> None:
    running.clock.move(NOW, 60)
    with open_socket(running, "/ws/btcusdt@kline_1m") as socket:
        events = [receive(socket) for _ in range(6)]
    closed = {e["k"]["t"]: e["k"] for e in events if e["k"]["x"]}
    assert closed
    opens = sorted({e["k"]["t"] for e in events})
    assert opens == list(range(opens[0], opens[-1] + 1, 60_000))
    query = {"symbol": "BTCUSDT", "interval": "1m", "startTime": min(closed), "limit": 1}
    (row,) = http.get(running.url("binance") + "/api/v3/klines", params=query).json()
    payload = closed[row[0]]
    assert row[1:6] == [payload["o"], payload["h"], payload["l"], payload["c"], payload["v"]]
    assert (row[6], row[8]) == (payload["T"], payload["n"])


def _apply(book: Book, event: dict[str, Any]) -> None:
    for side, rows in (("b", event["b"]), ("a", event["a"])):
        for price, size in rows:
            if float(size):
                book[side][price] = size
            else:
                book[side].pop(price, None)


@pytest.mark.parametrize(("path", "rest"), [("/ws", "/api/v3"), ("/public/ws", "/fapi/v1")])
def test_a_local_book_equals_the_servers_book(
    running: Sandbox, http: httpx.Client, path: str, rest: str
) -> None:
    query: dict[str, str | int] = {"symbol": "ETHUSDT", "limit": 500}
    with open_socket(running, f"{path}/ethusdt@depth@100ms") as socket:
        events = [receive(socket)]
        snapshot = http.get(f"{running.url('binance')}{rest}/depth", params=query).json()
        events += [receive(socket) for _ in range(15)]
    for session, following in pairwise(events):
        assert following["U"] == session["u"] + 1
        assert rest == "/api/v3" or following["pu"] == session["u"]
    last = snapshot["lastUpdateId"]
    book: Book = {side: dict(snapshot[name]) for side, name in (("b", "bids"), ("a", "asks"))}
    new = [e for e in events if e["u"] > last]
    assert new[0]["U"] <= last + 1
    for event in new:
        _apply(book, event)
    best_bid = max(map(float, book["b"]))
    best_ask = min(map(float, book["a"]))
    assert best_bid < best_ask < best_bid * 1.001


def test_streamed_trades_are_ordered_without_gaps(running: Sandbox) -> None:
    running.clock.move(NOW, 20)
    with open_socket(running, "/stream?streams=btcusdt@aggTrade") as socket:
        rows = [receive(socket) for _ in range(15)]
    assert {row["stream"] for row in rows} == {"btcusdt@aggTrade"}
    ids = [row["data"]["a"] for row in rows]
    assert ids == list(range(ids[0], ids[0] + 15))


def test_subscriptions_on_a_live_socket(running: Sandbox) -> None:
    with open_socket(running, "/ws") as socket:
        say(socket, method="SUBSCRIBE", params=["btcusdt@depth5"], id=1)
        assert receive(socket) == {"result": None, "id": 1}
        assert len(receive(socket)["bids"]) == 5
        say(socket, method="LIST_SUBSCRIPTIONS", id="x")
        while "id" not in (answer := receive(socket)):
            pass
        assert answer == {"result": ["btcusdt@depth5"], "id": "x"}
        say(socket, method="UNSUBSCRIBE", params=["btcusdt@depth5"], id=2)
        while "id" not in (answer := receive(socket)):
            pass
        say(socket, method="NONSENSE", id=3)
        while "id" not in (answer := receive(socket)):
            pass
        assert answer["error"]["code"] == 2
    with open_socket(running, "/ws") as socket:
        socket.send("{not json")
        assert receive(socket)["error"]["code"] == 3


def test_futures_streams_are_split_by_path(running: Sandbox) -> None:
    with open_socket(running, "/market/stream?streams=btcusdt@markPrice@1s") as socket:
        event = receive(socket)["data"]
        assert event["e"] == "markPriceUpdate"
        assert event["T"] % (8 * 3600_000) == 0
    with (
        open_socket(running, "/public/ws/btcusdt@markPrice@1s") as socket,
        pytest.raises(TimeoutError),
    ):
        receive(socket, 1.3)


def test_liquidations_are_streamed(running: Sandbox) -> None:
    running.clock.move(NOW, 600)
    with open_socket(running, "/market/ws/!forceOrder@arr") as socket:
        order = receive(socket)["o"]
    assert order["S"] in {"BUY", "SELL"}
    assert order["q"] == order["z"]


def test_the_server_disconnects_a_client_without_pongs(
    running: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_socket(running, "/ws/btcusdt@depth5") as socket:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            receive(socket)
    with open_socket(running, "/ws") as socket:
        frame = socket.protocol.send_frame

        def no_pong(session: Frame) -> None:
            if session.opcode is not Opcode.PONG:
                frame(session)

        monkeypatch.setattr(socket.protocol, "send_frame", no_pong)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=PATIENCE_SECONDS)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_more_than_five_messages_a_second_disconnect(running: Sandbox) -> None:
    with open_socket(running, "/ws") as socket:

        def hurry() -> None:
            for number in range(30):
                say(socket, method="LIST_SUBSCRIPTIONS", id=number)
                receive(socket)

        with pytest.raises(ConnectionClosed) as closed:
            hurry()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_a_connection_ends_after_its_life_with_a_notice() -> None:
    with (
        make_sandbox(options={"binance.life_seconds": 0.3}) as sandbox,
        open_socket(sandbox, "/ws") as socket,
    ):
        assert receive(socket)["e"] == "serverShutdown"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=PATIENCE_SECONDS)


def test_bybit_streams(running: Sandbox) -> None:
    running.clock.move(NOW, 60)
    with open_socket(running, "/v5/public/linear", "bybit") as socket:
        say(socket, req_id="1", op="subscribe", args=["kline.1.BTCUSDT"])
        answer = receive(socket)
        assert (answer["success"], answer["req_id"], answer["op"]) == (True, "1", "subscribe")
        rows = [row for _ in range(3) for row in receive(socket)["data"]]
        assert any(row["confirm"] for row in rows)
        say(socket, req_id="2", op="ping")
        while "ret_msg" not in (answer := receive(socket)):
            pass
        assert answer["ret_msg"] == "pong"
        say(socket, op="subscribe", args=["kline.7.BTCUSDT"])
        while "ret_msg" not in (answer := receive(socket)):
            pass
        assert answer["success"] is False
    with open_socket(running, "/v5/public/spot", "bybit") as socket:
        say(socket, op="subscribe", args=["orderbook.50.ETHUSDT"])
        receive(socket)
        first, second = receive(socket), receive(socket)
        assert (first["type"], second["type"]) == ("snapshot", "delta")
        assert second["data"]["u"] > first["data"]["u"]


def test_coinbase_feed(running: Sandbox) -> None:
    with open_socket(running, "/feed", "coinbase") as socket:
        say(socket, type="subscribe", product_ids=["BTC-USD"], channels=["heartbeat", "matches"])
        payload = receive(socket)
        assert payload["type"] == "subscriptions"
        assert {c["name"] for c in payload["channels"]} == {"heartbeat", "matches"}
        running.clock.move(NOW, 60)
        rows = [receive(socket) for _ in range(12)]
        numbers = [row["sequence"] for row in rows]
        assert numbers == list(range(numbers[0], numbers[0] + 12))
        matches = [row["trade_id"] for row in rows if row["type"] == "match"]
        assert matches == list(range(matches[0], matches[0] + len(matches)))
        say(socket, type="subscribe", product_ids=["BTC-XYZ"], channels=["ticker"])
        while (answer := receive(socket))["type"] != "error":
            pass
        assert answer["reason"] == "BTC-XYZ is not a valid product"


def test_coinbase_disconnects_a_client_without_subscription() -> None:
    with (
        make_sandbox(options={"coinbase.patience_seconds": 0.2}) as sandbox,
        open_socket(sandbox, "/feed", "coinbase") as socket,
        pytest.raises(ConnectionClosed),
    ):
        socket.recv(timeout=PATIENCE_SECONDS)
