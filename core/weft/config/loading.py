"""Loads settings from packaged defaults, config file, environment and command line."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from weft.config.merging import from_arguments, from_environment, merge
from weft.config.problems import check, config_error
from weft.config.settings import Settings
from weft.config.tree import Origins, Problem, TreeNode, plain
from weft.config.variables import expand
from weft.config.yaml_text import read_document
from weft.foundation.errors import ConfigError

DEFAULT_FILE = Path("config.yaml")
"""Read from the working directory where no file is named."""

PACKAGED_FILE = files("weft").joinpath("data", "default_config.yaml")
"""The defaults that are packaged with Weft."""

_PACKAGED = "packaged defaults"
_SQLITE_FILE = re.compile(
    r"(?P<scheme>sqlite(?:\+\w+)?:///)(?P<path>(?!:memory:|file:)[^?]+)(?P<rest>.*)"
)


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and where each was set.

    Attributes:
        settings: validated settings; options of components are validated later.
        origins: where each key was set, for messages.
        path: the config file, None where there is none.
    """

    settings: Settings
    origins: Origins = field(default_factory=Origins, repr=False)
    path: Path | None = None


def load_settings(
    path: Path | None = None,
    overrides: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> LoadedSettings:
    """Return validated settings.

    Later sources in this list override earlier ones:

    1. the defaults packaged with Weft;
    2. the config file: `path`, or ``config.yaml`` in the working directory if there is one;
    3. the environment: ``WEFT__PROVIDERS__FILES__PATH=/data``, in any case of letters;
    4. `overrides`, the ``--set`` arguments: ``server.port=8400``.

    Maps merge key by key, lists and scalars replace, and a slot whose `use` changes forgets the
    options of the component it held. Strings in files may refer to the environment:
    ``${NAME}``, or ``${NAME:-default}`` for when it is unset or empty; so may `overrides`. Values
    of 3 and 4 are read as YAML: ``0.5``, ``true``, ``[BTCUSDT, ETHUSDT]``.

    Relative folders under `storage` start from the config file's folder, or from the working
    directory where there is no file.

    Args:
        path: the config file.
        overrides: as ``key.path=value``.
        environ: environment variables; None for those of this process, which as a default value
            would show in help texts, keys included.

    Raises:
        ConfigError: with one line in `problems` for every mistake found.
    """
    environ = os.environ if environ is None else environ
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    tree, problems = _tree(path, overrides, environ)
    checked = check(Settings, plain(tree), Origins(tree))
    reported = {problem.path for problem in problems}
    problems += [problem for problem in checked.problems if problem.path not in reported]
    if checked.model is None or problems:
        raise config_error(problems, "the configuration", place_of_mistakes(problems, path))
    settings = _with_places(checked.model, path.parent if path else Path())
    return LoadedSettings(settings, Origins(tree), path)


def place_of_mistakes(problems: Iterable[Problem | str], path: Path | None) -> str | None:
    """Return the config file if a mistake is in it, else None."""
    lines = (problem if isinstance(problem, str) else problem.line for problem in problems)
    return str(path) if path and any(str(path) in line for line in lines) else None


def _tree(
    path: Path | None, overrides: Sequence[str], environ: Mapping[str, str]
) -> tuple[TreeNode, list[Problem]]:
    tree, problems = _packaged(), list[Problem]()
    if path is not None:
        written, found = read_document(_read(path), str(path))
        tree = merge(tree, written, in_order=True)
        problems += found
    variables, found = from_environment(environ, tree)
    tree = merge(tree, variables)
    problems += found
    arguments, found = from_arguments(overrides)
    tree = merge(tree, arguments)
    problems += found
    tree, found = expand(tree, environ)
    return tree, problems + found


@cache
def _packaged() -> TreeNode:
    """Return the tree of the packaged defaults. Trees are never changed."""
    return read_document(PACKAGED_FILE.read_text("utf-8"), _PACKAGED)[0]


def _read(path: Path) -> str:
    hint = "Name a config file that exists, or leave it out to use the defaults"
    reason = None
    try:
        return path.read_text("utf-8")
    except FileNotFoundError:
        reason = "there is no such file"
    except UnicodeDecodeError:
        reason, hint = "is not text in UTF-8", "Save it as UTF-8"
    except OSError as error:
        reason = f"cannot be read: {error.strerror or type(error).__name__}"
    raise ConfigError(reason, where=str(path), hint=hint, problems=[f"{path}: {reason}"])


def _with_places(settings: Settings, folder: Path) -> Settings:
    """Return settings with relative places resolved against a folder."""
    storage = settings.storage
    moved = {
        "lake": _lake(storage.lake, folder),
        "ledger": _ledger(storage.ledger, folder),
        "models": str(_absolute(storage.models, folder)),
        "cache": storage.cache and str(_absolute(storage.cache, folder)),
    }
    return settings.model_copy(update={"storage": storage.model_copy(update=moved)})


def _lake(place: str, folder: Path) -> str:
    return place if "://" in place else str(_absolute(place, folder))


def _ledger(url: str, folder: Path) -> str:
    match = _SQLITE_FILE.fullmatch(url)
    if match is None:
        return url
    return f"{match['scheme']}{_absolute(match['path'], folder)}{match['rest']}"


def _absolute(place: str, folder: Path) -> Path:
    return folder.absolute() / Path(place).expanduser()
