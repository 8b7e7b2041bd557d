"""Checkpoints and artifacts: saved files come back, damaged ones are refused or ignored."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from weft.components.trained import Artifact
from weft.foundation.errors import ArtifactError
from weft.learning.cards import check_files
from weft_plugins.checkpoints import (
    STATE,
    Checkpoint,
    digest_of,
    load_checkpoint,
    pack_tensors,
    sealed,
    sealed_file,
    unpack_tensors,
)

WHERE = "model nets"
CHECKPOINT = Checkpoint(
    {"epoch": 3, "losses": [0.1 + 0.2, 1e-300], "best": None, "name": "é"},
    {"weights.safetensors": b"weights", "trees.ubj": b""},
)


class Memory:
    """Checkpoints of which one is saved."""

    def __init__(self, files: Mapping[str, bytes] | None) -> None:
        self.files = files

    def load(self) -> Mapping[str, bytes] | None:
        return self.files

    def save(self, files: Mapping[str, bytes]) -> None:
        self.files = files


def test_checkpoint_comes_back_to_the_last_bit_in_safe_formats() -> None:
    files = CHECKPOINT.to_files()
    check_files(Artifact(files, {}), WHERE)
    assert Checkpoint.from_files(files, WHERE) == CHECKPOINT
    assert Checkpoint.from_files({**files, "other.json": b"{}"}, WHERE) == CHECKPOINT
    assert load_checkpoint(Memory(files), WHERE) == CHECKPOINT
    assert load_checkpoint(Memory(None), WHERE) is None


@pytest.mark.parametrize("name", [STATE, "weights.safetensors", "trees.ubj"])
def test_changed_truncated_or_missing_file_is_refused_and_named(name: str) -> None:
    files = CHECKPOINT.to_files()
    for content in (files[name][:-1], files[name] + b" x", b"[]", b"{}", b"\x80\x04K\x01."):
        if content == files[name]:
            continue
        with pytest.raises(ArtifactError, match=name):
            Checkpoint.from_files({**files, name: content}, WHERE)
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        Checkpoint.from_files({n: c for n, c in files.items() if n != name}, WHERE)


def test_any_changed_byte_of_the_state_is_refused() -> None:
    files = CHECKPOINT.to_files()
    for place in range(0, len(files[STATE]), 7):
        content = bytearray(files[STATE])
        content[place] ^= 1
        with pytest.raises(ArtifactError):
            Checkpoint.from_files({**files, STATE: bytes(content)}, WHERE)


def test_state_of_another_format_is_refused_with_both_formats() -> None:
    text = '{"format": 2, "sha256": {}, "state": {}}'
    sealed_text = text[:-1] + f', "seal": "{digest_of(text.encode())}"}}'
    with pytest.raises(ArtifactError, match="format 2, expected 1"):
        Checkpoint.from_files({STATE: sealed_text.encode()}, WHERE)


def test_damaged_checkpoint_is_ignored_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    files = {**CHECKPOINT.to_files(), "trees.ubj": b"other"}
    with caplog.at_level(logging.WARNING):
        assert load_checkpoint(Memory(files), WHERE) is None
    assert "training starts from the beginning: model nets: trees.ubj was" in caplog.text


def test_state_that_is_not_json_cannot_be_saved() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        replace(CHECKPOINT, state={"loss": float("nan")}).to_files()


def test_sealed_artifact_gives_its_file_and_refuses_a_changed_one() -> None:
    artifact = sealed({"model.ubj": b"trees"}, {"rows": 5})
    assert artifact.card == {"rows": 5, "sha256": {"model.ubj": digest_of(b"trees")}}
    assert sealed_file(artifact, "model.ubj", WHERE) == b"trees"
    with pytest.raises(ArtifactError, match=r"model nets: model\.ubj was truncated or changed"):
        sealed_file(replace(artifact, files={"model.ubj": b"tree"}), "model.ubj", WHERE)
    with pytest.raises(ArtifactError, match=r"model\.ubj is missing.*weft train"):
        sealed_file(replace(artifact, files={}), "model.ubj", WHERE)
    for card in ({}, {"sha256": None}, {"sha256": {"other": "0"}}):
        with pytest.raises(ArtifactError, match="truncated or changed"):
            sealed_file(replace(artifact, card=card), "model.ubj", WHERE)


def test_tensors_come_back_with_shape_and_type() -> None:
    arrays: dict[str, np.ndarray[Any, np.dtype[Any]]] = {
        "scalar": np.array(3.5, np.float32),
        "matrix": np.arange(6, dtype=np.float64).reshape(2, 3),
        "mask": np.array([0, 1], np.uint8),
        "empty": np.empty((0, 7), np.int64),
    }
    loaded = unpack_tensors(pack_tensors(arrays), "weights.safetensors", WHERE)
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
        assert (loaded[name].shape, loaded[name].dtype) == (array.shape, array.dtype)


@pytest.mark.parametrize("content", [b"", b"\x80\x04K\x01.", b"\xff" * 64])
def test_file_without_tensors_is_refused_and_named(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"model nets: weights\.safetensors cannot be loaded"):
        unpack_tensors(content, "weights.safetensors", WHERE)
