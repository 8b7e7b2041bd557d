"""`weft serve`: compose at every close, and serve the signals."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Annotated, Any

import typer
from rich.markup import escape

from weft.config.loading import LoadedSettings
from weft.config.settings import Settings
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.foundation.dependencies import require
from weft.foundation.errors import ConfigError, MissingDependencyError
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.addresses import is_loopback, try_to_listen, url_host
from weft_app.live import LiveService
from weft_app.profile import profile_of
from weft_app.progress import phase
from weft_app.scheduler import Retrainer, retrained, scheduled
from weft_app.session import compile_features, fetch_new, settings_of, warn_about
from weft_app.terminal import console

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    context: typer.Context,
    *,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
) -> None:
    """Compose at every close, and serve the signals over HTTP."""
    require("fastapi", "uvicorn", extra="api", where="weft serve")
    import uvicorn  # noqa: PLC0415  # an optional dependency

    from weft_app.server import create_app  # noqa: PLC0415  # an optional dependency

    profile = profile_of(context)
    retrainer = Retrainer(profile.config, profile.overrides)
    _serve(settings_of(profile), retrainer, host, port, create_app, uvicorn.run)


def _serve(
    loaded: LoadedSettings,
    retrainer: Retrainer,
    host: str | None,
    port: int | None,
    create_app: Callable[..., Any],
    listen: Callable[..., None],
) -> None:
    server = loaded.settings.server
    host, port = host or server.host, port or server.port
    token = server.token.get_secret_value() if server.token else None
    _check_address(host, port, token)

    registry = Registry(discover())
    with phase("Opening the lake and the ledger"):
        engine = assemble(loaded, registry)
    with closing(engine):
        wait = loaded.settings.runtime.wait_seconds
        service = LiveService(engine, wait_seconds=wait)
        service.collected = fetch_new(engine, wait)
        compile_features(engine)
        service.check()
        with phase("Composing"):
            report = service.compose().report
        warn_about(report, engine)
        first = report.signals[0].symbol if report.signals else "BTCUSDT"
        console.print(
            f"[green]Serving {len(report.signals)} signals[/] as of {report.as_of} on "
            f"http://{escape(url_host(host))}:{port}  "
            f"[dim](try /signals/{escape(first)}, /health, /docs; stop with Ctrl-C)",
            soft_wrap=True,
        )
        api = create_app(
            service,
            token=token,
            allowed_hosts=[*server.allowed_hosts, url_host(host)],
            plugins=registry.records(),
        )
        with _training(engine, loaded.settings, retrainer):
            listen(api, host=host, port=port, log_level="warning", ws="websockets-sansio")


@contextmanager
def _training(engine: Engine, settings: Settings, retrainer: Retrainer) -> Iterator[None]:
    """Retrain models on schedule while the block runs; untrained models are trained first."""
    trained = engine.composition.trained
    every = retrained(settings, list(trained))
    learned = engine.active_artifacts(engine.view()).learned
    untrained = [key for key in engine.trainer.cheapest_first() if key not in learned]
    # uvicorn ends the process by the signal it received, which would skip the cleanup below.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        try:
            stack.enter_context(scheduled(every, retrainer, untrained))
        except MissingDependencyError as error:
            reason = escape(str(error))
            console.print(f"[yellow]Nothing is trained while serving:[/] {reason}", soft_wrap=True)
        yield


def _check_address(host: str, port: int, token: str | None) -> None:
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"other machines can reach {host}, and no token is set",
            where="server.host",
            hint="Set server.token, for instance to ${WEFT_TOKEN}, or listen on 127.0.0.1",
        )
    try:
        try_to_listen(host, port)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {url_host(host)}:{port}: {error.strerror}",
            where="server.port",
            hint="Choose another one with --port",
        ) from error
