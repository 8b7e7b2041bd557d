"""The sandbox as every provider at once: something to try Weft on, without a key or a network."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from weft.assembly import compose_settings
from weft.components.provider import SourceKind
from weft.config.loading import load_settings
from weft.errors import MissingDependencyError
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.addresses import SANDBOX_PORT
from weft_app.installed import asked_over_http
from weft_app.session import console

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
def sandboxed(
    config: Path | None, overrides: Sequence[str], port: int = SANDBOX_PORT
) -> Iterator[list[str]]:
    """Run the sandbox, and yield overrides that make every provider it speaks for ask it.

    Where the configuration names a source of real data, no sandbox is started, and the overrides
    come back as they are: made-up data never stands beside real data.

    Args:
        config: config file; None for the default one.
        overrides: keys to override, as ``key.path=value``; they win over the sandbox's.
        port: where the sandbox listens.

    Raises:
        MissingDependencyError: the packages of the `api` extra are not installed.
        WeftError: the configuration is wrong, or the port is taken.
    """
    registry = Registry(discover())
    composition, _ = compose_settings(load_settings(config, overrides), registry)
    if composition.data_kind is SourceKind.REAL:
        console.print("[dim]The configuration names real data; the sandbox is not needed.")
        yield list(overrides)
        return
    try:
        from weft_app.sandbox import Sandbox  # noqa: PLC0415  # an optional dependency
        from weft_app.sandbox.app import find_apis  # noqa: PLC0415  # an optional dependency
    except ImportError as error:
        raise MissingDependencyError(
            f"needs the package {error.name}", where="sandbox", hint="pip install 'weft[api]'"
        ) from error
    with Sandbox(port=port) as sandbox:
        apis = find_apis()
        through = []
        for name in asked_over_http(registry):
            api = API_OF.get(name, name)
            if api in apis:
                through += [
                    f"providers.{name}.enabled=true",
                    f"providers.{name}.on_error=degrade",
                    f"providers.{name}.base_url={sandbox.url(api)}",
                    f"providers.{name}.api_key={KEY_OF.get(name, 'sandbox')}",
                ]
            for metric, options in SERIES_OF.get(name, {}).items():
                series = f"providers.{name}.series.{metric}"
                through += [f"{series}.{option}={value}" for option, value in options.items()]
            if name in STREAMS_OF:
                through += [
                    f"providers.{name}.streams={STREAMS_OF[name]}",
                    f"providers.{name}.stream_url={sandbox.url(api, 'ws')}",
                ]
        yield [*through, *overrides]
