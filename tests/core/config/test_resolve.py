import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, field_validator

from weft.components.base import Component, ComponentConfig, Local
from weft.config.loading import LoadedSettings
from weft.config.resolve import composition_hash, validate_options
from weft.config.settings import Settings, Slot
from weft.config.tree import Origins
from weft.foundation.errors import ConfigError, PluginError

Load = Callable[..., LoadedSettings]


class Band(ComponentConfig):
    low: float = Field(default=0.0, ge=0, le=1)


class Momentum(Component):
    kind: ClassVar[str] = "layer"
    name = "momentum"

    class Config(ComponentConfig):
        window: int = Field(default=12, ge=2, description="candles looked back over")
        trend: float = 1.0
        fast: bool = False
        mode: Literal["simple", "log"] = "simple"
        label: str = ""
        band: Band = Band()
        levels: tuple[int, ...] = ()
        share: Annotated[float, Field(gt=0, lt=1)] | None = None
        folder: Annotated[Path | None, Local()] = None
        cache: Annotated[str, Local] | None = None

        @field_validator("label")
        @classmethod
        def _is_short(cls, label: str) -> str:
            if len(label) > 9:
                raise ValueError("a label has\n  nine letters at most")
            return label

    config: Config


class Strict(Component):
    kind: ClassVar[str] = "layer"
    name = "strict"

    class Config(ComponentConfig):
        path: Path

    config: Config


def options(load: Load, cls: type[Component] = Momentum, **given: object) -> Any:
    text = json.dumps({"use": cls.name, **given})
    loaded = load(f"layers:\n  mine: {text}\n")
    return validate_options(cls, loaded.settings.layers["mine"], "layers.mine", loaded.origins)


def test_options_become_the_components_config(load: Load) -> None:
    found = options(load, window=5, band={"low": 0.5}, levels=[1, 2], folder="data")
    assert isinstance(found, Momentum.Config)
    assert (found.window, found.band.low, found.levels) == (5, 0.5, (1, 2))
    assert found.folder == Path("data")


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"trned": 1}, "layers.mine.trned: unknown key; did you mean trend?"),
        ({"weigth": 1}, "layers.mine.weigth: unknown key; did you mean weight?"),
        ({"on_eror": 1}, "layers.mine.on_eror: unknown key; did you mean on_error?"),
        ({"band": {"lo": 1}}, "layers.mine.band.lo: unknown key; did you mean low?"),
        ({"window": 1}, "layers.mine.window: expected an integer of at least 2, got 1"),
        ({"window": True}, "layers.mine.window: expected an integer of at least 2, got true"),
        ({"window": None}, "layers.mine.window: expected an integer of at least 2, got nothing"),
        ({"fast": 1}, "layers.mine.fast: expected true or false, got 1"),
        ({"mode": "lag"}, "layers.mine.mode: expected one of simple, log, got 'lag'; did you mean"),
        ({"label": 3}, "layers.mine.label: expected text, got 3"),
        (
            {"label": "x" * 10},
            "layers.mine.label: a label has nine letters at most (config.yaml:2)",
        ),
        ({"band": 3}, "layers.mine.band: expected a map of keys, got 3"),
        ({"band": {"low": 2}}, "layers.mine.band.low: expected a number between 0 and 1, got 2"),
        ({"levels": {}}, "layers.mine.levels: expected a list, got a map"),
        ({"levels": [1, "x"]}, "layers.mine.levels[1]: expected an integer, got 'x'"),
        ({"levels": [1, False]}, "layers.mine.levels[1]: expected an integer, got false"),
        ({"share": 1.5}, "layers.mine.share: expected a number above 0 and below 1, got 1.5"),
    ],
)
def test_a_mistake_in_an_option_gives_one_line(
    load: Load, given: dict[str, object], line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        options(load, Momentum, **given)
    (found,) = caught.value.problems
    assert found.startswith(line)
    assert found.endswith("(config.yaml:2)")


def test_a_missing_option_is_named(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        options(load, Strict)
    assert caught.value.problems == ("layers.mine.path: missing; set it (config.yaml:2)",)


def test_all_mistakes_in_options_are_told_at_once(load: Load) -> None:
    with pytest.raises(ConfigError) as caught:
        options(load, window=0, trned=1, fast=2, trend=True)
    assert len(caught.value.problems) == 4


@pytest.mark.parametrize("text", ["2024", "1e5", "true", "null"])
def test_an_override_of_a_text_option_is_text_whatever_it_looks_like(load: Load, text: str) -> None:
    loaded = load("layers: {mine: {}}\n", [f"layers.mine.label={text}"])
    slot = loaded.settings.layers["mine"]
    config = validate_options(Momentum, slot, "layers.mine", loaded.origins)
    assert isinstance(config, Momentum.Config)
    assert config.label == text


def test_options_need_no_origins() -> None:
    slot = Slot.model_validate({"use": "momentum", "window": 5, "folder": Path("data")})
    found = validate_options(Momentum, slot, "layers.momentum", Origins())
    assert found == Momentum.Config(window=5, folder=Path("data"))


def test_an_option_named_like_a_key_of_the_section_is_the_plugins_fault(load: Load) -> None:
    class Shadowed(Component):
        kind: ClassVar[str] = "layer"
        name = "shadowed"

        class Config(ComponentConfig):
            weight: float = 1.0

        config: Config

    with pytest.raises(PluginError, match="'weight' can never be set"):
        options(load, Shadowed)


COMPONENTS = "layers:\n  mine: {use: momentum, weight: 2}\n"


def digest(load: Load, overrides: list[str] | None = None, keys: tuple[str, ...] = ()) -> str:
    loaded = load(COMPONENTS, overrides or [])
    configs = {
        key: validate_options(Momentum, loaded.settings.slot(key), key, loaded.origins)
        for key in ("layers.mine", *keys)
    }
    return composition_hash(loaded.settings, configs)


def test_the_hash_has_sixteen_hex_digits(load: Load) -> None:
    found = digest(load)
    assert len(found) == 16
    assert int(found, 16)


@pytest.mark.parametrize(
    "override",
    [
        "interval=4h",
        "base_interval=5m",
        "horizon_candles=3",
        "max_age_candles=9",
        "max_gross_exposure=0.5",
        "layers.mine.weight=3",
        "layers.mine.window=3",
        "layers.mine.band.low=0.5",
        "features.rsi.use=other:rsi",
    ],
)
def test_what_can_change_a_signal_changes_the_hash(load: Load, override: str) -> None:
    assert digest(load, [override]) != digest(load)


def test_another_component_changes_the_hash(load: Load) -> None:
    text = "layers:\n  mine: {use: other, weight: 2}\n"
    settings = load(text).settings
    other = composition_hash(settings, {"layers.mine": Momentum.Config()})
    assert other != digest(load)
    assert composition_hash(settings, {}) != other


@pytest.mark.parametrize(
    "override",
    [
        "base_interval=1h",
        "history_days=3",
        "server.port=1",
        "server.token=abc",
        "storage.lake=/elsewhere",
        "runtime.threads=1",
        "hooks=[mine]",
        "layers.mine.folder=/elsewhere",
        "layers.mine.cache=/elsewhere",
        "layers.mine.window=12",
        "layers.mine.on_error=degrade",
        "layers.unused.use=momentum",
    ],
)
def test_what_changes_no_signal_leaves_the_hash_alone(load: Load, override: str) -> None:
    assert digest(load, [override]) == digest(load)


def test_sinks_leave_the_hash_alone(load: Load) -> None:
    overrides = ["sinks.log.use=momentum"]
    assert digest(load, overrides, ("sinks.log",)) == digest(load)


def test_the_hash_is_the_same_in_every_process() -> None:
    script = (
        "from weft.components.base import ComponentConfig\n"
        "from weft.config.loading import load_settings\n"
        "from weft.config.resolve import composition_hash\n"
        "class Config(ComponentConfig):\n"
        "    names: frozenset[str] = frozenset('abcdefgh')\n"
        "settings = load_settings(environ={}).settings\n"
        "print(composition_hash(settings, {'risk': Config()}))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_the_hash_reads_settings_made_by_hand(load: Load) -> None:
    settings = Settings.model_validate(load().settings.model_dump())
    assert composition_hash(settings, {}) == composition_hash(load().settings, {})
