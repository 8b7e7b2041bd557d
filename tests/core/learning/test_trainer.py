"""Training end to end over a real store: what is used when, and what happens when it fails."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from tests.support import ALONE, fetch, make_engine
from weft import Artifact, Evaluation, Forecast, Model, Training, View, candles
from weft.clock import SimulatedClock
from weft.components.base import ComponentConfig
from weft.components.ensemble import Fusion
from weft.components.model import Regime, RegimeState
from weft.components.needs import Need
from weft.components.risk import Levels, Sizer, Sizes
from weft.components.trained import Trained
from weft.engine import Engine
from weft.errors import ArtifactError, LearningError, StorageError, TrainingError
from weft.learning.champions import Promotion
from weft.learning.status import model_status
from weft.ledger.ledger import Entry, Ledger
from weft.replay import replay
from weft.times import DAY, HOUR, iso, parse_time

NOW = parse_time("2026-04-01T00:00:00Z")
KEY = "models.leaning"


class Leaning(Model):
    """Gives every symbol the same chance of a rise, one that the test chooses."""

    name = "leaning"
    chance: ClassVar[float] = 0.6
    quality: ClassVar[float] = 0.1
    seen: ClassVar[list[tuple[int, int, int]]] = []
    previous: ClassVar[list[Artifact | None]] = []
    fails: ClassVar[bool] = False
    stops: ClassVar[bool] = False
    resumed: ClassVar[list[Mapping[str, bytes] | None]] = []

    class Config(ComponentConfig):
        """Options."""

        depth: int = 3

    @property
    def needs(self) -> Sequence[Need]:
        return [candles(warmup=0)]

    @property
    def least_rows(self) -> int:
        return 500

    @property
    def most_rows(self) -> int:
        return 2000

    def fit(self, view: View, training: Training) -> Artifact:
        Leaning.seen.append((int(view.times[0]), int(view.times[-1]), training.horizon))
        Leaning.previous.append(training.previous)
        training.progress(1, 1, loss=0.5)
        Leaning.resumed.append(training.checkpoints.load())
        training.checkpoints.save({"half.json": b"{}"})
        if Leaning.stops:
            raise KeyboardInterrupt
        if Leaning.fails:
            raise TrainingError("diverged", where="model leaning")
        learnt = {"chance": Leaning.chance, "quality": Leaning.quality}
        return Artifact({"learnt.json": json.dumps(learnt).encode()}, {"epochs": 1})

    def load(self, artifact: Artifact) -> dict[str, float]:
        learnt: dict[str, float] = json.loads(artifact.files["learnt.json"])
        if "chance" not in learnt:
            raise ArtifactError("has no chance", where="model leaning")
        return learnt

    def predict(self, view: View) -> Forecast:
        chance = np.full((view.steps, len(view.symbols)), view.learned["chance"])
        return Forecast(np.zeros_like(chance), chance, {})

    def evaluate(self, view: View, training: Training) -> Evaluation:
        noise = np.random.default_rng(view.times).normal(0.0, 0.05, view.steps)
        return Evaluation(0.7 - view.learned["quality"] + noise, np.full(view.steps, 0.7))


@pytest.fixture(autouse=True)
def _as_it_was() -> None:
    Leaning.chance, Leaning.quality, Leaning.fails = 0.6, 0.1, False
    Leaning.seen.clear()
    Leaning.previous.clear()
    Leaning.resumed.clear()


def engine_at(folder: Path, now: int = NOW, *overrides: str) -> Engine:
    options = [*ALONE, "layers.ml.enabled=true", "models.leaning.on_error=degrade"]
    options += ["history_days=120"]
    return fetch(
        make_engine(folder, *options, *overrides, extra=[Leaning], clock=SimulatedClock(now))
    )


def advance(engine: Engine, hours: int) -> int:
    assert isinstance(engine.clock, SimulatedClock)
    engine.clock.advance_to(engine.clock.now() + hours * HOUR)
    fetch(engine)
    return engine.latest_close()


def artifact_at(engine: Engine, as_of: int) -> str | None:
    return engine.compose(engine.view(as_of)).artifacts.get(KEY)


def test_an_untrained_model_is_told_and_nothing_waits_for_it(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    signal = engine.report(engine.compose(engine.view(NOW))).signals[0]
    assert "weft train" in signal.missing_models[KEY]
    assert signal.forecasts == ()


def test_a_trained_model_speaks_and_the_signal_names_its_artifact(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    trial = engine.trainer.train(KEY, NOW)
    assert trial.promoted
    signal = engine.report(engine.compose(engine.view(NOW))).signals[0]
    assert signal.versions.artifacts == {KEY: trial.digest}
    assert signal.forecasts[0].probability_up == 0.6
    assert signal.forecasts[0].trust == trial.trust == 1.0
    assert not signal.missing_models


def test_it_is_judged_on_rows_that_came_after_those_it_was_trained_on(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    span = engine.trainer.train(KEY, NOW).span
    assert Leaning.seen == [(span.first, span.trained_to, 12)]
    assert span.judged_to == NOW
    assert span.trained_to == NOW - span.shadow_rows * HOUR
    assert span.rows == (span.trained_to - span.first) // HOUR + 1
    assert span.shadow_rows == pytest.approx(0.2 * engine.market.rows_until(NOW), abs=1)


def test_nothing_was_known_of_it_before_it_was_judged(tmp_path: Path) -> None:
    """A row before the last one that judged it was composed without it, and stays so."""
    engine = engine_at(tmp_path)
    before = engine.report(engine.compose(engine.view(NOW - HOUR))).to_json()
    trial = engine.trainer.train(KEY, NOW)
    assert artifact_at(engine, NOW) == trial.digest
    assert artifact_at(engine, NOW - HOUR) is None
    assert engine.report(engine.compose(engine.view(NOW - HOUR))).to_json() == before


def test_many_rows_use_what_was_known_at_the_first_of_them(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    later = advance(engine, 5)
    assert engine.compose(engine.view(later, steps=6)).artifacts
    assert not engine.compose(engine.view(later, steps=7)).artifacts


@pytest.mark.parametrize(("quality", "promoted"), [(0.2, True), (0.1, False), (0.05, False)])
def test_a_challenger_is_promoted_only_when_it_is_better(
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


def test_a_champion_that_has_come_to_know_nothing_is_not_listened_to_any_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    assert first.trust == 1.0
    middle = advance(engine, 30 * 24)
    engine.trainer.train(KEY, middle)
    # It is as good as before, and nothing has to be written down.
    assert len(engine.champions.promotions(KEY)) == 1

    def evaluate(self: Leaning, view: View, training: Training) -> Evaluation:
        noise = np.random.default_rng(view.times).normal(0.0, 0.05, view.steps)
        return Evaluation(0.7 + noise - noise.mean(), np.full(view.steps, 0.7))

    monkeypatch.setattr(Leaning, "evaluate", evaluate)
    later = advance(engine, 30 * 24)
    assert not engine.trainer.train(KEY, later).promoted
    for as_of, trust in ((later, 0.0), (later - HOUR, 1.0)):
        (forecast,) = engine.report(engine.compose(engine.view(as_of))).signals[0].forecasts
        assert forecast.trust == trust
    assert artifact_at(engine, later) == first.digest
    assert "judged anew" in engine.champions.promotions(KEY)[-1].why
    (status,) = (one for one in model_status(engine) if one.key == KEY)
    assert (status.trust, status.effective_at) == (0.0, iso(NOW))
    assert (status.trainings, status.promotions) == (3, 1)
    # And once the edge is back, it is listened to again.
    monkeypatch.undo()
    engine.trainer.train(KEY, advance(engine, 30 * 24))
    assert engine.champions.promotions(KEY)[-1].trust == 1.0
    with pytest.raises(LearningError, match="no artifact to go back to"):
        engine.trainer.roll_back(KEY, engine.latest_close())


class Pretending(Regime):
    """Says that the market is calm, and is as good as the test chooses."""

    name = "pretending"
    quality: ClassVar[float] = 0.0

    def fit(self, view: View, training: Training) -> Artifact:
        return Artifact({"learnt.json": b"{}"}, {})

    def load(self, artifact: Artifact) -> bytes:
        return artifact.files["learnt.json"]

    def detect(self, view: View) -> RegimeState:
        one = np.ones((1, 1))
        return RegimeState(("calm",), np.ones((view.steps, 1)), one, one[0])

    def evaluate(self, view: View, training: Training) -> Evaluation:
        noise = np.random.default_rng(view.times).normal(0.0, 0.05, view.steps)
        return Evaluation(0.7 - Pretending.quality + noise, np.full(view.steps, 0.7))


@pytest.mark.parametrize(("quality", "promoted"), [(0.1, True), (0.0, True), (-0.1, False)])
def test_a_first_regime_that_is_worse_than_none_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quality: float, promoted: bool
) -> None:
    monkeypatch.setattr(Pretending, "quality", quality)
    options = [*ALONE, "regime.enabled=true", "regime.use=pretending", "history_days=120"]
    clock = SimulatedClock(NOW)
    engine = fetch(make_engine(tmp_path, *options, extra=[Pretending], clock=clock))
    trial = engine.trainer.train("regime", NOW)
    assert trial.promoted is promoted
    assert promoted or "worse than doing without it" in trial.why
    assert (engine.compose(engine.view(NOW)).regime is not None) is promoted


@pytest.mark.parametrize("other", ["horizon_candles=48", "interval=4h"])
def test_an_artifact_made_for_something_else_is_not_used(tmp_path: Path, other: str) -> None:
    trial = engine_at(tmp_path).trainer.train(KEY, NOW)
    engine = engine_at(tmp_path, NOW, other, "base_interval=1h")
    signal = engine.report(engine.compose(engine.view(NOW))).signals[0]
    assert signal.forecasts == ()
    name, _, wanted = other.partition("=")
    assert f"was made for {name} " in signal.missing_models[KEY]
    assert f"config says {wanted}" in signal.missing_models[KEY]
    with pytest.raises(ArtifactError, match=f"was made for {name}"):
        engine.trainer.promote(KEY, trial.digest, NOW, "by hand")


def test_training_past_the_last_candle_is_training_up_to_it(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    assert engine.trainer.train(KEY, NOW + 300 * DAY).span == engine.trainer.span(KEY, NOW)


def test_going_back_starts_from_what_is_in_use_at_the_row(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    Leaning.chance = 0.7
    # Decided later, and in use from an earlier row on, until the first one is.
    engine.trainer.train(KEY, NOW - 10 * DAY)
    assert artifact_at(engine, NOW) == first.digest
    back = engine.trainer.roll_back(KEY, NOW)
    assert back.digest != first.digest
    assert back.why == f"rolled back from {first.digest[:8]}"
    assert artifact_at(engine, NOW) == back.digest


class Halving(Sizer, Trained):
    """Holds a half of what it would hold untrained, and is as good as the test chooses."""

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
        noise = np.random.default_rng(view.times).normal(0.0, 0.05, view.steps)
        return Evaluation(0.7 - Halving.quality + noise - noise.mean(), np.full(view.steps, 0.7))


@pytest.mark.parametrize(("quality", "size"), [(0.0, 0.1), (0.1, 0.05)])
def test_a_sizer_that_has_shown_nothing_changes_nothing(
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


def test_a_regime_is_listened_to_as_far_as_it_is_trusted() -> None:
    state = RegimeState(("a", "b"), np.array([[0.5, 0.5]]), np.eye(2), np.array([0.2, 1.0]))
    for trust, expected in ((1.0, 0.6), (0.5, 0.8), (0.0, 1.0)):
        assert state.listened_to(trust).position_multiplier[0] == pytest.approx(expected)


def test_rows_the_champion_was_trained_on_do_not_count_in_the_comparison(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    Leaning.quality = 0.3
    # The champion of an hour ago was judged on these rows, and not trained on them.
    assert engine.trainer.train(KEY, advance(engine, 1)).against is not None
    span = engine.trainer.span(KEY, engine.latest_close())
    assert span.trained_to >= NOW - span.shadow_rows * HOUR


def train_failures(engine: Engine, count: int) -> list[str]:
    """Train artifacts that are not taken into use, and return their digests."""
    made = []
    for number in range(count):
        # Better than nothing, and worse than the one before them.
        Leaning.quality, Leaning.chance = 0.05, 0.5 + number / 100
        trial = engine.trainer.train(KEY, engine.latest_close())
        assert not trial.promoted
        made.append(trial.digest)
    return made


def test_of_those_that_failed_the_newest_stay_and_of_those_in_use_all(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, NOW, "training.keep_unpromoted=2")
    first = engine.trainer.train(KEY, NOW)
    advance(engine, 30 * 24)
    failed = train_failures(engine, 4)
    assert set(engine.trainer.artifacts.digests(KEY)) == {first.digest, *failed[2:]}
    Leaning.quality, Leaning.chance = 0.4, 0.9
    second = engine.trainer.train(KEY, engine.latest_close())
    assert second.promoted
    train_failures(engine, 3)
    # Going back, and the past, ask for what was in use before.
    engine.trainer.roll_back(KEY, engine.latest_close())
    assert artifact_at(engine, engine.latest_close()) == first.digest
    engine.trainer.promote(KEY, second.digest, engine.latest_close(), "by hand")
    # The last that failed can still be taken, and then it stays.
    by_hand = engine.trainer.artifacts.digests(KEY)
    chosen = next(one for one in by_hand if one not in {first.digest, second.digest})
    engine.trainer.promote(KEY, chosen, engine.latest_close(), "by hand")
    Leaning.quality = 0.01
    train_failures(engine, 4)
    assert {first.digest, second.digest, chosen} <= set(engine.trainer.artifacts.digests(KEY))
    assert len(engine.trainer.artifacts.digests(KEY)) == 5


def test_without_any_to_be_kept_the_next_training_still_goes_on_from_the_last(
    tmp_path: Path,
) -> None:
    engine = engine_at(tmp_path, NOW, "training.keep_unpromoted=0")
    first = engine.trainer.train(KEY, NOW)
    advance(engine, 30 * 24)
    failed = train_failures(engine, 3)
    assert set(engine.trainer.artifacts.digests(KEY)) == {first.digest, failed[-1]}
    assert Leaning.previous[-1] is not None
    assert json.loads(Leaning.previous[-1].files["learnt.json"])["chance"] == 0.51


def test_one_removed_by_another_process_while_it_is_promoted_is_there_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    later = advance(engine, 30 * 24)
    digest = train_failures(engine, 1)[0]
    write = engine.ledger.note

    def note(kind: str, about: str, as_of: str, body: Mapping[str, object]) -> str:
        # The other process looked before this is written, and removes after.
        assert engine.trainer.artifacts.remove(KEY, [digest], set) == [digest]
        return write(kind, about, as_of, body)

    with monkeypatch.context() as patch:
        patch.setattr(engine.ledger, "note", note)
        engine.trainer.promote(KEY, digest, later, "by hand")
    assert artifact_at(engine, later) == digest


def test_the_status_reads_each_training_and_each_card_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    advance(engine, 30 * 24)
    train_failures(engine, 2)
    engine.compose(engine.view(engine.latest_close()))
    before = model_status(engine)
    read: list[object] = []
    asked, original = engine.ledger.notes, Path.read_bytes

    def notes(kind: str, after: int = 0) -> list[Entry]:
        found = asked(kind, after)
        read.extend(found)
        return found

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        return original(path)

    with monkeypatch.context() as patch:
        patch.setattr(engine.ledger, "notes", notes)
        patch.setattr(Path, "read_bytes", read_bytes)
        assert [model_status(engine) for _ in range(3)] == [before] * 3
    assert not read
    assert (before[0].trainings, before[0].artifact) == (3, first.digest)
    assert before[0].trained_through == iso(first.span.trained_to)
    assert before[0].skill_t == first.skill.t
    # Another process that trains is seen at once, and one that starts now says the same.
    train_failures(engine_at(tmp_path, engine.clock.now()), 1)
    assert model_status(engine)[0].trainings == 4
    assert model_status(engine) == model_status(engine_at(tmp_path, engine.clock.now()))


def test_two_trainings_of_a_component_at_once_do_not_get_into_each_others_way(
    tmp_path: Path,
) -> None:
    engine, other = engine_at(tmp_path), engine_at(tmp_path)
    refused = []

    def meanwhile(done: float, total: float, **figures: float) -> None:
        with pytest.raises(TrainingError, match="being trained by another process") as caught:
            other.trainer.train(KEY, NOW)
        refused.append(str(caught.value))

    assert engine.trainer.train(KEY, NOW, meanwhile).promoted
    assert refused
    assert len(Leaning.seen) == 1
    assert not other.trainer.train(KEY, NOW).promoted


def test_a_models_folder_that_cannot_be_written_is_told_before_the_training(
    tmp_path: Path,
) -> None:
    engine = engine_at(tmp_path)
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models" / KEY).write_bytes(b"")
    with pytest.raises(StorageError, match=r"storage\.models"):
        engine.trainer.train(KEY, NOW)
    assert not Leaning.seen


def test_training_again_to_the_same_says_so(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first, second = (engine.trainer.train(KEY, NOW) for _ in range(2))
    assert second.digest == first.digest
    assert (second.promoted, second.why) == (False, "it is the same as the one in use")
    assert engine.trainer.trainings.by_key()[KEY].last["why"] == second.why
    Leaning.chance = 0.7
    assert "than the one in use" in engine.trainer.train(KEY, NOW).why


@pytest.mark.parametrize("field", ["trained_through", "trained_to", "known_at", "skill_t", "trust"])
def test_a_card_made_by_hand_is_told_and_the_rest_goes_on(tmp_path: Path, field: str) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    folder = tmp_path / "models" / KEY
    card = json.loads((folder / first.digest / "card.json").read_bytes())
    del card["about"][field]
    text = json.dumps(card).encode()
    digest = hashlib.sha256(text).hexdigest()[:32]
    shutil.copytree(folder / first.digest, folder / digest)
    (folder / digest / "card.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=rf"about\.{field}: Field required"):
        engine.trainer.promote(KEY, digest, NOW, "by hand")
    assert artifact_at(engine, NOW) == first.digest
    # In use all the same, by a row in the ledger.
    engine.champions.promote(Promotion(KEY, digest, NOW, 0, 1.0, "by hand"))
    (status,) = model_status(engine)
    assert (status.artifact, status.trained_through, status.skill_t) == (digest, None, None)
    assert engine.trainer.train(KEY, NOW).against is None


def test_a_training_that_fails_leaves_the_champion(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    Leaning.fails = True
    with pytest.raises(TrainingError, match="diverged"):
        engine.trainer.train(KEY, NOW)
    assert artifact_at(engine, NOW) == first.digest


def test_too_little_history_says_how_much_is_missing_and_when_it_will_be_there(
    tmp_path: Path,
) -> None:
    engine = engine_at(tmp_path, NOW, "history_days=20")
    rows = engine.market.rows_until(NOW)
    with pytest.raises(TrainingError) as caught:
        engine.trainer.train(KEY, NOW)
    missing = 624 - rows
    assert f"there are {rows}, {missing} are missing" in str(caught.value)
    assert iso(NOW + missing * HOUR) in str(caught.value)
    # And then it is there.
    engine.trainer.span(KEY, NOW + missing * HOUR)
    with pytest.raises(TrainingError):
        engine.trainer.span(KEY, NOW + (missing - 1) * HOUR)


def test_a_damaged_artifact_gives_way_to_the_last_good_one(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    later = advance(engine, 30 * 24)
    Leaning.quality = 0.5
    second = engine.trainer.train(KEY, later)
    assert second.promoted
    path = tmp_path / "models" / KEY / second.digest / "learnt.json"
    path.write_bytes(path.read_bytes() + b" ")
    fresh = engine_at(tmp_path, later)
    composed = fresh.compose(fresh.view(later))
    assert composed.artifacts[KEY] == first.digest
    assert second.digest[:8] in composed.silent[KEY]
    assert "learnt.json" in composed.silent[KEY]


def test_an_artifact_made_with_other_options_is_not_used(tmp_path: Path) -> None:
    engine_at(tmp_path).trainer.train(KEY, NOW)
    other = engine_at(tmp_path, NOW, "models.leaning.depth=4")
    composed = other.compose(other.view(NOW))
    assert KEY not in composed.artifacts
    assert "other options" in composed.silent[KEY]
    assert other.trainer.train(KEY, NOW).promoted


def test_going_back_uses_the_artifact_before_and_leaves_the_past(tmp_path: Path) -> None:
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


def test_there_may_be_nothing_to_go_back_to(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    with pytest.raises(LearningError, match="no artifact to go back to"):
        engine.trainer.roll_back(KEY, NOW)
    with pytest.raises(LearningError, match="0 artifacts begin with"):
        engine.trainer.promote(KEY, "abc", NOW, "by hand")


def test_a_replay_uses_the_artifact_that_was_used_then(tmp_path: Path) -> None:
    """A promotion decided later, though effective from the same row on, does not show."""
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
    assert all(made.same for made in replay(engine, engine.ledger.entries()))


def test_every_training_stands_in_the_ledger_and_its_chain_holds(tmp_path: Path) -> None:
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


def test_a_training_goes_on_from_the_latest_before_it(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    Leaning.quality = 0.0
    later = advance(engine, 24)
    assert not engine.trainer.train(KEY, later).promoted
    engine.trainer.train(KEY, later)
    engine.trainer.train(KEY, NOW - 24 * HOUR)
    before = [p and json.loads(p.files["learnt.json"])["quality"] for p in Leaning.previous]
    assert before == [None, 0.1, 0.0, None]


def test_a_training_that_was_stopped_is_finished_an_hour_later_on_the_same_rows(
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
    # Once it is finished, the next one begins on its own rows.
    engine.trainer.train(KEY, advance(engine, 30))
    assert Leaning.resumed[2] is None
    assert Leaning.seen[2][1] > Leaning.seen[1][1]


def test_one_that_was_stopped_long_ago_is_not_gone_on_with(tmp_path: Path) -> None:
    engine = engine_at(tmp_path)
    Leaning.stops = True
    with pytest.raises(KeyboardInterrupt):
        engine.trainer.train(KEY, NOW)
    Leaning.stops = False
    engine.trainer.train(KEY, advance(engine, 24 * 5))
    assert Leaning.resumed == [None, None]
