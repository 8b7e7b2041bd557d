"""Components that hang or crash: one thread each, no false record, a name at the next start."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tests.faults.plugins.components import PlainSizer
from tests.faults.plugins.providers import NOW
from tests.faults.plugins.test_components import composed, engine_with
from weft import Fusion, Layer, Levels, Scores, Sizes, View
from weft.engine.engine import Engine
from weft.engine.replay import Outcome, replay
from weft.foundation.errors import ComponentError
from weft.foundation.times import HOUR

_ROUNDS = 4


class Gated(Layer):
    """Answers while its gate is open, and waits for it otherwise."""

    name = "gated"
    gate: ClassVar = threading.Event()
    calls: ClassVar[list[int]] = []

    def score(self, view: View) -> Scores:
        self.calls.append(1)
        self.gate.wait(60.0)
        return view.scores(np.full((view.steps, len(view.symbols)), -20.0))


class GatedSizer(PlainSizer):
    """Waits for its gate."""

    name = "gated_sizer"
    gate: ClassVar = threading.Event()

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        self.gate.wait(60.0)
        return super().size(view, fusion, levels)


class Spins(Layer):
    """Keeps a core busy in Python until its gate opens."""

    name = "spins"
    gate: ClassVar = threading.Event()

    def score(self, view: View) -> Scores:
        while not self.gate.is_set():
            pass
        return view.scores(np.zeros((view.steps, len(view.symbols))))


class Leaves(Layer):
    """Ends the program without a word."""

    name = "leaves"

    def score(self, view: View) -> Scores:
        os._exit(3)


@pytest.fixture(autouse=True)
def _gates() -> Iterator[None]:
    gates = (Gated.gate, GatedSizer.gate, Spins.gate)
    for gate in gates:
        gate.clear()
    yield
    for gate in gates:
        gate.set()


def with_layer(folder: Path, layer: type[Layer], deadline: float = 0.3) -> Engine:
    key = f"layers.{layer.name}"
    options = (
        f"{key}.enabled=true",
        f"{key}.on_error=degrade",
        f"{key}.deadline_seconds={deadline}",
    )
    return engine_with(folder, *options, extra=(layer,))


def threads_of(component: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == f"weft-{component}"]


@pytest.mark.parametrize("layer", [Gated, Spins])
def test_a_hanging_layer_costs_one_thread_however_many_rounds_there_are(
    layer: type[Layer], tmp_path: Path
) -> None:
    engine, title = with_layer(tmp_path, layer), f"layer {layer.name}"
    for number in range(_ROUNDS):
        (signal,) = composed(engine).signals
        expected = f"{title}: still busy since 2026-04-01T" if number else "no answer within 0.3"
        assert expected in signal.missing_layers[layer.name]
        assert [score.name for score in signal.layers if score.score] == ["plain"]
    (thread,) = threads_of(title)
    layer.gate.set()  # type: ignore[attr-defined]  # both layers have one
    thread.join(60.0)
    patient = engine.compose_again(engine.view(), {})
    assert layer.name in patient.scores
    engine.close()


def test_a_hanging_sizer_costs_one_thread_and_is_named(tmp_path: Path) -> None:
    options = ("sizer.use=gated_sizer", "sizer.deadline_seconds=0.3")
    engine = engine_with(tmp_path, *options, extra=(GatedSizer,))
    for expected in ("gave no answer", *["still busy since"] * (_ROUNDS - 1)):
        with pytest.raises(ComponentError, match=f"sizer gated_sizer: {expected}"):
            composed(engine)
    assert len(threads_of("sizer gated_sizer")) == 1
    engine.close()


def recorded(engine: Engine, as_of: int) -> int:
    view = engine.view(as_of)
    return engine.record(engine.report(engine.compose(view)), view)


def test_a_layer_lost_while_warming_up_keeps_the_signals_out_of_the_ledger(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = with_layer(tmp_path, Gated)
    view = engine.view(NOW)
    report = engine.report(engine.compose(view))
    assert report.signals
    assert report.not_recorded == "layers.gated gave no answer while warming up"
    with caplog.at_level(logging.WARNING):
        assert engine.record(report, view) == 0
    assert "not recorded: layers.gated gave no answer while warming up" in caplog.text
    assert list(engine.ledger.entries()) == []
    again = engine.report(engine.compose(view))
    assert again.not_recorded is None
    assert engine.record(again, view) == 1
    engine.close()


def test_a_replay_skips_the_layers_that_were_missing_and_calls_those_that_answered(
    tmp_path: Path,
) -> None:
    engine = with_layer(tmp_path, Gated, deadline=3.0)
    Gated.gate.set()
    assert recorded(engine, NOW - HOUR) == 1
    Gated.gate.clear()
    assert recorded(engine, NOW) == 1
    (thread,) = threads_of("layer gated")
    Gated.gate.set()
    thread.join(60.0)

    Gated.calls.clear()
    replays = {made.entry.as_of: made for made in replay(engine, engine.ledger.entries())}
    assert len(Gated.calls) == 1
    lost = [as_of for as_of, made in replays.items() if made.entry.body["missing_layers"]]
    assert lost == ["2026-04-01T00:00:00Z"]
    assert {made.outcome for made in replays.values()} == {Outcome.IDENTICAL}
    engine.close()


_DIES = """
import sys
from pathlib import Path
from tests.faults.plugins.test_hanging import Leaves, with_layer
from tests.faults.plugins.test_components import composed
composed(with_layer(Path(sys.argv[1]), Leaves, 60.0))
"""


def test_the_start_after_a_crash_names_the_plugin_it_happened_in(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", _DIES, str(tmp_path)], cwd=root, timeout=300, check=False
    )
    assert done.returncode == 3
    with caplog.at_level(logging.WARNING):
        engine = engine_with(tmp_path)
    assert "the last run ended inside layer leaves (in-process 0.1.0)." in caplog.text
    composed(engine)
    engine.close()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        engine_with(tmp_path).close()
    assert "the last run ended" not in caplog.text
