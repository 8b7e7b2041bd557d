"""The installed providers, as classes: for commands that look at all of them."""

from collections.abc import Iterator

from weft.components.provider import HttpConfig, Provider
from weft.foundation.errors import PluginError
from weft.plugins.registry import Registry


def provider_classes(registry: Registry) -> Iterator[tuple[str, type[Provider]]]:
    """Yield name and class of every provider that can be loaded."""
    for record in registry.records():
        if record.kind != Provider.kind:
            continue
        try:
            cls = registry.load(record.kind, f"{record.dist}:{record.name}")
        except PluginError:
            continue
        if issubclass(cls, Provider):
            yield record.name, cls


def asked_over_http(registry: Registry) -> list[str]:
    """Return the names of providers that ask an API and can be pointed elsewhere."""
    return [
        name
        for name, cls in provider_classes(registry)
        if cls.web and issubclass(cls.Config, HttpConfig)
    ]
