"""`weft serve`: compose at every close, and serve the signals."""

import asyncio
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from rich.markup import escape

from weft.config.loading import LoadedSettings, load_settings
from weft.config.settings import Settings
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.foundation.dependencies import require
from weft.foundation.errors import ConfigError, MissingDependencyError
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.addresses import is_loopback, shown, try_to_listen
from weft_app.live import LiveService
from weft_app.progress import phase
from weft_app.scheduler import Retrainer, retrained, scheduled
from weft_app.session import bring_up_to_date, compile_features, console, warn_about


def run(
    config: Path | None,
    host: str | None,
    port: int | None,
    overrides: Sequence[str],
) -> None:
    """Compose once, then listen until stopped.

    Args:
        config: config file; None for the default one.
        host: address to listen on; None for the configured one.
        port: where to listen; None for the configured one.
        overrides: keys to override, as ``key.path=value``.

    Raises:
        ConfigError: the address cannot be listened on, or is open to others without a token.
        MissingDependencyError: the packages of the `api` extra are not installed.
    """
    require("fastapi", "uvicorn", extra="api", where="weft serve")
    import uvicorn  # noqa: PLC0415  # an optional dependency

    from weft_app.server import create_app  # noqa: PLC0415  # an optional dependency

    loaded = load_settings(config, overrides)
    retrainer = Retrainer(config, overrides)
    _serve(loaded, retrainer, host, port, create_app, uvicorn.run)


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
        service.collected = asyncio.run(bring_up_to_date(engine, wait))
        compile_features(engine)
        service.check()
        with phase("Composing"):
            report = service.compose().report
        warn_about(report, engine)
        first = report.signals[0].symbol if report.signals else "BTCUSDT"
        console.print(
            f"[green]Serving {len(report.signals)} signals[/] as of {report.as_of} on "
            f"http://{escape(shown(host))}:{port}  "
            f"[dim](try /signals/{escape(first)}, /health, /docs; stop with Ctrl-C)",
            soft_wrap=True,
        )
        app = create_app(
            service,
            token=token,
            allowed_hosts=[*server.allowed_hosts, shown(host)],
            plugins=registry.records(),
        )
        with _training(engine, loaded.settings, retrainer):
            listen(app, host=host, port=port, log_level="warning", ws="websockets-sansio")


@contextmanager
def _training(engine: Engine, settings: Settings, retrainer: Retrainer) -> Iterator[None]:
    """Train anew while serving, what was never trained at once; where that cannot be, say so."""
    trained = engine.composition.trained
    every = retrained(settings, list(trained))
    learned = engine.in_use(engine.view()).learned
    never = [key for key in engine.trainer.cheapest_first() if key not in learned]
    # The server ends by raising the signal that ended it once more, which would leave a training
    # behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ExitStack() as stack:
        try:
            stack.enter_context(scheduled(every, retrainer, never))
        except MissingDependencyError as error:
            told = escape(str(error))
            console.print(f"[yellow]Nothing is trained while serving:[/] {told}", soft_wrap=True)
        yield


def _check_address(host: str, port: int, token: str | None) -> None:
    if token is None and not is_loopback(host):
        raise ConfigError(
            f"{host} can be reached by others, and no token is set",
            where="server.host",
            hint="Set server.token, for instance to ${WEFT_TOKEN}, or listen on 127.0.0.1",
        )
    try:
        try_to_listen(host, port)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {shown(host)}:{port}: {error.strerror}",
            where="server.port",
            hint="Choose another one with --port",
        ) from error
