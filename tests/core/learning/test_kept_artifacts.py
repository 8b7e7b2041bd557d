"""Artifacts over many trainings: retention, refusals and concurrent processes."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.core.learning.leaning import KEY, NOW, Leaning, advance, artifact_at, engine_at
from weft.engine.engine import Engine
from weft.engine.model_status import model_status
from weft.foundation.errors import ArtifactError, StorageError, TrainingError
from weft.foundation.times import iso
from weft.learning.champions import Promotion
from weft.ledger.ledger import Entry


def train_failures(engine: Engine, count: int) -> list[str]:
    """Train artifacts that are not promoted, and return their digests."""
    built = []
    for number in range(count):
        # Better than the baseline, worse than the champion.
        Leaning.quality, Leaning.chance = 0.05, 0.5 + number / 100
        trial = engine.trainer.train(KEY, engine.latest_close())
        assert not trial.promoted
        built.append(trial.digest)
    return built


def test_promoted_artifacts_and_newest_others_stay_after_trainings(tmp_path: Path) -> None:
    engine = engine_at(tmp_path, NOW, "training.keep_unpromoted=2")
    first = engine.trainer.train(KEY, NOW)
    advance(engine, 30 * 24)
    failed = train_failures(engine, 4)
    assert set(engine.trainer.artifacts.digests(KEY)) == {first.digest, *failed[2:]}
    Leaning.quality, Leaning.chance = 0.4, 0.9
    second = engine.trainer.train(KEY, engine.latest_close())
    assert second.promoted
    train_failures(engine, 3)
    # Rollback and replay need earlier champions.
    engine.trainer.roll_back(KEY, engine.latest_close())
    assert artifact_at(engine, engine.latest_close()) == first.digest
    engine.trainer.promote(KEY, second.digest, engine.latest_close(), "by hand")
    # The last unpromoted artifact can still be promoted, and then stays.
    by_hand = engine.trainer.artifacts.digests(KEY)
    chosen = next(item for item in by_hand if item not in {first.digest, second.digest})
    engine.trainer.promote(KEY, chosen, engine.latest_close(), "by hand")
    Leaning.quality = 0.01
    train_failures(engine, 4)
    assert {first.digest, second.digest, chosen} <= set(engine.trainer.artifacts.digests(KEY))
    assert len(engine.trainer.artifacts.digests(KEY)) == 5


def test_next_training_continues_from_the_last_artifact(
    tmp_path: Path,
) -> None:
    engine = engine_at(tmp_path, NOW, "training.keep_unpromoted=0")
    first = engine.trainer.train(KEY, NOW)
    advance(engine, 30 * 24)
    failed = train_failures(engine, 3)
    assert set(engine.trainer.artifacts.digests(KEY)) == {first.digest, failed[-1]}
    assert Leaning.previous[-1] is not None
    assert json.loads(Leaning.previous[-1].files["learnt.json"])["chance"] == 0.51


def test_artifact_removed_during_its_promotion_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at(tmp_path)
    engine.trainer.train(KEY, NOW)
    later = advance(engine, 30 * 24)
    digest = train_failures(engine, 1)[0]
    write = engine.ledger.note

    def note(kind: str, about: str, as_of: str, body: Mapping[str, object]) -> str:
        # The other process reads the ledger before this row, and removes after it.
        assert engine.trainer.artifacts.remove(KEY, [digest], set) == [digest]
        return write(kind, about, as_of, body)

    with monkeypatch.context() as patch:
        patch.setattr(engine.ledger, "note", note)
        engine.trainer.promote(KEY, digest, later, "by hand")
    assert artifact_at(engine, later) == digest


def test_status_reads_each_training_and_card_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    advance(engine, 30 * 24)
    train_failures(engine, 2)
    engine.compose(engine.view(engine.latest_close()))
    before = model_status(engine)
    read: list[object] = []
    component, original = engine.ledger.notes, Path.read_bytes

    def notes(kind: str, after: int = 0) -> list[Entry]:
        result = component(kind, after)
        read.extend(result)
        return result

    def read_bytes(path: Path) -> bytes:
        # The progress file of a running training is read each time.
        if path.name != ".under-way.json":
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
    # Trainings of another process are visible immediately.
    train_failures(engine_at(tmp_path, engine.clock.now()), 1)
    assert model_status(engine)[0].trainings == 4
    assert model_status(engine) == model_status(engine_at(tmp_path, engine.clock.now()))


def test_concurrent_training_of_a_component_is_refused(
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


def test_unwritable_models_folder_is_refused_before_training(
    tmp_path: Path,
) -> None:
    engine = engine_at(tmp_path)
    (tmp_path / "models").mkdir(exist_ok=True)
    (tmp_path / "models" / KEY).write_bytes(b"")
    with pytest.raises(StorageError, match=r"storage\.models"):
        engine.trainer.train(KEY, NOW)
    assert not Leaning.seen


@pytest.mark.parametrize("field", ["trained_through", "trained_to", "known_at", "skill_t", "trust"])
def test_invalid_card_is_reported_and_others_work(tmp_path: Path, field: str) -> None:
    engine = engine_at(tmp_path)
    first = engine.trainer.train(KEY, NOW)
    folder = tmp_path / "models" / KEY
    card = json.loads((folder / first.digest / "card.json").read_bytes())
    del card["provenance"][field]
    text = json.dumps(card).encode()
    digest = hashlib.sha256(text).hexdigest()[:32]
    shutil.copytree(folder / first.digest, folder / digest)
    (folder / digest / "card.json").write_bytes(text)
    with pytest.raises(ArtifactError, match=rf"provenance\.{field}: Field required"):
        engine.trainer.promote(KEY, digest, NOW, "by hand")
    assert artifact_at(engine, NOW) == first.digest
    # Promoted by a row in the ledger.
    engine.champions.promote(Promotion(KEY, digest, NOW, 0, 1.0, "by hand"))
    (status,) = model_status(engine)
    assert (status.artifact, status.trained_through, status.skill_t) == (digest, None, None)
    assert engine.trainer.train(KEY, NOW).against is None


@pytest.mark.parametrize("other", ["horizon_candles=48", "interval=4h"])
def test_artifact_of_another_interval_or_horizon_is_not_used(tmp_path: Path, other: str) -> None:
    trial = engine_at(tmp_path).trainer.train(KEY, NOW)
    engine = engine_at(tmp_path, NOW, other, "base_interval=1h")
    signal = engine.report(engine.compose(engine.view(NOW))).signals[0]
    assert signal.forecasts == ()
    name, _, wanted = other.partition("=")
    assert f"was trained for {name} " in signal.missing_models[KEY]
    assert f"config has {wanted}" in signal.missing_models[KEY]
    with pytest.raises(ArtifactError, match=f"was trained for {name}"):
        engine.trainer.promote(KEY, trial.digest, NOW, "by hand")


def test_damaged_champion_is_replaced_by_the_previous_one(tmp_path: Path) -> None:
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
    assert second.digest[:8] in composed.missing_models[KEY]
    assert "learnt.json" in composed.missing_models[KEY]


def test_artifact_of_other_options_is_not_used(tmp_path: Path) -> None:
    engine_at(tmp_path).trainer.train(KEY, NOW)
    other = engine_at(tmp_path, NOW, "models.leaning.depth=4")
    composed = other.compose(other.view(NOW))
    assert KEY not in composed.artifacts
    assert "other options" in composed.missing_models[KEY]
    assert other.trainer.train(KEY, NOW).promoted
