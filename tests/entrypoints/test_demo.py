"""The sandbox as every provider at once: nothing that it tells waits for the configuration."""

from weft.components.provider import SourceKind
from weft.config.loading import load_settings
from weft.engine.assembly import compose_settings
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.sources.series import SeriesProvider
from weft_app.demo import SERIES_OF, sandboxed

ANY_PORT = "sandbox.port=0"


def test_every_path_that_is_not_documented_is_named_for_the_sandbox() -> None:
    with sandboxed(None, [ANY_PORT]) as through:
        composition, _ = compose_settings(load_settings(None, through), Registry(discover()))
    providers = {
        configured.component.name: configured.component for configured in composition.providers
    }
    assert SERIES_OF.keys() < providers.keys()
    for provider in providers.values():
        assert provider.source_kind is not SourceKind.REAL
        if isinstance(provider, SeriesProvider):
            # Nansen has no label of bridges, and so the sandbox has none.
            lacking = {"bridge_netflow_usd"} if provider.name == "nansen" else set()
            assert provider.waiting().keys() == lacking
    dominance = providers["thetie"].config.series["social_dominance"]
    assert (dominance.path, dominance.factor) == ("/v1/social_sentiment.dominance", 0.01)


def test_what_the_user_says_wins() -> None:
    own = "providers.artemis.series.dev_commits.path=/elsewhere"
    with sandboxed(None, [ANY_PORT, own]) as through:
        composition, _ = compose_settings(load_settings(None, through), Registry(discover()))
    (artemis,) = [p.component for p in composition.providers if p.component.name == "artemis"]
    assert artemis.config.series["dev_commits"].path == "/elsewhere"
