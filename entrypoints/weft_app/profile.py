"""Options that every command takes, before or after its name: which composition, which data."""

import logging
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command

from weft_app.progress import phase

_META = "weft.profile"
_PANEL = "Options of every command"

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of", help="A past instant: 2025-03-01T14:00:00Z, or a day, from midnight UTC."
    ),
]


@dataclass(slots=True)
class Profile:
    """Which composition a command works on.

    Attributes:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``; later ones win.
        sandbox: whether the sandbox stands in for every source.
    """

    config: Path | None = None
    overrides: list[str] = field(default_factory=list)
    sandbox: bool = False

    @contextmanager
    def running(self) -> Iterator["Profile"]:
        """Yield the profile to use; where the sandbox is wanted, it runs until the block ends."""
        if not self.sandbox:
            yield self
            return
        with ExitStack() as stack:
            with phase("Looking for the sandbox, or starting it"):
                from weft_app.demo import sandboxed  # noqa: PLC0415  # slow: the line comes first

                profile = stack.enter_context(sandboxed(self))
            yield profile


def profile_of(context: typer.Context) -> Profile:
    """Return the profile that a command line selects; a sandbox runs until the command ends."""
    profile: Profile = context.with_resource(_profile(context).running())
    return profile


def _profile(context: Any) -> Profile:  # noqa: ANN401  # a context of the click inside typer
    profile: Profile = context.meta.setdefault(_META, Profile())
    return profile


def shared_options() -> list[Any]:
    """Return new instances of the shared options; each stores its value in the profile."""
    template = typer.Typer(add_completion=False)
    template.command()(_template)
    options = [option for option in get_command(template).params if option.name in _STORES]
    for option in options:
        option.expose_value = False
        option.callback = _store
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
    """Declare the shared options."""


def _store(context: Any, option: Any, value: Any) -> Any:  # noqa: ANN401  # as click calls it
    """Store the value of one option in the profile of the command line."""
    if value:
        _STORES[option.name](_profile(context), value)
    return value


def _store_config(profile: Profile, value: Any) -> None:  # noqa: ANN401  # of click
    profile.config = Path(value)


def _store_overrides(profile: Profile, value: Any) -> None:  # noqa: ANN401  # of click
    profile.overrides += value


def _store_sandbox(profile: Profile, _: Any) -> None:  # noqa: ANN401  # of click
    profile.sandbox = True


def _store_home(_: Profile, value: Any) -> None:  # noqa: ANN401  # of click
    # The settings read this variable, and child processes inherit it.
    os.environ["WEFT_HOME"] = str(Path(value).expanduser().absolute())


def _store_verbose(_: Profile, __: Any) -> None:  # noqa: ANN401  # of click
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("weft").setLevel(logging.INFO)


_STORES = {
    "config": _store_config,
    "overrides": _store_overrides,
    "sandbox": _store_sandbox,
    "home": _store_home,
    "verbose": _store_verbose,
}
