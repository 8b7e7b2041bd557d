"""The `weft` command line: its commands, loaded when they are used.

A command, or a group of commands, is one module in `weft_app.commands` that defines `app`, a
`typer.Typer`; its name and its help stand in `COMMANDS`.
"""

import io
import os
import sys
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from importlib import import_module
from keyword import iskeyword
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import weft
from weft.foundation.errors import ConfigError, WeftError
from weft_app.memory import return_freed_memory
from weft_app.profile import shared_options
from weft_app.progress import phase
from weft_app.terminal import claim_stdout, results_on_stdout

COMMANDS: Mapping[str, str] = {
    "signals": "Compose signals and print them.",
    "serve": "Compose at every close, and serve the signals over HTTP.",
    "explain": "Show what each layer adds to a signal, and what moved each model's forecast.",
    "risk": "Show what positions can lose together, and how much each adds.",
    "train": "Train models, judge them on later data, and promote those that are better.",
    "models": "List, inspect and promote trained models.",
    "guide": "Show what data each model needs, what is stored, and how long the rest takes.",
    "backfill": "Fetch history as far back as you want. Resumes where it was interrupted.",
    "import": "Show what Weft reads in your own candle files, and what not; store nothing.",
    "metrics": "List the metrics a layer can use, and which providers bring them.",
    "providers": "Show and check the data sources.",
    "plugins": "List what is installed, and what is in use.",
    "new": "Write a plugin to start from: a distribution with one component and its tests.",
    "config": "Write a config file, or check one.",
    "doctor": "Look for problems that could keep Weft from working on this machine.",
    "ledger": "Check the record of all signals.",
    "replay": "Compose recorded signals again, and compare.",
    "sandbox": "Serve a made-up market through the protocols of all providers, on loopback.",
}
"""Every command and group of commands, with its help in one line."""


class LazyCommand(TyperCommand):
    """Stands for a command in listings; imports the command's module when it is called."""

    def make_context(self, info_name: Any, args: Any, parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401  # click's types, which typer keeps private
        """Return the context of the command itself."""
        silent = extra.get("resilient_parsing")
        with nullcontext() if silent else phase("Loading"):
            command = self.load()
        return command.make_context(info_name, args, parent, **extra)

    def load(self) -> Any:  # noqa: ANN401  # a command of click, a private type of typer
        """Import the command's module, and return the command with the shared options."""
        name = f"{self.name}_" if iskeyword(str(self.name)) else self.name
        command = get_command(import_module(f"weft_app.commands.{name}").app)
        _complete(command)
        return command


class LazyGroup(TyperGroup):
    """The root of the command line, with all of `COMMANDS`."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  # those of TyperGroup
        options["commands"] = {
            name: LazyCommand(name, help=text) for name, text in COMMANDS.items()
        }
        super().__init__(**options)
        self.params += shared_options()


def _complete(command: Any) -> None:  # noqa: ANN401  # a command of click, a private type of typer
    """Add the shared options to a command and its subcommands; keep stdout for their results."""
    names = {name for parameter in command.params for name in parameter.opts}
    command.params += [o for o in shared_options() if names.isdisjoint(o.opts)]
    if isinstance(command, TyperGroup):
        for subcommand in command.commands.values():
            _complete(subcommand)
    else:
        command.callback = results_on_stdout(command.callback)


app = typer.Typer(
    name="weft",
    cls=LazyGroup,
    help="Weave many strands of evidence about a market into one explained signal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def root(
    *,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    """Weave many strands of evidence about a market into one explained signal."""
    if version:
        sys.stdout.write(f"weft {weft.__version__}\n")
        raise typer.Exit


def main() -> None:
    """Run the command line; print an error as one message, without a traceback."""
    return_freed_memory()
    accept_every_character()
    claim_stdout()
    try:
        app()
    except WeftError as error:
        if os.environ.get("WEFT_DEBUG"):
            raise
        sys.stderr.write(f"weft: {error}\n")
        raise SystemExit(exit_code(error)) from None
    finally:
        _close_stdout()


def exit_code(error: WeftError) -> int:
    """Return the exit code for an error: 2 for a mistake in the configuration, else 1."""
    return 2 if isinstance(error, ConfigError) else 1


def _close_stdout() -> None:
    """Write out the results; threads and exit handlers that still print then reach stderr."""
    stdout, sys.stdout = sys.stdout, sys.stderr
    # The reader of the results may have closed the pipe.
    with suppress(AttributeError, BrokenPipeError):
        stdout.flush()


def accept_every_character() -> None:
    """Let stdout and stderr replace characters that their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    main()
