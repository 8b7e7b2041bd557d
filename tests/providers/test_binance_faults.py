"""Binance against a server that refuses, fails, or answers something else."""

import asyncio
import socket
import threading
import time
from typing import Any

import pytest

from tests.providers.binance_fetches import (
    H1,
    always,
    fetch,
    once,
    opened,
    opens,
    pages,
)
from tests.providers.exchange import LISTED, NOW, Exchange, Reply, json_reply, kline, refusal
from tests.support import PATIENCE_SECONDS
from weft.components.provider import Batch, Request
from weft.foundation.clock import Clock, SimulatedClock
from weft.foundation.errors import ProviderError
from weft.foundation.times import HOUR, SECOND, Interval
from weft.sources.http import (
    BannedError,
    ForbiddenError,
    Http,
    MalformedError,
    RateLimitedError,
    RefusedError,
    SchemaChangedError,
    SourceError,
    UnavailableError,
)
from weft_providers.binance.spot import Binance


def test_an_unknown_pair_is_named_and_costs_no_other_pair(exchange: Exchange) -> None:
    batches = fetch(exchange, "NOSUCHUSDT", "BTCUSDT")
    assert [line for b in batches for line in b.problems] == [
        "NOSUCHUSDT: binance lists no such symbol; not requested again until the next start"
    ]
    assert len(opens(batches)) == 50


def test_too_many_requests_are_waited_out(exchange: Exchange) -> None:
    limit = refusal(429, -1003, "Too much request weight used", Retry_After="7")
    exchange.faults = [once(limit, after=1), once(limit, after=2)]
    clock = SimulatedClock(NOW)
    assert len(opens(fetch(exchange, clock=clock, page_size=20))) == 50
    assert clock.now() == NOW + 14 * SECOND


def test_waiting_has_an_end(exchange: Exchange) -> None:
    exchange.faults = [always(refusal(429, -1003, "Way too many requests.", Retry_After="1"))]
    with pytest.raises(RateLimitedError, match=r"HTTP 429: .*-1003.*Way too many requests"):
        fetch(exchange)
    assert len(exchange.asked) == 4


def test_a_wait_of_hours_is_not_waited(exchange: Exchange) -> None:
    exchange.faults = [always(refusal(429, -1003, "Too many.", Retry_After="7200"))]
    clock = SimulatedClock(NOW)
    with pytest.raises(RateLimitedError, match=r"HTTP 429"):
        fetch(exchange, clock=clock)
    assert clock.now() == NOW
    assert len(exchange.asked) == 1


STOPS: dict[str, tuple[Reply, type[SourceError], str]] = {
    "banned": (
        refusal(418, -1003, "Way too many requests; IP banned.", Retry_After="120"),
        BannedError,
        r"GET /api/v3/klines\?symbol=BTCUSDT.* answered HTTP 418: .*-1003.*Way too",
    ),
    "firewall": (
        (403, {"Content-Type": "text/html"}, b"<html>Forbidden</html>"),
        BannedError,
        r"answered HTTP 403: a page, not data. Send fewer requests",
    ),
    "place": (
        (451, {}, b'{"code": 0, "msg": "Service unavailable from a restricted location"}'),
        ForbiddenError,
        r"HTTP 451: .*restricted location",
    ),
    "bad interval": (refusal(400, -1120, "Invalid interval."), RefusedError, r"HTTP 400: .*-1120"),
    "a list for an error": ((400, {}, b"[1, 2]"), RefusedError, r"answered HTTP 400"),
    "truncated JSON": (
        (200, {"Content-Type": "application/json"}, b'[[1767225600000,"1","2"'),
        MalformedError,
        r"GET /api/v3/klines\?symbol=BTCUSDT.* answered broken JSON",
    ),
    "another form": (json_reply({"data": []}), SchemaChangedError, r"\$ should be a list"),
    "short rows": (json_reply([[1790000000000, "2"]]), SchemaChangedError, r"no \[2\] in \$\[0\]"),
    "words": (
        json_reply([[1790000000000, "a", "b", "c", "d", "e", 2]]),
        SchemaChangedError,
        r"\$\[0\]\[1\] should be a number, and is the text 'a'",
    ),
    "another time": (
        json_reply([kline(LISTED // 1000 - 3_600_000, 3_600_000, 1.0)]),
        SchemaChangedError,
        r"\$\[0\]\[0\] should be a time from startTime on",
    ),
}


@pytest.mark.parametrize("fault", STOPS)
def test_other_refusals_end_the_fetch_after_the_earlier_pages(
    exchange: Exchange, fault: str
) -> None:
    reply, kind, message = STOPS[fault]
    exchange.faults = [once(reply, after=1)]
    clock, fetched = SimulatedClock(NOW), list[Batch]()
    with pytest.raises(kind, match=message) as caught:
        fetch(exchange, into=fetched, clock=clock, page_size=20)
    assert caught.value.where == "binance"
    assert caught.value.hint
    assert clock.now() == NOW
    assert len(pages(exchange)) == 2
    assert opens(fetched) == [LISTED + i * HOUR for i in range(20)]

    exchange.faults = []
    rest = fetch(exchange, known={"BTCUSDT": opens(fetched)[-1]})
    assert opens(rest) == [LISTED + i * HOUR for i in range(20, 50)]


PASSING: dict[str, Reply] = {
    "gateway": (502, {"Content-Type": "text/html"}, b"<html><h1>502 Bad Gateway</h1></html>"),
    "cut off": (200, {"Content-Length": "4096"}, b'[[1767225600000,"1","2"'),
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_temporary_failure_is_retried(exchange: Exchange, fault: str) -> None:
    exchange.faults = [once(PASSING[fault], after=1)]
    assert len(opens(fetch(exchange, page_size=20))) == 50
    assert len(pages(exchange)) == 4


def test_a_server_that_stays_down_loses_no_earlier_page(exchange: Exchange) -> None:
    exchange.faults = [lambda _, asked: PASSING["gateway"] if "20" in opens_at(asked) else None]
    fetched: list[Batch] = []
    with pytest.raises(UnavailableError, match=r"answered HTTP 502: a page, not data"):
        fetch(exchange, into=fetched, page_size=20)
    assert opens(fetched) == [LISTED + i * HOUR for i in range(20)]


def opens_at(asked: dict[str, str]) -> str:
    """Return which candle since the first a request begins with."""
    return str((int(asked.get("startTime", LISTED // 1000)) * 1000 - LISTED) // HOUR)


def test_a_missing_server_is_named_in_the_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = taken.getsockname()[1]

    async def go() -> None:
        provider = Binance(Binance.Config(base_url=f"http://127.0.0.1:{free}"))
        clock = SimulatedClock(NOW)
        async with opened(provider, clock) as http:
            async for _ in provider.fetch(Request(H1, ("BTCUSDT",), LISTED), http, clock):
                pass

    with pytest.raises(UnavailableError, match=r"exchangeInfo\?symbol=BTCUSDT: no connection"):
        asyncio.run(go())


def test_an_abandoned_fetch_cancels_its_requests(exchange: Exchange) -> None:
    released = threading.Event()

    def slow(path: str, params: dict[str, str]) -> Reply | None:
        if params.get("symbol", "BTCUSDT") != "BTCUSDT":
            released.wait(10)
        return None

    exchange.faults = [slow]

    async def go() -> None:
        provider = Binance(Binance.Config(base_url=exchange.url, page_size=5))
        clock = SimulatedClock(NOW)
        async with opened(provider, clock) as http:
            batches = provider.fetch(Request(H1, tuple(exchange.symbols), LISTED), http, clock)
            await anext(aiter(batches))
            await batches.aclose()  # type: ignore[attr-defined]  # an async generator
            assert asyncio.all_tasks() == {asyncio.current_task()}

    began = time.monotonic()
    asyncio.run(go())
    assert time.monotonic() - began < PATIENCE_SECONDS
    released.set()


def test_a_page_finished_together_with_a_failure_is_not_lost(
    exchange: Exchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def page(
        self: Binance, http: Http, clock: Clock, interval: Interval, symbol: str, start: int
    ) -> Any:
        if symbol == "GOODUSDT":
            return Batch(problems=("came",)), None
        raise ProviderError(symbol)

    monkeypatch.setattr(Binance, "_page", page)
    for symbols in (("BADUSDT", "GOODUSDT"), ("GOODUSDT", "BADUSDT"), ("A", "GOODUSDT", "B")):
        fetched: list[Batch] = []
        with pytest.raises(ProviderError):
            fetch(exchange, *symbols, into=fetched)
        assert [b.problems for b in fetched] == [("came",)]


def test_a_clock_that_is_ahead_closes_no_candle(exchange: Exchange) -> None:
    """By the server's Date header the last hour is not over."""
    exchange.now = (LISTED + 3 * HOUR - 2 * SECOND) // 1000

    def dated(path: str, params: dict[str, str]) -> Reply:
        status, headers, body = exchange.sound_answer(path, params)
        return status, {**headers, "Date": "Thu, 01 Jan 2026 02:59:58 GMT"}, body

    exchange.faults = [dated]
    clock = SimulatedClock(LISTED + 3 * HOUR + SECOND)
    assert opens(fetch(exchange, clock=clock)) == [LISTED, LISTED + HOUR]


def test_a_cached_page_closes_no_candle_that_was_open_then(exchange: Exchange) -> None:
    given_at = LISTED + 3 * HOUR - 20 * SECOND
    exchange.now = given_at // 1000

    def stored(path: str, params: dict[str, str]) -> Reply:
        status, headers, body = exchange.sound_answer(path, params)
        return status, {**headers, "Age": "60"}, body

    exchange.faults = [stored]
    clock = SimulatedClock(given_at + 60 * SECOND)
    assert opens(fetch(exchange, clock=clock)) == [LISTED, LISTED + HOUR]


def test_a_pair_is_described_again_after_its_candles_failed(
    exchange: Exchange,
) -> None:
    provider = Binance(Binance.Config(base_url=exchange.url))
    exchange.faults = [once(refusal(400, -1120, "Invalid interval."))]

    async def go() -> list[Batch]:
        clock = SimulatedClock(NOW)
        async with opened(provider, clock) as http:
            request = Request(H1, ("BTCUSDT",), LISTED)
            return [b async for b in provider.fetch(request, http, clock)]

    with pytest.raises(RefusedError):
        asyncio.run(go())
    assert [i.symbol for b in asyncio.run(go()) for i in b.instruments] == ["BTCUSDT"]
    assert [i for b in asyncio.run(go()) for i in b.instruments] == []
