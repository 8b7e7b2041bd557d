"""What the files of an artifact may be: formats that cannot run code when they are read."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from weft.components.trained import Artifact
from weft.foundation.errors import ArtifactError

SAFE_SUFFIXES: Final = (".json", ".ubj", ".safetensors")
"""JSON, XGBoost's binary JSON, and tensors without code."""


def check_files(artifact: Artifact, where: str) -> None:
    """Make sure that an artifact can be kept and read back without running anything.

    Raises:
        ArtifactError: a file has another format or lies in a folder, or the card holds something
            that is no JSON value.
    """
    for name, content in artifact.files.items():
        path = PurePosixPath(name)
        if path.name != name or path.suffix not in SAFE_SUFFIXES or name == "card.json":
            raise ArtifactError(
                f"file {name!r} cannot be kept",
                where=where,
                hint=f"Use a plain name that ends with {', '.join(SAFE_SUFFIXES)}",
            )
        if not isinstance(content, bytes):
            raise ArtifactError(f"{name} is {type(content).__name__}, expected bytes", where=where)
    _check_value(artifact.card, where, "card")


def _check_value(value: object, where: str, path: str) -> None:
    if value is None or isinstance(value, str | bool | int):
        return
    if isinstance(value, float):
        if math.isfinite(value):
            return
        raise ArtifactError(f"{path} is {value}, which JSON cannot say", where=where)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ArtifactError(f"{path} has the key {key!r}, expected text", where=where)
            _check_value(inner, where, f"{path}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for number, inner in enumerate(value):
            _check_value(inner, where, f"{path}[{number}]")
    else:
        raise ArtifactError(
            f"{path} is a {type(value).__name__}, which JSON cannot say",
            where=where,
            hint="Turn arrays into lists, and keep large ones in a .safetensors file",
        )
