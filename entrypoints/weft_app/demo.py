"""The sandbox in place of every provider: Weft without a key or a network."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from weft.components.provider import SourceKind
from weft.compose.composition import Composition
from weft.config.loading import LoadedSettings
from weft.engine.assembly import compose_settings
from weft.foundation.dependencies import require
from weft.foundation.errors import WeftError
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.installed import http_providers
from weft_app.profile import Profile
from weft_app.session import settings_of
from weft_app.terminal import console

_STOP_SECONDS = 10.0

API_OF = {"binance_futures": "binance"}
"""Name of the API a provider calls, where it differs from the provider's name."""

KEY_OF = {"reddit": "sandbox:sandbox"}
"""Keys that are not a single word."""

STREAMS_OF = {"binance": "[candles]", "binance_futures": "[candles, liquidations]"}
"""Streams that are switched on."""

SERIES_OF: Mapping[str, Mapping[str, Mapping[str, str | float]]] = {
    "artemis": {
        "dev_commits": {"path": "/weekly-commits"},
        "active_developers": {"path": "/weekly-active-devs"},
        "developer_share": {"path": "/weekly-active-devs"},
    },
    "intotheblock": {"bid_ask_imbalance": {"path": "bidAskVolumes.bidVolume/askVolume"}},
    "messari": {"supply_inflation": {"path": "supply.circulating-supply"}},
    "thetie": {
        "news_entities": {"path": "entities"},
        "social_sentiment": {"path": "/v1/social_sentiment.sentiment_score"},
        "social_volume": {"path": "/v1/social_sentiment.tweet_volume"},
        "social_dominance": {"path": "/v1/social_sentiment.dominance", "factor": 0.01},
    },
}
"""Paths of the sandbox for series whose real paths are not documented, by provider and metric."""


@contextmanager
def sandboxed(profile: Profile) -> Iterator[Profile]:
    """Run the sandbox, and yield a profile in which every provider it can imitate calls it.

    A sandbox of the same market that already runs on this machine is used instead of a new one.
    Lake, ledger, models and cache are kept in a folder of the sandbox. Overrides of the profile win
    over those added here.

    Where the configuration has a source of real candles, no sandbox is started and the profile is
    yielded unchanged: made-up data never stands beside real data.

    Raises:
        MissingDependencyError: the packages of the `api` extra are not installed.
        WeftError: the configuration is wrong, or no port is free.
    """
    registry = Registry(discover())
    loaded = settings_of(profile)
    composition, _ = compose_settings(loaded, registry)
    real = _real_candles(composition)
    if real:
        console.print(
            f"[dim]The sandbox is not used, because {', '.join(real)} brings real candles.",
            soft_wrap=True,
        )
        yield Profile(profile.config, list(profile.overrides))
        return
    require("starlette", "uvicorn", extra="api", where="sandbox")
    from weft_sandbox.app import find_apis  # noqa: PLC0415  # an optional dependency

    with _sandbox_process(loaded.settings.sandbox.port) as port:
        redirected = _redirected(port, http_providers(registry), find_apis())
        yield Profile(profile.config, [*_places(loaded), *redirected, *profile.overrides])


@contextmanager
def _sandbox_process(port: int) -> Iterator[int]:
    """Run the sandbox in a child process until the block ends, and yield its port.

    Its own process has its own interpreter lock: it answers on one processor while this process
    fetches on another. The child ends when its stdin is closed, so also when this process is
    killed.

    Raises:
        WeftError: the sandbox cannot start.
    """
    child = subprocess.Popen(  # noqa: S603  # this interpreter, this module
        [sys.executable, "-m", "weft_app.sandbox_process", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            line = child.stdout.readline().strip() if child.stdout else ""
            if not line.isdecimal():
                raise WeftError(line or "the sandbox has not started", where="sandbox")
            yield int(line)
        finally:
            if child.stdin:
                child.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                child.wait(_STOP_SECONDS)
            child.kill()


def _real_candles(composition: Composition) -> list[str]:
    """Return the names of the enabled providers that bring candles of a real market."""
    providers = [configured.component for configured in composition.providers]
    return [p.name for p in providers if p.brings_candles and p.source_kind is SourceKind.REAL]


def _places(loaded: LoadedSettings) -> list[str]:
    """Return overrides that keep data of the sandbox in a folder of its own."""
    home = os.environ.get("WEFT_HOME") or ".weft"
    # Relative paths start from the config file's folder, as they do without the sandbox.
    folder = (loaded.path.parent if loaded.path else Path()) / Path(home).expanduser()
    folder = folder.absolute() / "sandbox"
    return [
        f"storage.lake={folder / 'lake'}",
        f"storage.ledger=sqlite:///{folder / 'ledger.db'}",
        f"storage.models={folder / 'models'}",
        f"storage.cache={folder / 'cache'}",
    ]


def _redirected(port: int, providers: Sequence[str], apis: Mapping[str, object]) -> list[str]:
    """Return overrides that point providers to the sandbox, where it implements their API."""
    sandbox = f"127.0.0.1:{port}"
    overrides = []
    for name in providers:
        api = API_OF.get(name, name)
        if api in apis:
            overrides += [
                f"providers.{name}.enabled=true",
                f"providers.{name}.on_error=degrade",
                f"providers.{name}.base_url=http://{sandbox}/{api}",
                f"providers.{name}.api_key={KEY_OF.get(name, 'sandbox')}",
            ]
        for metric, options in SERIES_OF.get(name, {}).items():
            series = f"providers.{name}.series.{metric}"
            overrides += [f"{series}.{option}={value}" for option, value in options.items()]
        if name in STREAMS_OF:
            overrides += [
                f"providers.{name}.streams={STREAMS_OF[name]}",
                f"providers.{name}.stream_url=ws://{sandbox}/{api}",
            ]
    return overrides
