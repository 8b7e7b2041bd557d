"""A secret may stand in config; it may stand nowhere else."""

import json
import traceback
from collections.abc import Callable
from typing import ClassVar

import pytest
from pydantic import SecretStr, field_validator, model_validator

from weft.components.base import Component, ComponentConfig
from weft.config.loading import LoadedSettings
from weft.config.resolve import composition_hash, validate_options
from weft.config.secrets import looks_secret, scrub
from weft.foundation.errors import ConfigError, PluginError, WeftError

Load = Callable[..., LoadedSettings]

CANARY = "canary-5b1f"


class Paid(Component):
    kind: ClassVar[str] = "layer"
    name = "paid"

    class Config(ComponentConfig):
        credential: SecretStr | None = None
        api_key: str = ""
        pin: int = 0
        window: int = 5

        @field_validator("api_key")
        @classmethod
        def _has_a_prefix(cls, key: str) -> str:
            if key and not key.startswith("pk_"):
                raise ValueError(f"{key!r} is no key")
            return key

        @model_validator(mode="after")
        def _agrees(self) -> "Paid.Config":
            if self.window == 0:
                raise ValueError(f"{self.api_key} has no window")
            if self.window == 1:
                raise RuntimeError(f"{self.api_key} crashed")
            return self

    config: Config


def everything_shown(error: WeftError) -> str:
    return "".join([str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)])


@pytest.mark.parametrize(
    "text",
    [
        f"server: {{token: [{CANARY}]}}\n",
        f"server: {{token: {{{CANARY}: 1}}}}\n",
        f"server:\n  token:{CANARY}\n",
        f"server:\n  token: {CANARY}\n  token: {CANARY}\n",
        f"server:\n  token: '{CANARY}\n",
        f"server:\n  token: *{CANARY}\n",
        f"server:\n  token: !{CANARY} x\n",
        f"server:\n  token: !{CANARY}!x y\n",
        f'server:\n  token: "\\q{CANARY}"\n',
        f"server:\n  token: {CANARY}: x\n",
        f"server:\n  token: ${{{CANARY}}}\n",
        f"storage:\n  ledger: postgresql://weft:{CANARY}@db/weft\n  lak: 1\n",
        f"storage: postgresql://weft:{CANARY}@db/weft\n",
        f"hooks: postgresql://weft:{CANARY}@db/weft\n",
        f"server:\n  password: {CANARY}\n",
        f"{CANARY}\n",
    ],
)
def test_no_message_about_the_file_holds_a_secret(load: Load, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert CANARY not in everything_shown(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("overrides", "environ"),
    [
        ([f"server.token {CANARY}"], {}),
        ([f"server.token:{CANARY}"], {}),
        ([f"server.token.x={CANARY}", "server.port=0"], {}),
        ([], {"WEFT__SERVER__TOKENN": CANARY}),
        ([], {"WEFT__SERVER____TOKEN": CANARY}),
        (["server.port=0"], {"WEFT__SERVER__TOKEN": CANARY, "WEFT__RISK__API_KEY": CANARY}),
    ],
)
def test_no_message_about_overrides_holds_a_secret(
    load: Load, overrides: list[str], environ: dict[str, str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, overrides, environ)
    assert CANARY not in everything_shown(caught.value)


def test_a_short_secret_is_hidden_too(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        load("server: {token: 4711}\n")
    assert caught.value.problems == ("server.token: expected text, got *** (config.yaml:1)",)


def paid(load: Load, **options: object) -> LoadedSettings:
    slot = {"use": "paid", **options}
    return load(f"layers:\n  paid: {json.dumps(slot)}\n")


@pytest.mark.parametrize(
    "options",
    [
        {"credential": [CANARY]},
        {"credential": 8612349},
        {"api_key": CANARY},
        {"api_key": [CANARY]},
        {"api_key": f"pk_{CANARY}", "window": 0},
        {"api_key": f"pk_{CANARY}", "window": "x"},
        {"api_key": "abc"},
        {"pasword": CANARY},
        {"credentials": CANARY},
    ],
)
def test_no_message_about_options_holds_a_secret(load: Load, options: dict[str, object]) -> None:
    loaded = paid(load, **options)
    slot = loaded.settings.layers["paid"]
    with pytest.raises(ConfigError) as caught:
        validate_options(Paid, slot, "layers.paid", loaded.origins)
    shown = everything_shown(caught.value)
    for secret in (CANARY, "8612349", "'abc'"):
        assert secret not in shown
    assert caught.value.__context__ is None


def test_no_message_about_a_validator_that_crashes_holds_a_secret(load: Load) -> None:
    loaded = paid(load, api_key=f"pk_{CANARY}", window=1)
    with pytest.raises(PluginError) as caught:
        validate_options(Paid, loaded.settings.layers["paid"], "layers.paid", loaded.origins)
    assert "RuntimeError" in str(caught.value)
    assert CANARY not in everything_shown(caught.value)


def test_no_repr_holds_a_secret(load: Load) -> None:
    loaded = load(
        f"server: {{token: {CANARY}}}\n"
        f"storage: {{ledger: 'postgresql://weft:{CANARY}@db/weft'}}\n"
        f"providers: {{paid: {{api_key: {CANARY}}}}}\n",
        [f"risk.password={CANARY}"],
    )
    settings = loaded.settings
    things = [
        loaded,
        settings,
        settings.server,
        settings.storage,
        settings.risk,
        settings.providers,
    ]
    things += [loaded.origins, loaded.origins.at(("risk", "password"))]
    for thing in things:
        assert CANARY not in repr(thing)
        assert CANARY not in str(thing)


def test_secrets_leave_the_composition_hash_alone(load: Load) -> None:
    def digest(credential: str | None) -> str:
        loaded = paid(load, credential=credential)
        slot = loaded.settings.layers["paid"]
        options = validate_options(Paid, slot, "layers.paid", loaded.origins)
        return composition_hash(loaded.settings, {"layers.paid": options})

    assert digest("one") == digest("two") == digest(None)


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("server.token", True),
        ("providers.glassnode.api_key", True),
        ("providers.glassnode.apikey", True),
        ("sinks.mail.smtp_password", True),
        ("sinks.hook.headers.Authorization", True),
        ("layers.token_unlocks.window", False),
        ("layers.keys.window", False),
        ("providers.files.monkey", False),
        ("token", True),
    ],
)
def test_keys_that_look_secret(key: str, secret: bool) -> None:
    assert looks_secret(tuple(key.split("."))) is secret


def test_scrubbing_leaves_short_words_alone() -> None:
    assert scrub("expected 14, got secret-1", ["14", "secret-1"]) == "expected 14, got ***"
    assert scrub("postgresql://u:p@h/d", []) == "postgresql://***@h/d"
