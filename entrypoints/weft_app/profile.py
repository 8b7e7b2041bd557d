"""The options that every command takes, before its name or after it: which composition is meant."""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from weft_app.progress import phase

_META = "weft.profile"
_PANEL = "Options of every command"


@dataclass(slots=True)
class Profile:
    """Which composition a command is about.

    Attributes:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``; later ones win.
        sandbox: whether every source is to be the made-up market.
    """

    config: Path | None = None
    overrides: list[str] = field(default_factory=list)
    sandbox: bool = False

    @contextmanager
    def in_use(self) -> Iterator["Profile"]:
        """Give the profile with the sandbox running, where it is asked for."""
        if not self.sandbox:
            yield self
            return
        with phase("Looking for the sandbox, or starting it"):
            # Here, so that the line above comes before what takes time.
            from weft_app.demo import sandboxed  # noqa: PLC0415

            market = sandboxed(self.config, self.overrides)
            through = market.__enter__()
        try:
            yield Profile(self.config, through)
        finally:
            market.__exit__(None, None, None)


def profile_of(context: typer.Context) -> Profile:
    """Return the profile that the options of a command line chose.

    A sandbox runs until the command ends.
    """
    profile: Profile = context.with_resource(_profile(context).in_use())
    return profile


def _profile(context: Any) -> Profile:  # noqa: ANN401  # a context of click, which typer brings its own copy of
    profile: Profile = context.meta.setdefault(_META, Profile())
    return profile


class SharedOptionsGroup(TyperGroup):
    """The root of a command line, all of whose commands take the shared options as well."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # those of TyperGroup
        super().__init__(**options)
        _share([self])


def _share(commands: Iterable[Any]) -> None:
    """Add the shared options to commands and to all that are below them."""
    for command in commands:
        taken = {name for parameter in command.params for name in parameter.opts}
        command.params += [one for one in _options() if taken.isdisjoint(one.opts)]
        if isinstance(command, TyperGroup):
            _share(command.commands.values())


def _options() -> list[Any]:
    """Return the shared options, each of which notes its value in the profile."""
    template = typer.Typer(add_completion=False)
    template.command()(_template)
    options = [one for one in get_command(template).params if one.name in _NOTES]
    for option in options:
        option.expose_value = False
        option.callback = _note
    return options


def _template(
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="Config file; ./config.yaml where there is one.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Override one key: key.path=value. May be repeated.",
            rich_help_panel=_PANEL,
        ),
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Use a made-up market, where no source of real candles is configured.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option(
            "--home", help="Where data is kept; as WEFT_HOME does.", rich_help_panel=_PANEL
        ),
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Say more on stderr.", rich_help_panel=_PANEL)
    ] = False,
) -> None:
    """Declare the options every command takes."""


def _note(context: Any, option: Any, value: Any) -> Any:  # noqa: ANN401  # as click calls it
    """Note the value of one option in the profile of the command line."""
    if value:
        _NOTES[option.name](_profile(context), value)
    return value


def _note_home(_: Profile, value: object) -> None:
    # The config file reads it as a variable, and so do processes started later.
    os.environ["WEFT_HOME"] = str(Path(str(value)).expanduser().absolute())


def _note_verbose(_: Profile, __: object) -> None:
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("weft").setLevel(logging.INFO)


def _note_config(profile: Profile, value: object) -> None:
    profile.config = Path(str(value))


def _note_overrides(profile: Profile, value: Iterable[str]) -> None:
    profile.overrides += value


def _note_sandbox(profile: Profile, value: object) -> None:
    profile.sandbox = bool(value)


_NOTES = {
    "config": _note_config,
    "overrides": _note_overrides,
    "sandbox": _note_sandbox,
    "home": _note_home,
    "verbose": _note_verbose,
}
