"""Faults of sockets as a whole engine meets them: nothing falls over, and status tells of them."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import make_engine
from weft.engine.provider_status import provider_status
from weft.foundation.times import MINUTE, iso, parse_time
from weft.store.tables import CANDLES
from weft_app.live import LiveService
from weft_app.status import ProviderState
from weft_sandbox import Sandbox
from weft_sandbox.protocols import binance

NOW = parse_time("2024-03-20T12:34:56Z")
GENEROUS_SECONDS = 50.0


@pytest.fixture(scope="module")
def _served() -> Iterator[Sandbox]:
    with Sandbox(start=NOW, speed=30.0, limits=float("inf"), apis=(binance.api,)) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_served: Sandbox) -> Iterator[Sandbox]:
    yield _served
    _served.heal()


@pytest.fixture
def service(tmp_path: Path, sandbox: Sandbox) -> Iterator[LiveService]:
    """A service that follows candles and trades of one coin, minute by minute."""
    own = "providers.binance"
    engine = make_engine(
        tmp_path,
        "interval=1m",
        "history_days=1",
        "providers.files.enabled=false",
        "providers.synthetic.enabled=false",
        f"{own}.enabled=true",
        f"{own}.symbols=[BTCUSDT]",
        f"{own}.streams=[candles, trades]",
        f"{own}.base_url={sandbox.url('binance')}",
        f"{own}.stream_url={sandbox.url('binance', 'ws')}",
        f"{own}.on_error=degrade",
        clock=sandbox.clock,
    )
    yield LiveService(engine)
    engine.close()


def run(service: LiveService, until: Callable[[], bool]) -> None:
    """Run a service until something is so; then stop it."""

    async def follow() -> None:
        task = asyncio.create_task(service.run())
        try:
            async with asyncio.timeout(GENEROUS_SECONDS):
                while not until():
                    assert not task.done(), task
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(follow())


def state(service: LiveService) -> ProviderState:
    (one,) = [s for s in provider_status(service.engine) if s.name == "binance"]
    return ProviderState.of(one, service.stream_status())


def check_candles(service: LiveService) -> None:
    """Whether what is stored is one whole candle for each minute."""
    rows = service.engine.store.lake.read(CANDLES, lambda rows: rows).sort("open_time")
    opens = rows["open_time"].dt.epoch("us").to_list()
    assert opens == list(range(opens[0], opens[-1] + MINUTE, MINUTE))


def test_w1_w4_what_streams_missed_stands_in_the_status_of_their_provider(
    service: LiveService, sandbox: Sandbox
) -> None:
    sandbox.fault({"kind": "ws_reset", "count": 1, "skip": 60})
    run(service, lambda: any("messages were missed" in p for p in state(service).problems))
    told = state(service)
    (line, *_) = [p for p in told.problems if "messages were missed" in p]
    assert line.startswith("streams: spot, from ")
    (stream,) = told.streams
    assert stream.name == "spot"
    check_candles(service)


@pytest.mark.parametrize("kind", ["ws_binary", "ws_invalid", "ws_skip", "ws_duplicate"])
def test_w4_w9_w11_frames_that_are_wrong_cost_no_candle_and_no_engine(
    service: LiveService, sandbox: Sandbox, kind: str
) -> None:
    sandbox.fault({"kind": kind, "probability": 0.3, "seed": 2, "path": "/ws"})
    begun = sandbox.clock.now()
    run(service, lambda: newest(service) >= begun + 3 * MINUTE)
    (stream,) = state(service).streams
    assert kind not in {"ws_binary", "ws_invalid"} or "MalformedError" in str(stream.error)
    assert service.published is not None
    check_candles(service)


def test_w13_a_jump_of_the_servers_time_leaves_the_engine_composing(
    service: LiveService, sandbox: Sandbox
) -> None:
    sandbox.fault({"kind": "clock_skew", "seconds": 3_000, "skip": 40})
    begun = sandbox.clock.now()
    run(service, lambda: newest(service) >= begun + 3 * MINUTE)
    check_candles(service)
    rows = service.engine.store.lake.read(CANDLES, lambda rows: rows)
    assert max(rows["known_at"].dt.epoch("us").to_list()) <= sandbox.clock.now()


def newest(service: LiveService) -> int:
    spans = service.engine.market.known_spans(
        service.engine.composition.providers[0].component.source
    )
    return max((span.last + MINUTE for span in spans.values()), default=0)


def test_what_the_api_tells_of_streams_reads_back_as_it_was(service: LiveService) -> None:
    run(service, lambda: bool(service.stream_status()) and newest(service) > 0)
    told = state(service)
    assert told.streams
    again = ProviderState.model_validate_json(told.model_dump_json())
    assert again == told
    (stream,) = told.model_dump()["streams"]
    heard = told.streams[0].last_message
    assert stream["last_message"] == (None if heard is None else iso(heard))
