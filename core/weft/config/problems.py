"""Turns pydantic errors into one readable line for each mistake."""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from weft.config.schema import Place, place_of
from weft.config.secrets import HIDDEN, holds_secret, looks_secret, scrub
from weft.config.tree import KeyPath, Origins, Problem, dotted, leaves
from weft.foundation.errors import ConfigError, nearest

M = TypeVar("M", bound=BaseModel)

_LONGEST_VALUE = 60
_TEXT_TYPES = ("string_type", "path_type", "url_type", "bytes_type")
_CUSTOM = ("value_error", "assertion_error")

_EXPECTED = {
    "bool": "true or false",
    "string_type": "text",
    "bytes_type": "text",
    "path_type": "a path",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "dict_type": "a map of keys",
    "mapping_type": "a map of keys",
    "model_type": "a map of keys",
    "model_attributes_type": "a map of keys",
    "dataclass_type": "a map of keys",
}
_NUMBER_ERRORS = (
    "int",
    "float",
    "decimal",
    "finite_number",
    "greater_than",
    "less_than",
    "multiple_of",
)


@dataclass(frozen=True, slots=True)
class Checked(Generic[M]):
    """Result of a check: a model, or problems."""

    model: M | None
    problems: tuple[Problem, ...] = ()


@dataclass(slots=True)
class _Mistakes:
    """All errors at one key; a union type gives several."""

    path: KeyPath
    value: Any = field(repr=False)
    errors: list[ErrorDetails] = field(default_factory=list, repr=False)


def check(
    model: type[M],
    values: Mapping[str, Any],
    origins: Origins,
    *,
    under: KeyPath = (),
    also_known: Collection[str] = (),
) -> Checked[M]:
    """Return a validated model, or one line for every mistake in `values`.

    Args:
        model: the model to fill.
        values: keys and plain values.
        origins: where each value was set.
        under: key path of the section.
        also_known: further valid keys of the section, for suggestions when a key is misspelt.
    """
    errors = _mix_ups(model, values)
    built, found_errors = _try(model, values)
    as_text = {
        path: text
        for error in found_errors
        if error["type"] in _TEXT_TYPES
        and (path := _keys(error, values))
        and (text := origins.text_at((*under, *path))) is not None
    }
    if as_text:
        values = _with_texts(values, as_text)
        built, found_errors = _try(model, values)
    errors += found_errors
    if not errors:
        return Checked(built)
    writer = _Writer(model, origins, under, also_known, _secrets(model, values, under))
    return Checked(None, tuple(writer.write(mistakes) for mistakes in _grouped(errors, values)))


def config_error(problems: Sequence[Problem], what: str, where: str | None) -> ConfigError:
    """Return an error with all problems of `what`, one line each."""
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    lines = [problem.line for problem in problems]
    return ConfigError(f"{count} in {what}", where=where, problems=lines)


def _try(model: type[M], values: Mapping[str, Any]) -> tuple[M | None, list[ErrorDetails]]:
    try:
        return model.model_validate(values), []
    except ValidationError as error:
        return None, error.errors(include_url=False)


def _mix_ups(model: type[BaseModel], values: Mapping[str, Any]) -> list[ErrorDetails]:
    """Return the errors where a boolean stands for a number or a number for a boolean.

    Python treats True as 1, so `weight: true` would be a weight of 1. The strict JSON rules of
    pydantic refuse it.
    """
    try:
        model.model_validate_json(json.dumps(values, default=str), strict=True)
    except ValidationError as error:
        return [e for e in error.errors(include_url=False) if _is_mix_up(e)]
    return []


def _is_mix_up(error: ErrorDetails) -> bool:
    given = type(error["input"])
    if given is bool:
        return error["type"] in ("int_type", "float_type")
    return error["type"] == "bool_type" and given in (int, float)


def _with_texts(values: Mapping[str, Any], texts: Mapping[KeyPath, str]) -> dict[str, Any]:
    """Return values with some replaced by their text as written."""
    changed = dict(values)
    for path, text in texts.items():
        inner: Any = changed
        for part in path[:-1]:
            inner[part] = dict(inner[part])
            inner = inner[part]
        inner[path[-1]] = text
    return changed


def _keys(error: ErrorDetails, values: object) -> KeyPath:
    """Return the key path of an error, without the union members that pydantic adds."""
    path: list[str | int] = []
    last = len(error["loc"]) - 1
    for position, part in enumerate(error["loc"]):
        if isinstance(values, Mapping):
            if part in values:
                values = values[part]
            elif position == last and error["type"] == "missing":
                values = None
            else:
                continue
        elif isinstance(values, list | tuple) and isinstance(part, int) and part < len(values):
            values = values[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _grouped(errors: Iterable[ErrorDetails], values: Mapping[str, Any]) -> list[_Mistakes]:
    groups: dict[KeyPath, _Mistakes] = {}
    for error in errors:
        path = _keys(error, values)
        groups.setdefault(path, _Mistakes(path, error["input"])).errors.append(error)
    return list(groups.values())


def _secrets(model: type[BaseModel], values: Mapping[str, Any], under: KeyPath) -> list[str]:
    return [
        str(value)
        for path, value in leaves(values)
        if looks_secret((*under, *path)) or holds_secret(place_of(model, path).annotation)
    ]


@dataclass(slots=True)
class _Writer:
    """Writes the message of a mistake."""

    model: type[BaseModel]
    origins: Origins
    under: KeyPath
    also_known: Collection[str]
    secrets: Sequence[str] = field(repr=False)

    def write(self, mistakes: _Mistakes) -> Problem:
        """Return one problem for all errors at a key."""
        path = (*self.under, *mistakes.path)
        what = self._what(mistakes)
        origin = self.origins.at(path)
        where = f" ({origin.place})" if origin else ""
        line = f"{dotted(path) or 'settings'}: {what}{where}"
        return Problem(path, scrub(" ".join(line.split()), self.secrets))

    def _what(self, mistakes: _Mistakes) -> str:
        first = mistakes.errors[0]
        kinds = {error["type"] for error in mistakes.errors}
        place = place_of(self.model, mistakes.path)
        if "extra_forbidden" in kinds:
            return self._unknown(mistakes.path)
        if "missing" in kinds:
            return f"missing; set it{f' ({place.description})' if place.description else ''}"
        if kinds.intersection(_CUSTOM):
            custom = next(e for e in mistakes.errors if e["type"] in _CUSTOM)
            message = str(custom.get("ctx", {}).get("error", custom["msg"]))
            hide = self._is_secret(mistakes.path) and isinstance(mistakes.value, str)
            return message.replace(mistakes.value, HIDDEN) if hide and mistakes.value else message
        expected = list(dict.fromkeys(_expected(error, place) for error in mistakes.errors))
        if all(error["type"] in ("literal_error", "enum") for error in mistakes.errors):
            return self._choice(first, expected, mistakes)
        return f"expected {' or '.join(expected)}, got {self._shown(mistakes, expected)}"

    def _choice(self, error: ErrorDetails, expected: Sequence[str], mistakes: _Mistakes) -> str:
        what = f"expected {expected[0]}, got {self._shown(mistakes, expected)}"
        choices = _choices(error)
        close = nearest(mistakes.value, choices) if isinstance(mistakes.value, str) else None
        return f"{what}; did you mean {close}?" if close else what

    def _unknown(self, path: KeyPath) -> str:
        parent = place_of(self.model, path[:-1])
        known = list(parent.keys)
        if len(path) == 1:
            known += [key for key in self.also_known if key not in known]
        close = nearest(str(path[-1]), known)
        if close:
            return f"unknown key; did you mean {close}?"
        return f"unknown key; known here: {', '.join(sorted(known))}"

    def _shown(self, mistakes: _Mistakes, expected: Sequence[str]) -> str:
        value = mistakes.value
        if isinstance(value, Mapping | list | tuple):
            return "a map" if isinstance(value, Mapping) else "a list"
        if self._is_secret(mistakes.path):
            return HIDDEN
        if "a map of keys" in expected and isinstance(value, str):
            # Without a space after the colon, key and value are one word, which may hold a secret.
            return "text (write the keys below it, indented, with a space after each colon)"
        if value is None or isinstance(value, bool):
            return "nothing" if value is None else str(value).lower()
        text = repr(value)
        return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"

    def _is_secret(self, path: KeyPath) -> bool:
        annotation = place_of(self.model, path).annotation
        return looks_secret((*self.under, *path)) or holds_secret(annotation)


def _expected(error: ErrorDetails, place: Place) -> str:
    kind = error["type"]
    if kind.startswith("bool"):
        return _EXPECTED["bool"]
    if kind.startswith(_NUMBER_ERRORS):
        return place.number(integer=kind.startswith("int"))
    if kind in ("literal_error", "enum"):
        choices = _choices(error)
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    return _EXPECTED.get(kind) or _of_shape(kind, error)


def _of_shape(kind: str, error: ErrorDetails) -> str:
    """Return the expected length or pattern of a value, in words."""
    ctx = error.get("ctx", {})
    if kind == "string_pattern_mismatch":
        return f"text that matches {ctx['pattern']}"
    if kind == "string_too_short" and ctx["min_length"] == 1:
        return "text that is not empty"
    if kind in ("too_short", "too_long"):
        bound = "at least" if kind == "too_short" else "at most"
        return f"a list of {bound} {ctx.get('min_length', ctx.get('max_length'))}"
    return error["msg"].removeprefix("Input should be ")


def _choices(error: ErrorDetails) -> list[str]:
    """Return the values an enumeration allows; pydantic gives them as `'a', 'b' or 'c'`."""
    listed = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ")
    return [choice.strip("'") for choice in listed.split(", ")]
