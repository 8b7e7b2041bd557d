"""The config file with all defaults: comments of options come from their descriptions in code."""

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from weft.config.loading import PACKAGED_FILE, load_settings
from weft.config.settings import SINGLE_SLOTS, SLOT_MAPS, Slot
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry

KeyPath: TypeAlias = tuple[str, ...]

_LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.-]+):(?P<value>[^#]*?)(?P<comment>\s+#\s.*)?")
_INDENT: Final = 2
_KEY: Final = "api_key"
"""Its comment says whether the source needs a key."""


def packaged_text() -> str:
    """Return the packaged config file."""
    return PACKAGED_FILE.read_text("utf-8")


def descriptions() -> dict[KeyPath, str]:
    """Return the descriptions of all options of built-in components, by key path."""
    settings = load_settings(environ={}).settings
    slots: dict[KeyPath, tuple[str, Slot]] = {}
    for name in SINGLE_SLOTS:
        if (slot := getattr(settings, name)) is not None:
            slots[name,] = name, slot
    for section in SLOT_MAPS:
        for name, slot in getattr(settings, section).items():
            slots[section, name] = section.removesuffix("s"), slot
    registry = Registry(discover())
    return {
        (*path, option): info.description
        for path, (kind, slot) in slots.items()
        for option, info in registry.load(kind, slot.use).Config.model_fields.items()
        if info.description and option != _KEY
    }


def render(text: str, described: Mapping[KeyPath, str]) -> str:
    """Return a config file whose comments behind options are the descriptions of the options.

    Options without a comment stay without one, and all other comments stay.

    Args:
        text: the config file.
        described: descriptions by key path.
    """
    return "".join(f"{line}\n" for line in _rendered(text.splitlines(), described))


def _rendered(lines: list[str], described: Mapping[KeyPath, str]) -> Iterator[str]:
    path: list[str] = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            yield line
            continue
        depth = len(match["indent"]) // _INDENT
        path = [*path[:depth], match["key"]]
        description = described.get(tuple(path))
        if not match["comment"] or description is None:
            yield line
            continue
        before = line.removesuffix(match["comment"])
        gap = match["comment"][: match["comment"].index("#")]
        yield f"{before}{gap}# {description}"


def main() -> None:
    """Write the rendered packaged file, and its copy in the folder given as an argument."""
    text = render(packaged_text(), descriptions())
    for path in (Path(str(PACKAGED_FILE)), Path(sys.argv[1]) / "config.yaml"):
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
