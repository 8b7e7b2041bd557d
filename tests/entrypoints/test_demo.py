"""The sandbox in place of every provider: every series it serves needs no further setting."""

from weft.components.provider import SourceKind
from weft.engine.assembly import compose_settings
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.sources.series import SeriesProvider
from weft_app.demo import SERIES_OF, sandboxed
from weft_app.profile import Profile
from weft_app.session import settings_of

ANY_PORT = "sandbox.port=0"


def test_the_sandbox_sets_the_path_of_every_undocumented_series() -> None:
    with sandboxed(Profile(overrides=[ANY_PORT])) as profile:
        composition, _ = compose_settings(settings_of(profile), Registry(discover()))
    providers = {
        configured.component.name: configured.component for configured in composition.providers
    }
    assert SERIES_OF.keys() < providers.keys()
    for provider in providers.values():
        assert provider.source_kind is not SourceKind.REAL
        if isinstance(provider, SeriesProvider):
            # Nansen has no label for bridges, so the sandbox serves none.
            lacking = {"bridge_netflow_usd"} if provider.name == "nansen" else set()
            assert provider.waiting().keys() == lacking
    dominance = providers["thetie"].config.series["social_dominance"]
    assert (dominance.path, dominance.factor) == ("/v1/social_sentiment.dominance", 0.01)


def test_overrides_of_the_user_win() -> None:
    override = "providers.artemis.series.dev_commits.path=/elsewhere"
    with sandboxed(Profile(overrides=[ANY_PORT, override])) as profile:
        composition, _ = compose_settings(settings_of(profile), Registry(discover()))
    (artemis,) = [p.component for p in composition.providers if p.component.name == "artemis"]
    assert artemis.config.series["dev_commits"].path == "/elsewhere"
