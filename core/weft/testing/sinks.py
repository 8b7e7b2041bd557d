"""Checks of sinks: what carries signals out."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Final

from weft.components.contract_checks import checked_awaitable
from weft.components.execution import Sink
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
from weft.foundation.errors import WeftError
from weft.foundation.workers import Worker
from weft.testing.conformance import CheckResult, ConformanceReport, expect_light_import
from weft.testing.extra import expect_pytest

if TYPE_CHECKING:
    import pytest

_DEADLINE_SECONDS = 20.0


def check_sink(
    sink: Sink, *, expected_failures: Mapping[str, str] | None = None
) -> ConformanceReport:
    """Check a sink against its contract. It is handed made-up signals, and delivers them.

    Args:
        sink: with options under which it may deliver: a folder of the test's own, a server on
            loopback.
        expected_failures: names of checks it is known to fail, and why that is right.
    """
    return ConformanceReport(sink.title(), tuple(_results(sink, expected_failures or {})))


def parametrize_sink_checks(sinks: Sequence[Sink]) -> "pytest.MarkDecorator":
    """Return a pytest decorator that runs a test once for each sink and check.

    The test takes one argument, ``check``, and calls it.
    """
    expect_pytest()
    import pytest  # noqa: PLC0415  # the kit works without pytest

    cases = [
        pytest.param(lambda check=check, sink=sink: check(sink), id=f"{sink.name}-{name}")
        for sink in sinks
        for name, check in SINK_CHECKS.items()
    ]
    mark: pytest.MarkDecorator = pytest.mark.parametrize("check", cases)
    return mark


def sample_signals() -> tuple[Signal, ...]:
    """Return a signal of each direction: all that can be in it, or as little as can be."""
    return tuple(_signal(direction) for direction in Direction)


def delivers_signals(sink: Sink) -> None:
    """Signals of every direction are delivered within the deadline."""
    _emit(sink, sample_signals())


def delivers_nothing(sink: Sink) -> None:
    """A composition without a signal is no failure."""
    _emit(sink, ())


def delivers_again(sink: Sink) -> None:
    """The same signals may come a second time: after a restart, nothing says what was delivered."""
    for _ in range(2):
        _emit(sink, sample_signals())


def leaves_signals_alone(sink: Sink) -> None:
    """Signals are as they were after they were delivered."""
    signals = sample_signals()
    before = deepcopy(signals)
    _emit(sink, signals)
    if signals != before:
        raise AssertionError("wrote to the signals that it was handed")


def imports_light(sink: Sink) -> None:
    """Importing the sink's module imports none of the heavy packages."""
    expect_light_import(type(sink).__module__)


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
"""Every check of a sink by name, in the order they run."""


def _results(sink: Sink, excused: Mapping[str, str]) -> Iterator[CheckResult]:
    for name, check in SINK_CHECKS.items():
        try:
            check(sink)
        except (AssertionError, WeftError) as error:
            yield CheckResult(name, passed=False, message=str(error), excuse=excused.get(name))
        else:
            yield CheckResult(name, passed=True)


def _emit(sink: Sink, signals: Sequence[Signal]) -> None:
    worker = Worker(sink.title())

    async def emit() -> None:
        await checked_awaitable(sink.emit(signals), sink.title(), "emit")

    try:
        asyncio.run(
            worker.run(emit, patience_seconds=_DEADLINE_SECONDS, deadline_seconds=_DEADLINE_SECONDS)
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
