"""Listing the installed plugins from their metadata, importing none of them."""

import logging
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions

from packaging.utils import canonicalize_name

from weft.plugins.records import GROUPS, PluginRecord

_log = logging.getLogger(__name__)


@cache
def discover() -> tuple[PluginRecord, ...]:
    """Return every installed plugin, sorted by kind, name and distribution.

    The environment is scanned once in a process; ``discover.cache_clear()`` has it scanned
    again. A distribution whose metadata cannot be read is left out, with a warning in the log.
    """
    names = {name for found in distributions() if (name := _name_if_it_has_plugins(found))}
    records = [record for name in names for record in _records(name)]
    return tuple(sorted(records, key=lambda r: (r.kind, r.name, r.dist)))


def _name_if_it_has_plugins(found: Distribution) -> str | None:
    # Most distributions have nothing to do with Weft; a text search spares parsing their metadata.
    text = found.read_text("entry_points.txt") or ""
    if not any(f"[{group}]" in text for group in GROUPS):
        return None
    name = found.metadata["Name"]
    if not name:
        _log.warning("A distribution with plugins has no name in its metadata; reinstall it")
        return None
    return canonicalize_name(name)


def _records(name: str) -> list[PluginRecord]:
    """Return the plugins of a distribution: of the one that an import would find first.

    Asking by name makes one of a distribution that is seen twice, through a link or on two
    entries of the path.
    """
    try:
        found = distribution(name)
        points = found.entry_points
        version = found.version
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
