"""Faults affect the chosen requests and sockets, with the chosen counts."""

import socket as sockets
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.sandbox.conftest import NOW
from tests.support import PATIENCE_SECONDS
from weft.foundation.times import HOUR, iso
from weft_sandbox import Sandbox
from weft_sandbox.faults import JSON_KINDS, KINDS, SOCKET_KINDS

Check: TypeAlias = Callable[[httpx.Response], bool]
KLINES = "/binance/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5"


def ask(sandbox: Sandbox, path: str = KLINES, **options: Any) -> httpx.Response:
    # A new connection each time: some faults leave a broken one.
    return httpx.get(sandbox.url() + path, timeout=PATIENCE_SECONDS, **options)


def test_faults_are_armed_counted_and_removed_over_http(frozen: Sandbox) -> None:
    route = frozen.url() + "/_sandbox/faults"
    fault = {"kind": "status", "provider": "binance", "path": "/api/*", "count": 2, "status": 502}
    answer = httpx.post(route, json=fault)
    assert answer.status_code == 201
    statuses = [ask(frozen).status_code for _ in range(4)]
    assert statuses == [502, 502, 200, 200]
    assert ask(frozen, "/binance/fapi/v1/ping").status_code == 200
    (told,) = httpx.get(route).json()
    assert (told["seen"], told["struck"]) == (4, 2)
    assert httpx.delete(f"{route}?id={told['id']}").json() == {"removed": 1}
    assert httpx.get(route).json() == []
    wrong = httpx.post(route, json={"kind": "earthquake"})
    assert wrong.status_code == 422
    assert httpx.post(route, json=fault, headers={"Origin": "http://evil"}).status_code == 403


def test_fault_probability_is_seeded(frozen: Sandbox) -> None:
    def statuses() -> list[int]:
        frozen.heal()
        frozen.fault({"kind": "status", "probability": 0.5, "seed": 3, "skip": 2})
        return [ask(frozen).status_code for _ in range(14)]

    first = statuses()
    assert first[:2] == [200, 200]
    assert {*first} == {200, 503}
    assert statuses() == first


@pytest.mark.parametrize("after", ["7", "1000000000", "-5", "date", None])
def test_a_rate_limit_with_every_retry_after(frozen: Sandbox, after: str | None) -> None:
    frozen.fault({"kind": "rate_limit", "retry_after": after})
    answer = ask(frozen)
    assert answer.status_code == 429
    assert answer.json()["code"] == -1003
    header = answer.headers.get("Retry-After")
    assert header == after or (after == "date" and header is not None and header.endswith("GMT"))


def test_bans_and_refused_keys_have_each_apis_body(frozen: Sandbox) -> None:
    frozen.fault({"kind": "ban"})
    assert ask(frozen).status_code == 418
    answer = ask(frozen, "/bybit/v5/market/time")
    assert (answer.status_code, answer.text) == (403, "access too frequent")
    frozen.heal()
    frozen.fault({"kind": "revoked_key"})
    assert ask(frozen, "/bybit/v5/market/time").json()["retCode"] == 10003
    assert ask(frozen, "/coinbase/time").status_code == 401


def test_a_redirect_leads_elsewhere(frozen: Sandbox) -> None:
    frozen.fault({"kind": "redirect", "location": "http://169.254.169.254/latest"})
    answer = ask(frozen, follow_redirects=False)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "http://169.254.169.254/latest"


def test_bytes_go_wrong(frozen: Sandbox) -> None:
    whole = ask(frozen).content
    checks: dict[str, Check] = {
        "truncate": lambda a: a.content == whole[: len(whole) // 2],
        "html": lambda a: a.status_code == 200 and a.headers["content-type"].startswith("text/h"),
        "content_type": lambda a: a.headers["content-type"] == "text/plain" and a.content == whole,
        "bom": lambda a: a.content == b"\xef\xbb\xbf" + whole,
        "deep": lambda a: a.content.startswith(b"[[[["),
    }
    for kind, check in checks.items():
        frozen.fault({"kind": kind})
        assert check(ask(frozen)), kind
        frozen.heal()


def test_a_gzip_bomb_is_small_and_valid(frozen: Sandbox) -> None:
    frozen.fault({"kind": "gzip_bomb", "size": 20})
    with httpx.stream("GET", frozen.url() + KLINES, timeout=10) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < 100_000
        assert sum(len(part) for part in answer.iter_bytes()) == 20 << 20


@pytest.mark.parametrize("kind", sorted(JSON_KINDS))
def test_json_goes_wrong(frozen: Sandbox, kind: str) -> None:
    for path in (KLINES, "/binance/api/v3/ticker/24hr?symbol=BTCUSDT", "/coinbase/products"):
        before = ask(frozen, path)
        frozen.fault({"kind": kind, "seed": 5, "field": "0" if path == KLINES else None})
        after = ask(frozen, path.replace("limit=5", "limit=3"))
        assert after.status_code == 200
        rows = isinstance(before.json(), list)
        if kind != "cursor_loop":
            changed = after.content != before.content
            assert changed or (not rows and kind.endswith("rows"))
            assert changed or kind not in {"nan", "huge_number"}
        else:
            frozen.heal()
            frozen.fault({"kind": kind})
            first = ask(frozen)
            assert ask(frozen, KLINES + "&startTime=1600000000000").content == first.content
        frozen.heal()


def test_impossible_numbers_are_sent_literally(frozen: Sandbox) -> None:
    frozen.fault({"kind": "huge_number", "field": "6"})
    assert "1e400" in ask(frozen).text
    frozen.heal()
    frozen.fault({"kind": "nan", "field": "6"})
    assert "NaN" in ask(frozen).text


def test_a_slow_body_and_a_late_answer(frozen: Sandbox) -> None:
    frozen.fault({"kind": "slow_body", "seconds": 0.05})
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(frozen.url() + KLINES, timeout=httpx.Timeout(0.03, connect=2))
    frozen.heal()
    frozen.fault({"kind": "latency", "seconds": 0.3})
    start = time.monotonic()
    assert ask(frozen).status_code == 200
    assert time.monotonic() - start >= 0.3


def raw(sandbox: Sandbox, path: str = KLINES) -> sockets.socket:
    client = sockets.create_connection(("127.0.0.1", sandbox.port), timeout=PATIENCE_SECONDS)
    client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return client


def test_a_reset_breaks_the_connection(frozen: Sandbox) -> None:
    frozen.fault({"kind": "reset"})
    with raw(frozen) as client, pytest.raises(ConnectionResetError):
        client.recv(1000)


def test_a_reset_in_the_middle_of_the_body(frozen: Sandbox) -> None:
    frozen.fault({"kind": "reset_body"})
    got: list[bytes] = []

    def read(client: sockets.socket) -> None:
        while part := client.recv(100):
            got.append(part)

    with raw(frozen) as client, pytest.raises(ConnectionResetError):
        read(client)
    head, _, body = b"".join(got).partition(b"\r\n\r\n")
    length = next(int(h.split(b":")[1]) for h in head.split(b"\r\n") if b"ength" in h)
    assert 0 < len(body) < length


def test_half_open_is_silence(frozen: Sandbox) -> None:
    frozen.fault({"kind": "half_open"})
    with raw(frozen) as client:
        client.settimeout(0.4)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_a_restatement_changes_history(frozen: Sandbox) -> None:
    before = ask(frozen).json()
    since = NOW // HOUR * HOUR - 3 * HOUR
    frozen.fault(
        {
            "kind": "restate",
            "coin": "BTC",
            "factor": 1.05,
            "since": iso(since),
            "until": iso(since + HOUR),
        }
    )
    after = ask(frozen).json()
    differ = [i for i in range(5) if before[i] != after[i]]
    assert differ == [1]
    assert float(after[1][4]) == pytest.approx(1.05 * float(before[1][4]), rel=1e-6)
    minutes = ask(
        frozen, KLINES.replace("1h", "1m").replace("limit=5", f"limit=60&startTime={since // 1000}")
    )
    assert max(float(r[2]) for r in minutes.json()) == float(after[1][2])
    frozen.heal()
    assert ask(frozen).json() == before


def test_the_server_clock_can_be_wrong(frozen: Sandbox) -> None:
    frozen.fault({"kind": "clock_skew", "seconds": -300})
    told = ask(frozen, "/binance/api/v3/time").json()["serverTime"]
    assert told == NOW // 1000 - 300_000
    assert ask(frozen).json()[-1][6] > NOW // 1000


def drain(client: ClientConnection, seconds: float = PATIENCE_SECONDS) -> None:
    while True:
        client.recv(timeout=seconds)


def open_socket(sandbox: Sandbox) -> ClientConnection:
    url = sandbox.url("binance", "ws") + "/ws/btcusdt@depth@100ms"
    return connect(url, ping_interval=None, max_size=1 << 20, compression=None, close_timeout=0.2)


def next_ids(client: ClientConnection, count: int = 1) -> list[tuple[int, int]]:
    rows = [
        httpx.Response(200, text=str(client.recv(timeout=PATIENCE_SECONDS))).json()
        for _ in range(count)
    ]
    return [(row["U"], row["u"]) for row in rows]


def test_a_message_is_skipped(running: Sandbox) -> None:
    with open_socket(running) as client:
        ids = next_ids(client)
        running.fault({"kind": "ws_skip", "count": 1})
        ids += next_ids(client, 5)
    gaps = [b[0] - a[1] for a, b in pairwise(ids)]
    assert sorted(gaps)[:4] == [1, 1, 1, 1]
    assert max(gaps) > 1


@pytest.mark.parametrize("kind", ["ws_duplicate", "ws_reorder", "ws_burst"])
def test_messages_come_twice_late_or_in_a_flood(running: Sandbox, kind: str) -> None:
    with open_socket(running) as client:
        next_ids(client)
        running.fault({"kind": kind, "count": 1, "size": 500})
        ids = next_ids(client, 520 if kind == "ws_burst" else 6)
    repeated = len(ids) - len({*ids})
    assert repeated == {"ws_duplicate": 1, "ws_reorder": 0, "ws_burst": 499}[kind]
    assert (ids == sorted(ids)) == (kind != "ws_reorder")


def test_messages_come_late(running: Sandbox) -> None:
    with open_socket(running) as client:
        next_ids(client)
        running.fault({"kind": "ws_latency", "count": 1, "seconds": 0.5})
        start = time.monotonic()
        next_ids(client, 3)
    assert time.monotonic() - start >= 0.5


def test_a_silent_subscription(running: Sandbox) -> None:
    running.fault({"kind": "ws_silent"})
    with open_socket(running) as client, pytest.raises(TimeoutError):
        client.recv(timeout=0.6)


@pytest.mark.parametrize("kind", ["ws_mid_frame", "ws_reset", "ws_invalid", "ws_huge"])
def test_connections_break(running: Sandbox, kind: str) -> None:
    with open_socket(running) as client:
        next_ids(client)
        running.fault({"kind": kind, "count": 1, "size": 2})
        with pytest.raises(ConnectionClosed) as closed:
            drain(client)
    code = closed.value.sent.code if closed.value.sent else None
    expected = {"ws_invalid": 1007, "ws_huge": 1009}.get(kind)
    assert code == expected or (expected is None and closed.value.rcvd is None)


def test_a_binary_frame(running: Sandbox) -> None:
    with open_socket(running) as client:
        running.fault({"kind": "ws_binary", "count": 1})
        assert any(isinstance(client.recv(timeout=PATIENCE_SECONDS), bytes) for _ in range(8))


def test_a_half_open_socket_neither_sends_nor_reads(running: Sandbox) -> None:
    with open_socket(running) as client:
        next_ids(client)
        running.fault({"kind": "ws_half_open", "count": 1, "seconds": 1.5})
        with pytest.raises(TimeoutError):
            drain(client, 0.5)
        pong = client.ping()
        assert not pong.wait(0.4)


def test_a_disconnect_has_a_notice(running: Sandbox) -> None:
    with open_socket(running) as client:
        running.fault({"kind": "ws_disconnect", "count": 1})
        while "serverShutdown" not in str(client.recv(timeout=PATIENCE_SECONDS)):
            pass
        with pytest.raises(ConnectionClosed) as closed:
            drain(client)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1001


def test_new_connections_can_be_refused(running: Sandbox) -> None:
    running.fault({"kind": "ws_refuse", "status": 429, "count": 1})
    with pytest.raises(InvalidStatus) as refused:
        open_socket(running)
    assert refused.value.response.status_code == 429
    with open_socket(running) as client:
        next_ids(client)


def test_every_kind_of_socket_fault_has_a_test_here() -> None:
    text = Path(__file__).read_text()
    untested = {kind for kind in SOCKET_KINDS if f'"{kind}"' not in text}
    assert not untested
    assert KINDS > SOCKET_KINDS
