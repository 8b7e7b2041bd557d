"""What config.yaml shows is what holds when it is left out."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

import weft
from weft.config.loading import load_settings
from weft.config.settings import SINGLE_SLOTS, SLOT_MAPS, Settings, Slot
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.default_config import descriptions, packaged_text, render

PACKAGED = Path(weft.__file__).parent / "data" / "default_config.yaml"
ROOT = Path(__file__).parents[3]


SPECIALISTS = {f"models.xgboost_{group}" for group in ("majors", "alts", "memes", "stocks")}
"""One component with options of their own; the first shows all there are."""


def slots() -> list[tuple[str, str, Slot]]:
    """Return key, kind and slot of every component that the defaults name."""
    settings = load_settings(PACKAGED, environ={}).settings
    found = [(name, name, slot) for name in SINGLE_SLOTS if (slot := getattr(settings, name))]
    for section in SLOT_MAPS:
        kind = section.removesuffix("s")
        found += [(f"{section}.{n}", kind, s) for n, s in getattr(settings, section).items()]
    return found


def test_the_config_file_is_the_packaged_one() -> None:
    assert (ROOT / "config.yaml").read_text("utf-8") == packaged_text(), "run `make config`"


def test_comments_of_options_are_their_descriptions_in_code() -> None:
    assert render(packaged_text(), descriptions()) == packaged_text(), "run `make config`"


def test_rendering_changes_comments_behind_options_only() -> None:
    text = "# kept\nlayers:\n  a:  # kept\n    window: 3   # old\n    other: 1\n"
    described: dict[tuple[str, ...], str] = {
        ("layers", "a", "window"): "candles",
        ("layers", "a", "other"): "unused",
    }
    assert render(text, described) == text.replace("# old", "# candles")


@pytest.mark.parametrize(("key", "kind", "slot"), slots(), ids=[key for key, _, _ in slots()])
def test_every_option_is_shown_with_its_default_and_nothing_else_is(
    key: str, kind: str, slot: Slot
) -> None:
    config = Registry(discover()).load(kind, slot.use).Config
    defaults = {
        name: info.get_default(call_default_factory=True, validated_data={})
        for name, info in config.model_fields.items()
    }
    # The place of a key names the environment variable it comes from.
    shown = {
        name: value or None if name == "api_key" else value for name, value in slot.options.items()
    }
    if key in SPECIALISTS:
        assert shown.keys() <= defaults.keys()
        assert shown["group"] == key.rpartition("_")[2]
        assert key != "models.xgboost_majors" or shown.keys() == defaults.keys()
        return
    assert shown == to_jsonable_python(defaults)


def test_every_key_of_the_settings_is_shown_with_its_default() -> None:
    loaded = load_settings(PACKAGED, environ={})
    for name, info in Settings.model_fields.items():
        origin = loaded.origins.at((name,))
        assert origin is not None, name
        shown = getattr(loaded.settings, name)
        if isinstance(shown, BaseModel) and not isinstance(shown, Slot):
            for inner in type(shown).model_fields:
                place = loaded.origins.at((name, inner))
                assert place != origin, f"{name}.{inner} is not shown"
        if not info.is_required() and name not in {*SLOT_MAPS, *SINGLE_SLOTS}:
            assert shown == info.get_default(call_default_factory=True, validated_data={}), name


def test_sections_have_no_other_default_than_the_one_shown() -> None:
    settings = load_settings(PACKAGED, environ={}).settings
    for section in (settings.server, settings.runtime):
        made: Any = type(section)
        assert made() == section


def test_without_an_environment_nothing_in_the_defaults_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        load_settings(environ={}).settings == load_settings(environ={"WEFT_HOME": ".weft"}).settings
    )
