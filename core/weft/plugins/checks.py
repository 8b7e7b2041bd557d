"""Checks of plugins: the requirements of a distribution, and the class behind a record."""

import inspect
from email import message_from_string
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from typing import TypeGuard, TypeVar

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from weft.components.base import Component, ComponentConfig
from weft.foundation.errors import IncompatiblePluginError, PluginError
from weft.foundation.version import API_VERSION
from weft.plugins.records import KINDS, PluginRecord

T = TypeVar("T")

# Distributions of modules whose names differ from them.
_DISTRIBUTIONS = {
    "bs4": {"beautifulsoup4"},
    "cv2": {"opencv-python"},
    "sklearn": {"scikit-learn"},
    "talib": {"ta-lib"},
    "xgboost": {"xgboost", "xgboost-cpu"},
    "yaml": {"pyyaml"},
}


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


def refuses(dist: str, package: str, version: str) -> str | None:
    """Return the requirement of a distribution that a package's version violates, or None."""
    for requirement, extras in _requirements(dist):
        unmet = not requirement.specifier.contains(version, prereleases=True)
        if not extras and canonicalize_name(requirement.name) == package and unmet:
            return str(requirement.specifier)
    return None


def extra_that_brings(dist: str, module: str) -> str | None:
    """Return the extra of a distribution that installs a missing module.

    None if the module is installed, or if no extra of the distribution declares it.
    """
    top = module.partition(".")[0]
    if find_spec(top) is not None:
        return None
    wanted = {canonicalize_name(name) for name in _DISTRIBUTIONS.get(top, {top})}
    for requirement, extras in _requirements(dist):
        if extras and canonicalize_name(requirement.name) in wanted:
            return extras[0]
    return None


def _requirements(dist: str) -> tuple[tuple[Requirement, list[str]], ...]:
    """Return the applicable requirements, each with its extras (none: always required)."""
    try:
        dist_info = distribution(dist)
    except PackageNotFoundError:
        return ()
    return _parse(dist_info.read_text("METADATA") or dist_info.read_text("PKG-INFO") or "")


@lru_cache(maxsize=256)
def _parse(metadata: str) -> tuple[tuple[Requirement, list[str]], ...]:
    # Cached by text for all plugins of a distribution: parsing takes milliseconds.
    message = message_from_string(metadata)
    lines: list[str] = message.get_all("Requires-Dist") or []
    offered: list[str] = message.get_all("Provides-Extra") or []
    applying: list[tuple[Requirement, list[str]]] = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            applying.append((requirement, []))
        elif extras := [extra for extra in offered if marker.evaluate({"extra": extra})]:
            applying.append((requirement, extras))
    return tuple(applying)
