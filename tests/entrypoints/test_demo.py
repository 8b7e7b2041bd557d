"""The sandbox in place of every provider: every series it serves needs no further setting."""

import socket
import subprocess
import sys
import time

import pytest

from tests.support import PATIENCE_SECONDS
from weft.components.provider import SourceKind
from weft.engine.assembly import compose_settings
from weft.foundation.errors import WeftError
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft.sources.series import SeriesProvider
from weft_app.demo import SERIES_OF, sandboxed
from weft_app.profile import Profile
from weft_app.session import settings_of

ANY_PORT = "sandbox.port=0"
LAST_PORT = 65_535


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


SCRIPT = """
import sys, time
from weft_app.demo import sandboxed
from weft_app.profile import Profile
with sandboxed(Profile(overrides=["sandbox.port=0"])) as profile:
    url = next(o for o in profile.overrides if o.startswith("providers.binance.base_url="))
    print(url.partition("127.0.0.1:")[2].partition("/")[0], flush=True)
    time.sleep(600)
"""


def test_the_sandbox_ends_with_a_command_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE) as command:
        assert command.stdout is not None
        port = int(command.stdout.readline())
        assert _answers(port)
        command.kill()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while _answers(port) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _answers(port)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_sandbox_that_cannot_start_is_an_error_of_the_command() -> None:
    with socket.socket() as other:
        # No port follows this one.
        other.bind(("127.0.0.1", LAST_PORT))
        other.listen()
        market = sandboxed(Profile(overrides=[f"sandbox.port={LAST_PORT}"]))
        with pytest.raises(WeftError, match="something else listens"):
            market.__enter__()
