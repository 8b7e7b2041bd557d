"""Keys set in the text of a config file: everything else stays as it was written."""

import difflib
from pathlib import Path
from typing import Any

import pytest

from weft.config.editing import set_keys
from weft.config.loading import load_settings
from weft.config.tree import KeyPath, plain
from weft.config.yaml_text import read_document

PATH: KeyPath = ("providers", "files", "path")
CHANGES: dict[KeyPath, Any] = {
    PATH: "/data/x",
    ("providers", "files", "columns"): {"Datum": "date"},
    ("providers", "files", "time_format"): "%d.%m.%Y",
}


def values(text: str) -> Any:
    tree, problems = read_document(text, "config.yaml")
    assert problems == []
    return plain(tree)


def removed(before: str, after: str) -> list[str]:
    """Return the lines of a text that are not in another any more."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line[2:] for line in lines if line.startswith("- ")]


DOCUMENTS = {
    "empty": "",
    "an empty map": "{}\n",
    "comments only": "# my notes\n",
    "another section": "interval: 4h  # mine\n",
    "an empty section": "providers:\nlayers: {}  # none\n",
    "flow style": "providers: {files: {path: /old, decimal: ','}}  # short\n",
    "four spaces": "providers:\n    files:\n        path: '/old' # old\n# end\nsinks: {}\n",
    "comments between sections": (
        "# top\nproviders:\n  # mine\n  binance: {enabled: true}  # yes\n\n"
        "# layers\nlayers:\n  technical: {weight: 2}\n"
    ),
    "lists": "universe:\n  symbols:\n  - A\n  - B  # two\n\n# end\nproviders: {}\n",
}


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_all_other_keys_and_comments_stay(kind: str) -> None:
    text = DOCUMENTS[kind]
    edited = set_keys(text, CHANGES)
    expected = values(text)
    files = (expected.get("providers") or {}).get("files", {})
    new = {"path": "/data/x", "columns": {"Datum": "date"}, "time_format": "%d.%m.%Y"}
    expected["providers"] = {**(expected.get("providers") or {}), "files": files | new}
    assert values(edited) == expected
    for line in text.splitlines():
        comment = line.partition("#")[2]
        assert comment in edited
    assert set_keys(edited, CHANGES) == edited


def test_the_packaged_config_changes_only_in_the_keys_set() -> None:
    file = Path(__file__).parents[3] / "config.yaml"
    text = file.read_text("utf-8")
    edited = set_keys(text, {PATH: "/data/x"})
    (line,) = removed(text, edited)
    assert line.lstrip().startswith("path: null  ")
    assert len(edited.splitlines()) == len(text.splitlines())


def test_a_new_section_stands_above_the_comment_of_the_next() -> None:
    edited = set_keys(DOCUMENTS["comments between sections"], {PATH: "/x"}).splitlines()
    assert edited.index("    path: /x") < edited.index("# layers")
    assert edited[edited.index("# layers") + 1] == "layers:"
    assert edited.index("    path: /x") > edited.index("  binance: {enabled: true}  # yes")


@pytest.mark.parametrize("value", [",", "\t", "%d.%m.%Y", "null", "1h", None, 3, "no", "ü"])
def test_values_are_read_back_as_they_were_set(value: object, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(set_keys("", {("providers", "files", "venue"): value}), "utf-8")
    assert load_settings(file, environ={}).settings.providers["files"].options["venue"] == value
