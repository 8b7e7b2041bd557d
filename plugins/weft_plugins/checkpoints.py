"""Files of trainings and artifacts: JSON and tensors without code, each with a SHA-256 digest.

All models, regimes and sizers save their state as a `Checkpoint` and write their artifacts with
`sealed`, so that a truncated or changed file is refused before anything parses it.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from numpy.typing import NDArray

from weft.components.trained import Artifact, Checkpoints
from weft.foundation.dependencies import require
from weft.foundation.errors import ArtifactError

STATE: Final = "state.json"
"""File of a checkpoint with its JSON values and the digests of the other files."""

_FORMAT: Final = 1
_DIGESTS: Final = "sha256"
_SEAL: Final = "seal"
_HINT: Final = "Train it again with `weft train`"

_log = logging.getLogger(__name__)

Arrays = Mapping[str, NDArray[Any]]
"""Arrays by the name of their tensor."""


def digest_of(content: bytes) -> str:
    """Return the SHA-256 digest of a file's content, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """State of a training between two steps.

    Attributes:
        state: JSON values without NaN.
        files: contents by file name.
    """

    state: Mapping[str, Any]
    files: Mapping[str, bytes]

    def to_files(self) -> dict[str, bytes]:
        """Return the checkpoint as files: the given ones, and `STATE` with their digests."""
        digests = {name: digest_of(content) for name, content in self.files.items()}
        body = {"format": _FORMAT, "state": dict(self.state), _DIGESTS: digests}
        text = _canonical({**body, _SEAL: digest_of(_canonical(body))})
        return {**self.files, STATE: text}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes], where: str) -> Self:
        """Load a checkpoint from the files of `to_files`; further files are ignored.

        Args:
            files: contents by file name.
            where: component, for error messages.

        Raises:
            ArtifactError: a file is missing, truncated or changed, or of another format.
        """
        body = _state_of(files, where)
        digests = body[_DIGESTS]
        for name, digest in digests.items():
            _expect_digest(files.get(name), digest, name, where)
        return cls(body["state"], {name: files[name] for name in digests})


def load_checkpoint(checkpoints: Checkpoints, where: str) -> Checkpoint | None:
    """Return the saved checkpoint of a training; None where there is none or it is damaged.

    A damaged checkpoint is logged: the training then starts from the beginning.
    """
    files = checkpoints.load()
    if files is None:
        return None
    try:
        return Checkpoint.from_files(files, where)
    except ArtifactError as error:
        _log.warning("training starts from the beginning: %s", error)
        return None


def sealed(files: Mapping[str, bytes], card: Mapping[str, Any]) -> Artifact:
    """Return an artifact whose card holds the digest of each of its files."""
    digests = {name: digest_of(content) for name, content in files.items()}
    return Artifact(files, {**card, _DIGESTS: digests})


def sealed_file(artifact: Artifact, name: str, where: str) -> bytes:
    """Return the content of an artifact's file, checked against the digest on its card.

    Raises:
        ArtifactError: the file is missing, truncated or changed.
    """
    digests = artifact.card.get(_DIGESTS)
    digest = digests.get(name) if isinstance(digests, Mapping) else None
    return _expect_digest(artifact.files.get(name), digest, name, where)


def pack_tensors(arrays: Arrays) -> bytes:
    """Return arrays as the content of a safetensors file.

    Raises:
        MissingDependencyError: safetensors is not installed.
    """
    require("safetensors.numpy", extra="ml", where="checkpoints")
    from safetensors.numpy import save  # noqa: PLC0415  # an optional package

    return save(dict(sorted(arrays.items())))


def unpack_tensors(content: bytes, name: str, where: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of a safetensors file.

    Args:
        content: the file's.
        name: of the file, for error messages.
        where: component, for error messages.

    Raises:
        ArtifactError: the content is no safetensors file.
        MissingDependencyError: safetensors is not installed.
    """
    require("safetensors.numpy", extra="ml", where=where)
    from safetensors import SafetensorError  # noqa: PLC0415  # an optional package
    from safetensors.numpy import load  # noqa: PLC0415  # an optional package

    try:
        arrays: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"{name} cannot be loaded: {error}", where=where, hint=_HINT) from error
    return arrays


def _state_of(files: Mapping[str, bytes], where: str) -> dict[str, Any]:
    """Return the content of `STATE`, checked against its seal."""
    if STATE not in files:
        raise ArtifactError(f"{STATE} is missing", where=where, hint=_HINT)
    try:
        body = json.loads(files[STATE])
    except ValueError as error:
        raise ArtifactError(f"{STATE} is not JSON: {error}", where=where, hint=_HINT) from error
    seal = body.pop(_SEAL, None) if isinstance(body, dict) else None
    if seal is None or digest_of(_canonical(body)) != seal:
        raise ArtifactError(
            f"{STATE} was truncated or changed since it was written", where=where, hint=_HINT
        )
    if body.get("format") != _FORMAT:
        raise ArtifactError(
            f"{STATE} has format {body.get('format')!r}, expected {_FORMAT}",
            where=where,
            hint=_HINT,
        )
    return dict(body)


def _expect_digest(content: bytes | None, digest: object, name: str, where: str) -> bytes:
    if content is None:
        raise ArtifactError(f"{name} is missing", where=where, hint=_HINT)
    if digest_of(content) != digest:
        raise ArtifactError(
            f"{name} was truncated or changed: its digest is not the recorded one",
            where=where,
            hint=_HINT,
        )
    return content


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()
