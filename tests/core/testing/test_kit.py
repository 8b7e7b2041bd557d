"""The conformance kit for components that answer a view: sound ones pass, faulty ones fail."""

import socket
import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import pytest

from tests.faults.plugins.components import Delivers, PlainRisk, PlainSizer, Reaches, Writes
from tests.faults.plugins.providers import Sound
from weft import (
    Allocator,
    Artifact,
    Evaluation,
    Fusion,
    Layer,
    Scores,
    Sizer,
    Sizes,
    Trained,
    Training,
    Universe,
    View,
    candles,
)
from weft import testing as kit
from weft.components.base import Component
from weft.components.contract_checks import checked_allocation
from weft.components.outcomes import outcomes
from weft.components.risk import Levels
from weft.domain.candles import FIELDS
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.errors import ComponentError, MissingDependencyError, TrainingError
from weft.plugins.records import GROUPS, KINDS
from weft.testing import (
    CheckResult,
    check_component,
    check_layer,
    check_trained,
    parametrize_with_checks,
    random_history,
)
from weft.testing.subjects import Testable
from weft_plugins.ensembles.weighted import Weighted
from weft_plugins.risks.atr_levels import AtrLevels
from weft_plugins.sizers.volatility_target import VolatilityTarget
from weft_plugins.universes.listed import Listed


def failures(component: Component) -> dict[str, CheckResult]:
    """Return the failed checks of a component by name."""
    report = check_component(component)  # type: ignore[arg-type]  # any kind, for the test
    return {result.name: result for result in report.results if not result.passed}


class Donchian(Layer):
    """Scores the place of the close between the lowest low and the highest high of a day."""

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


def test_layer_of_highs_and_lows_passes() -> None:
    check_layer(Donchian()).raise_if_failed()


def test_noise_after_a_row_is_still_a_market() -> None:
    history = random_history(1, rows=200, metrics=("fear_greed",))
    noisy = history.noisy_after(150, np.random.default_rng(0))
    panels = noisy.candles
    for name in FIELDS:
        np.testing.assert_array_equal(panels[name][:150], history.candles[name][:150])
        assert (panels[name][150:] != history.candles[name][150:]).all()
    high, low = panels["high"][150:], panels["low"][150:]
    for name in ("open", "close"):
        assert ((low <= panels[name][150:]) & (panels[name][150:] <= high)).all()
    index = noisy.metrics["fear_greed"][150:]
    assert ((index >= 0.0) & (index <= 100.0)).all()


class Ahead(Layer):
    """Looks at the next close."""

    name = "ahead"
    needs: ClassVar = [candles(warmup=1)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        score = np.where(close < np.roll(close, -1, axis=0), 50.0, -50.0)
        return view.scores(np.where(np.isnan(close), np.nan, score))


def test_layer_that_looks_ahead_fails() -> None:
    failed = failures(Ahead())
    assert failed.keys() >= {"prefix_invariance", "future_poison", "steps_agree"}
    assert "the future was replaced by another market" in failed["future_poison"].message


class Fragile(Layer):
    """Raises at prices above a hundred million."""

    name = "fragile"
    needs: ClassVar = [candles(warmup=0)]

    def score(self, view: View) -> Scores:
        close = view.candles().close
        if np.nanmax(close, initial=0.0) > 1e8:
            raise ValueError("no such price")
        return view.scores(np.where(np.isnan(close), np.nan, 1.0))


def test_failure_on_replaced_rows_is_reported_as_one() -> None:
    message = failures(Fragile())["future_poison"].message
    assert "future was replaced by" in message
    assert message.endswith("no such price")


def test_layer_that_writes_to_its_view_fails() -> None:
    assert "read-only" in failures(Writes())["leaves_inputs_alone"].message
    # C code does not ask NumPy for permission, so the kit compares digests.
    message = failures(Reaches())["leaves_inputs_alone"].message
    assert message.startswith("wrote to candles 1h close")


class Reads(Layer):
    """Reads a file."""

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
    """Connects to a server."""

    name = "dials"
    needs: ClassVar = [candles(warmup=0)]

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def score(self, view: View) -> Scores:
        with socket.create_connection(("127.0.0.1", self._port)):
            return view.scores(np.where(np.isnan(view.candles().close), np.nan, 1.0))


def test_layer_that_uses_a_file_or_a_host_fails(tmp_path: Path) -> None:
    path = tmp_path / "tomorrow.csv"
    path.write_text("5.0")
    failed = failures(Reads(path))
    assert list(failed) == ["asks_the_view_alone"]
    assert f"opened the file {path} while it computed" in failed["asks_the_view_alone"].message
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        failed = failures(Dials(server.getsockname()[1]))
    assert "connected to ('127.0.0.1'," in failed["asks_the_view_alone"].message


# Every kind that answers a view


@parametrize_with_checks(
    [Listed(), Weighted(), AtrLevels(), VolatilityTarget(), PlainRisk(), PlainSizer()]
)
def test_components_of_other_kinds_pass(check: Callable[[], None]) -> None:
    check()


class Newest(Universe):
    """Chooses for every row the symbols that trade on the last row."""

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
        fusion = super().fuse(view, scores, weights)
        score = 100.0 * fusion.score / np.abs(fusion.score).max()
        return Fusion(score, fusion.confidence, fusion.direction, fusion.weights, calibrated=False)


class Levelled(PlainSizer):
    """Divides the equity by the number of rows in the view."""

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
def test_components_of_other_kinds_that_look_ahead_fail(bad: Component, check: str) -> None:
    assert check in failures(bad)


class Plain(Allocator):
    """Holds each signal at its size."""

    name = "plain"

    def allocate(self, view: View, fusion: Fusion, sizes: FloatPanel) -> FloatPanel:
        return fusion.direction * sizes


class Unbounded(Plain):
    """Divides by the number of signals of a row, which may be 0."""

    name = "unbounded"

    def allocate(self, view: View, fusion: Fusion, sizes: FloatPanel) -> FloatPanel:
        count = np.abs(fusion.direction).sum(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):
            shares: FloatPanel = fusion.direction / count
        return shares


@parametrize_with_checks([Plain()])
def test_allocator_passes(check: Callable[[], None]) -> None:
    check()


def test_allocation_that_is_no_number_fails() -> None:
    history = random_history(1, rows=50)
    zeros = np.zeros((1, 4))
    neutral = Fusion(zeros, zeros, zeros.astype(np.int8), {}, calibrated=False)
    answer = Unbounded().allocate(history.view([]), neutral, zeros)
    with pytest.raises(ComponentError, match="returned a allocation that is not a number"):
        checked_allocation(answer, history.view([]), "allocator unbounded")


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (
            Sound(),
            r"sound: check_provider\(\) and parametrize_provider_checks\(\) test",
        ),
        (Delivers(), r"delivers: check_sink\(\) and parametrize_sink_checks\(\) test"),
        (Donchian, r"got the class Donchian: write Donchian\(\)"),
        ("technical", "expected a component, got a str"),
    ],
)
def test_other_kinds_are_refused_with_the_check_to_use(component: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        parametrize_with_checks([component])  # type: ignore[list-item]  # the mistake


@pytest.mark.parametrize("kind", GROUPS.values())
def test_kit_has_checks_for_every_kind(kind: str) -> None:
    if hasattr(kit, f"check_{kind}"):
        return
    module, _, name = KINDS[kind].partition(":")
    assert issubclass(getattr(import_module(module), name), get_args(Testable))


# Components that are trained


class Habit(Trained, Sizer):
    """Holds the share of the equity that would have paid best on the rows it was trained on."""

    name = "habit"
    learns_from_decisions = True
    needs: ClassVar = [candles(warmup=0)]

    def fit(self, view: View, training: Training) -> Artifact:
        paid = self._paid(view, training)
        if np.isnan(paid).all():
            raise TrainingError("no outcome is known")
        return Artifact({}, {"share": 0.1 if np.nanmean(paid) > 0.0 else 0.05})

    def load(self, artifact: Artifact) -> float:
        return float(artifact.card["share"])

    def evaluate(self, view: View, training: Training) -> Evaluation:
        paid = self._paid(view, training)
        count = (~np.isnan(paid)).sum(axis=1)
        mean = np.where(count > 0, np.nansum(paid, axis=1) / np.maximum(count, 1), np.nan)
        return Evaluation(loss=-view.learned * mean, baseline=-0.1 * mean)

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        share = view.learned if view.is_trained else 0.1
        return Sizes(np.where(fusion.direction == 0, 0.0, share))

    def _paid(self, view: View, training: Training) -> FloatPanel:
        assert training.decisions is not None
        return training.decisions.fusion.direction * outcomes(view, training.horizon)


class Peeks(Habit):
    """Judges the last rows by outcomes that are not known yet."""

    name = "peeks"

    def evaluate(self, view: View, training: Training) -> Evaluation:
        return Evaluation(loss=np.zeros(view.steps), baseline=np.ones(view.steps))


class Shuffles(Habit):
    """Trains to another share every time."""

    name = "shuffles"
    trainings = count(1)

    def fit(self, view: View, training: Training) -> Artifact:
        return Artifact({}, {"share": 0.01 * next(self.trainings)})


@parametrize_with_checks([Habit()])
def test_trained_sizer_passes(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize(
    ("sizer", "check", "message"),
    [
        (Peeks(), "judges_each_row", "loss of the last row is a number: it looks ahead"),
        (Shuffles(), "trains_reproducibly", "the card differs the second time"),
    ],
)
def test_trained_sizer_that_breaks_its_contract_fails(
    sizer: Habit, check: str, message: str
) -> None:
    report = check_trained(sizer)
    failed = {result.name: result.message for result in report.results if not result.passed}
    assert failed == {check: message}


def test_check_trained_refuses_a_component_that_is_not_trained() -> None:
    with pytest.raises(TypeError, match="layer donchian is not trained"):
        check_trained(Donchian())


def test_decorators_name_the_extra_where_pytest_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytest", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'weft\[testing\]'"):
        parametrize_with_checks([Donchian()])
