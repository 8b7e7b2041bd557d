"""Providers of series against the sandbox: what every one of them has to do, as a suite to inherit.

A test class of a provider derives from `Sandboxed`, says which provider and what spoils its
answers, and adds tests of its own values::

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
    """What one fetch brought, what it asked for, and what it left of the rate limits.

    Asked are method, path, and parameters or body.
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
        found = [row for row in self.rows if (row.metric, row.entity) == (metric, entity)]
        return sorted(found, key=lambda row: row.event_time)

    @property
    def known(self) -> dict[FactKey, int]:
        """The latest event time of each series, as the store would know it."""
        latest: dict[FactKey, int] = {}
        for row in self.rows:
            key = FactKey(row.metric, row.scope, row.entity)
            latest[key] = max(row.event_time, latest.get(key, 0))
        return latest


class _Listening(Http):
    """Writes down what is asked."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.heard: list[tuple[str, str, Any]] = []

    async def get(self, path: str, **options: Any) -> HttpResponse:
        self.heard.append(("GET", path, dict(options.get("params") or {})))
        return await super().get(path, **options)

    async def post(self, path: str, **options: Any) -> HttpResponse:
        self.heard.append(("POST", path, options["json"]))
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
    """Run one fetch to its end, and return what came, the error that ended it included."""
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
    async with _Listening(
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
        fetched.asked = http.heard
        fetched.left = http.status().left
    return fetched


def usual(provider: type[SeriesProvider]) -> set[str]:
    """What a provider brings without being told a path."""
    return {series.metric for series in provider.series if series.confirmed}


class Sandboxed:
    """What every provider of series does.

    Attributes:
        provider: its class.
        options: of its config, beside address and key.
        drift: field of the answers' records that gets another name.
        drifting: metrics made of that field; empty for all.
        keyed: whether it takes a key.
        unknown: options that ask about what nobody knows; an asset of that name by default.
        planned: whether a key of a free plan is refused something.
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

    def made(self, server: Sandbox, key: str = CANARY, **options: Any) -> SeriesProvider:
        """Return the provider, asking the sandbox."""
        own = {"api_key": SecretStr(key)} if self.keyed else {}
        url = server.url(self.provider.name)
        config = self.provider.Config(base_url=url, **{**self.options, **own, **options})
        return self.provider(config)

    def test_every_metric_comes_and_is_known_after_it_was_true(self, server: Sandbox) -> None:
        fetched = fetch(self.made(server))
        assert fetched.error is None
        assert fetched.problems == []
        assert {row.metric for row in fetched.rows} == usual(self.provider)
        assert all(row.event_time <= row.known_at <= NOW for row in fetched.rows)
        assert all(row.event_time >= SINCE for row in fetched.rows)

    def test_what_is_known_is_not_asked_for_before_it_is_due(self, server: Sandbox) -> None:
        provider = self.made(server)
        known = fetch(provider).known
        assert fetch(provider, known=known).asked == []
        later = NOW + DAY
        server.clock.move(later, 0)
        again = fetch(provider, now=later, known=known)
        assert again.asked != []
        assert all(again.known[key] > last for key, last in known.items())
        longest = max(series.step_micros for series in provider.series)
        assert all(row.event_time >= NOW - 6 * longest for row in again.rows)

    def test_a_key_nobody_knows(self, server: Sandbox) -> None:
        if self.keyed:
            fetched = fetch(self.made(server, "invalid-key"))
            assert isinstance(fetched.error, UnauthorisedError)
            assert fetched.rows == []

    def test_what_the_plan_lacks_is_told_and_not_asked_for_again(self, server: Sandbox) -> None:
        if not self.planned:
            return
        provider = self.made(server, "free-key")
        first = fetch(provider)
        assert first.error is None
        assert any("not requested again" in problem for problem in first.problems)
        second = fetch(provider)
        assert second.problems == []
        assert len(second.asked) < len(first.asked)

    def test_what_it_does_not_know_is_told_and_not_asked_for_again(self, server: Sandbox) -> None:
        provider = self.made(server, **self.unknown)
        first = fetch(provider)
        assert first.error is None
        assert first.rows == []
        assert any("not requested again" in problem for problem in first.problems)
        assert fetch(provider).asked == []

    def test_answers_without_rows(self, server: Sandbox) -> None:
        server.fault({"kind": "empty_rows"})
        fetched = fetch(self.made(server))
        assert fetched.error is None or isinstance(fetched.error, SchemaChangedError)
        assert fetched.rows == []

    def test_another_form_is_told_and_nothing_of_it_kept(self, server: Sandbox) -> None:
        server.fault({"kind": "rename_field", "field": self.drift})
        fetched = fetch(self.made(server, metrics=self.drifting))
        assert isinstance(fetched.error, SchemaChangedError)
        assert self.drift in str(fetched.error)
        assert fetched.rows == []

    def test_a_limit_is_waited_for(self, server: Sandbox) -> None:
        server.fault({"kind": "rate_limit", "count": 1})
        fetched = fetch(self.made(server))
        assert fetched.error is None
        assert {row.metric for row in fetched.rows} == usual(self.provider)

    def test_the_key_is_shown_nowhere(
        self, server: Sandbox, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        told = []
        for fault in (
            {"kind": "status", "status": 500},
            {"kind": "revoked_key"},
            {"kind": "missing_field", "field": self.drift},
            {"kind": "redirect"},
        ):
            server.heal()
            server.fault(fault)
            fetched = fetch(self.made(server))
            assert fetched.error is not None or fetched.problems
            told += [str(fetched.error), repr(fetched.error), *fetched.problems]
        assert CANARY not in "".join([*told, caplog.text])
