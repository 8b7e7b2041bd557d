"""The `weft` command line: parses arguments; the work is in `weft_app.commands`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

import weft
from weft.errors import ConfigError, WeftError
from weft_app.addresses import SANDBOX_PORT
from weft_app.memory import give_memory_back

app = typer.Typer(
    name="weft",
    help="Weave many strands of evidence about a market into one explained signal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Config file; ./config.yaml where there is one."),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override one key: key.path=value. May be repeated."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line; show a mistake as one message, never as a traceback."""
    give_memory_back()
    try:
        app()
    except WeftError as error:
        if os.environ.get("WEFT_DEBUG"):
            raise
        sys.stderr.write(f"weft: {error}\n")
        raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None


@app.callback(invoke_without_command=True)
def root(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False
) -> None:
    """Weave many strands of evidence about a market into one explained signal."""
    if version:
        sys.stdout.write(f"weft {weft.__version__}\n")
        raise typer.Exit


@app.command()
def signals(
    symbols: Annotated[
        list[str] | None, typer.Argument(help="Symbols to show; all by default.")
    ] = None,
    *,
    config: ConfigOption = None,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Compose as of a past instant: 2025-03-01T00:00:00Z."),
    ] = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
    record: Annotated[bool, typer.Option(help="Write the signals to the ledger.")] = True,
) -> None:
    """Compose signals and print them."""
    from weft_app.commands import signals as command  # noqa: PLC0415  # keeps --help fast

    command.run(symbols or [], config, as_of, overrides or [], as_json=as_json, record=record)


@app.command()
def serve(
    *,
    config: ConfigOption = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox", help="Where no real source is configured, serve over a made-up market."
        ),
    ] = False,
    overrides: SetOption = None,
) -> None:
    """Compose at every close, and serve the signals over HTTP."""
    from weft_app.commands import serve as command  # noqa: PLC0415  # keeps --help fast

    command.run(config, host, port, overrides or [], sandbox=sandbox)


@app.command()
def backfill(
    *,
    since: Annotated[
        str | None, typer.Option(help="ISO 8601 time; history_days ago if left out.")
    ] = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Fetch history as far back as it is wanted. Goes on where it was interrupted."""
    from weft_app.commands import backfill as command  # noqa: PLC0415  # keeps --help fast

    if not command.run(since, config, overrides or []):
        raise typer.Exit(1)


@app.command()
def metrics(
    *,
    available: Annotated[
        bool, typer.Option("--available", help="Only those that a provider that is on brings.")
    ] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the metrics a layer can ask for, and who brings them."""
    from weft_app.commands import metrics as command  # noqa: PLC0415  # keeps --help fast

    command.run(config, overrides or [], as_json=as_json, available=available)


@app.command()
def sandbox(
    *,
    port: Annotated[int, typer.Option(help="Where to listen, on 127.0.0.1.")] = SANDBOX_PORT,
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
    from weft_app.commands import sandbox as command  # noqa: PLC0415  # keeps --help fast

    command.run(port, seed, speed, start, replay, coins)


@providers_app.command("status")
def providers_status(
    *, config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """Show state, latency, quota left, freshness and errors of each provider."""
    from weft_app.commands import providers as command  # noqa: PLC0415  # keeps --help fast

    command.status(config, overrides or [], as_json=as_json)


@providers_app.command("check")
def providers_check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Providers; all that are on if none is named.")
    ] = None,
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Ask each provider once, store nothing, and say what came or what is wrong."""
    from weft_app.commands import providers as command  # noqa: PLC0415  # keeps --help fast

    if not command.check(names or [], config, overrides or []):
        raise typer.Exit(1)


@providers_app.command("start-over")
def providers_start_over(
    name: Annotated[str, typer.Argument(help="Name of the provider, such as files.")],
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Take a source as it is now, where it says otherwise than what is stored of it.

    What is stored stays, for replays of earlier signals; it is not read for new ones any more.
    """
    from weft_app.commands import providers as command  # noqa: PLC0415  # keeps --help fast

    command.start_over(name, config, overrides or [])


@plugins_app.command("list")
def plugins_list(
    *, config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """List every installed component and whether it is used."""
    from weft_app.commands import plugins as command  # noqa: PLC0415  # keeps --help fast

    command.list_all(config, overrides or [], as_json=as_json)


@plugins_app.command("info")
def plugins_info(
    name: Annotated[str, typer.Argument(help="A component: technical, or layer:technical.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a component is for, what it needs and its options."""
    from weft_app.commands import plugins as command  # noqa: PLC0415  # keeps --help fast

    command.info(name, as_json=as_json)


@config_app.command("check")
def config_check(*, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Check every key and every component without composing anything."""
    from weft_app.commands import config as command  # noqa: PLC0415  # keeps --help fast

    command.check(config, overrides or [])


@app.command()
def replay(
    ids: Annotated[
        list[str] | None,
        typer.Argument(help="Ids of signals, or how they begin; none for the newest."),
    ] = None,
    *,
    last: Annotated[int, typer.Option(help="How many of the newest to take.", min=1)] = 100,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Compose recorded signals again, from what was known when they were made."""
    from weft_app.commands import replay as command  # noqa: PLC0415  # keeps --help fast

    if not command.run(ids or [], last, config, overrides or []):
        raise typer.Exit(1)


@app.command()
def train(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Names in config: xgboost_majors, regime, sizer; all by default."),
    ] = None,
    *,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Train as of a past instant; nothing later is looked at."),
    ] = None,
    fetch: Annotated[bool, typer.Option(help="Ask the providers for what is new first.")] = True,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Train models, judge them on what came after, and promote those that are better."""
    from weft_app.commands import train as command  # noqa: PLC0415  # keeps --help fast

    if not command.run(models or [], as_of, config, overrides or [], fetch=fetch):
        raise typer.Exit(1)


@app.command()
def guide(
    *,
    fetch: Annotated[bool, typer.Option(help="Ask the providers for what is new first.")] = False,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what data each model needs, what there is, and how long the rest takes."""
    from weft_app.commands import guide as command  # noqa: PLC0415  # keeps --help fast

    command.run(config, overrides or [], as_json=as_json, fetch=fetch)


@app.command()
def explain(
    symbol: Annotated[str, typer.Argument(help="Whose signal, such as BTCUSDT.")],
    *,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Compose as of a past instant: 2025-03-01T00:00:00Z."),
    ] = None,
    top: Annotated[int, typer.Option(help="Features of each model at most.", min=1)] = 8,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what each layer adds to a signal, and what moved each model's forecast."""
    from weft_app.commands import explain as command  # noqa: PLC0415  # keeps --help fast

    command.run(symbol, config, as_of, overrides or [], top=top, as_json=as_json)


@app.command()
def risk(
    positions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SYMBOL=FRACTION]...",
            help="Fractions of the equity, negative for a short; those of the signals by default.",
        ),
    ] = None,
    *,
    as_of: Annotated[
        str | None,
        typer.Option("--as-of", help="Measure as of a past instant: 2025-03-01T00:00:00Z."),
    ] = None,
    days: Annotated[
        int | None,
        typer.Option(
            help="How far back volatility and correlation are measured; 60 where candles are "
            "short, else as far as they need.",
            min=1,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random numbers.", min=0)] = 0,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what positions can lose together, and what each of them adds to it."""
    from weft_app.commands import risk as command  # noqa: PLC0415  # keeps --help fast

    command.run(
        positions or [], config, as_of, overrides or [], days=days, seed=seed, as_json=as_json
    )


@models_app.command("list")
def models_list(
    *, config: ConfigOption = None, overrides: SetOption = None, as_json: JsonOption = False
) -> None:
    """List what is trained, and which artifact of it is in use."""
    from weft_app.commands import models as command  # noqa: PLC0415  # keeps --help fast

    command.show_list(config, overrides or [], as_json=as_json)


@models_app.command("show")
def models_show(
    name: Annotated[str, typer.Argument(help="Its name in config, such as transformer.")],
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the model card of what is in use, and every promotion before it."""
    from weft_app.commands import models as command  # noqa: PLC0415  # keeps --help fast

    command.show(name, config, overrides or [], as_json=as_json)


@models_app.command("promote")
def models_promote(
    name: Annotated[str, typer.Argument(help="Its name in config, such as transformer.")],
    artifact: Annotated[str, typer.Argument(help="Digest of the artifact, or how it begins.")],
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Take an artifact into use, whatever it was judged to be."""
    from weft_app.commands import models as command  # noqa: PLC0415  # keeps --help fast

    command.promote(name, artifact, config, overrides or [])


@models_app.command("rollback")
def models_rollback(
    name: Annotated[str, typer.Argument(help="Its name in config, such as transformer.")],
    *,
    config: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Take the artifact into use again that was used before the present one."""
    from weft_app.commands import models as command  # noqa: PLC0415  # keeps --help fast

    command.roll_back(name, config, overrides or [])


@app.command()
def doctor(*, config: ConfigOption = None, overrides: SetOption = None) -> None:
    """Look for what could keep Weft from working on this machine."""
    from weft_app.commands import doctor as command  # noqa: PLC0415  # keeps --help fast

    command.run(config, overrides or [])


@ledger_app.command("verify")
def ledger_verify(
    *,
    config: ConfigOption = None,
    seal: Annotated[
        str | None,
        typer.Option(help="A seal printed earlier; shows that the end was not cut off since."),
    ] = None,
    overrides: SetOption = None,
) -> None:
    """Check that no recorded signal was changed, removed or inserted."""
    from weft_app.commands import ledger as command  # noqa: PLC0415  # keeps --help fast

    command.verify(config, overrides or [], seal)


if __name__ == "__main__":
    main()
