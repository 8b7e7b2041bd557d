"""Bybit and Coinbase REST by their documentation, keys, and unknown paths."""

from itertools import pairwise
from typing import Any

import httpx
import pytest

from tests.sandbox.conftest import NOW, make_sandbox
from weft.foundation.times import HOUR, iso
from weft_sandbox import Sandbox

NOW_MS, HOUR_MS = NOW // 1000, HOUR // 1000


class Bybit:
    def __init__(self, sandbox: Sandbox, http: httpx.Client) -> None:
        self.base, self.http = sandbox.url("bybit") + "/v5/market/", http

    def answer(self, path: str, **query: Any) -> Any:
        answer = self.http.get(self.base + path, params=query)
        assert answer.status_code == 200
        return answer.json()

    def result(self, path: str, **query: Any) -> Any:
        answer = self.answer(path, **query)
        assert answer["retCode"] == 0, answer
        assert answer["time"] == NOW_MS
        return answer["result"]


@pytest.fixture
def bybit(frozen: Sandbox, http: httpx.Client) -> Bybit:
    return Bybit(frozen, http)


def test_klines_come_newest_first_as_texts(bybit: Bybit) -> None:
    result = bybit.result("kline", category="linear", symbol="BTCUSDT", interval="60")
    rows = result["list"]
    assert (result["category"], len(rows), len(rows[0])) == ("linear", 200, 7)
    assert all(isinstance(cell, str) for cell in rows[0])
    times = [int(row[0]) for row in rows]
    assert times == sorted(times, reverse=True)
    assert times[0] == NOW_MS // HOUR_MS * HOUR_MS
    older = bybit.result(
        "kline", category="linear", symbol="BTCUSDT", interval="60", end=times[-1] - 1
    )["list"]
    assert int(older[0][0]) == times[-1] - HOUR_MS
    start = times[100]
    span = bybit.result(
        "kline", category="spot", symbol="BTCUSDT", interval="60", start=start, end=times[90]
    )["list"]
    assert [int(row[0]) for row in span] == times[90:101]
    assert span[0][4] != rows[90][4]


def test_pages_by_cursor_meet_and_end(bybit: Bybit) -> None:
    response: list[int] = []
    cursor = ""
    start = NOW_MS - 100 * HOUR_MS
    while True:
        page = bybit.result(
            "open-interest",
            category="linear",
            symbol="ETHUSDT",
            intervalTime="1h",
            startTime=start,
            limit=30,
            cursor=cursor,
        )
        response += [int(row["timestamp"]) for row in page["list"]]
        cursor = page["nextPageCursor"]
        if not cursor:
            break
    assert len(response) == 100
    assert {a - b for a, b in pairwise(response)} == {HOUR_MS}
    ratio = bybit.result("account-ratio", category="linear", symbol="ETHUSDT", period="1d")
    row = ratio["list"][0]
    assert float(row["buyRatio"]) + float(row["sellRatio"]) == pytest.approx(1)


def test_funding_and_tickers(bybit: Bybit) -> None:
    rows = bybit.result("funding/history", category="linear", symbol="BTCUSDT", limit=10)["list"]
    times = [int(row["fundingRateTimestamp"]) for row in rows]
    assert times == [times[0] - i * 8 * HOUR_MS for i in range(10)]
    (spot,) = bybit.result("tickers", category="spot", symbol="BTCUSDT")["list"]
    (linear,) = bybit.result("tickers", category="linear", symbol="BTCUSDT")["list"]
    assert "markPrice" not in spot
    assert float(linear["markPrice"]) == pytest.approx(float(linear["lastPrice"]), rel=5e-3)
    assert int(bybit.result("time")["timeNano"]) == NOW * 1000
    mark = bybit.result("mark-price-kline", category="linear", symbol="BTCUSDT", interval="60")
    assert len(mark["list"][0]) == 5


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("kline", {"symbol": "NOPE", "interval": "60"}, 10001),
        ("kline", {"symbol": "BTCUSDT", "interval": "1h"}, 10001),
        ("kline", {"symbol": "BTCUSDT", "interval": "60", "limit": 1001}, 10001),
        ("kline", {"symbol": "BTCUSDT", "interval": "60", "category": "moon"}, 10001),
        ("funding/history", {"symbol": "BTCUSDT", "startTime": 1}, 10001),
    ],
)
def test_errors_come_with_status_200(
    bybit: Bybit, path: str, query: dict[str, Any], code: int
) -> None:
    answer = bybit.answer(path, **{"category": "linear", **query})
    assert answer["retCode"] == code
    assert set(answer) == {"retCode", "retMsg", "result", "retExtInfo", "time"}


@pytest.mark.parametrize(("key", "code"), [("good", 0), ("invalid-1", 10003), ("expired", 33004)])
def test_keys(bybit: Bybit, key: str, code: int) -> None:
    answer = bybit.http.get(bybit.base + "time", headers={"X-BAPI-API-KEY": key})
    assert answer.json()["retCode"] == code


def test_too_many_requests_are_answered_403(http: httpx.Client) -> None:
    with make_sandbox(speed=0, limits=0.02) as sandbox:
        bybit = Bybit(sandbox, http)
        answers = [http.get(bybit.base + "time") for _ in range(30)]
    assert answers[0].headers["X-Bapi-Limit"] == "12"
    assert answers[0].headers["X-Bapi-Limit-Status"] in {"11", "12"}
    assert 403 in {answer.status_code for answer in answers}


class TestCoinbase:
    @pytest.fixture
    def get(self, frozen: Sandbox, http: httpx.Client) -> Any:
        def ask(path: str, **query: Any) -> httpx.Response:
            return http.get(frozen.url("coinbase") + path, params=query)

        return ask

    def test_candles(self, get: Any) -> None:
        rows = get("/products/BTC-USD/candles", granularity=3600).json()
        assert len(rows) == 300
        time, low, high, opened, close, volume = rows[0]
        assert time == NOW // HOUR * 3600
        assert low <= min(opened, close) <= max(opened, close) <= high
        assert isinstance(volume, float)
        assert rows[1][0] == time - 3600

    def test_300_steps_give_301_rows_and_301_steps_an_error(self, get: Any) -> None:
        end = NOW // HOUR * HOUR - 10 * HOUR
        path = "/products/BTC-USD/candles"
        most = get(path, granularity=3600, start=iso(end - 300 * HOUR), end=iso(end))
        assert len(most.json()) == 301
        times = {"start": (end - 301 * HOUR) // 1_000_000, "end": end // 1_000_000}
        over = get(path, granularity=3600, **times)
        assert over.status_code == 400
        assert over.json()["message"].startswith("granularity too small")
        wrong = get(path, granularity=7200)
        assert (wrong.status_code, wrong.json()) == (400, {"message": "Unsupported granularity"})
        early = get(
            path, granularity=86400, start="2014-01-01T00:00:00Z", end="2014-02-01T00:00:00Z"
        )
        assert (early.status_code, early.json()) == (200, [])
        nobody = get("/products/XYZ-USD/candles")
        assert (nobody.status_code, nobody.json()) == (404, {"message": "NotFound"})

    def test_trades_page_to_older_ones(self, get: Any) -> None:
        first = get("/products/ETH-USD/trades", limit=50)
        ids = [row["trade_id"] for row in first.json()]
        assert ids == list(range(ids[0], ids[0] - 50, -1))
        older = get("/products/ETH-USD/trades", limit=50, after=first.headers["CB-AFTER"])
        assert older.json()[0]["trade_id"] == ids[-1] - 1
        assert len(older.json()) == 50
        newer = get("/products/ETH-USD/trades", before=older.headers["CB-BEFORE"])
        assert [row["trade_id"] for row in newer.json()] == ids

    def test_ticker_book_and_stats(self, get: Any) -> None:
        ticker = get("/products/BTC-USD/ticker").json()
        assert float(ticker["bid"]) < float(ticker["ask"])
        assert ticker["time"].endswith("Z")
        book = get("/products/BTC-USD/book", level=2).json()
        assert book["bids"][0][0] == ticker["bid"]
        stats = get("/products/BTC-USD/stats").json()
        assert float(stats["volume_30day"]) > float(stats["volume"])
        assert get("/time").json()["epoch"] == NOW / 1e6

    def test_its_limit(self, http: httpx.Client) -> None:
        with make_sandbox(speed=0) as sandbox:
            url = sandbox.url("coinbase") + "/time"
            answers = [http.get(url) for _ in range(40)]
        over = [answer for answer in answers if answer.status_code == 429]
        assert over
        assert "message" in over[0].json()


def test_an_unknown_path_gives_404(frozen: Sandbox, http: httpx.Client) -> None:
    nothing = http.get(frozen.url("nobody") + "/x")
    assert nothing.status_code == 404
    assert {"binance", "bybit", "coinbase"} <= set(nothing.json()["apis"])
    assert http.get(frozen.url("coinbase") + "/x").json() == {"message": "NotFound"}
