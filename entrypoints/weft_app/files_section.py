"""Write the options with which candle files were read into a config file."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Final

from weft.config.editing import set_keys
from weft.config.loading import load_settings
from weft.config.merging import ENVIRONMENT_PREFIX
from weft.config.resolve import validate_options
from weft.config.settings import ProviderSlot, Settings
from weft.config.tree import KeyPath, Origins
from weft.config.yaml_text import read_document
from weft.foundation.errors import ConfigError
from weft_providers.files.provider import Files

SLOT: Final = "files"
_ELSEWHERE: Final = {"path", "observations", "observation_lag"}
"""Options that say where files are, or are about other files."""


def write_readings(
    file: Path, readings: Sequence[Files.Config], settings: Mapping[str, str]
) -> list[str]:
    """Add readings of candle files to a config file, and return the keys that changed.

    A reading goes to the provider that has its path, else to ``files`` where that has no path,
    else to a new provider. Keys at the top level that the file sets stay as they are. The new
    text has to load, with exactly the options of the readings, before it replaces the old text.

    Args:
        file: the config file; a missing file is created.
        readings: options of the files provider, each with a path.
        settings: keys of the top level to add.

    Raises:
        ConfigError: the file cannot be read or written, or has a mistake.
    """
    file = file.expanduser().resolve()
    raw = _read(file)
    text = raw.replace("\r\n", "\n")
    slots = dict(_load(file).providers) if file.exists() else {}
    changes: dict[KeyPath, Any] = {}
    expected: dict[str, Files.Config] = {}
    for config in readings:
        key = _slot_key(config, slots, expected)
        changes |= _slot_changes(key, slots.get(key), config)
        expected[key] = config
    changes |= {(name,): value for name, value in settings.items() if not _sets(text, name)}
    if changes:
        new = set_keys(text, changes)
        _replace(file, new.replace("\n", "\r\n") if "\r\n" in raw else new, expected)
    return [".".join(map(str, path)) for path in changes]


def same_place(first: Path, second: Path) -> bool:
    """Whether two paths are the same file or folder."""
    return first.expanduser().resolve() == second.expanduser().resolve()


def _read(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8") if file.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", where=str(file)) from None


def _load(file: Path) -> Settings:
    """Load a config file without the settings of the environment, which it does not hold."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith(ENVIRONMENT_PREFIX)}
    return load_settings(file, environ=environ).settings


def _sets(text: str, name: str) -> bool:
    """Whether a document sets a key of its top level to something."""
    given = read_document(text, "")[0].value.get(name)
    return given is not None and given.value is not None


def _slot_key(
    config: Files.Config, slots: Mapping[str, ProviderSlot], taken: Mapping[str, object]
) -> str:
    """Return the key of the provider that gets a reading."""
    path = config.path or Path()
    for key, slot in slots.items():
        place = slot.options.get("path")
        if slot.use.rpartition(":")[2] == SLOT and place and same_place(Path(str(place)), path):
            return key
    if SLOT not in taken and (SLOT not in slots or slots[SLOT].options.get("path") is None):
        return SLOT
    stem = path.expanduser().resolve().stem.lower()
    name = f"{SLOT}_{''.join(c if c.isalnum() else '_' for c in stem)}"
    names = [name, *(f"{name}_{number}" for number in range(2, len(slots) + len(taken) + 3))]
    return next(name for name in names if name not in slots and name not in taken)


def _slot_changes(key: str, slot: ProviderSlot | None, config: Files.Config) -> dict[KeyPath, Any]:
    """Return the keys to set so that a provider reads files with these options."""
    before = Files.Config().model_dump(mode="json") | (slot.options if slot else {})
    values = config.model_dump(mode="json", exclude=_ELSEWHERE)
    changes: dict[KeyPath, Any] = {}
    if slot is None and key != SLOT:
        changes["providers", key, "use"] = SLOT
    if slot is not None and slot.enabled is False:
        changes["providers", key, "enabled"] = True
    if config.path is not None and not (
        before["path"] and same_place(Path(str(before["path"])), config.path)
    ):
        changes["providers", key, "path"] = str(config.path.expanduser().resolve())
    for name, value in values.items():
        if before[name] != value:
            changes["providers", key, name] = value
    return changes


def _replace(file: Path, text: str, expected: Mapping[str, Files.Config]) -> None:
    """Replace a file in one step, once its new text has loaded with the expected options."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(
            "w", encoding="utf-8", newline="", dir=file.parent, suffix=".yaml", delete=False
        ) as out:
            out.write(text)
        new = Path(out.name)
        try:
            _expect(new, expected, str(file))
            if file.exists():
                shutil.copymode(file, new)
            new.replace(file)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"cannot be written: {reason}", where=str(file)) from None


def _expect(new: Path, expected: Mapping[str, Files.Config], where: str) -> None:
    """Raise where a config file does not load with the expected options."""
    providers = _load(new).providers
    for key, config in expected.items():
        options = validate_options(Files, providers[key], f"providers.{key}", Origins())
        if options.model_dump(exclude=_ELSEWHERE) != config.model_dump(exclude=_ELSEWHERE):
            raise ConfigError(
                f"providers.{key} would not read the files as shown; nothing was written",
                where=where,
                hint="Write the options that were given into the file by hand",
            )
