"""The bases of providers as an outsider meets them: the examples of their docstrings, run."""

import ast
import inspect
import random
import textwrap
from types import ModuleType
from typing import Any

import polars as pl
import pytest
from ruamel.yaml import YAML

from tests.core.sources.http.server import NOW, aio, reply, serving
from weft.components.provider import Batch, Provider, Request
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, HOUR, SECOND, Interval
from weft.sources import candles, exchange, hosts, series, texts
from weft.sources.http import Api, Http, RateLimit, Reader

MODULES = (series, candles, exchange, hosts, texts)
WITHOUT_EXAMPLE = {"Text"}
"""Its fields are the columns of `Batch.texts`."""

# Daily values at 00:00 UTC, up to the day before NOW.
MIDNIGHT = NOW // DAY * DAY


def blocks(subject: object) -> list[str]:
    """The indented blocks after a line that ends in two colons."""
    text = inspect.cleandoc(inspect.getdoc(subject) or "")
    found: list[str] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.endswith("::"):
            block = []
            for inner in lines:
                if inner and not inner.startswith(" "):
                    break
                block.append(inner)
            found.append(textwrap.dedent("\n".join(block)))
    return found


def classes(module: ModuleType) -> list[type]:
    own = (c for _, c in inspect.getmembers(module, inspect.isclass))
    return [c for c in own if c.__module__ == module.__name__ and not c.__name__.startswith("_")]


PUBLIC = [c for module in MODULES for c in classes(module) if c.__name__ not in WITHOUT_EXAMPLE]


@pytest.mark.parametrize("subject", PUBLIC, ids=lambda c: c.__name__)
def test_public_class_has_an_example_that_parses(subject: type) -> None:
    examples = blocks(subject)
    assert examples
    for example in examples:
        if subject is series.SeriesOptions:
            options = YAML(typ="safe").load(example)["providers"]["example"]["series"]
            assert all(series.SeriesOptions(**one) for one in options.values())
        else:
            ast.parse(example)


def run_examples(subject: object, **names: Any) -> dict[str, Any]:
    namespace = {"__name__": "example", **names}
    for example in blocks(subject):
        exec(example, namespace)  # the examples are ours
    return namespace


@pytest.mark.parametrize(
    "subject",
    [texts.AssetFinder, texts.plain, texts.same_link, exchange.Book],
    ids=lambda s: s.__name__,
)
def test_example_with_asserts_holds(subject: Any) -> None:
    run_examples(subject, **vars(texts), Book=exchange.Book, Reader=Reader)


async def fetch(kind: type[Provider], url: str, request: Request, **options: Any) -> list[Batch]:
    provider = kind(kind.Config(base_url=url, **options))  # type: ignore[call-arg]  # every HttpConfig has it
    clock = SimulatedClock(NOW)
    assert provider.web is not None
    async with Http(
        provider.web, name=provider.name, clock=clock, rng=random.Random(1), base_url=url
    ) as http:
        return [batch async for batch in provider.fetch(request, http, clock)]


@aio
async def test_series_example_requests_and_parses() -> None:
    example = run_examples(series.SeriesProvider)
    days = [MIDNIGHT - n * DAY for n in (3, 2, 1)]
    body = {"data": [{"time": t // SECOND, "value": 50 + n} for n, t in enumerate(days)]}
    async with serving(reply(body)) as server:
        request = Request(Interval.parse("1h"), (), since=days[0])
        (batch,) = await fetch(example["Gauge"], server.url, request)
        assert [seen.target for seen in server.seen] == [f"/v1/index?since={days[0] // SECOND}"]
    assert batch.observations is not None
    rows = batch.observations.select(
        "metric", "scope", pl.col("event_time", "known_at").dt.epoch("us"), "value"
    ).rows()
    assert rows == [("fear_greed", "market", t, t + HOUR, 50.0 + n) for n, t in enumerate(days)]


@aio
async def test_candle_example_requests_and_parses() -> None:
    example = run_examples(candles.CandleProvider)
    start = NOW // HOUR * HOUR - 2 * HOUR
    # The last one is still open.
    opens = [start, start + HOUR, start + 2 * HOUR]
    body = [[t // 1_000, "10", "12", "9", "11", "5"] for t in opens]
    listing = {"base": "BTC", "quote": "USDT"}
    async with serving(reply(listing), reply(body), reply([])) as server:
        request = Request(Interval.parse("1h"), ("BTCUSDT",), since=start)
        batches = await fetch(example["Bourse"], server.url, request)
        paths = [seen.target for seen in server.seen]
    assert paths[:2] == [
        "/v1/symbols/BTCUSDT",
        f"/v1/candles/BTCUSDT?interval=60min&from={start // 1_000}",
    ]
    assert batches[0].instruments[0].base == "BTC"
    frame = pl.concat([b.candles for b in batches if b.candles is not None])
    assert frame["open_time"].dt.epoch("us").to_list() == opens[:2]
    assert frame["close"].to_list() == [11.0, 11.0]


@aio
async def test_exchange_example_brings_the_metrics_of_a_book() -> None:
    names = {**vars(exchange), "Api": Api, "RateLimit": RateLimit}
    example = run_examples(exchange.ExchangeProvider, **names)
    kind = type(
        "Complete",
        (example["Bourse"],),
        {"instrument": candles.CandleProvider.instrument, "page": candles.CandleProvider.page},
    )
    kind.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]  # the example shows one half
    body = {"bids": [["99", "2"], ["98", "2"]], "asks": [["101", "1"], ["102", "1"]]}
    async with serving(reply(body)) as server:
        request = Request(Interval.parse("1h"), ("BTCUSDT",), since=NOW - HOUR)
        batches = await fetch(kind, server.url, request, only="metrics")
    (observations,) = [b.observations for b in batches if b.observations is not None]
    values = dict(observations.select("metric", "value").iter_rows())
    assert values["bid_ask_spread"] == pytest.approx(0.02)
    assert values["bid_depth_usd"] == pytest.approx(198.0)
