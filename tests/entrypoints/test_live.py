"""The live service: a composition at every close, and failing rounds."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest

from tests.support import fetch, make_engine
from weft import Batch, Request
from weft.engine.replay import replay
from weft.foundation.clock import Clock, SimulatedClock
from weft.foundation.errors import ProviderError
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, iso, parse_time
from weft.ledger.ledger import Entry
from weft.sources.http import Http
from weft_app.live import LiveService, Published
from weft_app.server import _health
from weft_providers.synthetic import Synthetic

NOW = parse_time("2026-02-01T00:10:00Z")
CLOSE = NOW + 50 * MINUTE
LATE = "ETHUSDT"


class Flaky(Synthetic):
    """A synthetic market whose connection can fail, and one coin whose candles can be late."""

    name = "flaky"
    cut: ClassVar[bool] = False
    late_seconds: ClassVar[int] = 0
    requests: ClassVar[int] = 0

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        type(self).requests += 1
        if self.cut:
            raise ProviderError("the line is cut", where="provider flaky")
        async for batch in super().fetch(request, http, clock):
            assert batch.candles is not None
            available = clock.now() - self.late_seconds * SECOND
            close = pl.col("open_time").to_physical() + request.interval.micros
            late = (pl.col("symbol") == LATE) & (close > available)
            yield replace(batch, candles=batch.candles.filter(~late))


@pytest.fixture
def service(tmp_path: Path) -> LiveService:
    """A service that has composed once, ten minutes past midnight."""
    Flaky.cut, Flaky.requests, Flaky.late_seconds = False, 0, 0
    engine = make_engine(
        tmp_path, "providers.flaky.enabled=true", extra=[Flaky], clock=SimulatedClock(NOW)
    )
    service = LiveService(fetch(engine))
    service.compose()
    return service


async def run_until(service: LiveService, instant: int) -> None:
    """Let the service run until the simulated clock has passed an instant."""
    task = asyncio.create_task(service.run())
    while service.engine.clock.now() < instant and not task.done():  # noqa: ASYNC110  # no event
        await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_the_service_composes_and_records_at_every_close(service: LiveService) -> None:
    assert service.published is not None
    assert service.published.report.as_of == "2026-02-01T00:00:00Z"
    asyncio.run(run_until(service, NOW + 3 * HOUR))
    recorded = {entry.as_of for entry in service.engine.ledger.entries()}
    assert {iso(NOW - 10 * MINUTE + n * HOUR) for n in range(4)} <= recorded
    assert service.failure is None


def test_published_bytes_are_the_composed_report(service: LiveService) -> None:
    published = service.published
    assert published is not None
    assert published.body == published.report.to_json()
    assert published.by_symbol["BTCUSDT"] in published.body


def test_a_failed_round_keeps_the_last_signals_and_names_the_failure(service: LiveService) -> None:
    before = service.published
    Flaky.cut = True
    asyncio.run(run_until(service, NOW + HOUR))
    assert service.published is before
    assert "the line is cut" in str(service.failure)
    assert Flaky.requests > 3


def test_a_source_that_is_down_is_logged_once_and_once_when_it_is_back(
    service: LiveService, caplog: pytest.LogCaptureFixture
) -> None:
    Flaky.cut = True
    asyncio.run(run_until(service, CLOSE + 10 * MINUTE))
    assert Flaky.requests > 20
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("weft")]
    assert lines == [
        "provider flaky: down: the line is cut",
        "composing: down: provider flaky: the line is cut",
    ]
    Flaky.cut = False
    asyncio.run(run_until(service, CLOSE + 2 * HOUR))
    back = [record.getMessage() for record in caplog.records if record.name.startswith("weft")]
    assert back[2:] == ["provider flaky: back after 1:00:00", "composing: back after 1:00:00"]
    assert service.failure is None


def test_an_unexpected_exception_in_a_round_is_named_and_the_round_repeated(
    service: LiveService, monkeypatch: pytest.MonkeyPatch
) -> None:
    composed, tries = LiveService.compose, []

    def compose(self: LiveService) -> Published:
        tries.append(self)
        if len(tries) < 3:
            raise KeyError("slope")
        return composed(self)

    monkeypatch.setattr(LiveService, "compose", compose)
    before = service.published
    assert before is not None
    asyncio.run(run_until(service, CLOSE + 8 * SECOND))
    assert service.published is before
    assert "a fault: KeyError: 'slope'" in str(service.failure)
    asyncio.run(run_until(service, NOW + 2 * HOUR))
    assert parse_time(service.published.report.as_of) > CLOSE


def test_the_service_recovers_with_its_source(service: LiveService) -> None:
    Flaky.cut = True
    asyncio.run(run_until(service, NOW + HOUR))
    Flaky.cut = False
    asyncio.run(run_until(service, NOW + 3 * HOUR))
    assert service.failure is None
    assert service.published is not None
    assert parse_time(service.published.report.as_of) > NOW


def entry_of(service: LiveService, symbol: str, as_of: int) -> Entry:
    recorded = [e for e in service.engine.ledger.entries(symbol) if e.as_of == iso(as_of)]
    assert len(recorded) == 1
    return recorded[0]


def test_the_service_waits_for_a_late_candle(
    service: LiveService,
) -> None:
    Flaky.late_seconds = 20
    asyncio.run(run_until(service, CLOSE + 10 * MINUTE))
    assert entry_of(service, LATE, CLOSE).body["data"]["status"] == "live"
    assert service.awaited == []


def test_after_the_wait_the_service_composes_without_missing_symbols(
    service: LiveService,
) -> None:
    Flaky.late_seconds = 300
    asyncio.run(run_until(service, CLOSE + 10 * MINUTE))
    assert entry_of(service, LATE, CLOSE).body["data"]["status"] == "stale"
    assert entry_of(service, "BTCUSDT", CLOSE).body["data"]["status"] == "live"
    assert service.awaited == [LATE]


def test_a_replay_uses_the_data_that_live_had_and_no_later_data(service: LiveService) -> None:
    Flaky.late_seconds = 300
    asyncio.run(run_until(service, CLOSE + HOUR + 10 * MINUTE))
    engine = service.engine
    now = {s.symbol: s for s in engine.report(engine.compose(engine.view(CLOSE))).signals}
    assert now[LATE].data.status == "live"
    replays = list(replay(engine, engine.ledger.entries()))
    assert len(replays) == 3 * len(now)
    assert all(replayed.same for replayed in replays)


def test_a_replay_names_the_differences(service: LiveService) -> None:
    entry = entry_of(service, "BTCUSDT", NOW - 10 * MINUTE)
    spoilt = replace(entry, key="0" * 32, body={**entry.body, "score": 1.0})
    (replayed,) = replay(service.engine, [spoilt])
    assert not replayed.same
    assert replayed.differences == ("score",)
    (unknown,) = replay(service.engine, [replace(entry, symbol="NONE")])
    assert unknown.signal is None
    assert not unknown.same


def test_missing_layers_degrade_the_health(service: LiveService) -> None:
    assert service.published is not None
    report, missing = service.published.report, {"on_chain": "overran its deadline"}
    lacking = replace(report.signals[0], missing_layers=missing)
    service.published = replace(service.published, report=replace(report, signals=(lacking,)))
    health = _health(service, service.published)
    assert (health.status, health.missing_layers) == ("degraded", missing)


def test_old_candles_are_stale(service: LiveService) -> None:
    assert _health(service, service.published).status == "ok"
    clock = service.engine.clock
    assert isinstance(clock, SimulatedClock)
    clock.advance_to(NOW + 548 * DAY)
    assert _health(service, service.published).status == "stale"
