"""A component that ends, hangs or answers nonsense: it is named, and harms no other answer."""

import asyncio
from pathlib import Path

import pytest

from tests.faults.plugins.components import (
    LAYERS,
    NEEDED,
    PLAIN,
    SINKS,
    Delivers,
    Keeps,
    PlainSizer,
)
from tests.faults.plugins.providers import NOW, Sound
from tests.support import ALONE, fetch, make_engine
from weft import Layer, Sink
from weft.components.base import Component
from weft.domain.signal import Report
from weft.engine.engine import Engine
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ComponentError

_PLAIN = (
    *ALONE,
    "layers.technical.enabled=false",
    "layers.plain.enabled=true",
    "risk.use=plain_risk",
    "sizer.use=plain_sizer",
    "providers.sound.enabled=true",
)


def engine_with(folder: Path, *options: str, extra: tuple[type[Component], ...] = ()) -> Engine:
    brought: list[type[Component]] = [Sound, *PLAIN, *extra]
    return fetch(make_engine(folder, *_PLAIN, *options, extra=brought, clock=SimulatedClock(NOW)))


def composed(engine: Engine) -> Report:
    return engine.report(engine.compose(engine.view()))


@pytest.mark.parametrize("bad", LAYERS, ids=lambda bad: bad.name)
def test_a_bad_layer_is_named_and_the_others_answer_as_without_it(
    bad: type[Layer], tmp_path: Path
) -> None:
    key = f"layers.{bad.name}"
    options = (f"{key}.enabled=true", f"{key}.on_error=degrade", f"{key}.deadline_seconds=1")
    engine = engine_with(tmp_path, *options, extra=(bad,))
    (signal,) = composed(engine).signals
    told = signal.missing_layers[bad.name]
    assert told.startswith(f"layer {bad.name}: {LAYERS[bad]}")
    (plain,) = (layer for layer in signal.layers if layer.name == "plain")
    assert (plain.score, plain.weight, plain.evidence) == (60.0, 1.0, {"close": 1.0})
    assert (signal.entry, signal.stop_loss, signal.take_profit) == (1.0, 0.9, 1.2)
    assert (engine.view(steps=20).candles().close[-20:] == 1.0).all()
    engine.close()


@pytest.mark.parametrize("bad", NEEDED, ids=lambda bad: bad.name)
def test_a_bad_component_that_is_needed_stops_the_composition_with_its_name(
    bad: type[Component], tmp_path: Path
) -> None:
    engine = engine_with(tmp_path, f"{bad.kind}.use={bad.name}", extra=(bad,))
    with pytest.raises(ComponentError) as caught:
        composed(engine)
    assert str(caught.value).startswith(f"{bad.kind} {bad.name}: {NEEDED[bad]}")
    assert caught.value.hint
    assert engine.ledger.verify()[0] == 0
    engine.close()


def test_an_answer_that_is_changed_later_changes_no_signal(tmp_path: Path) -> None:
    Keeps.kept.clear()
    engine = engine_with(tmp_path, "sizer.use=keeps", extra=(Keeps,))
    view = engine.view()
    first = engine.compose(view)
    before = engine.report(first).to_json()
    engine.compose(view)
    assert float(Keeps.kept[0].fraction[0, 0]) == 99.0
    assert engine.report(first).to_json() == before
    plain = engine_with(tmp_path / "plain", f"sizer.use={PlainSizer.name}")
    assert composed(plain).signals[0].position_size == first.sizes.fraction[0, 0] == 0.1


@pytest.mark.parametrize("bad", SINKS, ids=lambda bad: bad.name)
def test_a_bad_sink_is_named_and_the_others_get_the_signals(
    bad: type[Sink], tmp_path: Path
) -> None:
    Delivers.delivered.clear()
    options = (
        f"sinks.{bad.name}.enabled=true",
        f"sinks.{bad.name}.deadline_seconds=1",
        "sinks.delivers.enabled=true",
    )
    engine = engine_with(tmp_path, *options, extra=(bad, Delivers))
    report = composed(engine)
    before = report.to_json()
    failed = asyncio.run(engine.carry_out(report))
    assert list(failed) == [bad.name]
    assert failed[bad.name].startswith(f"sink {bad.name}: {SINKS[bad]}")
    assert tuple(Delivers.delivered) == report.signals
    assert report.to_json() == before


def test_a_sink_that_blocks_is_not_called_again_before_it_returns(tmp_path: Path) -> None:
    (bad,) = (sink for sink in SINKS if sink.name == "sink_blocks")
    options = ("sinks.sink_blocks.enabled=true", "sinks.sink_blocks.deadline_seconds=1")
    engine = engine_with(tmp_path, *options, extra=(bad,))
    report = composed(engine)
    asyncio.run(engine.carry_out(report))
    again = asyncio.run(engine.carry_out(report))
    assert "has not returned from the call of" in again["sink_blocks"]
