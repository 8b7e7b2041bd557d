"""Unusable champions: how often artifacts are read, and when again."""

import errno
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from weft import Artifact, Evaluation, Forecast, Model, Training, View, candles
from weft.components.base import ComponentConfig
from weft.components.needs import Need
from weft.config.resolve import canonical_options
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ArtifactError
from weft.foundation.times import HOUR, parse_time
from weft.learning.artifacts import Artifacts
from weft.learning.champions import ActiveArtifacts, Champions, Promotion
from weft.ledger.ledger import Ledger

NOW = parse_time("2026-04-01T00:00:00Z")
KEY = "models.plain"


class Plain(Model):
    """Model that loads the number of an artifact of its version."""

    name = "plain"
    version: ClassVar[int] = 1

    class Config(ComponentConfig):
        """Options."""

        depth: int = 3

    @property
    def needs(self) -> Sequence[Need]:
        return [candles(warmup=0)]

    def fit(self, view: View, training: Training) -> Artifact:
        raise NotImplementedError

    def load(self, artifact: Artifact) -> int:
        content = json.loads(artifact.files["learnt.json"])
        if content["version"] != Plain.version:
            raise ArtifactError(f"has version {content['version']}", where="model plain")
        return int(content["number"])

    def predict(self, view: View) -> Forecast:
        raise NotImplementedError

    def evaluate(self, view: View, training: Training) -> Evaluation:
        raise NotImplementedError


class Registry:
    """Artifacts of one folder, and their promotions."""

    def __init__(self, folder: Path) -> None:
        self.clock = SimulatedClock(NOW)
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db", self.clock)
        self.artifacts = Artifacts(folder / "models")
        self.champions = Champions(self.ledger, self.artifacts)

    def keep(self, number: int, component: Plain | None = None, version: int = 1) -> str:
        component = component or Plain(Plain.Config())
        content = json.dumps({"number": number, "version": version}).encode()
        about = {"component": "model plain", "options": canonical_options(component.config)}
        return self.artifacts.keep(KEY, Artifact({"learnt.json": content}, {}), about).digest

    def promote(self, digest: str, effective_at: int = NOW) -> None:
        # Through another connection to the ledger, as a training process does.
        self.clock.advance_to(self.clock.now() + 1)
        others = Champions(self.ledger, self.artifacts)
        others.promote(Promotion(KEY, digest, effective_at, 0, 1.0, "for a test"))

    def file(self, digest: str) -> Path:
        return self.artifacts.folder / KEY / digest / "learnt.json"

    def now(self, component: Plain | None = None) -> ActiveArtifacts:
        return self.champions.active_artifacts({KEY: component or Plain(Plain.Config())}, NOW)

    def number(self) -> int | None:
        learned = self.now().learned.get(KEY)
        return None if learned is None else learned.ready


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each file was read."""
    counted: Counter[Path] = Counter()
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        counted[path] += 1
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    monkeypatch.setattr(Plain, "version", 1)
    return counted


def damage(path: Path) -> bytes:
    """Change one bit of a file, and return the old content."""
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return content


def test_damaged_artifact_is_opened_once_and_reported_every_time(
    registry: Registry, read: Counter[Path]
) -> None:
    good, damaged = registry.keep(1), registry.keep(2)
    registry.promote(good)
    registry.promote(damaged)
    damage(registry.file(damaged))
    read.clear()
    reports = [registry.now() for _ in range(5)]
    assert read[registry.file(damaged)] == 1
    assert all(item.learned[KEY].digest == good for item in reports)
    problems = {item.problems[KEY] for item in reports}
    assert len(problems) == 1
    assert damaged[:8] in problems.pop()


def test_artifact_of_other_options_is_opened_once(registry: Registry, read: Counter[Path]) -> None:
    digest = registry.keep(1)
    registry.promote(digest)
    other = Plain(Plain.Config(depth=4))
    reports = [registry.now(other) for _ in range(5)]
    assert read[registry.file(digest)] == 1
    assert all("other options" in item.problems[KEY] for item in reports)
    # Refusals are cached for each set of options.
    assert registry.number() == 1


def test_artifact_of_another_version_is_reopened_after_a_promotion(
    registry: Registry, read: Counter[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = registry.keep(1), registry.keep(2, version=2)
    registry.promote(new)
    assert [registry.number() for _ in range(5)] == [None] * 5
    assert read[registry.file(new)] == 1
    monkeypatch.setattr(Plain, "version", 2)
    assert registry.number() is None
    assert read[registry.file(new)] == 1
    # Effective earlier, so the damaged artifact stays the champion.
    registry.promote(old, NOW - HOUR)
    assert registry.number() == 2
    assert read[registry.file(new)] == 2


def test_unloadable_artifact_is_skipped(registry: Registry) -> None:
    registry.promote(registry.keep(1))
    # An error of the component's code on an unexpected file.
    foreign = Artifact({"learnt.json": b"{}"}, {})
    about = {"component": "model plain", "options": canonical_options(Plain(Plain.Config()).config)}
    registry.promote(registry.artifacts.keep(KEY, foreign, about).digest)
    assert registry.number() == 1
    assert "cannot be loaded: KeyError: 'version'" in registry.now().problems[KEY]


def test_repaired_artifact_is_used(registry: Registry, read: Counter[Path]) -> None:
    digest = registry.keep(1)
    registry.promote(digest)
    content = damage(registry.file(digest))
    assert [registry.number() for _ in range(3)] == [None] * 3
    registry.file(digest).write_bytes(content)
    assert registry.number() == 1
    assert not registry.now().problems


def test_artifact_retrained_identically_is_used(registry: Registry) -> None:
    digest = registry.keep(1)
    registry.promote(digest)
    damage(registry.file(digest))
    (registry.file(digest).parent / "card.json").unlink()
    assert registry.number() is None
    assert registry.keep(1) == digest
    assert registry.number() == 1


def test_restored_folder_is_used(registry: Registry, read: Counter[Path]) -> None:
    digest = registry.keep(1)
    registry.promote(digest)
    folder = registry.file(digest).parent
    aside = folder.rename(folder.parent.parent / "aside")
    assert [registry.number() for _ in range(3)] == [None] * 3
    assert read[folder / "card.json"] == 1
    aside.rename(folder)
    assert registry.number() == 1


def test_promoted_and_rolled_back_artifacts_are_used(
    registry: Registry, read: Counter[Path]
) -> None:
    damaged, good = registry.keep(1), registry.keep(2)
    registry.promote(damaged)
    content = damage(registry.file(damaged))
    assert registry.number() is None
    registry.promote(good)
    assert registry.number() == 2
    registry.file(damaged).write_bytes(content)
    registry.promote(damaged)
    assert registry.number() == 1


def test_new_process_reads_artifacts_again(registry: Registry, read: Counter[Path]) -> None:
    digest = registry.keep(1)
    registry.promote(digest)
    damage(registry.file(digest))
    read.clear()
    for _ in range(2):
        registry.champions = Champions(registry.ledger, registry.artifacts)
        assert registry.number() is None
    assert read[registry.file(digest)] == 2


def test_temporarily_unreadable_file_is_read_the_next_time(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = registry.keep(1)
    registry.promote(digest)

    def refuse(path: Path) -> Any:
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", refuse)
        assert "Too many open files" in registry.now().problems[KEY]
    assert registry.number() == 1


def test_in_use_reads_the_artifact_from_disk(registry: Registry, read: Counter[Path]) -> None:
    good, champion = registry.keep(1), registry.keep(2)
    registry.promote(good)
    registry.promote(champion)
    component = Plain(Plain.Config())
    assert registry.number() == 2
    saved = registry.champions.stored_champion(KEY, component, NOW)
    assert saved is not None
    assert saved.digest == champion
    damage(registry.file(champion))
    saved = registry.champions.stored_champion(KEY, component, NOW)
    assert saved is not None
    assert saved.digest == good


def test_loaded_artifacts_are_limited(registry: Registry, read: Counter[Path]) -> None:
    """The last used artifacts stay loaded; an older one is read again for history."""
    digests = [registry.keep(number) for number in range(8)]
    for number, digest in enumerate(digests):
        registry.promote(digest, NOW - (8 - number) * HOUR)
        assert registry.number() == number
    read.clear()
    assert [registry.number() for _ in range(3)] == [7, 7, 7]
    assert not read
    early = registry.champions.active_artifacts({KEY: Plain(Plain.Config())}, NOW - 8 * HOUR)
    assert early.learned[KEY].ready == 0
    assert read[registry.file(digests[0])] == 1
    assert len(registry.champions._ready) == 3
