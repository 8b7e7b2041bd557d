"""What a distribution requires: a version of Weft, and optional packages behind extras."""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# Modules that go by another name than the distribution that brings them.
_DISTRIBUTIONS = {
    "bs4": {"beautifulsoup4"},
    "cv2": {"opencv-python"},
    "sklearn": {"scikit-learn"},
    "talib": {"ta-lib"},
    "xgboost": {"xgboost", "xgboost-cpu"},
    "yaml": {"pyyaml"},
}


def refuses(dist: str, package: str, version: str) -> str | None:
    """Return the requirement of `dist` that a version of a package does not meet, or None."""
    for requirement, extras in _requirements(dist):
        unmet = not requirement.specifier.contains(version, prereleases=True)
        if not extras and canonicalize_name(requirement.name) == package and unmet:
            return str(requirement.specifier)
    return None


def extra_that_brings(dist: str, module: str) -> str | None:
    """Return the extra of `dist` that brings a module which is not installed.

    None where the module is there, or where `dist` does not declare it as optional: then its
    absence is a fault, not a choice.
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
    """Return what applies here: each requirement, and the extras it takes (none: always)."""
    try:
        found = distribution(dist)
    except PackageNotFoundError:
        return ()
    offered = tuple(found.metadata.get_all("Provides-Extra") or ())
    return _read(tuple(found.requires or ()), offered)


@lru_cache(maxsize=256)
def _read(
    lines: tuple[str, ...], offered: tuple[str, ...]
) -> tuple[tuple[Requirement, list[str]], ...]:
    # Once for all plugins of a distribution: reading dozens of requirements takes milliseconds.
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
