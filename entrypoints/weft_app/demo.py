"""The sandbox as every provider at once: something to try Weft on, without a key or a network."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from weft.components.provider import SourceKind
from weft.compose.composition import Composition
from weft.config.loading import LoadedSettings, load_settings
from weft.engine.assembly import compose_settings
from weft.foundation.dependencies import require
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.installed import asked_over_http
from weft_app.terminal import console

if TYPE_CHECKING:
    from weft_sandbox.sharing import SharedSandbox

API_OF = {"binance_futures": "binance"}
"""Whose API a provider asks, where that is not called as the provider is."""


KEY_OF = {"reddit": "sandbox:sandbox"}
"""Keys of another form than a single word."""


STREAMS_OF = {"binance": "[candles]", "binance_futures": "[candles, liquidations]"}
"""What is followed live."""


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
"""Where the sandbox tells what is not documented publicly, by provider and metric."""


@contextmanager
def sandboxed(config: Path | None, overrides: Sequence[str]) -> Iterator[list[str]]:
    """Run the sandbox, and yield overrides that make every provider it speaks for ask it.

    Where a sandbox of the same market runs on this machine already, that one is asked. Lake,
    ledger and models are those of the sandbox alone, in a folder of their own.

    Where the configuration names a source of real candles, no sandbox is started, and the
    overrides come back as they are: made-up data never stands beside real data.

    Args:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``; they win over the sandbox's.

    Raises:
        MissingDependencyError: the packages of the `api` extra are not installed.
        WeftError: the configuration is wrong, or no port is free.
    """
    registry = Registry(discover())
    loaded = load_settings(config, overrides)
    composition, _ = compose_settings(loaded, registry)
    real = _real_candles(composition)
    if real:
        console.print(
            f"[dim]The configuration has {', '.join(real)} bring real candles; the sandbox is not "
            "used.",
            soft_wrap=True,
        )
        yield list(overrides)
        return
    require("starlette", "uvicorn", extra="api", where="sandbox")
    from weft_sandbox.app import find_apis  # noqa: PLC0415  # an optional dependency
    from weft_sandbox.sharing import SharedSandbox  # noqa: PLC0415  # the same

    with SharedSandbox(loaded.settings.sandbox.port) as sandbox:
        asked = _asking(sandbox, asked_over_http(registry), find_apis())
        yield [*_places(loaded), *asked, *overrides]


def _real_candles(composition: Composition) -> list[str]:
    """Return the names of the providers that are on and bring candles of a real market."""
    providers = [configured.component for configured in composition.providers]
    return [p.name for p in providers if p.brings_candles and p.source_kind is SourceKind.REAL]


def _places(loaded: LoadedSettings) -> list[str]:
    """Return overrides that keep what comes from the sandbox apart from everything else."""
    home = os.environ.get("WEFT_HOME") or ".weft"
    # Relative places start from the config file's folder, as they do without the sandbox.
    folder = (loaded.path.parent if loaded.path else Path()) / Path(home).expanduser()
    folder = folder.absolute() / "sandbox"
    return [
        f"storage.lake={folder / 'lake'}",
        f"storage.ledger=sqlite:///{folder / 'ledger.db'}",
        f"storage.models={folder / 'models'}",
        f"storage.cache={folder / 'cache'}",
    ]


def _asking(
    sandbox: "SharedSandbox", providers: Sequence[str], apis: Mapping[str, object]
) -> list[str]:
    """Return overrides that make providers ask the sandbox, where it speaks their protocol."""
    asking = []
    for name in providers:
        api = API_OF.get(name, name)
        if api in apis:
            asking += [
                f"providers.{name}.enabled=true",
                f"providers.{name}.on_error=degrade",
                f"providers.{name}.base_url={sandbox.url(api)}",
                f"providers.{name}.api_key={KEY_OF.get(name, 'sandbox')}",
            ]
        for metric, options in SERIES_OF.get(name, {}).items():
            series = f"providers.{name}.series.{metric}"
            asking += [f"{series}.{option}={value}" for option, value in options.items()]
        if name in STREAMS_OF:
            asking += [
                f"providers.{name}.streams={STREAMS_OF[name]}",
                f"providers.{name}.stream_url={sandbox.url(api, 'ws')}",
            ]
    return asking
