import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from weft.config.loading import LoadedSettings, load_settings
from weft.config.settings import Settings

Load = Callable[..., LoadedSettings]


def test_without_a_file_the_packaged_defaults_hold(load: Load) -> None:
    loaded = load()
    assert loaded.path is None
    assert loaded.settings.interval == "1h"
    layers = ["technical", "correlation", "on_chain", "sentiment", "ml"]
    assert list(loaded.settings.layers) == layers


def test_a_config_file_in_the_working_directory_is_read(load: Load) -> None:
    loaded = load("interval: 4h\n")
    assert loaded.path == Path("config.yaml")
    assert loaded.settings.interval == "4h"


def test_a_named_file_is_read_instead(load: Load, tmp_path: Path) -> None:
    load("interval: 4h\n")
    other = tmp_path / "other.yaml"
    other.write_text("interval: 1d\n", encoding="utf-8-sig")
    assert load_settings(other, environ={}).settings.interval == "1d"


def test_an_empty_file_changes_nothing(load: Load) -> None:
    assert load("# nothing yet\n").settings == load("").settings


def test_each_source_wins_over_those_before_it(load: Load) -> None:
    text = "server: {port: 1001}\n"
    environ = {"WEFT__SERVER__PORT": "1002"}
    ports = [
        load(None).settings.server.port,
        load(text).settings.server.port,
        load(text, [], environ).settings.server.port,
        load(text, ["server.port=1003"], environ).settings.server.port,
        load(text, ["server.port=1003", "server.port=1004"], environ).settings.server.port,
    ]
    assert ports == [8300, 1001, 1002, 1003, 1004]


def test_origins_name_the_source_that_won(load: Load) -> None:
    text = "server:\n  host: a\n  port: 1\nrisk:\n  window: 3\n"
    origins = load(text, ["server.port=2"], {"WEFT__RISK__WINDOW": "5"}).origins
    places = {
        key: origin.place.partition("s:")[0]
        for key in ("server.host", "server.port", "risk.window", "interval", "risk.nothing")
        if (origin := origins.at(tuple(key.split("."))))
    }
    assert places == {
        "server.host": "config.yaml:2",
        "server.port": "set by --set",
        "risk.window": "set by WEFT__RISK__WINDOW",
        "interval": "packaged default",
        "risk.nothing": "set by WEFT__RISK__WINDOW",
    }


def test_maps_merge_and_lists_replace(load: Load) -> None:
    text = "server:\n  allowed_hosts: [weft.example]\nlayers:\n  mine: {use: technical}\n"
    settings = load(text).settings
    assert settings.server.allowed_hosts == ("weft.example",)
    assert settings.server.port == 8300
    assert list(settings.layers)[-1] == "mine"
    assert settings.layers["technical"].weight == 0.3


def test_a_changed_component_starts_from_nothing(load: Load) -> None:
    settings = load("risk:\n  use: other_levels\n  width: 2\n").settings
    assert settings.risk.options == {"width": 2}


def test_the_same_component_keeps_the_other_options(load: Load) -> None:
    settings = load("ensemble:\n  use: weighted\n  long_above: 5\n").settings
    assert settings.ensemble.options == {"long_above": 5, "short_below": -15.0}


def test_the_order_of_a_slots_overrides_does_not_matter(load: Load) -> None:
    overrides = ["risk.width=2", "risk.use=other_levels"]
    assert load(None, overrides).settings.risk.options == {"width": 2}
    assert load(None, overrides[::-1]).settings.risk.options == {"width": 2}


def test_a_named_slot_uses_its_own_name(load: Load) -> None:
    text = "sinks:\n  log:\n  phone: {use: webhook}\n"
    sinks = load(text).settings.sinks
    assert {name: slot.use for name, slot in sinks.items()} == {"log": "log", "phone": "webhook"}


@pytest.mark.parametrize("section", ["server", "layers", "universe", "risk"])
def test_a_section_left_empty_says_nothing(load: Load, section: str) -> None:
    assert load(f"{section}:\n").settings == load("").settings


def test_null_takes_an_optional_component_away(load: Load, tmp_path: Path) -> None:
    assert load("regime: {use: hmm}\n").settings.regime is not None
    assert load("regime: {use: hmm}\n", ["regime=null"]).settings.regime is None


def test_the_files_order_of_providers_holds(load: Load) -> None:
    def order(*loaded: Any) -> list[str]:
        known = ("synthetic", "binance", "files", "mine")
        return [name for name in load(*loaded).settings.providers if name in known]

    text = "providers:\n  synthetic:\n  mine: {enabled: true}\n  files:\n"
    assert order(text) == ["synthetic", "binance", "files", "mine"]
    environ = {"WEFT__PROVIDERS__BINANCE__ENABLED": "true", "WEFT__PROVIDERS__FILES__VENUE": "x"}
    assert order("", [], environ) == ["files", "binance", "synthetic"]


@pytest.mark.parametrize(
    "word", ["no", "yes", "on", "off", "1_000", "2025-01-01", "12:30", "0b11", "=", "<<"]
)
def test_what_yaml_1_2_does_not_convert_stays_text(load: Load, word: str) -> None:
    text = f"universe:\n  symbols: [{word}]\n"
    assert load(text).settings.universe.options["symbols"] == [word]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("'12'", "12"),
        ("!!str 12", "12"),
    ],
)
def test_what_yaml_1_2_converts(load: Load, text: str, value: object) -> None:
    found = load(f"risk:\n  window: {text}\n").settings.risk.options["window"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("true", True),
        ("null", None),
        ("", None),
        ("[BTCUSDT, 5]", ["BTCUSDT", 5]),
        ("{date: open_time}", {"date": "open_time"}),
        ("'5'", "5"),
        ("a: b # c", "a: b # c"),
        ("*&!%@`", "*&!%@`"),
        ("[not yaml", "[not yaml"),
    ],
)
def test_values_of_overrides_are_read_as_yaml(load: Load, text: str, value: object) -> None:
    by_argument = load(None, [f"providers.files.columns={text}"])
    by_variable = load(None, [], {"WEFT__PROVIDERS__FILES__COLUMNS": text})
    for loaded in (by_argument, by_variable):
        assert loaded.settings.providers["files"].options["columns"] == value


def test_variables_know_no_case_and_no_hyphen(load: Load) -> None:
    text = "layers:\n  my-Layer: {use: technical, Window: 3}\n"
    settings = load(text, [], {"weft__Layers__MY_LAYER__WINDOW": "5"}).settings
    assert settings.layers["my-Layer"].options == {"Window": 5}


def test_other_variables_are_left_alone(load: Load) -> None:
    assert load("", [], {"WEFT_HOME2": "x", "PATH": "y", "WEFT": "z"}).settings == load().settings


@pytest.mark.parametrize("token", ["12345678", "0012", "1e5", "true", "null", "[abc", "{a: b}"])
def test_a_secret_from_the_environment_is_text_whatever_it_looks_like(
    load: Load, token: str
) -> None:
    by_variable = load(None, [], {"WEFT__SERVER__TOKEN": token}).settings.server.token
    by_argument = load(None, [f"server.token={token}"]).settings.server.token
    in_file = load("server:\n  token: ${T}\n", [], {"T": token}).settings.server.token
    for found in (by_variable, by_argument, in_file):
        # `null` is how a token is taken away.
        assert (found.get_secret_value() if found else "null") == token


@pytest.mark.parametrize(
    ("written", "environ", "value"),
    [
        ("${N}", {"N": "5"}, 5),
        ("'${N}'", {"N": "5"}, "5"),
        ("${N:-7}", {}, 7),
        ("${N:-7}", {"N": ""}, 7),
        ("${N:-}", {}, None),
        ("a${N}b${M:-c}", {"N": "5"}, "a5bc"),
        ("$${N}", {}, "${N}"),
        ("$n", {"n": "5"}, "$n"),
        ("${N}", {"N": "${M}"}, "${M}"),
    ],
)
def test_references_to_the_environment_are_replaced(
    load: Load, written: str, environ: dict[str, str], value: object
) -> None:
    settings = load(f"risk:\n  window: {written}\n", [], environ).settings
    assert settings.risk.options["window"] == value


def test_references_in_variables_are_text(load: Load) -> None:
    settings = load(None, [], {"WEFT__RISK__STOP_ATR": "${N}"}).settings
    assert settings.risk.options["stop_atr"] == "${N}"


def test_a_reference_that_is_overridden_need_not_exist(load: Load) -> None:
    settings = load("server:\n  host: ${NOWHERE}\n", ["server.host=here"]).settings
    assert settings.server.host == "here"


@pytest.mark.parametrize(
    ("written", "lake", "ledger"),
    [
        ("", "{here}/.weft/lake", "sqlite:///{here}/.weft/ledger.db"),
        ("storage: {lake: data, ledger: 'sqlite:///l.db?timeout=5'}", "{here}/data", None),
        ("storage: {lake: /data}", "/data", None),
        ("storage: {lake: 's3://bucket/lake'}", "s3://bucket/lake", None),
        ("storage: {ledger: 'sqlite+pysqlite:///l.db'}", None, "sqlite+pysqlite:///{here}/l.db"),
        ("storage: {ledger: 'sqlite:////l.db'}", None, "sqlite:////l.db"),
        ("storage: {ledger: 'sqlite:///:memory:'}", None, "sqlite:///:memory:"),
        ("storage: {ledger: 'sqlite://'}", None, "sqlite://"),
        ("storage: {ledger: 'postgresql://u:p@h/d'}", None, "postgresql://u:p@h/d"),
    ],
)
def test_relative_places_start_from_the_files_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    written: str,
    lake: str | None,
    ledger: str | None,
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "config.yaml").write_text(written)
    monkeypatch.chdir(tmp_path)
    storage = load_settings(Path("project/config.yaml"), environ={}).settings.storage
    if lake is not None:
        assert storage.lake == lake.format(here=folder)
    if ledger is not None:
        assert storage.ledger == ledger.format(here=folder)


def test_a_ledgers_query_is_kept(load: Load, tmp_path: Path) -> None:
    settings = load("storage: {ledger: 'sqlite:///l.db?timeout=5'}\n").settings
    assert settings.storage.ledger == f"sqlite:///{tmp_path}/l.db?timeout=5"


def test_without_a_file_places_start_from_the_working_directory(load: Load, tmp_path: Path) -> None:
    assert load().settings.storage.lake == f"{tmp_path}/.weft/lake"
    assert load(None, [], {"WEFT_HOME": "/srv/weft"}).settings.storage.lake == "/srv/weft/lake"


def test_settings_survive_a_round_trip(load: Load) -> None:
    settings = load("layers:\n  mine: {use: technical, window: 3}\n").settings
    assert Settings.model_validate(settings.model_dump()) == settings


def test_settings_are_frozen(load: Load) -> None:
    settings = load().settings
    with pytest.raises(ValueError, match="frozen"):
        settings.interval = "4h"


@pytest.mark.parametrize("key", ["nothing", "layers.nothing", "server", "layers"])
def test_asking_for_a_slot_that_is_not_there_raises(load: Load, key: str) -> None:
    with pytest.raises(KeyError):
        load().settings.slot(key)


def test_no_help_text_shows_the_environment() -> None:
    """`help()` and every documentation tool print default values."""
    shown = str(inspect.signature(load_settings))
    assert "environ: " in shown
    assert "PATH" not in shown
