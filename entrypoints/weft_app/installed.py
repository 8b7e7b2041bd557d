"""The installed providers, as classes."""

from collections.abc import Iterator

from weft.components.provider import HttpConfig, Provider
from weft.foundation.errors import PluginError
from weft.plugins.registry import Registry


def provider_classes(registry: Registry) -> Iterator[tuple[str, type[Provider]]]:
    """Yield the name and the class of every provider that can be imported."""
    for record in registry.records():
        if record.kind != Provider.kind:
            continue
        try:
            cls = registry.load(record.kind, f"{record.dist}:{record.name}")
        except PluginError:
            continue
        if issubclass(cls, Provider):
            yield record.name, cls


def http_providers(registry: Registry) -> list[str]:
    """Return the names of the providers that call an API and accept a `base_url`."""
    return [
        name
        for name, cls in provider_classes(registry)
        if cls.web and issubclass(cls.Config, HttpConfig)
    ]
