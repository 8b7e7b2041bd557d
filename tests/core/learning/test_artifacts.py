"""Artifacts on disk: written completely, read unchanged or refused, never executed."""

import hashlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from weft.components.trained import Artifact
from weft.foundation.errors import ArtifactError, StorageError, TrainingError
from weft.learning.artifacts import Artifacts, FolderCheckpoints, StoredArtifact

FILES = {"weights.safetensors": b"\x00\x01\x02" * 40, "table.json": b'{"a":1}'}
CARD = {"features": ["rsi", "macd"], "loss": 0.25, "none": None}
WHOLE = {
    "trained_through": "2026-03-01T00:00:00Z",
    "trained_to": 1_772_323_200_000_000,
    "known_at": 1_775_001_600_000_000,
    "skill_t": 2,
    "trust": 0.5,
}


def saved(folder: Path, **provenance: object) -> tuple[Artifacts, StoredArtifact]:
    artifacts = Artifacts(folder / "models")
    return artifacts, artifacts.keep("models.m", Artifact(FILES, CARD), provenance)


def test_artifact_is_stored_and_read(tmp_path: Path) -> None:
    artifacts, stored = saved(tmp_path, rows=5)
    read = artifacts.read("models.m", stored.digest)
    assert dict(read.artifact.files) == FILES
    assert read.artifact.card == CARD
    assert read.provenance == {"rows": 5}
    assert artifacts.digests("models.m") == [stored.digest]


def test_digest_covers_files_card_and_key(tmp_path: Path) -> None:
    artifacts, stored = saved(tmp_path, rows=5)
    assert artifacts.keep("models.m", Artifact(FILES, CARD), {"rows": 5}).digest == stored.digest
    assert artifacts.keep("models.m", Artifact(FILES, CARD), {"rows": 6}).digest != stored.digest
    changed = {**FILES, "table.json": b'{"a":2}'}
    assert artifacts.keep("models.m", Artifact(changed, CARD), {"rows": 5}).digest != stored.digest


@pytest.mark.parametrize("name", [*FILES, "card.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_damage_is_refused_with_the_file_name(tmp_path: Path, name: str, damage: str) -> None:
    artifacts, stored = saved(tmp_path)
    path = tmp_path / "models" / "models.m" / stored.digest / name
    content = path.read_bytes()
    if damage == "flip":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif damage == "truncate":
        path.write_bytes(content[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(ArtifactError, match=name):
        artifacts.read("models.m", stored.digest)


def test_card_of_another_artifact_is_refused(tmp_path: Path) -> None:
    """A rewritten card needs another folder name, and promotions name the folder."""
    artifacts, stored = saved(tmp_path)
    folder = tmp_path / "models" / "models.m" / stored.digest
    card = orjson.loads((folder / "card.json").read_bytes())
    card["files"]["table.json"] = "0" * 64
    (folder / "card.json").write_bytes(orjson.dumps(card))
    with pytest.raises(ArtifactError, match=r"card\.json"):
        artifacts.read("models.m", stored.digest)


@pytest.mark.parametrize(
    "name", ["model.pkl", "model.pt", "model.joblib", "../model.json", "a/b.json", "card.json"]
)
def test_unsafe_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be stored"):
        Artifacts(tmp_path).keep("models.m", Artifact({name: b""}, {}), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), b"bytes", {1: 2}, {"a": [object()]}])
def test_card_value_that_is_not_json_is_refused(tmp_path: Path, value: object) -> None:
    with pytest.raises(ArtifactError, match="card"):
        Artifacts(tmp_path).keep("models.m", Artifact({}, {"value": value}), {})


def test_checkpoint_loads_for_the_same_training_only(tmp_path: Path) -> None:
    mine = FolderCheckpoints(tmp_path / "c", {"rows": 10})
    assert mine.load() is None
    mine.save({"state.json": b"1"})
    mine.save({"state.json": b"2", "w.safetensors": b"w"})
    assert mine.load() == {"state.json": b"2", "w.safetensors": b"w"}
    assert FolderCheckpoints(tmp_path / "c", {"rows": 11}).load() is None
    mine.clear()
    assert mine.load() is None


def test_unsafe_file_in_a_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        FolderCheckpoints(tmp_path / "c", {}).save({"state.pt": b""})


def test_provenance_reads_each_card_once_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, stored = saved(tmp_path, **WHOLE)
    opened: list[str] = []
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert [dict(artifacts.provenance("models.m", stored.digest)) for _ in range(3)] == [WHOLE] * 3
    assert opened == ["card.json"]


def test_cached_card_does_not_hide_damage(tmp_path: Path) -> None:
    artifacts, stored = saved(tmp_path, **WHOLE, rows=5)
    assert artifacts.provenance("models.m", stored.digest)["rows"] == 5
    folder = tmp_path / "models" / "models.m" / stored.digest
    (folder / "table.json").write_bytes(b'{"a":2}')
    with pytest.raises(ArtifactError, match=r"table\.json"):
        artifacts.read("models.m", stored.digest)
    card = orjson.loads((folder / "card.json").read_bytes())
    card["provenance"]["rows"] = 6
    (folder / "card.json").write_bytes(orjson.dumps(card))
    assert artifacts.provenance("models.m", stored.digest)["rows"] == 5
    with pytest.raises(ArtifactError, match=r"card\.json"):
        artifacts.read("models.m", stored.digest)
    with pytest.raises(ArtifactError, match=r"card\.json"):
        Artifacts(tmp_path / "models").provenance("models.m", stored.digest)


def test_card_cache_is_limited(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    provenances = [WHOLE | {"n": n} for n in range(200)]
    built = [
        artifacts.keep("models.m", Artifact({}, {}), provenance).digest
        for provenance in provenances
    ]
    assert [artifacts.provenance("models.m", digest)["n"] for digest in built] == list(range(200))
    assert len(artifacts._provenances) == 128


# Handwritten cards in a folder with their digest


def by_hand(folder: Path, text: bytes) -> tuple[Artifacts, str]:
    digest = hashlib.sha256(text).hexdigest()[:32]
    place = folder / "models" / "models.m" / digest
    place.mkdir(parents=True)
    (place / "card.json").write_bytes(text)
    return Artifacts(folder / "models"), digest


def card_with(**fields: object) -> bytes:
    card = {"format": 1, "key": "models.m", "provenance": WHOLE, "card": {}, "files": {}}
    return orjson.dumps({name: value for name, value in (card | fields).items() if value != ...})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"{oops", "not JSON"),
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "holds a list, expected an object"),
        (b"7", "holds a int"),
        (b"{}", "has format None"),
        (b'{"format":"1"}', "has format '1'"),
        (b'{"format":1}', "key: Field required"),
        (card_with(files=...), "files: Field required"),
        (card_with(files=["a.json"]), "files: .* got"),
        (card_with(files={"a.json": 5}), r"files\.a\.json: .* got 5"),
        (card_with(files={"a.json": "short"}), r"files\.a\.json: .* got 'short'"),
        (card_with(card=None), "card: .* got None"),
        (card_with(provenance="all is well"), "provenance: .* got 'all is well'"),
        (card_with(key="models.other"), "key is 'models.other', expected 'models.m'"),
        (card_with(key=5), "key: .* got 5"),
    ],
)
def test_invalid_card_is_refused_with_the_reason(tmp_path: Path, text: bytes, message: str) -> None:
    artifacts, digest = by_hand(tmp_path, text)
    for ask in (artifacts.read, artifacts.provenance):
        with pytest.raises(ArtifactError, match=message) as caught:
            ask("models.m", digest)
        assert digest in str(caught.value)
    assert artifacts.digests("models.m") == [digest]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, ...) for name in WHOLE),
        *((name, None) for name in WHOLE),
        ("trust", "high"),
        ("trust", 99),
        ("trust", -0.1),
        ("trust", True),
        ("skill_t", "2"),
        ("known_at", "2026-03-01"),
        ("known_at", 10**18),
        ("known_at", 1.5),
        ("trained_to", -(10**18)),
        ("trained_through", "once upon a time"),
        ("trained_through", "2026-03-01T00:00:00"),
        ("trained_through", 5),
    ],
)
def test_card_without_a_required_field_is_refused(
    tmp_path: Path, field: str, value: object
) -> None:
    provenance = {
        name: output for name, output in (WHOLE | {field: value}).items() if output != ...
    }
    artifacts, digest = by_hand(tmp_path, card_with(provenance=provenance))
    for _ in range(2):
        with pytest.raises(ArtifactError, match=rf"card\.json: provenance\.{field}: ") as caught:
            artifacts.provenance("models.m", digest)
    assert digest in str(caught.value)


def test_complete_handwritten_card_is_read(tmp_path: Path) -> None:
    artifacts, digest = by_hand(tmp_path, card_with())
    assert artifacts.provenance("models.m", digest) == WHOLE
    assert artifacts.read("models.m", digest).provenance == WHOLE


# Unusable folders


def test_unlistable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts, _ = saved(tmp_path)

    def iterdir(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", iterdir)
    folder = re.escape(str(tmp_path / "models" / "models.m"))
    with pytest.raises(StorageError, match=rf"{folder}.*Permission denied"):
        artifacts.digests("models.m")
    # Too long a name, which not even an administrator may look up.
    with pytest.raises(StorageError, match="cannot be listed"):
        artifacts.digests("models." + "m" * 300)


def test_unreadable_artifact_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts, stored = saved(tmp_path, rows=1)
    _, other = saved(tmp_path, rows=2)
    original = Path.is_file

    def is_file(path: Path) -> bool:
        if path.parent.name == stored.digest:
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert artifacts.digests("models.m") == sorted([stored.digest, other.digest])


@pytest.mark.parametrize("in_the_way", ["models", "models/models.m"])
def test_unwritable_folder_is_refused_before_training(tmp_path: Path, in_the_way: str) -> None:
    place = tmp_path / in_the_way
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(b"")
    with (
        pytest.raises(StorageError, match=r"storage\.models"),
        Artifacts(tmp_path / "models").training("models.m"),
    ):
        pytest.fail("the training began")


def test_folder_that_became_unwritable_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = Artifacts(tmp_path / "models")
    with artifacts.training("models.m"):
        pass

    def mkdtemp(*names: object) -> str:
        raise PermissionError(13, "Permission denied", str(names[-1]))

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    with (
        pytest.raises(StorageError, match=r"Permission denied.*storage\.models"),
        artifacts.training("models.m"),
    ):
        pytest.fail("the training began")


def test_error_of_a_training_propagates_and_frees_the_lock(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "models")
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match="mine"), artifacts.training("models.m"):
            raise FileNotFoundError("mine")
    assert artifacts.digests("models.m") == []
    assert [path.name for path in (tmp_path / "models" / "models.m").iterdir()] == [".training"]


TRAIN = """
import sys
from pathlib import Path
from weft.learning.artifacts import Artifacts
with Artifacts(Path(sys.argv[1])).training("models.m"):
    print("begun", flush=True)
    sys.stdin.readline()
"""


def test_second_process_cannot_train_the_same_component(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path / "models")
    command = [sys.executable, "-c", TRAIN, str(artifacts.folder)]
    other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdin is not None
    assert other.stdout is not None
    assert other.stdout.readline() == "begun\n"
    with (
        pytest.raises(
            TrainingError, match=r"models\.m.* is being trained by another process.*stop"
        ),
        artifacts.training("models.m"),
    ):
        pytest.fail("both train")
    with artifacts.training("models.other"):
        pass
    other.communicate("\n", timeout=60)
    with artifacts.training("models.m"):
        pass
