"""A suite of tests to inherit, for providers of series against the sandbox.

A test class of a provider derives from `Sandboxed`, sets the provider and the field whose renaming
spoils its answers, and adds tests of values::

    class TestKaiko(Sandboxed):
        provider = Kaiko
        drift = "poll_timestamp"
"""

import asyncio
import importlib
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import polars as pl
import pytest
from pydantic import SecretStr

from weft.collect.checks.clean import clean_observations
from weft.components.provider import FactKey, Provider, Request
from weft.domain.instruments import Instrument
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ProviderError
from weft.foundation.times import DAY, Interval, parse_time
from weft.sources.http import Http, HttpResponse, SchemaChangedError, UnauthorisedError
from weft.sources.series import SeriesProvider
from weft_sandbox import Sandbox
from weft_sandbox.market.world import World

NOW = parse_time("2024-03-20T12:34:56Z")
SINCE = NOW - 6 * DAY
CANARY = "canary-7d1f93c2b4a8"


class Row(NamedTuple):
    """One observation; instants in microseconds since 1970."""

    metric: str
    scope: str
    entity: str
    event_time: int
    known_at: int
    value: float


@dataclass
class Fetched:
    """The results of one fetch, its requests, and the remaining rate limits.

    A request is a tuple of method, path, and parameters or body.
    """

    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    error: ProviderError | None = None
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    candles: list[pl.DataFrame] = field(default_factory=list)
    instruments: list[Instrument] = field(default_factory=list)
    left: Mapping[str, int] = field(default_factory=dict)

    def of(self, metric: str, entity: str = "BTC") -> list[Row]:
        """Return the rows of one series, oldest first."""
        rows = [row for row in self.rows if (row.metric, row.entity) == (metric, entity)]
        return sorted(rows, key=lambda row: row.event_time)

    @property
    def known(self) -> dict[FactKey, int]:
        """The latest event time of each series, as the store would know it."""
        latest: dict[FactKey, int] = {}
        for row in self.rows:
            key = FactKey(row.metric, row.scope, row.entity)
            latest[key] = max(row.event_time, latest.get(key, 0))
        return latest


class _Recording(Http):
    """Records every request."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.requests: list[tuple[str, str, Any]] = []

    async def get(self, path: str, **options: Any) -> HttpResponse:
        self.requests.append(("GET", path, dict(options.get("params") or {})))
        return await super().get(path, **options)

    async def post(self, path: str, **options: Any) -> HttpResponse:
        self.requests.append(("POST", path, options["json"]))
        return await super().post(path, **options)


def serve(name: str) -> Iterator[Sandbox]:
    """Yield a sandbox of one API, whose time stands still at `NOW`, without limits."""
    api = importlib.import_module(f"weft_sandbox.protocols.{name}").api
    with Sandbox(start=NOW, speed=0, limits=float("inf"), apis=[api]) as sandbox:
        yield sandbox


def fetch(
    provider: Provider,
    *,
    now: int = NOW,
    since: int = SINCE,
    known: Mapping[FactKey, int] | None = None,
    assets: Sequence[str] = (),
    symbols: Sequence[str] = (),
    interval: str = "1h",
    known_candles: Mapping[str, int] | None = None,
) -> Fetched:
    """Run one fetch to its end, and return its results, including the error that ended it."""
    request = Request(
        Interval.parse(interval),
        tuple(symbols),
        since,
        known_candles or {},
        known_facts=dict(known or {}),
        assets=tuple(assets),
    )
    return asyncio.run(_fetch(provider, now, request))


async def _fetch(provider: Provider, now: int, request: Request) -> Fetched:
    clock, fetched = SimulatedClock(now), Fetched()
    assert provider.web is not None
    async with _Recording(
        provider.web,
        name=provider.name,
        clock=clock,
        rng=random.Random(1),
        key=provider.config.api_key,
        base_url=provider.base_url,
    ) as http:
        try:
            async for batch in provider.fetch(request, http, clock):
                fetched.problems += batch.problems
                fetched.instruments += batch.instruments
                if batch.candles is not None:
                    fetched.candles.append(batch.candles)
                if batch.observations is not None:
                    checked = clean_observations(batch.observations, clock.now(), provider.name)
                    fetched.problems += checked.problems
                    micros = pl.col("event_time", "known_at").to_physical()
                    frame = checked.frame.with_columns(micros).select(Row._fields)
                    fetched.rows += [Row(*row) for row in frame.iter_rows()]
        except ProviderError as error:
            fetched.error = error
        fetched.asked = http.requests
        fetched.left = http.status().left
    return fetched


def usual(provider: type[SeriesProvider]) -> set[str]:
    """Return the metrics that a provider has without a path in the config."""
    return {series.metric for series in provider.series if series.confirmed}


class Sandboxed:
    """Tests that every provider of series passes.

    Attributes:
        provider: class of the provider.
        options: options of its config, besides address and key.
        drift: field of the answers' rows that a fault renames.
        drifting: metrics made of that field; empty for all.
        keyed: whether the provider takes a key.
        unknown: options that request an unknown entity; an unknown asset by default.
        planned: whether the API refuses something to a key of a free plan.
    """

    provider: ClassVar[type[SeriesProvider]]
    options: ClassVar[Mapping[str, Any]] = {}
    drift: ClassVar[str]
    drifting: ClassVar[tuple[str, ...]] = ()
    keyed: ClassVar[bool] = True
    unknown: ClassVar[Mapping[str, Any]] = {"assets": ("NOSUCH",)}
    planned: ClassVar[bool] = True

    @pytest.fixture(scope="class")
    @classmethod
    def _served(cls) -> Iterator[Sandbox]:
        yield from serve(cls.provider.name)

    @pytest.fixture
    def server(self, _served: Sandbox) -> Iterator[Sandbox]:
        yield _served
        _served.heal()
        _served.clock.move(NOW, 0)

    @pytest.fixture
    def world(self, _served: Sandbox) -> World:
        return _served.world

    def make(self, server: Sandbox, key: str = CANARY, **options: Any) -> SeriesProvider:
        """Return the provider at the address of the sandbox."""
        keys = {"api_key": SecretStr(key)} if self.keyed else {}
        url = server.url(self.provider.name)
        config = self.provider.Config(base_url=url, **{**self.options, **keys, **options})
        return self.provider(config)

    def test_every_metric_has_values_known_after_their_event_time(self, server: Sandbox) -> None:
        fetched = fetch(self.make(server))
        assert fetched.error is None
        assert fetched.problems == []
        assert {row.metric for row in fetched.rows} == usual(self.provider)
        assert all(row.event_time <= row.known_at <= NOW for row in fetched.rows)
        assert all(row.event_time >= SINCE for row in fetched.rows)

    def test_stored_values_are_not_requested_before_they_are_due(self, server: Sandbox) -> None:
        provider = self.make(server)
        known = fetch(provider).known
        assert fetch(provider, known=known).asked == []
        later = NOW + DAY
        server.clock.move(later, 0)
        again = fetch(provider, now=later, known=known)
        assert again.asked != []
        assert all(again.known[key] > last for key, last in known.items())
        longest = max(series.step_micros for series in provider.series)
        assert all(row.event_time >= NOW - 6 * longest for row in again.rows)

    def test_an_unknown_key_is_an_error(self, server: Sandbox) -> None:
        if self.keyed:
            fetched = fetch(self.make(server, "invalid-key"))
            assert isinstance(fetched.error, UnauthorisedError)
            assert fetched.rows == []

    def test_a_metric_outside_the_plan_is_reported_and_not_requested_again(
        self, server: Sandbox
    ) -> None:
        if not self.planned:
            return
        provider = self.make(server, "free-key")
        first = fetch(provider)
        assert first.error is None
        assert any("not requested again" in problem for problem in first.problems)
        second = fetch(provider)
        assert second.problems == []
        assert len(second.asked) < len(first.asked)

    def test_an_unknown_asset_is_reported_and_not_requested_again(self, server: Sandbox) -> None:
        provider = self.make(server, **self.unknown)
        first = fetch(provider)
        assert first.error is None
        assert first.rows == []
        assert any("not requested again" in problem for problem in first.problems)
        assert fetch(provider).asked == []

    def test_an_answer_without_rows_stores_nothing(self, server: Sandbox) -> None:
        server.fault({"kind": "empty_rows"})
        fetched = fetch(self.make(server))
        assert fetched.error is None or isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []

    def test_a_renamed_field_is_an_error_and_stores_nothing(self, server: Sandbox) -> None:
        server.fault({"kind": "rename_field", "field": self.drift})
        fetched = fetch(self.make(server, metrics=self.drifting))
        assert isinstance(fetched.error, SchemaChangedError)
        assert self.drift in str(fetched.error)
        assert fetched.rows == []

    def test_a_rate_limit_is_waited_for(self, server: Sandbox) -> None:
        server.fault({"kind": "rate_limit", "count": 1})
        fetched = fetch(self.make(server))
        assert fetched.error is None
        assert {row.metric for row in fetched.rows} == usual(self.provider)

    def test_the_key_is_in_no_error_and_no_log(
        self, server: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        messages = []
        for fault in (
            {"kind": "status", "status": 500},
            {"kind": "revoked_key"},
            {"kind": "missing_field", "field": self.drift},
            {"kind": "redirect"},
        ):
            server.heal()
            server.fault(fault)
            fetched = fetch(self.make(server))
            assert fetched.error is not None or fetched.problems
            messages += [str(fetched.error), repr(fetched.error), *fetched.problems]
        assert CANARY not in "".join([*messages, caplog.text])
