"""Card and files of an artifact: required fields, and formats that cannot run code."""

import math
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from weft.components.trained import Artifact
from weft.foundation.errors import ArtifactError
from weft.foundation.times import iso, parse_time
from weft.foundation.version import __version__
from weft.learning.judging import Comparison, trust_in
from weft.learning.records import TrainingRows

FORMAT: Final = 1

_HINT: Final = (
    "The card was changed: restore the folder from a backup, or move it away and train again with "
    "`weft train`"
)


def _instant(micros: int) -> int:
    iso(micros)
    return micros


def _time(text: str) -> str:
    parse_time(text)
    return text


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Card(_Strict):
    key: str
    provenance: dict[str, Any]
    card: dict[str, Any]
    files: dict[str, Annotated[str, Field(pattern="^[0-9a-f]{64}$")]]


class _Provenance(_Strict):
    """Fields of the engine's part that promotion, judging and listing read."""

    trained_through: Annotated[str, AfterValidator(_time)]
    trained_to: Annotated[int, AfterValidator(_instant)]
    known_at: Annotated[int, AfterValidator(_instant)]
    skill_t: float
    trust: float = Field(ge=0.0, le=1.0)


def provenance_of(
    component: str,
    options: str,
    span: TrainingRows,
    skill: Comparison,
    made_with: Mapping[str, object],
) -> dict[str, Any]:
    """Return the engine's part of a card.

    Args:
        component: kind and name of the component.
        options: canonical options of the component.
        span: rows of the training.
        skill: gain over the baseline on the judging rows.
        made_with: interval, horizon and seed, as JSON values.
    """
    return {
        "component": component,
        "options": options,
        "weft": __version__,
        **made_with,
        "trained_from": iso(span.first),
        "trained_through": iso(span.trained_to),
        "judged_through": iso(span.judged_to),
        "rows": span.rows,
        "shadow_rows": span.shadow_rows,
        "trained_to": span.trained_to,
        "known_at": span.judged_to,
        "skill": skill.gain,
        "skill_t": skill.t,
        "trust": trust_in(skill),
    }


def read_card(text: bytes, key: str, where: str) -> dict[str, Any]:
    """Parse a card: format, key of the component, digests of the files, and two further parts.

    Args:
        text: content of the file.
        key: expected key of the component in config.
        where: artifact, for error messages.

    Raises:
        ArtifactError: the text is not a card, of another format, or of another component.
    """
    try:
        card = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"card.json is not JSON: {error}", where=where, hint=_HINT) from error
    if not isinstance(card, dict):
        raise ArtifactError(
            f"card.json holds a {type(card).__name__}, expected an object", where=where, hint=_HINT
        )
    if card.get("format") != FORMAT:
        raise ArtifactError(
            f"has format {card.get('format')!r}; this Weft reads {FORMAT}",
            where=where,
            hint="Train it again with `weft train`, or use the Weft that wrote it",
        )
    _expect(_Card, card, where, "card.json")
    if card["key"] != key:
        raise ArtifactError(
            f"card.json: key is {card['key']!r}, expected {key!r}",
            where=where,
            hint="The artifact belongs to another component: move the folder back",
        )
    return card


def expect_provenance(provenance: Mapping[str, Any], where: str) -> None:
    """Check the fields of the engine's part of a card.

    Raises:
        ArtifactError: a field is missing or invalid.
    """
    _expect(_Provenance, provenance, where, "card.json: provenance")


def _expect(kind: type[_Strict], values: Mapping[str, Any], where: str, part: str) -> None:
    try:
        kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join([part, *map(str, first["loc"])]).replace("card.json.", "card.json: ", 1)
        value = "" if first["type"] == "missing" else f", got {_short(first['input'])}"
        raise ArtifactError(f"{path}: {first['msg']}{value}", where=where, hint=_HINT) from error


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


SAFE_SUFFIXES: Final = (".json", ".ubj", ".safetensors")
"""JSON, XGBoost's binary JSON and safetensors: formats without code."""


def check_files(artifact: Artifact, where: str) -> None:
    """Check that an artifact can be stored and loaded without running code.

    Raises:
        ArtifactError: a file has another format or a path, or the card holds a value that is not
            JSON.
    """
    for name, content in artifact.files.items():
        path = PurePosixPath(name)
        if path.name != name or path.suffix not in SAFE_SUFFIXES or name == "card.json":
            raise ArtifactError(
                f"file {name!r} cannot be stored",
                where=where,
                hint=f"Use a file name that ends with {', '.join(SAFE_SUFFIXES)}",
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
        raise ArtifactError(f"{path} is {value}, which JSON cannot represent", where=where)
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
            f"{path} is a {type(value).__name__}, which JSON cannot represent",
            where=where,
            hint="Convert arrays to lists, or store them in a .safetensors file",
        )
