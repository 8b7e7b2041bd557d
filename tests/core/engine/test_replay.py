"""What a replay calls identical, equal and different, and how the ledger knows who computed."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support import ALONE, fetch, make_engine
from weft.engine.engine import Engine
from weft.engine.replay import TOLERANCE, Outcome, Replayed, replay
from weft.foundation.arithmetic import SIGNIFICANT_DIGITS, own_arithmetic, rounded
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, parse_time
from weft.ledger.ledger import Entry

NOW = parse_time("2026-02-20T00:00:00Z")
ELSEWHERE = {**own_arithmetic(), "numpy": "0.1"}


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return fetch(make_engine(tmp_path, *ALONE, "history_days=60", clock=SimulatedClock(NOW + DAY)))


def recorded(engine: Engine, arithmetic: Mapping[str, str]) -> Entry:
    """A signal that points somewhere, recorded under some arithmetic."""
    view = engine.view(NOW)
    signals = engine.report(engine.compose(view)).signals
    chosen = next(s for s in signals if s.stop_loss is not None)
    engine.ledger.record([chosen], view.loaded.read_at, arithmetic)
    (entry,) = engine.ledger.entries()
    return entry


def spoilt(entry: Entry, field: str, value: object) -> Entry:
    """The entry as a machine would have recorded it that computed another value."""
    return replace(entry, key="0" * 32, body={**entry.body, field: value})


def replayed(engine: Engine, entry: Entry) -> Replayed:
    (made,) = replay(engine, [entry])
    return made


def test_what_another_machine_recorded_is_identical_where_no_figure_lies_on_an_edge(
    engine: Engine,
) -> None:
    made = replayed(engine, recorded(engine, ELSEWHERE))
    assert made.outcome is Outcome.IDENTICAL
    assert made.same
    assert made.recorded_under == ELSEWHERE
    assert made.largest is None


@pytest.mark.parametrize("field", ["score", "stop_loss", "take_profit"])
def test_the_next_rounding_is_equal_on_another_machine_and_no_excuse_on_this_one(
    engine: Engine, field: str
) -> None:
    entry = recorded(engine, ELSEWHERE)
    value = entry.body[field]
    neighbour = rounded(value + 10.0 ** -(SIGNIFICANT_DIGITS - 1) * abs(value))
    assert neighbour != value
    other = spoilt(entry, field, neighbour)
    made = replayed(engine, other)
    assert made.outcome is Outcome.EQUAL
    assert not made.same
    assert made.largest is not None
    assert made.largest.path == field
    assert 0.0 < (made.largest.gap or 0.0) <= 2e-8
    here = replace(made, recorded_under=own_arithmetic())
    assert here.outcome is Outcome.DIFFERENT


def test_beyond_the_tolerance_it_differs(engine: Engine) -> None:
    entry = recorded(engine, ELSEWHERE)
    for times, outcome in ((0.9, Outcome.EQUAL), (1.1, Outcome.DIFFERENT)):
        moved = entry.body["entry"] * (1.0 - times * TOLERANCE)
        assert replayed(engine, spoilt(entry, "entry", moved)).outcome is outcome


@pytest.mark.parametrize(
    ("field", "value"),
    [("direction", "NEUTRAL"), ("take_profit", None), ("calibrated", True), ("interval", "4h")],
)
def test_what_is_no_figure_has_no_tolerance(engine: Engine, field: str, value: object) -> None:
    made = replayed(engine, spoilt(recorded(engine, ELSEWHERE), field, value))
    assert made.outcome is Outcome.DIFFERENT
    assert made.differences == (field,)


def test_a_difference_deep_in_a_layer_is_named(engine: Engine) -> None:
    entry = recorded(engine, ELSEWHERE)
    (layer,) = entry.body["layers"]
    name = min(layer["evidence"])
    evidence = {**layer["evidence"], name: layer["evidence"][name] + 1e-10}
    made = replayed(engine, spoilt(entry, "layers", [{**layer, "evidence": evidence}]))
    assert made.differences == (f"layers.technical.evidence.{name}",)
    assert made.outcome is Outcome.EQUAL


def test_no_signal_is_different(engine: Engine) -> None:
    made = replayed(engine, replace(recorded(engine, ELSEWHERE), symbol="NONE"))
    assert made.outcome is Outcome.DIFFERENT


def test_the_ledger_notes_an_arithmetic_once_until_another_one_writes(engine: Engine) -> None:
    view = engine.view(NOW)
    one, two, three, *_ = engine.report(engine.compose(view)).signals
    ledger = engine.ledger
    ledger.record([one], 1, ELSEWHERE)
    ledger.record([one], 1, own_arithmetic())  # nothing new, so nothing to note
    ledger.record([two], 1, ELSEWHERE)
    ledger.record([three], 1, own_arithmetic())
    notes = ledger.notes("arithmetic")
    assert [note.seq for note in notes] == [1, 4]
    assert [note.body for note in notes] == [ELSEWHERE, dict(own_arithmetic())]
    assert ledger.verify()[0] == 5
    by_symbol = {m.entry.symbol: m.recorded_under for m in replay(engine, ledger.entries())}
    assert by_symbol == {
        one.symbol: ELSEWHERE,
        two.symbol: ELSEWHERE,
        three.symbol: own_arithmetic(),
    }


def test_an_engine_notes_its_own(engine: Engine) -> None:
    view = engine.view(NOW)
    engine.record(engine.report(engine.compose(view)), view)
    (note,) = engine.ledger.notes("arithmetic")
    assert note.body == own_arithmetic()


def test_what_was_recorded_before_arithmetic_was_noted_has_the_tolerance(engine: Engine) -> None:
    entry = recorded(engine, {})
    made = replayed(engine, spoilt(entry, "score", entry.body["score"] * (1.0 + 1e-9)))
    assert made.recorded_under == {}
    assert made.outcome is Outcome.EQUAL
