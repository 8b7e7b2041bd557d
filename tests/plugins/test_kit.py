"""The conformance kit: what it finds, what it lets pass, and what it says."""

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tests.faults.plugins.components import (
    Delivers,
    PlainRisk,
    PlainSizer,
    Reaches,
    SinkExits,
    SinkIsNoCoroutine,
    Writes,
)
from tests.faults.plugins.providers import Sound
from weft import (
    Allocator,
    Fusion,
    Layer,
    Scores,
    Signal,
    Sink,
    Sizes,
    Universe,
    View,
    candles,
)
from weft.components.base import Component
from weft.components.risk import Levels
from weft.domain.candles import FIELDS
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.errors import MissingDependencyError
from weft.testing import (
    CheckResult,
    check_component,
    check_layer,
    check_sink,
    parametrize_sink_checks,
    parametrize_with_checks,
    random_history,
)
from weft_plugins.ensembles.weighted import Weighted
from weft_plugins.risks.atr_levels import AtrLevels
from weft_plugins.sizers.volatility_target import VolatilityTarget
from weft_plugins.universes.listed import Listed


def failures(component: Component) -> dict[str, CheckResult]:
    report = check_component(component)  # type: ignore[arg-type]  # any kind, for the test
    return {one.name: one for one in report.results if not one.passed}


class Donchian(Layer):
    """Where the close lies between the highest high and the lowest low of a day."""

    name = "donchian"
    needs: ClassVar = [candles(warmup=24)]

    def score(self, view: View) -> Scores:
        bars = view.candles()
        windows = np.lib.stride_tricks.sliding_window_view
        high = windows(bars.high, 24, axis=0).max(axis=-1)[-view.steps :]
        low = windows(bars.low, 24, axis=0).min(axis=-1)[-view.steps :]
        known = high > low
        reach = np.where(known, high - low, np.nan)
        score = 200.0 * (bars.close[-view.steps :] - low) / reach - 100.0
        return view.scores(np.clip(score, -100.0, 100.0))


def test_a_sound_layer_of_highs_and_lows_passes() -> None:
    check_layer(Donchian()).raise_if_failed()


def test_another_market_after_a_row_is_one() -> None:
    history = random_history(1, rows=200, metrics=("fear_greed",))
    noisy = history.noisy_after(150, np.random.default_rng(0))
    panels = noisy.candles
    for name in FIELDS:
        np.testing.assert_array_equal(panels[name][:150], history.candles[name][:150])
        assert (panels[name][150:] != history.candles[name][150:]).all()
    high, low = panels["high"][150:], panels["low"][150:]
    for name in ("open", "close"):
        assert ((low <= panels[name][150:]) & (panels[name][150:] <= high)).all()
    told = noisy.metrics["fear_greed"][150:]
    assert ((told >= 0.0) & (told <= 100.0)).all()


class Ahead(Layer):
    """Knows tomorrow's close."""

    name = "ahead"
    needs: ClassVar = [candles(warmup=1)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        score = np.where(close < np.roll(close, -1, axis=0), 50.0, -50.0)
        return view.scores(np.where(np.isnan(close), np.nan, score))


def test_who_looks_ahead_fails() -> None:
    failed = failures(Ahead())
    assert failed.keys() >= {"prefix_invariance", "future_poison", "steps_agree"}
    assert "the future was replaced by another market" in failed["future_poison"].message


class Fragile(Layer):
    """Cannot bear prices beyond a million."""

    name = "fragile"
    needs: ClassVar = [candles(warmup=0)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        if np.nanmax(close, initial=0.0) > 1e8:
            raise ValueError("no such price")
        return view.scores(np.where(np.isnan(close), np.nan, 1.0))


def test_a_failure_on_replaced_rows_says_that_they_were_replaced() -> None:
    message = failures(Fragile())["future_poison"].message
    assert "future was replaced by" in message
    assert message.endswith("no such price")


def test_who_writes_to_the_market_fails() -> None:
    assert "read-only" in failures(Writes())["leaves_inputs_alone"].message
    # What NumPy refuses, C code does not ask for.
    message = failures(Reaches())["leaves_inputs_alone"].message
    assert message.startswith("wrote to candles 1h close")


class Reads(Layer):
    """Reads tomorrow from a file of its own."""

    name = "reads"
    needs: ClassVar = [candles(warmup=0)]

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def score(self, view: View) -> Scores:
        close = view.candles().close
        factor = float(self._path.read_text())
        return view.scores(np.where(np.isnan(close), np.nan, factor))


class Dials(Layer):
    """Asks a server of its own."""

    name = "dials"
    needs: ClassVar = [candles(warmup=0)]

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def score(self, view: View) -> Scores:
        with socket.create_connection(("127.0.0.1", self._port)):
            return view.scores(np.where(np.isnan(view.candles().close), np.nan, 1.0))


def test_who_asks_something_else_than_its_view_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tomorrow.csv"
    path.write_text("5.0")
    failed = failures(Reads(path))
    assert list(failed) == ["asks_the_view_alone"]
    assert f"opened the file {path} while it was asked" in failed["asks_the_view_alone"].message
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        failed = failures(Dials(server.getsockname()[1]))
    assert "connected to ('127.0.0.1'," in failed["asks_the_view_alone"].message


# Every kind that answers a view


@parametrize_with_checks(
    [Listed(), Weighted(), AtrLevels(), VolatilityTarget(), PlainRisk(), PlainSizer()]
)
def test_built_in_universes_ensembles_risks_and_sizers_pass(check: Callable[[], None]) -> None:
    check()


class Newest(Universe):
    """Chooses who trades at the end of the view, for all rows before."""

    name = "newest"
    needs: ClassVar = [candles(warmup=0)]

    def members(self, view: View) -> BoolPanel:
        last = ~np.isnan(view.candles().close[-1])
        return np.repeat(last[None, :], view.steps, axis=0)


class Overshoots(Weighted):
    """Divides by the largest score of all rows."""

    name = "overshoots"

    def fuse(
        self, view: View, scores: Mapping[str, Scores], weights: Mapping[str, float]
    ) -> Fusion:
        said = super().fuse(view, scores, weights)
        score = 100.0 * said.score / np.abs(said.score).max()
        return Fusion(score, said.confidence, said.direction, said.weights, calibrated=False)


class Levelled(PlainSizer):
    """Gives every symbol what is left of one by the number of symbols, and of rows."""

    name = "levelled"

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        return Sizes(np.full(fusion.score.shape, 1.0 / view.steps))


@pytest.mark.parametrize(
    ("bad", "check"),
    [
        (Newest(), "prefix_invariance"),
        (Overshoots(), "steps_agree"),
        (Levelled(), "steps_agree"),
    ],
)
def test_what_depends_on_later_rows_fails_whatever_its_kind(bad: Component, check: str) -> None:
    assert check in failures(bad)


class NoAllocator(Allocator):
    name = "no_allocator"

    def allocate(self, view: View, fusion: Fusion, sizes: FloatPanel) -> FloatPanel:
        return sizes


@pytest.mark.parametrize(
    ("component", "said"),
    [
        (NoAllocator(), "allocator no_allocator: nothing calls it in this version"),
        (Sound(), r"provider sound: check_provider\(\) and"),
        (Delivers(), r"sink delivers: check_sink\(\) tests it"),
        (Donchian, r"got the class Donchian: write Donchian\(\)"),
        ("technical", "expected a component, got a str"),
    ],
)
def test_what_the_kit_does_not_test_is_refused_by_its_kind(component: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        parametrize_with_checks([component])  # type: ignore[list-item]  # the mistake


# Sinks


@parametrize_sink_checks([Delivers()])
def test_a_sound_sink_passes(check: Callable[[], None]) -> None:
    check()


class Rewrites(Sink):
    name = "rewrites"

    async def emit(self, signals: Sequence[Signal]) -> None:
        await asyncio.sleep(0)
        for signal in signals:
            signal.risk["var_99"] = 0.0  # type: ignore[index]  # the mistake


@pytest.mark.parametrize(
    ("sink", "check", "said"),
    [
        (SinkExits(), "delivers_signals", "raised SystemExit: 9"),
        (SinkIsNoCoroutine(), "delivers_nothing", "expected something to await"),
        (Rewrites(), "leaves_signals_alone", "wrote to the signals"),
    ],
)
def test_a_bad_sink_fails(sink: Sink, check: str, said: str) -> None:
    failed = {one.name: one.message for one in check_sink(sink).results if not one.passed}
    assert said in failed[check]


def test_without_pytest_the_decorators_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'weft\[testing\]'"):
        parametrize_with_checks([Donchian()])
