"""Promotion, and trust in the artifact in use."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tests.core.learning.leaning import KEY, NOW, Leaning, advance, artifact_at, engine_at
from tests.support import ALONE, fetch, make_engine
from weft import Artifact, Evaluation, Training, View
from weft.components.ensemble import Fusion
from weft.components.model import Regime, RegimeState
from weft.components.risk import Levels, Sizer, Sizes
from weft.components.trained import Trained
from weft.engine.model_status import model_status
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import LearningError
from weft.foundation.times import HOUR, iso
from weft.learning.judging import Comparison


def judged(view: View, quality: float) -> Evaluation:
    """A loss below the baseline by exactly `quality` on average, with noise on each row."""
    noise = np.random.default_rng(view.times).normal(0.0, 0.05, view.steps)
    return Evaluation(0.7 - quality + noise - noise.mean(), np.full(view.steps, 0.7))


@pytest.mark.parametrize(("quality", "promoted"), [(0.2, True), (0.1, False), (0.05, False)])
def test_challenger_is_promoted_only_if_better(
    tmp_path: Path, quality: float, promoted: bool
) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    later = advance(engine, 30 * 24)
    Leaning.quality, Leaning.chance = quality, 0.7
    second = engine.trainer.train(KEY, later)
    assert second.promoted is promoted
    assert artifact_at(engine, later) == (second if promoted else first).digest
    assert artifact_at(engine, later - HOUR) == first.digest
    status = model_status(engine)[0]
    assert (status.trainings, status.promotions) == (2, 1 + promoted)


def test_champion_without_an_edge_loses_its_trust(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    assert first.trust == 1.0
    middle = advance(engine, 30 * 24)
    engine.trainer.train(KEY, middle)
    # Its trust did not change, so there is no new promotion.
    assert len(engine.champions.promotions(KEY)) == 1

    def evaluate(self: Leaning, view: View, training: Training) -> Evaluation:
        return judged(view, 0.0)

    monkeypatch.setattr(Leaning, "evaluate", evaluate)
    later = advance(engine, 30 * 24)
    assert not engine.trainer.train(KEY, later).promoted
    for as_of, trust in ((later, 0.0), (later - HOUR, 1.0)):
        (forecast,) = engine.report(engine.compose(engine.view(as_of))).signals[0].forecasts
        assert forecast.trust == trust
    assert artifact_at(engine, later) == first.digest
    assert "judged again" in engine.champions.promotions(KEY)[-1].why
    (status,) = (item for item in model_status(engine) if item.key == KEY)
    assert (status.trust, status.effective_at) == (0.0, iso(NOW))
    assert (status.trainings, status.promotions) == (3, 1)
    # With the edge back, its trust returns.
    monkeypatch.undo()
    engine.trainer.train(KEY, advance(engine, 30 * 24))
    assert engine.champions.promotions(KEY)[-1].trust == 1.0
    with pytest.raises(LearningError, match="no earlier artifact to go back to"):
        engine.trainer.roll_back(KEY, engine.latest_close())


class Pretending(Regime):
    """Regime that is certainly calm, with a skill chosen by the test."""

    name = "pretending"
    quality: ClassVar[float] = 0.0

    def fit(self, view: View, training: Training) -> Artifact:
        return Artifact({"learnt.json": b"{}"}, {})

    def load(self, artifact: Artifact) -> bytes:
        return artifact.files["learnt.json"]

    def detect(self, view: View) -> RegimeState:
        chances = np.tile([1.0, 0.0, 0.0], (view.steps, 1))
        moving = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.1, 0.8]])
        return RegimeState(("calm", "wild", "torn"), chances, moving, np.array([0.7, 0.3, 0.1]))

    def evaluate(self, view: View, training: Training) -> Evaluation:
        return judged(view, Pretending.quality)


@pytest.mark.parametrize(
    ("quality", "name", "chance", "multiplier"),
    [(0.1, "calm", 1.0, 0.7), (0.0, "unknown", 1 / 3, 1.0), (-0.1, "unknown", 1 / 3, 1.0)],
)
def test_regime_without_skill_has_no_effect(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quality: float,
    name: str,
    chance: float,
    multiplier: float,
) -> None:
    monkeypatch.setattr(Pretending, "quality", quality)
    options = [*ALONE, "regime.enabled=true", "regime.use=pretending", "history_days=120"]
    clock = SimulatedClock(NOW)
    engine = fetch(make_engine(tmp_path, *options, extra=[Pretending], clock=clock))
    assert engine.trainer.train("regime", NOW).promoted
    regime = engine.report(engine.compose(engine.view(NOW))).signals[0].regime
    assert regime is not None
    assert (regime.name, regime.trust) == (name, float(quality > 0.0))
    assert regime.probability["calm"] == pytest.approx(chance)
    assert regime.position_multiplier == multiplier
    for figure in (regime.expected_duration, regime.change_probability):
        assert (figure is None) is (name == "unknown")


class Halving(Sizer, Trained):
    """Sizer that halves sizes once trained, with a skill chosen by the test."""

    name = "halving"
    quality: ClassVar[float] = 0.0

    def fit(self, view: View, training: Training) -> Artifact:
        return Artifact({"learnt.json": b"{}"}, {})

    def load(self, artifact: Artifact) -> float:
        return 0.5

    def size(self, view: View, fusion: Fusion, levels: Levels) -> Sizes:
        share = view.learned if view.is_trained else 1.0
        return Sizes(np.full_like(fusion.score, 0.1 * share))

    def evaluate(self, view: View, training: Training) -> Evaluation:
        return judged(view, Halving.quality)


@pytest.mark.parametrize(("quality", "size"), [(0.0, 0.1), (0.1, 0.05)])
def test_sizer_without_skill_is_not_promoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quality: float, size: float
) -> None:
    monkeypatch.setattr(Halving, "quality", quality)
    options = [*ALONE, "sizer.use=halving", "history_days=120", "max_gross_exposure=10"]
    clock = SimulatedClock(NOW)
    engine = fetch(make_engine(tmp_path, *options, extra=[Halving], clock=clock))
    trial = engine.trainer.train("sizer", NOW)
    assert trial.promoted
    assert trial.trust == (1.0 if quality else 0.0)
    sizes = engine.compose(engine.view(NOW)).sizes
    np.testing.assert_allclose(sizes.fraction, size)
    np.testing.assert_allclose(sizes.evidence["untrained"], 0.1)


def test_multiplier_of_a_regime_is_weighted_by_trust() -> None:
    state = RegimeState(("a", "b"), np.array([[0.5, 0.5]]), np.eye(2), np.array([0.2, 1.0]))
    for trust, expected in ((1.0, 0.6), (0.5, 0.8), (0.0, 1.0)):
        assert state.shrunk_by(trust).position_multiplier[0] == pytest.approx(expected)


def test_probabilities_of_a_regime_are_weighted_by_trust() -> None:
    moving = np.array([[0.9, 0.1], [0.3, 0.7]])
    sure = RegimeState(("a", "b"), np.array([[0.0, 1.0], [np.nan, np.nan]]), moving, np.ones(2))
    for trust, expected in ((1.0, 1.0), (0.5, 0.75), (0.0, 0.5)):
        state = sure.shrunk_by(trust).last(2)
        assert state.trust == trust
        assert state.probability[0, 1] == pytest.approx(expected)
        assert np.isnan(state.probability[1]).all()
        assert state.change_probability[0] == pytest.approx(state.probability[0] @ [0.1, 0.3])


def test_training_rows_of_the_champion_do_not_count(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    Leaning.quality = 0.3
    # The champion of an hour ago was judged on these rows, but not trained on them.
    assert engine.trainer.train(KEY, advance(engine, 1)).against is not None
    span = engine.trainer.span(KEY, engine.latest_close())
    assert span.trained_to >= NOW - span.shadow_rows * HOUR


def test_identical_retraining_is_not_promoted(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first, second = (engine.trainer.train(KEY, NOW) for _ in range(2))
    assert second.digest == first.digest
    assert (second.promoted, second.why) == (
        False,
        "not promoted: identical to the artifact in use",
    )
    assert engine.trainer.trainings.by_key()[KEY].last["why"] == second.why
    Leaning.chance = 0.7
    assert "than the artifact in use" in engine.trainer.train(KEY, NOW).why


def test_decision_gives_its_reason(tmp_path: Path) -> None:
    trainer = engine_at(tmp_path).trainer
    clear, many = Comparison(0.1, 0.05, 40), 10**6
    cases = [
        (clear, None, "promoted: the first artifact of this component"),
        (
            Comparison(0.0, 0.0, 0),
            None,
            "not promoted: no outcome after its training rows is known to judge it on",
        ),
        (
            clear,
            Comparison(0.1, 0.01, 3),
            "not promoted: only 3 independent spans to compare on; 12 are required",
        ),
        (
            clear,
            Comparison(0.1, 0.05, many),
            "promoted: 2.0 standard errors better than the artifact in use",
        ),
        (
            clear,
            Comparison(0.02, 0.05, many),
            "not promoted: 0.4 standard errors better than the artifact in use; 1.0 are required",
        ),
        (
            clear,
            Comparison(-0.1, 0.05, many),
            "not promoted: 2.0 standard errors worse than the artifact in use",
        ),
    ]
    rows = trainer.span(KEY, NOW)
    for skill, against, why in cases:
        result = trainer._decide(KEY, "0" * 32, rows, skill, against, 1.0)
        assert (result.promoted, result.why) == (why.startswith("promoted"), why)
