"""The `weft` command line: parses arguments; the work is in `weft_app.commands`."""

import io
import os
import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

import weft
from weft.foundation.errors import ConfigError, WeftError
from weft_app.memory import give_memory_back
from weft_app.profile import SharedOptionsGroup, profile_of
from weft_app.progress import phase
from weft_app.templates import KINDS

app = typer.Typer(
    name="weft",
    cls=SharedOptionsGroup,
    help="Weave many strands of evidence about a market into one explained signal.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
providers_app = typer.Typer(help="How the sources are doing.", no_args_is_help=True)
plugins_app = typer.Typer(help="What is installed, and what of it is used.", no_args_is_help=True)
config_app = typer.Typer(help="Check the configuration.", no_args_is_help=True)
ledger_app = typer.Typer(help="The record of every signal.", no_args_is_help=True)
models_app = typer.Typer(help="What was trained, and what is in use.", no_args_is_help=True)
app.add_typer(providers_app, name="providers")
app.add_typer(plugins_app, name="plugins")
app.add_typer(config_app, name="config")
app.add_typer(ledger_app, name="ledger")
app.add_typer(models_app, name="models")

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsOfOption = Annotated[
    str | None,
    typer.Option(
        "--as-of", help="A past instant: 2025-03-01T14:00:00Z, or a day, from midnight UTC."
    ),
]


def loading() -> AbstractContextManager[object]:
    """Say that a command is being loaded, which takes a second or more."""
    return phase("Loading")


def main() -> None:
    """Run the command line; show a mistake as one message, never as a traceback."""
    give_memory_back()
    accept_every_character()
    try:
        app()
    except WeftError as error:
        if os.environ.get("WEFT_DEBUG"):
            raise
        sys.stderr.write(f"weft: {error}\n")
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None


def accept_every_character() -> None:
    """Let stdout and stderr replace what their encoding lacks, instead of raising."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@app.callback(invoke_without_command=True)
def root(
    *,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    """Weave many strands of evidence about a market into one explained signal."""
    if version:
        sys.stdout.write(f"weft {weft.__version__}\n")
        raise typer.Exit


@app.command()
def signals(
    context: typer.Context,
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols to show; all by default.")
    ] = None,
    *,
    as_of: AsOfOption = None,
    as_json: JsonOption = False,
    record: Annotated[bool, typer.Option(help="Write the signals to the ledger.")] = True,
) -> None:
    """Compose signals and print them."""
    with loading():
        from weft_app.commands import signals as command

    profile = profile_of(context)
    command.run(
        symbols or [], profile.config, as_of, profile.overrides, as_json=as_json, record=record
    )


@app.command()
def serve(
    context: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Compose at every close, and serve the signals over HTTP."""
    with loading():
        from weft_app.commands import serve as command

    profile = profile_of(context)
    command.run(profile.config, host, port, profile.overrides)


@app.command()
def backfill(
    context: typer.Context,
    *,
    since: Annotated[
        str | None, typer.Option(help="ISO 8601 time; history_days ago if left out.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch history as far back as it is wanted. Goes on where it was interrupted."""
    with loading():
        from weft_app.commands import backfill as command

    profile = profile_of(context)
    if not command.run(since, profile.config, profile.overrides, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def metrics(
    context: typer.Context,
    *,
    available: Annotated[
        bool, typer.Option("--available", help="Only those that a provider that is on brings.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the metrics a layer can ask for, and who brings them."""
    with loading():
        from weft_app.commands import metrics as command

    profile = profile_of(context)
    command.run(profile.config, profile.overrides, as_json=as_json, available=available)


@app.command()
def sandbox(
    *,
    port: Annotated[
        int | None, typer.Option(help="Where to listen, on 127.0.0.1.", show_default="8390")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed is another market.")] = 7,
    speed: Annotated[float, typer.Option(help="Sandbox seconds a second.", min=0)] = 1.0,
    start: Annotated[
        str | None, typer.Option(help="First instant of its time, ISO 8601; now if left out.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(help="Folder of real candles to serve instead of made-up ones.")
    ] = None,
    coins: Annotated[int, typer.Option(help="How many.", min=20, max=100)] = 20,
) -> None:
    """Serve a made-up market through the protocols of all providers, on loopback."""
    with loading():
        from weft_app.commands import sandbox as command

    command.run(port, seed, speed, start, replay, coins)


@providers_app.command("status")
def providers_status(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show state, latency, quota left, freshness and errors of each provider."""
    with loading():
        from weft_app.commands import providers as command

    profile = profile_of(context)
    command.status(profile.config, profile.overrides, as_json=as_json)


@providers_app.command("check")
def providers_check(
    context: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help="Providers; all that are on if none is named.")
    ] = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Ask each provider once, store nothing, and say what came or what is wrong."""
    with loading():
        from weft_app.commands import providers as command

    profile = profile_of(context)
    if not command.check(names or [], profile.config, profile.overrides, as_json=as_json):
        raise typer.Exit(1)


@providers_app.command("start-over")
def providers_start_over(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the provider, such as files.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Read a source afresh, where it differs from what Weft has stored of it.

    The stored rows stay, for replays of earlier signals; new signals no longer use them.
    """
    with loading():
        from weft_app.commands import providers as command

    profile = profile_of(context)
    command.start_over(name, profile.config, profile.overrides, as_json=as_json)


@plugins_app.command("list")
def plugins_list(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List every installed component and whether it is used."""
    with loading():
        from weft_app.commands import plugins as command

    profile = profile_of(context)
    command.list_all(profile.config, profile.overrides, as_json=as_json)


@plugins_app.command("info")
def plugins_info(
    name: Annotated[str, typer.Argument(help="A component: technical, or layer:technical.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a component is for, what it needs and its options."""
    with loading():
        from weft_app.commands import plugins as command

    command.info(name, as_json=as_json)


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
    """Write a plugin to start from: a distribution with one component, its options and tests."""
    with loading():
        from weft_app.commands import new as command

    command.run(kind, name, path, as_json=as_json)


@config_app.command("check")
def config_check(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Check every key and every component without composing anything."""
    with loading():
        from weft_app.commands import config as command

    profile = profile_of(context)
    command.check(profile.config, profile.overrides, as_json=as_json)


@app.command()
def replay(
    context: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of signals, or how they begin; none for the newest."),
    ] = None,
    *,
    last: Annotated[int, typer.Option(help="How many of the newest to take.", min=1)] = 100,
    as_json: JsonOption = False,
) -> None:
    """Compose recorded signals again, from what was known when they were made.

    Each is identical, equal within a tolerance (where another processor or library recorded it),
    or different; one that is different ends the command with 1.
    """
    with loading():
        from weft_app.commands import replay as command

    profile = profile_of(context)
    if not command.run(ids or [], last, profile.config, profile.overrides, as_json=as_json):
        raise typer.Exit(1)


@app.command()
def train(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names in config: xgboost_majors, regime, sizer; all by default."),
    ] = None,
    *,
    as_of: AsOfOption = None,
    fetch: Annotated[bool, typer.Option(help="Ask the providers for what is new first.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Train models, judge them on what came after, and promote those that are better."""
    with loading():
        from weft_app.commands import train as command

    profile = profile_of(context)
    if not command.run(
        models or [], as_of, profile.config, profile.overrides, fetch=fetch, as_json=as_json
    ):
        raise typer.Exit(1)


@app.command()
def guide(
    context: typer.Context,
    *,
    fetch: Annotated[bool, typer.Option(help="Ask the providers for what is new first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what data each model needs, what there is, and how long the rest takes."""
    with loading():
        from weft_app.commands import guide as command

    profile = profile_of(context)
    command.run(profile.config, profile.overrides, as_json=as_json, fetch=fetch)


@app.command()
def explain(
    context: typer.Context,
    symbol: Annotated[str, typer.Argument(help="Whose signal, such as BTCUSDT.")],
    *,
    as_of: AsOfOption = None,
    top: Annotated[int, typer.Option(help="Features of each model at most.", min=1)] = 8,
    as_json: JsonOption = False,
) -> None:
    """Show what each layer adds to a signal, and what moved each model's forecast."""
    with loading():
        from weft_app.commands import explain as command

    profile = profile_of(context)
    command.run(symbol, profile.config, as_of, profile.overrides, top=top, as_json=as_json)


@app.command()
def risk(
    context: typer.Context,
    positions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SYMBOL=FRACTION]...",
            help="Fractions of the equity, negative for a short; those of the signals by default.",
        ),
    ] = None,
    *,
    as_of: AsOfOption = None,
    days: Annotated[
        int | None,
        typer.Option(
            help="How far back volatility and correlation are measured; 60 where candles are "
            "short, else as far as they need.",
            min=1,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers.", min=0)] = 0,
    as_json: JsonOption = False,
) -> None:
    """Show what positions can lose together, and what each of them adds to it."""
    with loading():
        from weft_app.commands import risk as command

    profile = profile_of(context)
    command.run(
        positions or [],
        profile.config,
        as_of,
        profile.overrides,
        days=days,
        seed=seed,
        as_json=as_json,
    )


@models_app.command("list")
def models_list(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """List what is trained, and which artifact of it is in use."""
    with loading():
        from weft_app.commands import models as command

    profile = profile_of(context)
    command.show_list(profile.config, profile.overrides, as_json=as_json)


@models_app.command("show")
def models_show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name in config, such as transformer.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show the model card of what is in use, and every promotion before it."""
    with loading():
        from weft_app.commands import models as command

    profile = profile_of(context)
    command.show(name, profile.config, profile.overrides, as_json=as_json)


@models_app.command("promote")
def models_promote(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name in config, such as transformer.")],
    artifact: Annotated[str, typer.Argument(help="Digest of the artifact, or how it begins.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Take an artifact into use, whatever it was judged to be."""
    with loading():
        from weft_app.commands import models as command

    profile = profile_of(context)
    command.promote(name, artifact, profile.config, profile.overrides, as_json=as_json)


@models_app.command("rollback")
def models_rollback(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Its name in config, such as transformer.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Take the artifact into use again that was used before the present one."""
    with loading():
        from weft_app.commands import models as command

    profile = profile_of(context)
    command.roll_back(name, profile.config, profile.overrides, as_json=as_json)


@app.command()
def doctor(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Look for what could keep Weft from working on this machine."""
    with loading():
        from weft_app.commands import doctor as command

    profile = profile_of(context)
    command.run(profile.config, profile.overrides, as_json=as_json)


@ledger_app.command("verify")
def ledger_verify(
    context: typer.Context,
    *,
    seal: Annotated[
        str | None,
        typer.Option(help="A seal printed earlier; shows that the end was not cut off since."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check that no recorded signal was changed, removed or inserted."""
    with loading():
        from weft_app.commands import ledger as command

    profile = profile_of(context)
    command.verify(profile.config, profile.overrides, seal, as_json=as_json)


if __name__ == "__main__":
    main()
