"""Discovery: lists the installed plugins from their metadata, without importing them."""

import logging
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions

from packaging.utils import canonicalize_name

from weft.plugins.records import GROUPS, PluginRecord

_log = logging.getLogger(__name__)


@cache
def discover() -> tuple[PluginRecord, ...]:
    """Return every installed plugin, sorted by kind, name and distribution.

    The environment is scanned once for each process; ``discover.cache_clear()`` makes the next call
    scan again. A distribution with unreadable metadata is left out, with a warning in the log.
    """
    names = {name for dist in distributions() if (name := _name_if_it_has_plugins(dist))}
    records = [record for name in names for record in _records(name)]
    return tuple(sorted(records, key=lambda r: (r.kind, r.name, r.dist)))


def _name_if_it_has_plugins(dist: Distribution) -> str | None:
    # A text search is much faster than parsing the metadata of every distribution.
    text = dist.read_text("entry_points.txt") or ""
    if not any(f"[{group}]" in text for group in GROUPS):
        return None
    name = dist.metadata["Name"]
    if not name:
        _log.warning("A distribution with plugins has no name in its metadata; reinstall it")
        return None
    return canonicalize_name(name)


def _records(name: str) -> list[PluginRecord]:
    """Return the plugins of the first distribution of a name on the path.

    Looking up by name merges a distribution that is listed twice, through a link or on two entries
    of the path.
    """
    try:
        dist = distribution(name)
        points = dist.entry_points
        version = dist.version
    except (PackageNotFoundError, TypeError, ValueError, KeyError) as error:
        # importlib.metadata checks nothing; a line without `=` surfaces as a TypeError.
        _log.warning("The metadata of %s cannot be read (%r); reinstall it", name, error)
        return []
    unique = {
        (GROUPS[point.group], point.name): PluginRecord(
            GROUPS[point.group], point.name, name, str(version), point.value
        )
        for point in points
        if point.group in GROUPS
    }
    return list(unique.values())
