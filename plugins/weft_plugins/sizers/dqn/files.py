"""The files of a training: what is kept of it, in JSON and safetensors alone."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from numpy.typing import NDArray

from weft.components.trained import Artifact
from weft.foundation.dependencies import require
from weft.foundation.errors import ArtifactError
from weft_plugins.sizers.dqn.config import SHARES
from weft_plugins.sizers.dqn.policy import Policy, policy_of

POLICY: Final = "policy.safetensors"
AGENT: Final = "agent.safetensors"
PROGRESS: Final = "progress.json"
_WHERE: Final = "sizer dqn"


def packed(tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """Return tensors as the content of a safetensors file.

    Raises:
        MissingDependencyError: safetensors is not installed.
    """
    require("safetensors.numpy", extra="ml", where=_WHERE)
    from safetensors.numpy import save  # noqa: PLC0415  # an extra

    return save(dict(sorted(tensors.items())))


def unpacked(content: bytes) -> dict[str, NDArray[Any]]:
    """Return the tensors of a safetensors file.

    Raises:
        ArtifactError: the file is damaged.
        MissingDependencyError: safetensors is not installed.
    """
    require("safetensors.numpy", extra="ml", where=_WHERE)
    from safetensors import SafetensorError  # noqa: PLC0415  # an extra
    from safetensors.numpy import load  # noqa: PLC0415  # an extra

    try:
        tensors: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactError(f"tensors cannot be read: {error}", where=_WHERE) from error
    return tensors


def artifact_of(files: Mapping[str, bytes], schema: Mapping[str, Any], **figures: Any) -> Artifact:  # noqa: ANN401  # JSON values
    """Return an artifact whose card says what it was made with, and digests of its files."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return Artifact(files, {"schema": dict(schema), "sha256": digests, **figures})


def policy_in(artifact: Artifact, schema: Mapping[str, Any]) -> Policy:
    """Return the policy of an artifact.

    Raises:
        ArtifactError: it was made by another version or with other options, or is damaged.
    """
    came = artifact.card.get("schema")
    if not isinstance(came, Mapping) or dict(came) != dict(schema):
        differing = (
            [name for name in schema if came.get(name) != schema[name]]
            if isinstance(came, Mapping)
            else ["schema"]
        )
        raise ArtifactError(
            f"the artifact was made with another {', '.join(differing) or 'schema'}",
            where=_WHERE,
            hint="Train it anew with `weft train`",
        )
    digests = artifact.card.get("sha256")
    for name in (POLICY, AGENT, PROGRESS):
        content = artifact.files.get(name)
        if content is None:
            raise ArtifactError(f"{name} is missing", where=_WHERE)
        told = digests.get(name) if isinstance(digests, Mapping) else None
        if hashlib.sha256(content).hexdigest() != told:
            raise ArtifactError(
                f"{name} is not what its training left behind",
                where=_WHERE,
                hint="It is damaged, or was tampered with; train it anew with `weft train`",
            )
    horizon = artifact.card.get("horizon")
    if not isinstance(horizon, int) or horizon < 1:
        raise ArtifactError(f"the horizon is {horizon!r}, expected a number of rows", where=_WHERE)
    try:
        policy = policy_of(unpacked(artifact.files[POLICY]), horizon)
    except (KeyError, ValueError) as error:
        raise ArtifactError(f"{POLICY} does not fit together: {error}", where=_WHERE) from error
    return _with_habits(policy, artifact.card.get("habits"))


def _with_habits(policy: Policy, habits: object) -> Policy:
    """Return a policy that knows what its card says of its training."""
    best = habits.get("best_constant") if isinstance(habits, Mapping) else None
    if not isinstance(habits, Mapping) or best not in SHARES:
        raise ArtifactError(
            f"the best constant share is {best!r}, expected one of {SHARES}", where=_WHERE
        )
    constant = habits.get("constant") is not None
    return replace(policy, best_constant=SHARES.index(best), is_constant=constant)


def read_progress(content: bytes) -> dict[str, Any]:
    """Return what a training says of itself.

    Raises:
        ArtifactError: it is no JSON object.
    """
    try:
        found = json.loads(content)
    except ValueError as error:
        raise ArtifactError(f"{PROGRESS} is no JSON: {error}", where=_WHERE) from error
    if not isinstance(found, dict):
        raise ArtifactError(f"{PROGRESS} is no object", where=_WHERE)
    return found
