"""Binance against a server on this machine that speaks its protocol, faults included."""

import asyncio
import json
import random
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl
import pytest

from tests.providers.exchange import LISTED, NOW, Exchange, Fault, Reply, found, kline, refusal
from weft.clock import Clock, SimulatedClock
from weft.components.provider import Batch, Request, SourceKind
from weft.errors import ProviderError
from weft.http import (
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
from weft.market.checks import clean_candles
from weft.times import HOUR, SECOND, Interval
from weft_providers.binance import Binance

H1 = Interval.parse("1h")


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    server = Exchange()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def opened(provider: Binance, clock: SimulatedClock) -> Http:
    rng = random.Random(1)
    return Http(provider.web, name="binance", clock=clock, rng=rng, base_url=provider.base_url)


async def download(
    exchange: Exchange,
    batches: list[Batch],
    clock: SimulatedClock,
    known: dict[str, int],
    since: int,
    symbols: Sequence[str],
    interval: str,
    options: dict[str, Any],
) -> None:
    provider = Binance(Binance.Config(base_url=exchange.url, **options))
    request = Request(Interval.parse(interval), tuple(symbols), since, known)
    async with opened(provider, clock) as http:
        async for batch in provider.fetch(request, http, clock):
            batches.append(batch)  # noqa: PERF401  # what came before an error is wanted too


def fetch(
    exchange: Exchange,
    *symbols: str,
    into: list[Batch] | None = None,
    clock: SimulatedClock | None = None,
    known: dict[str, int] | None = None,
    since: int = LISTED,
    interval: str = "1h",
    **options: Any,
) -> list[Batch]:
    batches: list[Batch] = [] if into is None else into
    clock = clock or SimulatedClock(NOW)
    wanted = symbols or ("BTCUSDT",)
    asyncio.run(download(exchange, batches, clock, known or {}, since, wanted, interval, options))
    return batches


def candles(batches: list[Batch]) -> pl.DataFrame:
    return pl.concat(b.candles for b in batches if b.candles is not None)


def opens(batches: list[Batch], symbol: str = "BTCUSDT") -> list[int]:
    rows = candles(batches).filter(pl.col("symbol") == symbol)
    return rows["open_time"].to_physical().to_list()


def pages(exchange: Exchange) -> list[dict[str, str]]:
    return [params for path, params in exchange.asked if path == "/api/v3/klines"]


def once(reply: Reply, path: str = "/api/v3/klines", after: int = 0) -> Fault:
    """Sends `reply` once, to the request to `path` that comes after some sound ones."""
    seen = iter(range(1_000_000))

    def fault(asked: str, params: dict[str, str]) -> Reply | None:
        return reply if asked == path and next(seen) == after else None

    return fault


def always(reply: Reply) -> Fault:
    return lambda path, params: reply


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
    told = [line for batch in batches for line in batch.problems]
    assert len(told) == 1
    assert told[0].startswith("NONEUSDT: binance lists no such symbol")


def test_all_closed_candles_come_once_and_the_forming_one_does_not(exchange: Exchange) -> None:
    batches = fetch(exchange, page_size=20)
    assert opens(batches) == [LISTED + i * HOUR for i in range(50)]
    assert [len(b.candles) for b in batches if b.candles is not None] == [20, 20, 10]
    starts = [int(page["startTime"]) * 1000 for page in pages(exchange)]
    assert starts == [LISTED, LISTED + 20 * HOUR, LISTED + 40 * HOUR]
    assert all(page["limit"] == "20" and page["interval"] == "1h" for page in pages(exchange))


def test_what_comes_passes_the_checks_as_it_is(exchange: Exchange) -> None:
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


def test_it_begins_no_earlier_than_asked(exchange: Exchange) -> None:
    batches = fetch(exchange, since=LISTED + 47 * HOUR - 1)
    assert opens(batches) == [LISTED + i * HOUR for i in (47, 48, 49)]
    assert opens(fetch(exchange, since=LISTED + 47 * HOUR + 1)) == [
        LISTED + i * HOUR for i in (48, 49)
    ]
    assert opens(fetch(exchange, since=0))[0] == LISTED


def test_a_short_page_is_the_last_one(exchange: Exchange) -> None:
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


def test_the_pairs_in_the_config_are_fetched_where_none_are_asked_for(exchange: Exchange) -> None:
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


def test_other_intervals_have_binance_own_names(exchange: Exchange) -> None:
    assert len(candles(fetch(exchange, interval="240m"))) == 12
    assert pages(exchange)[-1]["interval"] == "4h"
    with pytest.raises(ProviderError, match=r"binance: there are no 7m candles.*1s, 1m, 3m"):
        fetch(exchange, interval="7m")


# Faults


def test_an_unknown_pair_is_named_and_the_others_go_on(exchange: Exchange) -> None:
    batches = fetch(exchange, "NOSUCHUSDT", "BTCUSDT")
    assert [line for b in batches for line in b.problems] == [
        "NOSUCHUSDT: binance lists no such symbol; not asked for again until the next start"
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
        r"answered HTTP 403: a page, not data. Ask less often",
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
    "another form": (found({"data": []}), SchemaChangedError, r"\$ should be a list"),
    "short rows": (found([[1790000000000, "2"]]), SchemaChangedError, r"no \[2\] in \$\[0\]"),
    "words": (
        found([[1790000000000, "a", "b", "c", "d", "e", 2]]),
        SchemaChangedError,
        r"\$\[0\]\[1\] should be a number, and is the text 'a'",
    ),
    "another time": (
        found([kline(LISTED // 1000 - 3_600_000, 3_600_000, 1.0)]),
        SchemaChangedError,
        r"\$\[0\]\[0\] should be a time from startTime on",
    ),
}


@pytest.mark.parametrize("fault", STOPS)
def test_other_refusals_stop_at_once_and_keep_what_came(exchange: Exchange, fault: str) -> None:
    reply, kind, said = STOPS[fault]
    exchange.faults = [once(reply, after=1)]
    clock, came = SimulatedClock(NOW), list[Batch]()
    with pytest.raises(kind, match=said) as caught:
        fetch(exchange, into=came, clock=clock, page_size=20)
    assert caught.value.where == "binance"
    assert caught.value.hint
    assert clock.now() == NOW
    assert len(pages(exchange)) == 2
    assert opens(came) == [LISTED + i * HOUR for i in range(20)]

    exchange.faults = []
    rest = fetch(exchange, known={"BTCUSDT": opens(came)[-1]})
    assert opens(rest) == [LISTED + i * HOUR for i in range(20, 50)]


PASSING: dict[str, Reply] = {
    "gateway": (502, {"Content-Type": "text/html"}, b"<html><h1>502 Bad Gateway</h1></html>"),
    "cut off": (200, {"Content-Length": "4096"}, b'[[1767225600000,"1","2"'),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_may_pass_is_asked_again(exchange: Exchange, fault: str) -> None:
    exchange.faults = [once(PASSING[fault], after=1)]
    assert len(opens(fetch(exchange, page_size=20))) == 50
    assert len(pages(exchange)) == 4


def test_a_server_that_stays_down_keeps_what_came(exchange: Exchange) -> None:
    exchange.faults = [lambda _, asked: PASSING["gateway"] if "20" in opens_at(asked) else None]
    came: list[Batch] = []
    with pytest.raises(UnavailableError, match=r"answered HTTP 502: a page, not data"):
        fetch(exchange, into=came, page_size=20)
    assert opens(came) == [LISTED + i * HOUR for i in range(20)]


def opens_at(asked: dict[str, str]) -> str:
    """Return which candle since the first a request begins with."""
    return str((int(asked.get("startTime", LISTED // 1000)) * 1000 - LISTED) // HOUR)


def test_no_server_is_said_plainly() -> None:
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


def test_giving_up_half_way_waits_for_nobody(exchange: Exchange) -> None:
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
    assert time.monotonic() - began < 5
    released.set()


def test_what_came_together_with_a_failure_is_not_lost(
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
        came: list[Batch] = []
        with pytest.raises(ProviderError):
            fetch(exchange, *symbols, into=came)
        assert [b.problems for b in came] == [("came",)]


def test_a_clock_that_is_ahead_closes_no_candle(exchange: Exchange) -> None:
    """The server says by its Date that the last hour is not over."""
    exchange.now = (LISTED + 3 * HOUR - 2 * SECOND) // 1000

    def dated(path: str, params: dict[str, str]) -> Reply:
        status, headers, body = exchange.sound_answer(path, params)
        return status, {**headers, "Date": "Thu, 01 Jan 2026 02:59:58 GMT"}, body

    exchange.faults = [dated]
    clock = SimulatedClock(LISTED + 3 * HOUR + SECOND)
    assert opens(fetch(exchange, clock=clock)) == [LISTED, LISTED + HOUR]


def test_what_was_described_is_described_again_where_its_candles_failed(
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


# The order book


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
def test_a_book_that_says_too_little(exchange: Exchange, name: str) -> None:
    bids, asks, expected = BOOKS[name]
    exchange.faults = [
        lambda path, _: found({"bids": bids, "asks": asks}) if path.endswith("depth") else None
    ]
    told = values(fetch(exchange))
    assert set(told) == expected
    # Equal distances are compared: what only one side reached does not count.
    assert told.get("book_imbalance", 0) == pytest.approx(0, abs=0.01)


def test_candles_alone(exchange: Exchange) -> None:
    assert values(fetch(exchange, only="candles")) == {}
    assert {path for path, _ in exchange.asked} == {"/api/v3/exchangeInfo", "/api/v3/klines"}


def test_a_pair_without_dollars_has_no_depth_in_dollars(exchange: Exchange) -> None:
    exchange.symbols["ETHBTC"] = ("ETH", 0.05)
    assert set(values(fetch(exchange, "ETHBTC"))) == {"book_imbalance", "bid_ask_spread"}


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


def test_a_long_absence_leaves_no_hole(exchange: Exchange) -> None:
    """What is missing is fetched from where the store ends, however far back that lies."""
    known = {"BTCUSDT": LISTED}
    first = opens(fetch(exchange, since=LISTED + 40 * HOUR, known=known))[0]
    assert first == LISTED + HOUR
