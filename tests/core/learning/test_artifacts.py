"""Artifacts on disk: kept whole, read back unchanged or not at all, never executed."""

from pathlib import Path

import orjson
import pytest

from weft.components.trained import Artifact
from weft.errors import ArtifactError
from weft.learning.artifacts import Artifacts, FolderCheckpoints, Kept

FILES = {"weights.safetensors": b"\x00\x01\x02" * 40, "table.json": b'{"a":1}'}
CARD = {"features": ["rsi", "macd"], "loss": 0.25, "none": None}


def kept(folder: Path, **about: object) -> tuple[Artifacts, Kept]:
    artifacts = Artifacts(folder / "models")
    return artifacts, artifacts.keep("models.m", Artifact(FILES, CARD), about)


def test_what_was_kept_is_read_back(tmp_path: Path) -> None:
    artifacts, one = kept(tmp_path, rows=5)
    read = artifacts.read("models.m", one.digest)
    assert dict(read.artifact.files) == FILES
    assert read.artifact.card == CARD
    assert read.about == {"rows": 5}
    assert artifacts.digests("models.m") == [one.digest]


def test_the_digest_says_all_that_is_in_it(tmp_path: Path) -> None:
    artifacts, one = kept(tmp_path, rows=5)
    assert artifacts.keep("models.m", Artifact(FILES, CARD), {"rows": 5}).digest == one.digest
    assert artifacts.keep("models.m", Artifact(FILES, CARD), {"rows": 6}).digest != one.digest
    changed = {**FILES, "table.json": b'{"a":2}'}
    assert artifacts.keep("models.m", Artifact(changed, CARD), {"rows": 5}).digest != one.digest


@pytest.mark.parametrize("name", [*FILES, "card.json"])
@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "remove"])
def test_any_damage_is_noticed_and_named(tmp_path: Path, name: str, damage: str) -> None:
    artifacts, one = kept(tmp_path)
    path = tmp_path / "models" / "models.m" / one.digest / name
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
        artifacts.read("models.m", one.digest)


def test_a_card_under_another_name_is_refused(tmp_path: Path) -> None:
    """Whoever rewrites the card has to rename the folder, and promotions name the folder."""
    artifacts, one = kept(tmp_path)
    folder = tmp_path / "models" / "models.m" / one.digest
    card = orjson.loads((folder / "card.json").read_bytes())
    card["files"]["table.json"] = "0" * 64
    (folder / "card.json").write_bytes(orjson.dumps(card))
    with pytest.raises(ArtifactError, match=r"card\.json"):
        artifacts.read("models.m", one.digest)


@pytest.mark.parametrize(
    "name", ["model.pkl", "model.pt", "model.joblib", "../model.json", "a/b.json", "card.json"]
)
def test_no_file_that_could_run_code_or_lies_elsewhere_is_kept(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="cannot be kept"):
        Artifacts(tmp_path).keep("models.m", Artifact({name: b""}, {}), {})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [float("nan"), b"bytes", {1: 2}, {"a": [object()]}])
def test_a_card_holds_json_values_alone(tmp_path: Path, value: object) -> None:
    with pytest.raises(ArtifactError, match="card"):
        Artifacts(tmp_path).keep("models.m", Artifact({}, {"value": value}), {})


def test_a_training_goes_on_from_its_own_checkpoint_alone(tmp_path: Path) -> None:
    mine = FolderCheckpoints(tmp_path / "c", {"rows": 10})
    assert mine.load() is None
    mine.save({"state.json": b"1"})
    mine.save({"state.json": b"2", "w.safetensors": b"w"})
    assert mine.load() == {"state.json": b"2", "w.safetensors": b"w"}
    assert FolderCheckpoints(tmp_path / "c", {"rows": 11}).load() is None
    mine.clear()
    assert mine.load() is None


def test_a_checkpoint_is_safe_as_well(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        FolderCheckpoints(tmp_path / "c", {}).save({"state.pt": b""})


def test_what_is_said_of_an_artifact_is_read_once_and_no_file_but_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts, one = kept(tmp_path, rows=5)
    opened: list[str] = []
    original = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        opened.append(path.name)
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    assert [dict(artifacts.about("models.m", one.digest)) for _ in range(3)] == [{"rows": 5}] * 3
    assert opened == ["card.json"]


def test_what_is_remembered_of_an_artifact_makes_none_sound(tmp_path: Path) -> None:
    artifacts, one = kept(tmp_path, rows=5)
    assert artifacts.about("models.m", one.digest)["rows"] == 5
    folder = tmp_path / "models" / "models.m" / one.digest
    (folder / "table.json").write_bytes(b'{"a":2}')
    with pytest.raises(ArtifactError, match=r"table\.json"):
        artifacts.read("models.m", one.digest)
    card = orjson.loads((folder / "card.json").read_bytes())
    card["about"]["rows"] = 6
    (folder / "card.json").write_bytes(orjson.dumps(card))
    assert artifacts.about("models.m", one.digest)["rows"] == 5
    with pytest.raises(ArtifactError, match=r"card\.json"):
        artifacts.read("models.m", one.digest)
    with pytest.raises(ArtifactError, match=r"card\.json"):
        Artifacts(tmp_path / "models").about("models.m", one.digest)


def test_only_so_many_cards_are_remembered(tmp_path: Path) -> None:
    artifacts = Artifacts(tmp_path)
    made = [artifacts.keep("models.m", Artifact({}, {}), {"n": n}).digest for n in range(200)]
    assert [artifacts.about("models.m", digest)["n"] for digest in made] == list(range(200))
    assert len(artifacts._abouts) == 128
