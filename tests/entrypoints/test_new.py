"""`weft new`: names, folders and refusals. `tests/packaging` runs the plugins it writes."""

import json
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from weft.foundation.errors import (
    ConfigError,
    PluginConflictError,
    StorageError,
    UnknownPluginError,
)
from weft_app.cli import app
from weft_app.templates import FOLDER, KINDS


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)


def new(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["new", *arguments])


def test_new_ends_with_the_three_commands_that_follow() -> None:
    lines = new("layer", "order_flow").stdout.splitlines()
    assert lines[0] == "Wrote the layer order_flow and its tests to weft-order-flow. Next:"
    assert [shlex.split(line) for line in lines[1:]] == [
        ["pip", "install", "--editable", "./weft-order-flow[test]"],
        ["python", "-m", "pytest", "weft-order-flow"],
        ["weft", "signals", "--set", "layers.order_flow.weight=0.2"],
    ]


def test_new_names_class_package_and_distribution_after_the_component() -> None:
    files = json.loads(new("sink", "order_flow", "--json").stdout)["files"]
    assert "src/weft_order_flow/sink.py" in files
    folder = Path("weft-order-flow")
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == files
    project = (folder / "pyproject.toml").read_text()
    assert 'name = "weft-order-flow"' in project
    assert 'order_flow = "weft_order_flow.sink:OrderFlow"' in project


def test_new_writes_to_the_folder_of_the_option(tmp_path: Path) -> None:
    folder = tmp_path / "a folder" / "plugin"
    lines = new("layer", "tides", "--path", str(folder)).stdout.splitlines()
    assert (folder / "src/weft_tides/layer.py").is_file()
    assert shlex.split(lines[1])[-1] == f"{folder}[test]", lines
    assert shlex.split(lines[2])[-1] == str(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_new_fills_in_every_placeholder_of_a_kind(kind: str) -> None:
    (tmp := Path("plugin")).parent.mkdir(exist_ok=True)
    assert new(kind, "tides", "--path", str(tmp)).exit_code == 0
    for path in tmp.rglob("*"):
        assert not path.name.endswith(".tmpl")
        assert "package" not in path.parts
        if path.is_file():
            assert "$" not in path.read_text().replace("${TIDES_API_KEY}", "")
    modules = FOLDER / kind / "src" / "package"
    assert (modules / f"{kind}.py.tmpl").is_file(), "the entry point names this module"


def test_an_existing_folder_is_never_overwritten() -> None:
    folder = Path("weft-tides")
    folder.mkdir()
    (folder / "README.md").write_text("mine")
    error = new("layer", "tides").exception
    assert isinstance(error, ConfigError)
    assert "weft-tides exists, and is not overwritten" in str(error)
    assert [path.name for path in folder.iterdir()] == ["README.md"]
    assert (folder / "README.md").read_text() == "mine"


def test_a_folder_that_cannot_be_written_is_a_storage_error() -> None:
    Path("file").write_text("")
    error = new("layer", "tides", "--path", "file/plugin").exception
    assert isinstance(error, StorageError)
    assert "file/plugin cannot be written" in str(error)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Order-Flow", "For example order_flow"),
        ("2fast", "For example fast"),
        ("_", "beginning with a letter"),
        ("größe", "not a usable name"),
        ("x" * 25, "24 characters at most"),
        ("class", "keyword"),
        ("none", "keyword"),
        ("exception", "Exception, a name that its module uses"),
        ("view", "View, a name that its module uses"),
        ("config", "such as my_config"),
    ],
)
def test_unusable_names_are_refused_with_a_usable_one(name: str, words: str) -> None:
    error = new("layer", name).exception
    assert isinstance(error, ConfigError)
    assert words in str(error)
    assert list(Path.cwd().iterdir()) == []


def test_names_of_installed_components_and_packages_are_refused() -> None:
    error = new("layer", "technical").exception
    assert isinstance(error, PluginConflictError)
    assert "already offers the layer technical" in str(error)
    error = new("layer", "app").exception
    assert isinstance(error, PluginConflictError)
    assert "package weft_app is already installed" in str(error)
    assert list(Path.cwd().iterdir()) == []


def test_a_name_of_another_kind_is_free() -> None:
    assert new("sink", "technical").exit_code == 0


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    error = new("lyer", "tides").exception
    assert isinstance(error, UnknownPluginError)
    assert "Did you mean layer?" in str(error)
    assert all(kind in str(error) for kind in KINDS)
