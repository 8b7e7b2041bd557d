"""Every built-in provider of an HTTP API keeps to the contract, against the sandbox."""

import asyncio
import importlib
import pkgutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from pydantic import SecretStr

import weft_providers
from tests.faults.http.world import classes
from weft.components.provider import Batch, Provider, Request
from weft.foundation.clock import Clock
from weft.foundation.times import DAY, HOUR, SECOND, Interval, parse_time
from weft.sources.http import Api, HeaderKey, Http, HttpResponse, Reader
from weft.sources.series import Point, Series, SeriesProvider, Wanted
from weft.testing import (
    ConformanceReport,
    ProviderCase,
    StandIn,
    check_provider,
    parametrize_provider_checks,
)
from weft.testing.providers.case import Row
from weft_app.demo import SERIES_OF
from weft_sandbox import Sandbox
from weft_sandbox.market.bars import Grid
from weft_sandbox.market.venues import BYBIT_LINEAR, COINBASE, PERPETUAL, REFERENCE, Venue

if TYPE_CHECKING:
    from weft.sources.http.request import Params

NOW = parse_time("2024-03-20T12:34:56Z")

MODULES = [i.name for i in pkgutil.iter_modules(weft_providers.__path__) if i.name[0] != "_"]

CASES: Mapping[str, Mapping[str, Any]] = {
    "artemis": {"days": 21, "absent": ("revenue_usd",)},
    "alternative_me": {"unknown": {}},
    "binance": {
        "options": {"symbols": ("BTCUSDT", "ETHUSDT")},
        "venue": REFERENCE,
    },
    "binance_futures": {
        "api": "binance",
        "options": {"symbols": ("BTCUSDT",)},
        "days": 3,
        "venue": PERPETUAL,
    },
    "bybit": {
        "options": {"symbols": ("BTCUSDT", "ETHUSDT")},
        "venue": BYBIT_LINEAR,
    },
    "coinbase": {
        "options": {"symbols": ("BTC-USD", "ETH-USD")},
        "venue": COINBASE,
    },
    "coingecko": {
        "absent": ("trending_rank",),
        "unknown": {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no-such"}},
    },
    "coinmetrics": {"options": {"assets": ("BTC",)}},
    "cryptoquant": {"options": {"assets": ("BTC",)}, "pages": {"page_size": 3}},
    "defillama": {
        "options": {"assets": ("BTC",)},
        "unknown": {"assets": ("NOSUCH",), "ids": {"NOSUCH": "chain:Nosuch"}},
    },
    "fred": {"days": 21, "unknown": {}},
    "github": {"days": 56, "unknown": {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no/such"}}},
    "glassnode": {"options": {"assets": ("BTC",)}},
    "messari": {
        "options": {"assets": ("UNI", "ARB")},
        "unknown": {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no-such"}, "metrics": ("mindshare",)},
    },
    "nansen": {
        "options": {"bridge_label": "exchange"},
        "unknown": {"assets": ("NOSUCH",), "ids": {"NOSUCH": "ethereum:0xdead"}},
    },
    "token_terminal": {"unknown": {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no-such"}}},
    "kaiko": {"days": 2},
    "reddit": {
        "options": {"subreddits": {"Bitcoin": "BTC"}},
        "key_form": "client:{}",
        "unknown": {},
    },
    "santiment": {
        "pages": {"page_size": 3},
        "unknown": {"assets": ("NOSUCH",), "ids": {"NOSUCH": "no-such"}},
    },
}
"""Differences from the usual case, by provider."""

EXCUSES: Mapping[str, Mapping[str, str]] = {
    "coinmetrics": {
        "steps_equal_backfill": "a value under review is known anew when its status changes, so "
        "history counts as known later than it was",
        "every_field_counts": "values without the time of a status count as known after the lag",
    },
    "reddit": {
        "every_field_counts": "a next page that is null is how a listing says that it ends",
    },
    "rss": {
        "what_is_no_data_is_typed": "half a feed is read as far as it goes, and a story that it "
        "lacks is taken from another feed",
    },
    "github": {
        "every_field_counts": "no author means one without an account, who is not counted",
    },
}
"""Checks that a provider is right to fail, and why."""


@cache
def sandbox() -> Sandbox:
    """Start the sandbox when the first check asks for it."""
    return Sandbox(start=NOW, speed=0, limits=float("inf")).start()


@pytest.fixture(scope="module", autouse=True)
def _stopped() -> Iterator[None]:
    yield
    if sandbox.cache_info().currsize:
        sandbox().stop()
        sandbox.cache_clear()


@contextmanager
def restated() -> Iterator[None]:
    """Tell candles of some days with other prices."""
    days = {"since": "2024-03-18T00:00:00Z", "until": "2024-03-19T00:00:00Z"}
    (number,) = sandbox().fault({"kind": "restate", "factor": 1.25, **days})
    try:
        yield
    finally:
        sandbox().faults.remove(number)
        sandbox().world.revise(None)


def candles(symbols: Sequence[str], venue: Venue, days: float) -> list[Row]:
    """The market's own candles, not by way of any protocol."""
    world, hour = sandbox().world, Interval.parse("1h")
    first, rows = hour.floor(NOW - int(days * DAY)), []
    for symbol in symbols:
        coin = world.coin[symbol[:3]]
        bars = world.candles(venue, coin, Grid.of("1h"), first, hour.floor(NOW), NOW)
        prices = [bars.open, bars.high, bars.low, bars.close]
        columns = [[float(f"{x * coin.tick:.{coin.price_digits}f}") for x in p] for p in prices]
        columns += [[float(f"{x * coin.step:.{coin.size_digits}f}") for x in bars.volume]]
        for opened, *row in zip(bars.open_time.tolist(), *columns, strict=True):
            rows.append(("candle", symbol, "1h", opened, *row, opened + HOUR))
    return rows


def case(cls: type[Provider]) -> ProviderCase:
    extra = dict(CASES.get(cls.name, {}))
    options, api = extra.pop("options", {}), extra.pop("api", cls.name)
    venue = extra.pop("venue", None)
    if venue is not None:
        extra["expected"] = partial(candles, options["symbols"], venue, extra.get("days", 6.0))
    if cls.web is not None and cls.web.key is not None:
        key = SecretStr(extra.get("key_form", "{}").format("a-key"))
        options = {"api_key": key, **options}
    if cls.name in SERIES_OF:
        options = {"series": SERIES_OF[cls.name], **options}
    stand_in = StandIn(
        api=lambda: sandbox().url(api),
        now=NOW,
        move=lambda now: sandbox().clock.move(now, 0),
        restate=restated if venue is not None else None,
    )
    return ProviderCase(provider=cls(cls.Config(**options)), stand_in=stand_in, **extra)


@parametrize_provider_checks([case(cls) for cls in classes().values()], EXCUSES)
def test_conformance(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("name", MODULES)
def test_module_can_be_imported(name: str) -> None:
    try:
        importlib.import_module(f"weft_providers.{name}")
    except ImportError as error:
        pytest.skip(f"needs what is not installed: {error}")


class Tides(SeriesProvider):
    """An outsider's provider that keeps to the contract."""

    name = "tides"
    web = Api(base_url="https://tides.invalid", key=HeaderKey("X-Key"))
    series = (
        Series(metric="hodl_over_1y", path="old", step="1d", lag="2h"),
        Series(metric="exchange_netflow", path="net", step="1d", lag="2h"),
    )

    async def read(self, http: Http, wanted: Wanted) -> list[Point]:
        params: Params = {"asset": wanted.own_id, "since": wanted.since // SECOND}
        answer = await http.get(f"/{wanted.series.path}", params=params)
        return [self.point(row, answer) for row in answer.read.rows("data")]

    def point(self, row: Reader, answer: HttpResponse) -> Point:
        return Point(row.instant("t", unit="s"), row.number("v"))


def tides(request: httpx.Request) -> httpx.Response:
    if request.headers.get("x-key") is None:
        return httpx.Response(401)
    if request.url.params["asset"] not in {"BTC", "ETH"}:
        return httpx.Response(404, json={"error": "no such asset"})
    first = -(-int(request.url.params["since"]) * SECOND // DAY)
    days = range(first, NOW // DAY + 1)
    return httpx.Response(200, json={"data": [{"t": d * 86_400, "v": d % 7 / 10} for d in days]})


class Careless(Tides):
    def point(self, row: Reader, answer: HttpResponse) -> Point:
        value = row.number("v") if row.has("v") else 0.0
        return Point(row.instant("t", unit="s"), value)


class Crashing(Tides):
    async def read(self, http: Http, wanted: Wanted) -> list[Point]:
        points = await super().read(http, wanted)
        return [points[0], *points[1:]]


class Percent(Tides):
    def point(self, row: Reader, answer: HttpResponse) -> Point:
        return Point(row.instant("t", unit="s"), row.number("v") * 100)


class Drifting(Tides):
    """Dates history as known later, the later it is fetched."""

    def point(self, row: Reader, answer: HttpResponse) -> Point:
        at = row.instant("t", unit="s")
        return Point(at, row.number("v"), (at + answer.fetched_at) // 2)


class Counting(Tides):
    """Tells values in the order in which answers come."""

    seen = 0

    def point(self, row: Reader, answer: HttpResponse) -> Point:
        self.seen += 1
        return Point(row.instant("t", unit="s"), self.seen / 1000)


class Forgetful(Tides):
    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        async for batch in super().fetch(replace(request, known_facts={}), http, clock):
            yield batch


class Leaving(Tides):
    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        self.left = asyncio.create_task(asyncio.Event().wait())
        async for batch in super().fetch(request, http, clock):
            yield batch


class Telling(Tides):
    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        yield Batch(problems=(f"asked with {self.config.api_key.get_secret_value()}",))  # type: ignore[union-attr]  # what a fault may bring
        async for batch in super().fetch(request, http, clock):
            yield batch


FAILING = {
    Careless: "every_field_counts",
    Crashing: "empty_answers_are_fine",
    Percent: "metrics_are_declared",
    Drifting: "steps_equal_backfill",
    Counting: "any_order_of_answers",
    Forgetful: "known_is_not_asked_again",
    Leaving: "cancelled_cleanly",
    Telling: "key_stays_secret",
}


def checked(cls: type[Tides]) -> ConformanceReport:
    provider = cls(cls.Config(api_key=SecretStr("a-key")))
    return check_provider(provider, httpx.MockTransport(tides), now=NOW)


def test_a_provider_of_another_package_passes() -> None:
    checked(Tides).raise_if_failed()


@pytest.mark.parametrize(("cls", "check"), FAILING.items())
def test_each_check_can_fail(cls: type[Tides], check: str) -> None:
    failed = [result.name for result in checked(cls).results if not result.passed]
    assert check in failed
