"""Checks that an imported class fulfils its record."""

import inspect
from importlib import import_module
from typing import TypeGuard, TypeVar

from weft.components.base import Component, ComponentConfig
from weft.foundation.errors import IncompatiblePluginError, PluginError
from weft.foundation.version import API_VERSION
from weft.plugins.records import KINDS, PluginRecord

T = TypeVar("T")


def is_class_of(imported: object, base: type[T]) -> TypeGuard[type[T]]:
    """Return whether an object is a class derived from `base`."""
    return inspect.isclass(imported) and issubclass(imported, base)


def check_class(record: PluginRecord, imported: object) -> type[Component]:
    """Return an imported object that is a class of the record's kind.

    Raises:
        IncompatiblePluginError: the class is for another version of the contracts.
        PluginError: wrong base class or name, an abstract method, or a wrong Config.
    """
    module, _, attribute = KINDS[record.kind].partition(":")
    base: type[Component] = getattr(import_module(module), attribute)
    if not is_class_of(imported, base):
        shown = (
            imported.__qualname__ if inspect.isclass(imported) else f"a {type(imported).__name__}"
        )
        raise PluginError(
            f"{record.target} is {shown}, expected a class derived from weft.{attribute}",
            where=record.title,
            hint="Correct the entry point or the base class",
        )
    name = getattr(imported, "name", None)
    if name != record.name:
        raise PluginError(
            f"{record.target} calls itself {name!r}, its entry point {record.name!r}",
            where=record.title,
            hint="Give both the same name",
        )
    _check_api(record, imported.api)
    if missing := sorted(getattr(imported, "__abstractmethods__", ())):
        raise PluginError(
            f"{record.target} lacks {', '.join(missing)}",
            where=record.title,
            hint=f"Every {record.kind} has to define what weft.{attribute} leaves open",
        )
    config = imported.Config
    if not is_class_of(config, ComponentConfig):
        raise PluginError(
            f"{record.target}.Config is not derived from weft.ComponentConfig",
            where=record.title,
            hint="Write `class Config(ComponentConfig):`",
        )
    return imported


def _check_api(record: PluginRecord, api: object) -> None:
    match api:
        case (int(major), int(minor)):
            ours = API_VERSION
            if major == ours[0] and minor <= ours[1]:
                return
            age = "newer" if (major, minor) > ours else "older"
            raise IncompatiblePluginError(
                f"written for version {major}.{minor} of the plugin contracts, "
                f"this is {ours[0]}.{ours[1]}",
                where=record.title,
                hint="Update Weft" if age == "newer" else f"Update {record.dist}",
            )
    raise PluginError(
        f"its `api` is {api!r}, expected a pair such as {API_VERSION}", where=record.title
    )
