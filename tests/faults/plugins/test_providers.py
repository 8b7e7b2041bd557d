"""A provider that ends, hangs or gives nonsense: the host goes on, and names the provider."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.plugins.providers import ENDING, GATE, HANGING, NOW, Sleeps, Sound
from tests.support import PATIENCE_SECONDS, make_engine
from weft import Provider
from weft.collect.intake import RoundResult
from weft.engine.engine import Engine
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ComponentError
from weft.foundation.times import HOUR
from weft.store.store import Span


@pytest.fixture(autouse=True)
def _gate() -> Iterator[None]:
    """Let go of what blocks once the test is over."""
    GATE.clear()
    yield
    GATE.set()


def engine_with(folder: Path, bad: type[Provider], *options: str) -> Engine:
    return make_engine(
        folder,
        "providers.sound.enabled=true",
        f"providers.{bad.name}.enabled=true",
        f"providers.{bad.name}.on_error=degrade",
        f"providers.{bad.name}.deadline_seconds=1",
        *options,
        extra=[Sound, bad],
        clock=SimulatedClock(NOW),
    )


def collect(engine: Engine, *, in_time: bool) -> dict[str, RoundResult]:
    async def go() -> list[RoundResult]:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await engine.update(in_time=in_time)

    return {one.provider: one for one in asyncio.run(go())}


def expect_sound(engine: Engine, bad: type[Provider]) -> None:
    """Make sure that the sound provider's candles are there, and what the bad one gave before."""
    assert engine.market.known_spans("sound") == {"SOUNDUSDT": Span(NOW - 20 * HOUR, NOW - HOUR)}
    assert engine.market.known_spans(bad.name) in ({}, {"BADUSDT": Span(NOW - HOUR, NOW - HOUR)})


@pytest.mark.parametrize("in_time", [False, True])
@pytest.mark.parametrize("bad", ENDING, ids=lambda bad: bad.name)
def test_a_provider_that_ends_in_a_wrong_way_is_named(
    bad: type[Provider], in_time: bool, tmp_path: Path
) -> None:
    engine = engine_with(tmp_path, bad)
    brought = collect(engine, in_time=in_time)
    assert brought["sound"].error is None
    error = str(brought[bad.name].error)
    assert bad.name in error
    assert ENDING[bad] in error
    expect_sound(engine, bad)
    engine.close()


def hanging() -> Iterator[tuple[type[Provider], bool]]:
    """Return who hangs, in which rounds: without a deadline, waiting is no fault."""
    for bad, said in HANGING.items():
        yield bad, True
        if "blocked" in said:
            yield bad, False


@pytest.mark.parametrize(("bad", "in_time"), list(hanging()))
def test_a_provider_that_hangs_is_named_and_not_asked_again_until_it_returns(
    bad: type[Provider], in_time: bool, tmp_path: Path
) -> None:
    engine = engine_with(tmp_path, bad)
    first = collect(engine, in_time=in_time)
    assert first["sound"].error is None
    assert str(first[bad.name].error).startswith(f"provider {bad.name}: {HANGING[bad]}")
    threads = threading.active_count()
    for _ in range(3):
        again = collect(engine, in_time=in_time)
        assert again["sound"].error is None
        assert "has not returned from the call of" in str(again[bad.name].error)
    assert threading.active_count() <= threads
    expect_sound(engine, bad)


def test_where_a_provider_blocks_is_said(tmp_path: Path) -> None:
    brought = collect(engine_with(tmp_path, Sleeps), in_time=True)
    assert "(providers.py:" in str(brought["sleeps"].error)
    assert "asyncio.to_thread" in str(brought["sleeps"].error)


def test_a_provider_that_returns_late_is_asked_again_and_what_came_late_is_dropped(
    tmp_path: Path,
) -> None:
    engine = engine_with(tmp_path, Sleeps)
    Sleeps.calls = 0
    collect(engine, in_time=True)
    collect(engine, in_time=True)
    assert Sleeps.calls == 1
    GATE.set()
    brought = collect(engine, in_time=True)
    while "has not returned" in str(brought["sleeps"].error):
        brought = collect(engine, in_time=True)
    assert brought["sleeps"].error is None
    assert Sleeps.calls == 2
    engine.close()


def test_a_provider_that_must_not_be_missing_stops_the_round_with_its_name(
    tmp_path: Path,
) -> None:
    engine = engine_with(tmp_path, Sleeps, "providers.sleeps.on_error=fail")
    with pytest.raises(ComponentError, match=r"^provider sleeps: has blocked its thread"):
        collect(engine, in_time=True)
    expect_sound(engine, Sleeps)


def test_asking_one_provider_alone_is_guarded_as_well(tmp_path: Path) -> None:
    engine = engine_with(tmp_path, Sleeps)
    sleeps = next(p.component for p in engine.composition.providers if p.policy.name == "sleeps")
    with pytest.raises(ComponentError, match=r"^provider sleeps: has blocked its thread"):
        asyncio.run(engine.collector.probe(sleeps, HOUR))
