from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from weft.config.loading import load_settings
from weft.foundation.errors import ConfigError

Mistakes = Callable[..., tuple[str, ...]]

FILE = [
    ("servr:\n  port: 1\n", "servr: unknown key; did you mean server? (config.yaml:1)"),
    ("server:\n  prot: 1\n", "server.prot: unknown key; did you mean port? (config.yaml:2)"),
    (
        "runtime:\n  zzz: 1\n",
        (
            "runtime.zzz: unknown key; known here: deadline_seconds, threads, wait_seconds "
            "(config.yaml:2)"
        ),
    ),
    (
        "server: {port: abc}\n",
        "server.port: expected an integer between 1 and 65535, got 'abc' (config.yaml:1)",
    ),
    (
        "server:\n  port: 65536\n",
        "server.port: expected an integer between 1 and 65535, got 65536 (config.yaml:2)",
    ),
    (
        "server:\n  port: true\n",
        "server.port: expected an integer between 1 and 65535, got true (config.yaml:2)",
    ),
    (
        "horizon_candles: 1.5\n",
        "horizon_candles: expected an integer between 1 and 10000, got 1.5 (config.yaml:1)",
    ),
    (
        "horizon_candles: 1000000000\n",
        "horizon_candles: expected an integer between 1 and 10000, got 1000000000 (config.yaml:1)",
    ),
    (
        "layers:\n  technical:\n    weight: -1\n",
        "layers.technical.weight: expected a number of at least 0, got -1 (config.yaml:3)",
    ),
    (
        "layers:\n  technical:\n    weight: yes\n",
        "layers.technical.weight: expected a number of at least 0, got 'yes' (config.yaml:3)",
    ),
    (
        "layers: {technical: {weight: true}}\n",
        "layers.technical.weight: expected a number of at least 0, got true (config.yaml:1)",
    ),
    (
        "layers: {technical: {enabled: 1}}\n",
        "layers.technical.enabled: expected true or false, got 1 (config.yaml:1)",
    ),
    (
        "layers: {technical: {enabled: auto}}\n",
        (
            "layers.technical.enabled: only providers can be `auto`; write true or false "
            "(config.yaml:1)"
        ),
    ),
    (
        "risk: {on_error: degrad}\n",
        (
            "risk.on_error: expected one of fail, degrade, got 'degrad'; did you mean degrade? "
            "(config.yaml:1)"
        ),
    ),
    (
        "sizer:\n  deadline_seconds: 0\n",
        "sizer.deadline_seconds: expected a number above 0, got 0 (config.yaml:2)",
    ),
    (
        "runtime: {deadline_seconds: .nan}\n",
        "runtime.deadline_seconds: expected a number above 0, got nan (config.yaml:1)",
    ),
    (
        "interval: 90x\n",
        (
            "interval: '90x' is not an interval. Write a whole number and a unit: "
            "5m, 15m, 1h, 4h, 1d, 1w (config.yaml:1)"
        ),
    ),
    (
        "interval: 1h\nbase_interval: 7m\n",
        "base_interval: 7m candles do not add up to 1h, the decision interval (config.yaml:2)",
    ),
    (
        "layers: [technical]\n",
        "layers: expected a map of keys, got a list (config.yaml:1)",
    ),
    (
        "ensemble: weighted\n",
        (
            "ensemble: expected a map of keys, got text (write the keys below it, indented, "
            "with a space after each colon) (config.yaml:1)"
        ),
    ),
    (
        "server:\n  allowed_hosts: localhost\n",
        "server.allowed_hosts: expected a list, got 'localhost' (config.yaml:2)",
    ),
    (
        "server:\n  allowed_hosts: [localhost, 5]\n",
        "server.allowed_hosts[1]: expected text, got 5 (config.yaml:2)",
    ),
    ("allocator: {x: 1}\n", "allocator.use: missing; set it (name of an installed component)"),
    ("server:\n  host: 8\n", "server.host: expected text, got 8 (config.yaml:2)"),
    ("storage:\n  lake: ''\n", "storage.lake: expected text that is not empty, got '' "),
    (
        "features:\n  rsi: {window: 9}\n",
        (
            "features.rsi: a feature takes only `use` here, not window; "
            "the component that needs the feature sets its options (config.yaml:2)"
        ),
    ),
    (
        "server:\n  token: ${WEFT_TOKEN}\n",
        (
            "server.token: environment variable WEFT_TOKEN is not set; set it, "
            "or write ${WEFT_TOKEN:-default} for a default (config.yaml:2)"
        ),
    ),
    (
        "server:\n  token: ${WEFT_TOKEN\n",
        "server.token: expected ${NAME} or ${NAME:-default} (config.yaml:2)",
    ),
    (
        "server:\n  port: 1\n  port: 2\n",
        "server.port: written twice, first on line 2; keep one of the two (config.yaml:3:3)",
    ),
    ("server:\n\tport: 1\n", "config.yaml:2:1: a tab; YAML is indented with spaces"),
    (
        "hooks: [a\n",
        "config.yaml:2:1: a [ that is not closed, or a comma is missing",
    ),
    ("interval: 1h: 2h\n", "config.yaml:1:13: a second `: ` on the line, or a wrong indent"),
    ("a: 1\n---\nb: 1\n", "config.yaml:2:1: a second document (---)"),
    (
        "hooks: [${HOOK}]\n",
        "config.yaml:1:10: a { inside [ ] or { }; put ${NAME} in quotes there",
    ),
    ("interval: 'x\n", "config.yaml:2:1: a quote that is not closed"),
    ("interval: @x\n", "config.yaml:1:11: text that starts with @, % or ` has to stand in quotes"),
    ("server:\n  port: 1\n host: a\n", "config.yaml:3:2: a wrong indent"),
    ("interval: *fast\n", "config.yaml:1:11: an alias (*) of nothing"),
    ("interval: !!python/name:os 1h\n", "interval: tags (a word after !) have no meaning here"),
    ("hooks: &x [*x]\n", "hooks[0]: contains itself"),
    ("? [a, b]\n: 1\n", "top level: a key must be a plain word (config.yaml:1:3)"),
    ("- interval\n", "config.yaml:1: expected keys and values at the top"),
    ("interval: \0\n", "config.yaml: holds a character that YAML does not allow"),
]


@pytest.mark.parametrize(("text", "line"), FILE, ids=[line.partition(" (")[0] for _, line in FILE])
def test_a_mistake_in_the_file_gives_one_line(mistakes: Mistakes, text: str, line: str) -> None:
    (found,) = mistakes(text)
    assert found.startswith(line)
    assert "\n" not in found


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("server.port", "--set server.port: expected key.path=value, such as server.port=8400"),
        ("=1", "--set: expected key.path=value, such as server.port=8400"),
        ("server..port=1", "--set server..port: expected key.path=value"),
        (
            "server.port=abc",
            "server.port: expected an integer between 1 and 65535, got 'abc' (set by --set)",
        ),
        ("server.prot=1", "server.prot: unknown key; did you mean port? (set by --set)"),
        ("hooks=[a", "hooks: expected a list, got '[a' (set by --set)"),
        ("server=1", "server: expected a map of keys, got 1 (set by --set)"),
    ],
)
def test_a_mistake_in_an_argument_gives_one_line(
    mistakes: Mistakes, argument: str, line: str
) -> None:
    (found,) = mistakes(None, [argument])
    assert found.startswith(line)


@pytest.mark.parametrize(
    ("variable", "text", "line"),
    [
        (
            "WEFT__SERVER__PORT",
            "0",
            (
                "server.port: expected an integer between 1 and 65535, got 0 "
                "(set by WEFT__SERVER__PORT)"
            ),
        ),
        (
            "WEFT__SERVR__PORT",
            "1",
            "servr: unknown key; did you mean server? (set by WEFT__SERVR__PORT)",
        ),
        ("WEFT__SERVER____PORT", "1", "WEFT__SERVER____PORT: expected WEFT__SECTION__KEY"),
    ],
)
def test_a_mistake_in_the_environment_gives_one_line(
    mistakes: Mistakes, variable: str, text: str, line: str
) -> None:
    (found,) = mistakes(None, [], {variable: text})
    assert found.startswith(line)


def test_all_mistakes_are_told_at_once(mistakes: Mistakes) -> None:
    found = mistakes(
        "interval: 1x\nserver: {prot: 1}\nsizer:\n  deadline_seconds: ${SLOW}\n",
        ["server.port=0", "oops"],
        {"WEFT__RUNTIME__THREADS": "-1"},
    )
    keys = {line.partition(":")[0] for line in found}
    assert keys == {
        "interval",
        "server.prot",
        "server.port",
        "sizer.deadline_seconds",
        "runtime.threads",
        "--set oops",
    }
    assert len(found) == 6


def test_the_error_shows_the_file_and_every_line(mistakes: Mistakes, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("intervall: 1h\nserver: {port: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ={})
    assert str(caught.value) == (
        f"{path}: 2 mistakes in the configuration\n"
        f"  server.port: expected an integer between 1 and 65535, got 0 ({path}:2)\n"
        f"  intervall: unknown key; did you mean interval? ({path}:1)"
    )


def unreadable(path: Path) -> None:
    path.mkdir()


def not_text(path: Path) -> None:
    path.write_bytes(b"interval: \xff\xfe")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "there is no such file"),
        (unreadable, "cannot be read: Is a directory"),
        (not_text, "is not text in UTF-8"),
    ],
)
def test_a_file_that_cannot_be_read_gives_one_line(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    path = tmp_path / "named.yaml"
    make(path)
    with pytest.raises(ConfigError) as caught:
        load_settings(path, environ={})
    assert caught.value.problems == (f"{path}: {reason}",)
    assert caught.value.hint


def test_a_mistake_in_a_long_value_stays_on_a_short_line(mistakes: Mistakes) -> None:
    (found,) = mistakes(f"server:\n  port: {'x' * 500}\n")
    assert len(found) < 150


def test_a_multi_line_value_stays_on_one_line(mistakes: Mistakes) -> None:
    (found,) = mistakes("server:\n  port: |\n    a\n    b\n")
    assert "\n" not in found


def test_a_variable_missing_from_a_slot_that_is_off_is_no_mistake(
    load: Callable[[str, Sequence[str], Mapping[str, str]], object], mistakes: Mistakes
) -> None:
    text = "providers:\n  paid:\n    enabled: {}\n    api_key: ${{PAID_KEY}}\n"
    load(text.format("false"), [], {})
    (found,) = mistakes(text.format("true"))
    assert found.startswith("providers.paid.api_key: environment variable PAID_KEY is not set")
