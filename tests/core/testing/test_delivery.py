"""The conformance kit for sinks and executors: sound ones pass, faulty ones fail."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from tests.faults.plugins.components import Delivers, SinkExits, SinkIsNoCoroutine
from weft import Executor, Signal, Sink
from weft.testing import (
    check_executor,
    check_sink,
    parametrize_executor_checks,
    parametrize_sink_checks,
)


@parametrize_sink_checks([Delivers()])
def test_sink_passes(check: Callable[[], None]) -> None:
    check()


class Rewrites(Sink):
    name = "rewrites"

    async def emit(self, signals: Sequence[Signal]) -> None:
        await asyncio.sleep(0)
        for signal in signals:
            signal.risk["var_99"] = 0.0  # type: ignore[index]  # the mistake


@pytest.mark.parametrize(
    ("sink", "check", "message"),
    [
        (SinkExits(), "delivers_signals", "raised SystemExit: 9"),
        (SinkIsNoCoroutine(), "delivers_nothing", "expected something to await"),
        (Rewrites(), "leaves_signals_alone", "wrote to the signals"),
    ],
)
def test_faulty_sink_fails(sink: Sink, check: str, message: str) -> None:
    results = check_sink(sink).results
    failed = {result.name: result.message for result in results if not result.passed}
    assert message in failed[check]


class Paper(Executor):
    """Moves a paper account to its targets."""

    name = "paper"

    def __init__(self) -> None:
        super().__init__()
        self.account: dict[str, float] = {}

    async def execute(self, targets: Mapping[str, float]) -> None:
        await asyncio.sleep(0)
        self.account |= targets


class Rebalances(Executor):
    """Divides by the sum of its targets, and writes to them."""

    name = "rebalances"

    async def execute(self, targets: Mapping[str, float]) -> None:
        await asyncio.sleep(0)
        gross = sum(map(abs, targets.values()))
        for symbol, target in targets.items():
            targets[symbol] = target / gross  # type: ignore[index]  # the mistake
        assert targets, "no target"


@parametrize_executor_checks([Paper()])
def test_executor_passes(check: Callable[[], None]) -> None:
    check()


def test_executor_carries_out_the_targets_of_the_kit() -> None:
    executor = Paper()
    check_executor(executor).raise_if_failed()
    assert min(executor.account.values()) < 0.0 < max(executor.account.values())


def test_faulty_executor_fails() -> None:
    results = check_executor(Rebalances()).results
    failed = {result.name: result.message for result in results if not result.passed}
    assert failed.keys() == {"executes_targets", "executes_nothing", "executes_again"}
    assert "does not support item assignment" in failed["executes_targets"]
    assert "no target" in failed["executes_nothing"]
