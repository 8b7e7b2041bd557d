"""Training end to end over a real store: champions over time, and failures."""

import json
from pathlib import Path

import pytest

from tests.core.learning.leaning import KEY, NOW, Leaning, advance, artifact_at, engine_at
from weft.engine.replay import replay
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import LearningError, TrainingError
from weft.foundation.times import DAY, HOUR, iso
from weft.ledger.ledger import Ledger


def test_untrained_model_is_reported_as_missing(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    signal = engine.report(engine.compose(engine.view(NOW))).signals[0]
    assert "weft train" in signal.missing_models[KEY]
    assert signal.forecasts == ()


def test_signal_of_a_trained_model_names_its_artifact(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    trial = engine.trainer.train(KEY, NOW)
    assert trial.promoted
    signal = engine.report(engine.compose(engine.view(NOW))).signals[0]
    assert signal.versions.artifacts == {KEY: trial.digest}
    assert signal.forecasts[0].probability_up == 0.6
    assert signal.forecasts[0].trust == trial.trust == 1.0
    assert not signal.missing_models


def test_judging_rows_follow_the_training_rows(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    span = engine.trainer.train(KEY, NOW).span
    assert Leaning.seen == [(span.first, span.trained_to, 12)]
    assert span.judged_to == NOW
    assert span.trained_to == NOW - span.shadow_rows * HOUR
    assert span.rows == (span.trained_to - span.first) // HOUR + 1
    assert span.shadow_rows == pytest.approx(0.2 * engine.market.rows_until(NOW), abs=1)


def test_artifact_is_effective_after_its_judging_rows(tmp_path: Path) -> None:
    """Rows before the last judging row are composed without the artifact."""
    engine = engine_at(tmp_path)
    before = engine.report(engine.compose(engine.view(NOW - HOUR))).to_json()
    trial = engine.trainer.train(KEY, NOW)
    assert artifact_at(engine, NOW) == trial.digest
    assert artifact_at(engine, NOW - HOUR) is None
    assert engine.report(engine.compose(engine.view(NOW - HOUR))).to_json() == before


def test_view_of_many_rows_uses_the_champion_of_its_first_row(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    later = advance(engine, 5)
    assert engine.compose(engine.view(later, steps=6)).artifacts
    assert not engine.compose(engine.view(later, steps=7)).artifacts


def test_training_ends_at_the_last_candle(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    assert engine.trainer.train(KEY, NOW + 300 * DAY).span == engine.trainer.span(KEY, NOW)


def test_rollback_starts_from_the_champion_at_the_row(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    Leaning.chance = 0.7
    # A later decision that is effective from an earlier row.
    engine.trainer.train(KEY, NOW - 10 * DAY)
    assert artifact_at(engine, NOW) == first.digest
    back = engine.trainer.roll_back(KEY, NOW)
    assert back.digest != first.digest
    assert back.why == f"rolled back from {first.digest[:8]}"
    assert artifact_at(engine, NOW) == back.digest


def test_failed_training_keeps_the_champion(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    Leaning.fails = True
    with pytest.raises(TrainingError, match="diverged"):
        engine.trainer.train(KEY, NOW)
    assert artifact_at(engine, NOW) == first.digest


def test_short_history_is_refused_with_missing_rows_and_time(
    tmp_path: Path,
) -> None:
    engine = engine_at(tmp_path, NOW, "history_days=20")
    rows = engine.market.rows_until(NOW)
    with pytest.raises(TrainingError) as caught:
        engine.trainer.train(KEY, NOW)
    missing = 624 - rows
    assert f"there are {rows}, {missing} are missing" in str(caught.value)
    assert iso(NOW + missing * HOUR) in str(caught.value)
    # After that time there is enough history.
    engine.trainer.span(KEY, NOW + missing * HOUR)
    with pytest.raises(TrainingError):
        engine.trainer.span(KEY, NOW + (missing - 1) * HOUR)


def test_rollback_uses_the_previous_artifact_from_now_on(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    middle = advance(engine, 30 * 24)
    Leaning.quality = 0.4
    second = engine.trainer.train(KEY, middle)
    later = advance(engine, 5)
    engine.trainer.roll_back(KEY, later)
    assert artifact_at(engine, later) == first.digest
    assert artifact_at(engine, later - HOUR) == second.digest
    engine.trainer.promote(KEY, second.digest[:10], later, "by hand")
    assert artifact_at(engine, later) == second.digest


def test_rollback_without_an_earlier_artifact_is_refused(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    with pytest.raises(LearningError, match="no earlier artifact to go back to"):
        engine.trainer.roll_back(KEY, NOW)
    with pytest.raises(LearningError, match="0 artifacts begin with"):
        engine.trainer.promote(KEY, "abc", NOW, "by hand")


def test_replay_uses_the_artifact_of_its_time(tmp_path: Path) -> None:
    """A later promotion, effective from the same row, does not change a replay."""
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    advance(engine, 0)
    view = engine.view(NOW)
    report = engine.report(engine.compose(view))
    engine.record(report, view)
    assert isinstance(engine.clock, SimulatedClock)
    engine.clock.advance_to(engine.clock.now() + 10)
    Leaning.quality, Leaning.chance = 0.5, 0.9
    assert engine.trainer.train(KEY, NOW).promoted
    engine.clock.advance_to(engine.clock.now() + 10)
    assert engine.report(engine.compose(engine.view(NOW))).to_json() != report.to_json()
    assert all(built.same for built in replay(engine, engine.ledger.entries()))


def test_every_training_is_recorded_in_the_ledger(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    engine.trainer.train(KEY, advance(engine, 24))
    notes = engine.ledger.notes("training")
    assert [note.symbol for note in notes] == [KEY, KEY]
    assert [note.body["promoted"] for note in notes] == [True, False]
    assert engine.ledger.verify()[0] == 3
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", SimulatedClock(NOW + DAY))
    assert len(ledger.notes("promotion")) == 1
    assert not list(ledger.entries())
    ledger.close()


def test_training_receives_the_latest_previous_artifact(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    Leaning.quality = 0.0
    later = advance(engine, 24)
    assert not engine.trainer.train(KEY, later).promoted
    engine.trainer.train(KEY, later)
    engine.trainer.train(KEY, NOW - 24 * HOUR)
    before = [p and json.loads(p.files["learnt.json"])["quality"] for p in Leaning.previous]
    assert before == [None, 0.1, 0.0, None]


def test_stopped_training_is_finished_on_the_same_rows(
    tmp_path: Path,
) -> None:
    engine = engine_at(tmp_path)
    Leaning.stops = True
    with pytest.raises(KeyboardInterrupt):
        engine.trainer.train(KEY, NOW)
    Leaning.stops = False
    trial = engine.trainer.train(KEY, advance(engine, 1))
    assert Leaning.resumed == [None, {"half.json": b"{}"}]
    assert Leaning.seen[0] == Leaning.seen[1]
    assert trial.span.judged_to == NOW + HOUR
    assert trial.span.shadow_rows == (trial.span.judged_to - trial.span.trained_to) // HOUR
    # After it is finished, the next training uses new rows.
    engine.trainer.train(KEY, advance(engine, 30))
    assert Leaning.resumed[2] is None
    assert Leaning.seen[2][1] > Leaning.seen[1][1]


def test_training_stopped_long_ago_is_not_continued(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    Leaning.stops = True
    with pytest.raises(KeyboardInterrupt):
        engine.trainer.train(KEY, NOW)
    Leaning.stops = False
    engine.trainer.train(KEY, advance(engine, 24 * 5))
    assert Leaning.resumed == [None, None]
