"""Binance REST by its documentation: paging, limits, headers and errors."""

from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import NOW, make_sandbox
from weft.foundation.times import DAY, HOUR
from weft_sandbox import Sandbox

NOW_MS = NOW // 1000
HOUR_MS = HOUR // 1000


class Client:
    def __init__(self, sandbox: Sandbox, http: httpx.Client, provider: str = "binance") -> None:
        self.base, self.http = sandbox.url(provider), http

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(self.base + path, params=query)

    def json(self, path: str, **query: Any) -> Any:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture
def binance(frozen: Sandbox, http: httpx.Client) -> Client:
    return Client(frozen, http)


def error(answer: httpx.Response) -> tuple[int, int]:
    return answer.status_code, answer.json()["code"]


def test_a_kline_has_twelve_fields_and_the_last_is_unfinished(binance: Client) -> None:
    rows = binance.json("/api/v3/klines", symbol="BTCUSDT", interval="1h")
    assert len(rows) == 500
    assert {len(row) for row in rows} == {12}
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    opened, *prices, volume, closes, _, trades, _, _, ignored = rows[-1]
    assert opened == NOW_MS // HOUR_MS * HOUR_MS
    assert closes == opened + HOUR_MS - 1 >= NOW_MS
    assert all(isinstance(cell, str) and len(cell.partition(".")[2]) == 8 for cell in prices)
    assert isinstance(volume, str)
    assert isinstance(trades, int)
    assert ignored == "0"
    futures = binance.json("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=1500)
    assert len(futures) == 1500
    assert futures[-1][0] == opened


def test_klines_are_limited_by_binance_rules(binance: Client) -> None:
    def ask(**times: int) -> list[int]:
        rows = binance.json("/api/v3/klines", symbol="ETHUSDT", interval="1h", limit=5, **times)
        return [row[0] for row in rows]

    at = NOW_MS // HOUR_MS * HOUR_MS
    start = at - 100 * HOUR_MS
    assert ask()[-1] == at
    assert ask(startTime=start) == [start + i * HOUR_MS for i in range(5)]
    assert ask(startTime=start + 1)[0] == start + HOUR_MS
    assert ask(endTime=start) == [start - i * HOUR_MS for i in (4, 3, 2, 1, 0)]
    assert ask(startTime=start, endTime=start + 2 * HOUR_MS) == [
        start + i * HOUR_MS for i in range(3)
    ]
    assert ask(startTime=start, endTime=start + 50 * HOUR_MS)[-1] == start + 4 * HOUR_MS
    assert ask(startTime=NOW_MS + HOUR_MS) == []
    assert ask(startTime=0)[0] == 1577836800000
    assert ask(startTime=start * 1000) == ask(startTime=start)


def test_pages_meet_without_a_gap(binance: Client) -> None:
    response: list[int] = []
    start = NOW_MS - 30 * 24 * HOUR_MS
    while True:
        page = binance.json(
            "/api/v3/klines", symbol="BTCUSDT", interval="15m", limit=1000, startTime=start
        )
        response += [row[0] for row in page]
        if len(page) < 1000:
            break
        start = page[-1][0] + 1
    assert [b - a for a, b in pairwise(response)] == [900_000] * (len(response) - 1)
    assert len(response) == 30 * 96


def test_time_zone_and_microseconds(frozen: Sandbox, binance: Client) -> None:
    day = binance.json("/api/v3/klines", symbol="BTCUSDT", interval="1d", limit=2, timeZone="8")
    assert (day[0][0] // HOUR_MS) % 24 == 16
    answer = binance.http.get(
        frozen.url("binance") + "/api/v3/klines",
        params={"symbol": "BTCUSDT", "interval": "1h", "limit": 1},
        headers={"X-MBX-TIME-UNIT": "MICROSECOND"},
    )
    assert answer.json()[0][0] == NOW // HOUR * HOUR
    assert answer.json()[0][6] == NOW // HOUR * HOUR + HOUR - 1


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/api/v3/klines", {"symbol": "NOPEUSDT", "interval": "1h"}, -1121),
        ("/api/v3/klines", {"symbol": "ARBUSDT", "interval": "1h"}, -1121),
        ("/api/v3/klines", {"symbol": "BTC/USDT", "interval": "1h"}, -1100),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1H"}, -1120),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1s"}, -1120),
        ("/api/v3/klines", {"interval": "1h"}, -1102),
        ("/api/v3/klines", {"symbol": "BTCUSDT"}, -1102),
        ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1h", "limit": "x"}, -1102),
        ("/api/v3/aggTrades", {"symbol": "BTCUSDT", "fromId": 1, "startTime": 1}, -1128),
        (
            "/fapi/v1/aggTrades",
            {"symbol": "BTCUSDT", "startTime": NOW_MS - 2 * HOUR_MS, "endTime": NOW_MS},
            -1127,
        ),
        (
            "/fapi/v1/klines",
            {"symbol": "BTCUSDT", "interval": "1h", "startTime": 2, "endTime": 1},
            -1023,
        ),
        ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 7}, -4021),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "3h"}, -1120),
        (
            "/futures/data/openInterestHist",
            {"symbol": "BTCUSDT", "period": "1h", "startTime": NOW_MS - 40 * 24 * HOUR_MS},
            -1130,
        ),
    ],
)
def test_errors_have_binances_codes(
    binance: Client, path: str, query: dict[str, Any], code: int
) -> None:
    assert error(binance.get(path, **query)) == (400, code)


def test_trades_page_by_number_and_time(binance: Client) -> None:
    newest = binance.json("/api/v3/aggTrades", symbol="BTCUSDT", limit=1000)
    assert len(newest) == 1000
    ids = [row["a"] for row in newest]
    assert ids == list(range(ids[0], ids[0] + 1000))
    assert newest[-1]["T"] <= NOW_MS
    assert set(newest[0]) == {"a", "p", "q", "f", "l", "T", "m", "M"}
    again = binance.json("/api/v3/aggTrades", symbol="BTCUSDT", fromId=ids[100], limit=50)
    assert again == newest[100:150]
    first, last = newest[10]["T"], newest[60]["T"]
    span = binance.json("/api/v3/aggTrades", symbol="BTCUSDT", startTime=first, endTime=last)
    assert (span[0]["T"], span[-1]["T"]) == (first, last)
    assert "nq" in binance.json("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1)[0]


def test_rules_of_a_pair(binance: Client) -> None:
    (pair,) = binance.json("/api/v3/exchangeInfo", symbol="DOGEUSDT")["symbols"]
    filters = {entry["filterType"]: entry for entry in pair["filters"]}
    assert (pair["baseAsset"], pair["quoteAsset"]) == ("DOGE", "USDT")
    assert filters["PRICE_FILTER"]["tickSize"] == "0.00001000"
    assert "NOTIONAL" in filters
    some = binance.json("/api/v3/exchangeInfo", symbols='["BTCUSDT","ETHUSDT"]')["symbols"]
    assert [entry["symbol"] for entry in some] == ["BTCUSDT", "ETHUSDT"]
    everything = binance.json("/api/v3/exchangeInfo")["symbols"]
    assert "ARBUSDT" not in {entry["symbol"] for entry in everything}
    (future, *_) = binance.json("/fapi/v1/exchangeInfo")["symbols"]
    tick = next(f for f in future["filters"] if f["filterType"] == "PRICE_FILTER")["tickSize"]
    assert future["pricePrecision"] != len(tick.partition(".")[2])


def test_book_and_ticker_agree(binance: Client) -> None:
    book = binance.json("/api/v3/depth", symbol="BTCUSDT", limit=5000)
    bids, asks = ([float(p) for p, _ in book[side]] for side in ("bids", "asks"))
    assert len(bids) == len(asks) == 5000
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    day = binance.json("/api/v3/ticker/24hr", symbol="BTCUSDT")
    assert float(day["bidPrice"]) == bids[0] < asks[0] == float(day["askPrice"])
    assert float(day["lowPrice"]) <= float(day["lastPrice"]) <= float(day["highPrice"])
    assert day["lastId"] - day["firstId"] + 1 == day["count"]
    assert "bidPrice" not in binance.json("/fapi/v1/ticker/24hr", symbol="BTCUSDT")
    mini = binance.json("/api/v3/ticker/24hr", symbol="BTCUSDT", type="MINI")
    assert "priceChange" not in mini


def test_funding_open_interest_and_ratios(binance: Client) -> None:
    rows = binance.json("/fapi/v1/fundingRate", symbol="BTCUSDT")
    assert len(rows) == 200
    assert [row["fundingTime"] % (8 * HOUR_MS) for row in rows] == [0] * 200
    assert rows[-1]["fundingTime"] == NOW_MS // (8 * HOUR_MS) * 8 * HOUR_MS
    start = rows[10]["fundingTime"]
    page = binance.json("/fapi/v1/fundingRate", symbol="BTCUSDT", startTime=start)
    assert page == rows[10:110]
    interest = binance.json("/futures/data/openInterestHist", symbol="BTCUSDT", period="1h")
    assert len(interest) == 30
    assert interest[-1]["timestamp"] == NOW_MS // HOUR_MS * HOUR_MS
    ratio = binance.json(
        "/futures/data/globalLongShortAccountRatio", symbol="BTCUSDT", period="5m", limit=500
    )
    assert len(ratio) == 500
    assert float(ratio[0]["longAccount"]) + float(ratio[0]["shortAccount"]) == pytest.approx(1)
    taker = binance.json(
        "/futures/data/takerlongshortRatio", symbol="BTCUSDT", period="1h", limit=3
    )
    assert "symbol" not in taker[0]
    hour = binance.json("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=4)
    assert float(taker[-1]["buyVol"]) == pytest.approx(float(hour[-2][9]), abs=1e-3)
    oldest = binance.json(
        "/futures/data/openInterestHist", symbol="BTCUSDT", period="1d", limit=500
    )
    assert oldest[0]["timestamp"] >= NOW_MS - 30 * 24 * HOUR_MS


def test_excess_weight_gives_429_then_418(http: httpx.Client) -> None:
    with make_sandbox(speed=0, limits=0.01) as sandbox:
        ask = Client(sandbox, http).get
        used = []
        while (
            answer := ask("/api/v3/klines", symbol="BTCUSDT", interval="1h", limit=1)
        ).status_code == 200:
            used.append(int(answer.headers["X-MBX-USED-WEIGHT-1M"]))
        assert used == list(range(2, 62, 2))
        assert answer.status_code == 429
        assert answer.json()["code"] == -1003
        assert 1 <= int(answer.headers["Retry-After"]) <= 60
        assert ask("/fapi/v1/ping").headers["X-MBX-USED-WEIGHT-1M"] == "1"
        ask("/api/v3/ping")
        for _ in range(25):
            answer = ask("/api/v3/ping")
        assert answer.status_code == 418
        assert answer.headers["Retry-After"] == "120"


@pytest.mark.parametrize(("limit", "weight"), [(100, 5), (500, 25), (1000, 50), (5000, 250)])
def test_weight_of_a_book(http: httpx.Client, running: Sandbox, limit: int, weight: int) -> None:
    running.desk.usage.reset()
    answer = Client(running, http).get("/api/v3/depth", symbol="BTCUSDT", limit=limit)
    assert answer.headers["X-MBX-USED-WEIGHT-1M"] == str(weight)


def test_a_thousand_klines_take_few_milliseconds(binance: Client) -> None:
    times = []
    for _ in range(8):
        answer = binance.get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=1000)
        times.append(answer.elapsed.total_seconds())
    assert min(times) < 0.1


def test_sandbox_time_runs_at_the_given_speed(http: httpx.Client) -> None:
    with make_sandbox(speed=3600) as sandbox:
        ask = Client(sandbox, http)
        first = ask.json("/api/v3/time")["serverTime"]
        rows = ask.json("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1)
        assert rows[0][0] >= first // 60_000 * 60_000
        sandbox.clock.move(NOW + DAY, 0)
        assert ask.json("/api/v3/time")["serverTime"] == (NOW + DAY) // 1000
