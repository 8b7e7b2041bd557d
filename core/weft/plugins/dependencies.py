"""Requirements of a distribution: a version of Weft, and optional packages behind extras."""

from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

# Distributions of modules whose names differ from them.
_DISTRIBUTIONS = {
    "bs4": {"beautifulsoup4"},
    "cv2": {"opencv-python"},
    "sklearn": {"scikit-learn"},
    "talib": {"ta-lib"},
    "xgboost": {"xgboost", "xgboost-cpu"},
    "yaml": {"pyyaml"},
}


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
    offered = tuple(dist_info.metadata.get_all("Provides-Extra") or ())
    return _parse(tuple(dist_info.requires or ()), offered)


@lru_cache(maxsize=256)
def _parse(
    lines: tuple[str, ...], offered: tuple[str, ...]
) -> tuple[tuple[Requirement, list[str]], ...]:
    # Cached for all plugins of a distribution: parsing dozens of requirements takes milliseconds.
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
