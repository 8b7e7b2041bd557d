"""What is expanded, and what only looks as if it were."""

import pytest

from tests.core.config.conftest import Load
from weft.foundation.errors import ConfigError


def _problems(load: Load, text: str | None = None, overrides: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        load(text, overrides)
    return list(raised.value.problems)


def test_overrides_are_expanded_as_the_file_is(load: Load) -> None:
    environ = {"MY_TOKEN": "a secret", "MY_PORT": "8400"}
    over = ["server.token=${MY_TOKEN}", "server.port=${MY_PORT}", "server.host=${NONE:-::1}"]
    server = load(None, over, environ).settings.server
    assert server.token is not None
    assert server.token.get_secret_value() == "a secret"
    assert (server.port, server.host) == (8400, "::1")


def test_an_override_with_an_unknown_variable_is_a_mistake(load: Load) -> None:
    (line,) = _problems(load, None, ("server.token=${MY_TOKEN}",))
    assert line.startswith("server.token: environment variable MY_TOKEN is not set")
    assert line.endswith("(set by --set)")


def test_a_variable_without_braces_is_a_mistake(load: Load) -> None:
    text = "server:\n  token: $MY_TOKEN\n"
    (line,) = _problems(load, text)
    assert line.startswith("server.token: a variable is expanded only in braces: write ${NAME}")
    assert "(config.yaml:2)" in line
    # A value that only looks like a variable may be the secret itself.
    assert "MY_TOKEN" not in line


@pytest.mark.parametrize(
    ("written", "meant"), [("$$MY_TOKEN", "$MY_TOKEN"), ("pa$$WORD", "pa$$WORD"), ("$1", "$1")]
)
def test_other_dollars_stay(load: Load, written: str, meant: str) -> None:
    token = load(f"server:\n  token: {written}\n").settings.server.token
    assert token is not None
    assert token.get_secret_value() == meant


@pytest.mark.parametrize(
    ("space", "name"),
    [
        ("\u00a0", "no-break space, U+00A0"),
        ("\u2009", "thin space, U+2009"),
        ("\u3000", "ideographic space, U+3000"),
    ],
)
def test_odd_space_before_a_key_is_named(load: Load, space: str, name: str) -> None:
    (line,) = _problems(load, f"server:\n{space} port: 8400\n")
    assert name in line
    assert "(config.yaml:2:1)" in line


def test_a_mistake_outside_the_file_does_not_name_the_file(load: Load) -> None:
    with pytest.raises(ConfigError) as raised:
        load("interval: 1h\n", ["server.prot=1"])
    assert raised.value.where is None
    with pytest.raises(ConfigError) as raised:
        load("intervall: 1h\n", ["server.prot=1"])
    assert raised.value.where == "config.yaml"


def test_one_mistake_is_said_once() -> None:
    line = "none.yaml: there is no such file"
    error = ConfigError("there is no such file", where="none.yaml", problems=[line])
    assert str(error) == line
