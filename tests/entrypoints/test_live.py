"""The live service: a composition at every close, and rounds that fail."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from tests.support import fetch, make_engine
from weft import Batch, Request
from weft.clock import Clock, SimulatedClock
from weft.errors import ProviderError
from weft.times import HOUR, MINUTE, iso, parse_time
from weft_app.live import LiveService
from weft_providers.synthetic import Synthetic

NOW = parse_time("2026-02-01T00:10:00Z")


class Flaky(Synthetic):
    """The made-up market, with a line that can be cut."""

    name = "flaky"
    cut: ClassVar[bool] = False
    asked: ClassVar[int] = 0

    async def fetch(
        self, request: Request, http: httpx.AsyncClient, clock: Clock
    ) -> AsyncIterator[Batch]:
        type(self).asked += 1
        if self.cut:
            raise ProviderError("the line is cut", where="provider flaky")
        async for batch in super().fetch(request, http, clock):
            yield batch


@pytest.fixture
def service(tmp_path: Path) -> LiveService:
    """A service that has composed once, ten minutes past midnight."""
    Flaky.cut, Flaky.asked = False, 0
    engine = make_engine(
        tmp_path, "providers.flaky.enabled=true", extra=[Flaky], clock=SimulatedClock(NOW)
    )
    service = LiveService(fetch(engine))
    service.compose()
    return service


async def run_until(service: LiveService, instant: int) -> None:
    """Let the service run until the simulated clock has passed an instant."""
    task = asyncio.create_task(service.run())
    while service.engine.clock.now() < instant and not task.done():  # noqa: ASYNC110 - no event
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


def test_it_recovers_once_the_source_is_back(service: LiveService) -> None:
    Flaky.cut = True
    asyncio.run(run_until(service, NOW + HOUR))
    Flaky.cut = False
    asyncio.run(run_until(service, NOW + 3 * HOUR))
    assert service.failure is None
    assert service.published is not None
    assert parse_time(service.published.report.as_of) > NOW
