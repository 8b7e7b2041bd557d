"""The live service: a composition at every close, and rounds that fail."""

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
    """The made-up market, with a line that can be cut, and a coin whose candles can be late."""

    name = "flaky"
    cut: ClassVar[bool] = False
    late_seconds: ClassVar[int] = 0
    asked: ClassVar[int] = 0

    async def fetch(self, request: Request, http: Http, clock: Clock) -> AsyncIterator[Batch]:
        type(self).asked += 1
        if self.cut:
            raise ProviderError("the line is cut", where="provider flaky")
        async for batch in super().fetch(request, http, clock):
            assert batch.candles is not None
            came = clock.now() - self.late_seconds * SECOND
            close = pl.col("open_time").to_physical() + request.interval.micros
            late = (pl.col("symbol") == LATE) & (close > came)
            yield replace(batch, candles=batch.candles.filter(~late))


@pytest.fixture
def service(tmp_path: Path) -> LiveService:
    """A service that has composed once, ten minutes past midnight."""
    Flaky.cut, Flaky.asked, Flaky.late_seconds = False, 0, 0
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


def test_it_composes_and_records_at_every_close(service: LiveService) -> None:
    assert service.published is not None
    assert service.published.report.as_of == "2026-02-01T00:00:00Z"
    asyncio.run(run_until(service, NOW + 3 * HOUR))
    recorded = {entry.as_of for entry in service.engine.ledger.entries()}
    assert {iso(NOW - 10 * MINUTE + n * HOUR) for n in range(4)} <= recorded
    assert service.failure is None


def test_what_it_hands_out_is_what_it_composed(service: LiveService) -> None:
    published = service.published
    assert published is not None
    assert published.body == published.report.to_json()
    assert published.by_symbol["BTCUSDT"] in published.body


def test_a_round_that_fails_is_told_and_the_last_signals_stay(service: LiveService) -> None:
    before = service.published
    Flaky.cut = True
    asyncio.run(run_until(service, NOW + HOUR))
    assert service.published is before
    assert "the line is cut" in str(service.failure)
    assert Flaky.asked > 3


def test_a_source_that_is_down_is_logged_once_and_once_when_it_is_back(
    service: LiveService, caplog: pytest.LogCaptureFixture
) -> None:
    Flaky.cut = True
    asyncio.run(run_until(service, CLOSE + 10 * MINUTE))
    assert Flaky.asked > 20
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


def test_a_round_that_fails_in_a_way_nobody_foresaw_is_told_and_tried_again(
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


def test_it_recovers_once_the_source_is_back(service: LiveService) -> None:
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


def test_it_waits_for_a_candle_that_comes_a_little_later_than_the_others(
    service: LiveService,
) -> None:
    Flaky.late_seconds = 20
    asyncio.run(run_until(service, CLOSE + 10 * MINUTE))
    assert entry_of(service, LATE, CLOSE).body["data"]["status"] == "live"
    assert service.awaited == []


def test_after_its_patience_it_composes_without_the_symbols_that_are_missing(
    service: LiveService,
) -> None:
    Flaky.late_seconds = 300
    asyncio.run(run_until(service, CLOSE + 10 * MINUTE))
    assert entry_of(service, LATE, CLOSE).body["data"]["status"] == "stale"
    assert entry_of(service, "BTCUSDT", CLOSE).body["data"]["status"] == "live"
    assert service.awaited == [LATE]


def test_a_replay_sees_what_live_saw_and_not_what_came_after(service: LiveService) -> None:
    Flaky.late_seconds = 300
    asyncio.run(run_until(service, CLOSE + HOUR + 10 * MINUTE))
    engine = service.engine
    now = {s.symbol: s for s in engine.report(engine.compose(engine.view(CLOSE))).signals}
    assert now[LATE].data.status == "live"
    made = list(replay(engine, engine.ledger.entries()))
    assert len(made) == 3 * len(now)
    assert all(one.same for one in made)


def test_a_replay_says_what_differs(service: LiveService) -> None:
    entry = entry_of(service, "BTCUSDT", NOW - 10 * MINUTE)
    spoilt = replace(entry, key="0" * 32, body={**entry.body, "score": 1.0})
    (made,) = replay(service.engine, [spoilt])
    assert not made.same
    assert made.differences == ("score",)
    (gone,) = replay(service.engine, [replace(entry, symbol="NONE")])
    assert gone.signal is None
    assert not gone.same


def test_a_layer_that_goes_missing_and_comes_back_is_logged_once(
    service: LiveService, caplog: pytest.LogCaptureFixture
) -> None:
    assert service.published is not None
    report = service.published.report
    lacking = replace(report.signals[0], missing_layers={"on_chain": "overran its deadline"})
    service.published = replace(service.published, report=replace(report, signals=(lacking,)))
    assert _health(service, service.published).status == "degraded"
    assert _health(service, service.published).missing_layers == {
        "on_chain": "overran its deadline"
    }
    service._log_layers({}, lacking.missing_layers)
    service._log_layers(lacking.missing_layers, lacking.missing_layers)
    service._log_layers(lacking.missing_layers, {})
    assert [record.getMessage() for record in caplog.records if "layer" in record.getMessage()] == [
        "signals lack the layer on_chain: overran its deadline",
        "the layer on_chain is back",
    ]


def test_old_candles_are_stale(service: LiveService) -> None:
    assert _health(service, service.published).status == "ok"
    clock = service.engine.clock
    assert isinstance(clock, SimulatedClock)
    clock.advance_to(NOW + 548 * DAY)
    assert _health(service, service.published).status == "stale"
