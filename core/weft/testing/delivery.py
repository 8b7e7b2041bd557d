"""Checks of components that carry something out: sinks take signals, executors targets."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from weft.components.base import Component
from weft.components.contract_checks import checked_awaitable
from weft.components.execution import Executor, Sink
from weft.domain.signal import (
    DataProvenance,
    Direction,
    ForecastReport,
    LayerReport,
    LayerStatus,
    RegimeReport,
    Signal,
    Versions,
    with_id,
)
from weft.foundation.workers import Worker
from weft.testing.report import (
    ConformanceReport,
    parametrize,
    require,
    require_light_import,
    run_checks,
)

if TYPE_CHECKING:
    import pytest

_DEADLINE_SECONDS = 20.0
_TARGETS: Final[Mapping[str, float]] = {"BTCUSDT": 0.25, "ETHUSDT": -0.1, "SOLUSDT": 0.0}


def check_sink(
    sink: Sink, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a sink against its contract. The sink delivers made-up signals.

    Args:
        sink: with options under which it may deliver: a temporary folder, a server on loopback.
        expected_failures: names of checks that fail, and why that is right.
    """
    return run_checks(sink.title(), _bound(SINK_CHECKS, sink), expected_failures)


def parametrize_sink_checks(sinks: Sequence[Sink]) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each sink and check.

    The test takes one argument, ``check``, and calls it.
    """
    return parametrize((sink.name, _bound(SINK_CHECKS, sink)) for sink in sinks)


def check_executor(
    executor: Executor, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check an executor against its contract. The executor carries out made-up targets.

    Args:
        executor: with options under which it may trade: a paper account, a server on loopback.
        expected_failures: names of checks that fail, and why that is right.
    """
    return run_checks(executor.title(), _bound(EXECUTOR_CHECKS, executor), expected_failures)


def parametrize_executor_checks(executors: Sequence[Executor]) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each executor and check.

    The test takes one argument, ``check``, and calls it.
    """
    return parametrize((one.name, _bound(EXECUTOR_CHECKS, one)) for one in executors)


def sample_signals() -> tuple[Signal, ...]:
    """Return a signal of each direction, with all fields filled or with as few as possible."""
    return tuple(_signal(direction) for direction in Direction)


# Checks of sinks


def delivers_signals(sink: Sink) -> None:
    """The sink delivers signals of every direction within the deadline."""
    _emit(sink, sample_signals())


def delivers_nothing(sink: Sink) -> None:
    """A composition without a signal is no failure."""
    _emit(sink, ())


def delivers_again(sink: Sink) -> None:
    """The same signals may come twice: a restart does not know what was delivered before."""
    for _ in range(2):
        _emit(sink, sample_signals())


def leaves_signals_alone(sink: Sink) -> None:
    """Delivering changes no signal."""
    signals = sample_signals()
    before = deepcopy(signals)
    _emit(sink, signals)
    require(signals == before, "wrote to the signals")


def imports_light(component: Component) -> None:
    """Importing the component's module imports none of the heavy packages."""
    require_light_import(type(component).__module__)


SINK_CHECKS: Final[Mapping[str, Callable[[Sink], None]]] = {
    check.__name__: check
    for check in (
        delivers_signals,
        delivers_nothing,
        delivers_again,
        leaves_signals_alone,
        imports_light,
    )
}
"""The checks of a sink by name, in the order they run."""


# Checks of executors


def executes_targets(executor: Executor) -> None:
    """The executor moves to long, short and flat targets within the deadline."""
    _execute(executor, _TARGETS)


def executes_nothing(executor: Executor) -> None:
    """Targets without a symbol are no failure."""
    _execute(executor, {})


def executes_again(executor: Executor) -> None:
    """The same targets may come twice: the account is there already."""
    for _ in range(2):
        _execute(executor, _TARGETS)


EXECUTOR_CHECKS: Final[Mapping[str, Callable[[Executor], None]]] = {
    check.__name__: check
    for check in (executes_targets, executes_nothing, executes_again, imports_light)
}
"""The checks of an executor by name, in the order they run."""


def _bound(
    checks: Mapping[str, Callable[[Any], None]], component: Component
) -> dict[str, Callable[[], None]]:
    return {name: partial(check, component) for name, check in checks.items()}


def _emit(sink: Sink, signals: Sequence[Signal]) -> None:
    _await(sink, "emit", lambda: sink.emit(signals))


def _execute(executor: Executor, targets: Mapping[str, float]) -> None:
    # Read-only, so that an executor that writes to its targets raises.
    _await(executor, "execute", lambda: executor.execute(MappingProxyType(dict(targets))))


def _await(component: Component, method: str, call: Callable[[], object]) -> None:
    """Run an asynchronous method as the engine does: in a thread, with a deadline."""
    worker = Worker(component.title())

    async def work() -> None:
        await checked_awaitable(call(), component.title(), method)

    try:
        asyncio.run(
            worker.run(work, patience_seconds=_DEADLINE_SECONDS, deadline_seconds=_DEADLINE_SECONDS)
        )
    finally:
        worker.close()


def _signal(direction: Direction) -> Signal:
    acts = direction is not Direction.NEUTRAL
    side = {Direction.LONG: 1.0, Direction.SHORT: -1.0, Direction.NEUTRAL: 0.0}[direction]
    as_of = "2026-01-01T00:00:00Z"
    regime = RegimeReport("bull", 0.9, {"bull": 1.0}, 0.05, 20.0, 0.8, "b1b1")
    forecast = ForecastReport("trees", "a0a0", 0.5, 0.55, 0.002, {"0.05": -0.03}, {})
    return with_id(
        Signal(
            id="",
            symbol=f"{direction.value}USDT",
            as_of=as_of,
            interval="1h",
            horizon="12h",
            direction=direction,
            score=60.0 * side,
            confidence=60.0 * abs(side),
            calibrated=False,
            entry=100.0 if acts else None,
            stop_loss=100.0 - 2.0 * side if acts else None,
            take_profit=100.0 + 3.0 * side if acts else None,
            risk_reward=1.5 if acts else None,
            position_size=0.1 * abs(side),
            layers=(
                LayerReport("technical", 60.0 * side, 1.0, 0.6, LayerStatus.OK, {"rsi": 61.0}),
                LayerReport("on_chain", None, 0.0, None, LayerStatus.NO_OPINION, {"mvrv": None}),
            ),
            missing_layers={"sentiment": "layer sentiment: gave no answer within 20 seconds"},
            forecasts=(forecast,) if acts else (),
            regime=regime if acts else None,
            risk={"horizon": "12h", "var_99": 0.04 if acts else None},
            sizing={},
            missing_models={"models.transformer": "not trained yet"},
            data=DataProvenance(
                "synthetic", "synthetic", "live", as_of if acts else None, 0.0, 1.0
            ),
            versions=Versions("0.1.0", "c0ffee", {}, {}),
        )
    )
