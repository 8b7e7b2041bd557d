"""Looks up a key in a pydantic model: its type, bounds and neighbouring keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

import annotated_types as bounds
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from weft.config.tree import KeyPath


@dataclass(frozen=True, slots=True)
class Place:
    """One key of a model.

    Attributes:
        annotation: type of the key; None for an unknown key.
        metadata: annotations of the type.
        description: description of the field; empty where there is none.
    """

    annotation: Any
    metadata: tuple[Any, ...] = ()
    description: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """Valid keys below it."""
        return tuple(key for model in models_in(self.annotation) for key in fields_by_key(model))

    def number(self, *, integer: bool) -> str:
        """Return the valid numbers in words: ``an integer between 1 and 65535``."""
        types = set(_types_in(self.annotation))
        noun = "an integer" if integer or (int in types and float not in types) else "a number"
        marks = [*self.metadata, *_metadata_in(self.annotation)]
        least = next((m.ge for m in marks if isinstance(m, bounds.Ge)), None)
        above = next((m.gt for m in marks if isinstance(m, bounds.Gt)), None)
        most = next((m.le for m in marks if isinstance(m, bounds.Le)), None)
        below = next((m.lt for m in marks if isinstance(m, bounds.Lt)), None)
        if least is not None and most is not None:
            return f"{noun} between {least} and {most}"
        limits = (("of at least", least), ("above", above), ("of at most", most), ("below", below))
        bounded = [f"{word} {limit}" for word, limit in limits if limit is not None]
        return " ".join([noun, " and ".join(bounded)]) if bounded else noun


def place_of(model: type[BaseModel], path: KeyPath) -> Place:
    """Return the key of a model at a path."""
    place = Place(model)
    for part in path:
        place = _below(place, part)
    return place


def models_in(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that an annotation allows, outside of lists and maps."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) not in (list, tuple, set, frozenset, dict):
        for part in get_args(annotation):
            yield from models_in(part)


def fields_by_key(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the keys in config."""
    return {info.alias or name: info for name, info in model.model_fields.items()}


def _below(place: Place, part: str | int) -> Place:
    if isinstance(part, str):
        for model in models_in(place.annotation):
            info = fields_by_key(model).get(part)
            if info is not None:
                return Place(info.annotation, tuple(info.metadata), info.description or "")
    for annotation in _options_of(place.annotation):
        args = [arg for arg in get_args(annotation) if arg is not Ellipsis]
        if args and get_origin(annotation) is not Annotated:
            # The last argument is the value type of a map, or the item type of a list.
            return Place(args[-1])
    return Place(None)


def _options_of(annotation: object) -> Iterator[object]:
    """Yield the members of a union that are lists or maps, at any depth."""
    origin = get_origin(annotation)
    if isinstance(origin, type) and hasattr(origin, "__iter__"):
        yield annotation
    elif not isinstance(annotation, type):
        for part in get_args(annotation):
            yield from _options_of(part)


def _types_in(annotation: object) -> Iterator[object]:
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)


def _metadata_in(annotation: object) -> Iterator[Any]:
    if get_origin(annotation) is Annotated:
        for mark in get_args(annotation)[1:]:
            yield from mark.metadata if isinstance(mark, FieldInfo) else (mark,)
    for part in get_args(annotation):
        yield from _metadata_in(part)
