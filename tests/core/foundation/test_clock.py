"""Clocks: they never run backwards, and sleeping ends when the instant has passed."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from weft.foundation import clock
from weft.foundation.clock import SimulatedClock, SystemClock
from weft.foundation.times import SECOND


class Wall:
    """The machine's clock and its sleep, as a test wants them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, start: int) -> None:
        self.micros = start
        self.naps: list[float] = []
        self.jumps: list[int] = []
        # For the clock alone: other threads of the tests go on as they are.
        seen = SimpleNamespace(time_ns=lambda: self.micros * 1000)
        monkeypatch.setattr(clock, "time", seen)
        monkeypatch.setattr(clock, "asyncio", SimpleNamespace(sleep=self.sleep))

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.micros += round(seconds * SECOND)
        if self.jumps:
            self.micros += self.jumps.pop(0)


def test_the_system_clock_tells_the_time() -> None:
    before = time.time_ns() // 1000
    assert before <= SystemClock().now() <= time.time_ns() // 1000


def test_the_system_clock_stands_still_while_the_machine_is_set_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall, machine = Wall(monkeypatch, 1_000), SystemClock()
    assert machine.now() == 1_000
    wall.micros = 400
    assert machine.now() == 1_000
    wall.micros = 1_001
    assert machine.now() == 1_001


async def _wake(clock: SystemClock, instant: int) -> int:
    await clock.sleep_until(instant)
    return clock.now()


def test_sleeping_ends_once_the_instant_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall(monkeypatch, 0)
    assert asyncio.run(_wake(SystemClock(), 90 * SECOND)) >= 90 * SECOND
    assert sum(wall.naps) == pytest.approx(90, abs=0.01)


def test_sleeping_until_the_past_takes_no_nap(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall(monkeypatch, 50)
    asyncio.run(SystemClock().sleep_until(50))
    assert wall.naps == []


def test_a_machine_that_was_suspended_wakes_within_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall = Wall(monkeypatch, 0)
    wall.jumps = [1800 * SECOND]
    woken = asyncio.run(_wake(SystemClock(), 1200 * SECOND))
    assert woken == 1801 * SECOND


def test_a_clock_set_back_while_asleep_does_not_wake_early_nor_spin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wall, machine = Wall(monkeypatch, 10 * SECOND), SystemClock()
    machine.now()
    wall.jumps = [-5 * SECOND]
    assert asyncio.run(_wake(machine, 10 * SECOND + 1)) > 10 * SECOND
    assert min(wall.naps) >= 0.001


def test_a_simulated_clock_moves_when_told_and_never_backwards() -> None:
    clock = SimulatedClock(5)
    clock.advance_to(5)
    clock.advance_to(8)
    assert clock.now() == 8
    with pytest.raises(ValueError, match="backwards"):
        clock.advance_to(7)
    assert clock.now() == 8


def test_sleeping_moves_a_simulated_clock_and_lets_others_run() -> None:
    clock = SimulatedClock(0)
    seen: list[int] = []

    async def other() -> None:
        seen.append(clock.now())

    async def main() -> None:
        task = asyncio.create_task(other())
        await clock.sleep_until(100)
        await clock.sleep_until(40)
        await task

    asyncio.run(main())
    assert (seen, clock.now()) == ([0], 100)
