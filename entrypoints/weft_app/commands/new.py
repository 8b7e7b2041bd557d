"""`weft new`: writes a plugin to start from."""

import builtins
import keyword
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from string import Template
from typing import Annotated

import orjson
import typer
from rich.markup import escape

from weft.foundation.errors import (
    ConfigError,
    PluginConflictError,
    StorageError,
    UnknownPluginError,
    nearest,
)
from weft.foundation.version import __version__
from weft.plugins.discovery import discover
from weft_app.profile import JsonOption
from weft_app.templates import COMMON, FOLDER, KINDS
from weft_app.terminal import open_results, print_json

_LONGEST_NAME = 24
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SUFFIX = ".tmpl"
_WHERE = "weft new"

app = typer.Typer(add_completion=False)


@dataclass(frozen=True, slots=True)
class Plugin:
    """A distribution to write, with one component.

    Attributes:
        kind: of the component, such as ``layer``.
        name: of the component, as config.yaml uses it.
    """

    kind: str
    name: str

    @property
    def distribution(self) -> str:
        """Name of the distribution."""
        return f"weft-{self.name.replace('_', '-')}"

    @property
    def package(self) -> str:
        """Name of its only package."""
        return f"weft_{self.name}"

    @property
    def class_name(self) -> str:
        """Name of the component's class."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    def files(self) -> dict[Path, bytes]:
        """Return the content of each file of the distribution, by relative path."""
        parts = {
            "config": self._fill(self._template("config.yaml")).rstrip(),
            "try_it": self.command,
        }
        files: dict[Path, bytes] = {}
        for root in (COMMON, FOLDER / self.kind):
            for source in sorted(root.rglob("*")):
                # Files directly in the folder of a kind are parts of the README.
                if source.is_file() and (root == COMMON or source.parent != root):
                    files[self._target(source.relative_to(root))] = self._content(source, parts)
        return files

    @property
    def command(self) -> str:
        """The command that uses the component."""
        return self._fill(self._template("try.txt")).strip()

    def _template(self, name: str) -> str:
        return (FOLDER / self.kind / f"{name}{_SUFFIX}").read_text("utf-8")

    def _target(self, relative: Path) -> Path:
        folders = [self.package if part == "package" else part for part in relative.parts]
        return Path(*folders).with_name(folders[-1].removesuffix(_SUFFIX))

    def _content(self, source: Path, parts: Mapping[str, str]) -> bytes:
        if source.suffix != _SUFFIX:
            return source.read_bytes()
        return self._fill(source.read_text("utf-8"), parts).encode()

    def _fill(self, text: str, parts: Mapping[str, str] | None = None) -> str:
        major, minor = __version__.split(".")[:2]
        return Template(text).substitute(
            parts or {},
            kind=self.kind,
            name=self.name,
            name_upper=self.name.upper(),
            distribution=self.distribution,
            package=self.package,
            class_name=self.class_name,
            versions=f">={major}.{minor},<{int(major) + 1}",
        )


@app.command()
def new(
    kind: Annotated[
        str,
        typer.Argument(help=f"One of {', '.join(KINDS)}.", autocompletion=lambda: list(KINDS)),
    ],
    name: Annotated[str, typer.Argument(help="Name in config.yaml, such as order_flow.")],
    *,
    path: Annotated[
        Path | None, typer.Option(help="Folder to create.", show_default="weft-NAME")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write a plugin to start from: a distribution with one component and its tests."""
    run(kind, name, path, as_json=as_json)


def run(kind: str, name: str, path: Path | None, *, as_json: bool) -> None:
    """Write a distribution with one component and its tests, and print the commands that follow.

    Args:
        kind: of the component, one of `weft_app.templates.KINDS`.
        name: of the component, as config.yaml will use it.
        path: folder to create; ``weft-NAME`` in the working directory if None.

    Raises:
        UnknownPluginError: there is no template of that kind.
        ConfigError: the name is not usable, or the folder exists.
        PluginConflictError: an installed component or package has that name.
        StorageError: the folder cannot be written.
    """
    _check_kind(kind)
    plugin = Plugin(kind, name)
    _check_name(plugin)
    _check_conflicts(plugin)
    folder = Path(plugin.distribution) if path is None else path
    files = plugin.files()
    _write(folder, files)
    steps = _next_steps(plugin, folder)
    if as_json:
        written = {"folder": str(folder), "files": sorted(map(str, files)), "next": steps}
        print_json(orjson.dumps(written))
        return
    results = open_results()
    results.print(
        f"Wrote the {kind} {name} and its tests to {escape(str(folder))}. Next:", soft_wrap=True
    )
    for step in steps:
        results.print(f"    {step}", markup=False, soft_wrap=True)


def _next_steps(plugin: Plugin, folder: Path) -> list[str]:
    # pip takes an argument for a path only where it contains a separator.
    shown = str(folder) if folder.is_absolute() else f"./{folder}"
    return [
        f"pip install --editable {shlex.quote(f'{shown}[test]')}",
        f"python -m pytest {shlex.quote(str(folder))}",
        plugin.command,
    ]


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        close = nearest(kind, KINDS)
        guess = f"Did you mean {close}? " if close else ""
        raise UnknownPluginError(
            f"there is no template for the kind {kind!r}",
            where=_WHERE,
            hint=f"{guess}Kinds: {', '.join(KINDS)}",
        )


def _check_name(plugin: Plugin) -> None:
    name = plugin.name
    if not _NAME.fullmatch(name) or len(name) > _LONGEST_NAME:
        usable = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:_LONGEST_NAME]
        raise ConfigError(
            f"{name!r} is not a usable name: expected lower-case letters, digits and underscores, "
            f"beginning with a letter, {_LONGEST_NAME} characters at most",
            where=_WHERE,
            hint=f"For example {usable}" if _NAME.fullmatch(usable) else None,
        )
    if keyword.iskeyword(name) or keyword.iskeyword(plugin.class_name):
        raise ConfigError(f"{name!r} is a keyword of Python", where=_WHERE, hint="Choose another")
    if hasattr(builtins, plugin.class_name) or _is_word_of_template(plugin):
        raise ConfigError(
            f"{name!r} would call the class {plugin.class_name}, a name that its module uses for "
            "something else",
            where=_WHERE,
            hint=f"Choose another name, such as my_{name}",
        )


def _is_word_of_template(plugin: Plugin) -> bool:
    """Whether the templates of a kind use the class name for something else."""
    sources = (FOLDER / plugin.kind).rglob(f"*.py{_SUFFIX}")
    return any(
        re.search(rf"(?<!\w){plugin.class_name}(?!\w)", source.read_text("utf-8"))
        for source in sources
    )


def _check_conflicts(plugin: Plugin) -> None:
    for record in discover():
        if (record.kind, record.name) == (plugin.kind, plugin.name):
            raise PluginConflictError(
                f"{record.dist} {record.version} already offers the {record.kind} {record.name}",
                where=_WHERE,
                hint="Choose another name",
            )
    if find_spec(plugin.package) is not None:
        raise PluginConflictError(
            f"the package {plugin.package} is already installed",
            where=_WHERE,
            hint="Choose another name, or add the component to that package",
        )


def _write(folder: Path, files: Mapping[Path, bytes]) -> None:
    try:
        folder.mkdir(parents=True)
        for relative, content in files.items():
            target = folder / relative
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    except FileExistsError:
        raise ConfigError(
            f"{folder} exists, and is not overwritten",
            where=_WHERE,
            hint="Choose another folder with --path, or remove it first",
        ) from None
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}",
            where=_WHERE,
            hint="Choose another folder with --path",
        ) from error
