"""Plugins that `weft new` writes, as their authors find them: one of each kind, installed."""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.support import ALONE_SET, run_weft
from weft_app.cli import app
from weft_app.templates import KINDS

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True, slots=True)
class Written:
    """Plugins that the command wrote, and the folder they are installed into."""

    folders: dict[str, Path]
    installed: Path

    def paths(self, name: str) -> Iterator[Path]:
        return (folder / name for folder in self.folders.values())

    def project(self, kind: str) -> dict[str, Any]:
        return tomllib.loads((self.folders[kind] / "pyproject.toml").read_text())


def run(*command: str | Path, **env: str) -> str:
    """Return what a program of this environment prints; fail with its errors."""
    done = subprocess.run(
        [BIN / command[0], *command[1:]],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | env,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def write(folder: Path, kind: str, name: str) -> Path:
    """Have `weft new` write a plugin into a folder, and return the folder."""
    done = CliRunner().invoke(app, ["new", kind, name, "--path", str(folder)])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    root = tmp_path_factory.mktemp("plugins")
    folders = {kind: write(root / kind, kind, f"my_{kind}") for kind in KINDS}
    target = root / "installed"
    options = ("--no-deps", "--no-build-isolation", "--offline", "--quiet")
    run("uv", "pip", "install", "--python", sys.executable, *options, "--target", target,
        *folders.values())  # fmt: skip
    return Written(folders, target)


def test_tests_of_new_plugins_pass(written: Written) -> None:
    config = next(written.paths("pyproject.toml"))
    run("pytest", "-q", "-p", "no:cacheprovider", "-c", config, *written.paths("tests"),
        PYTHONPATH=str(written.installed))  # fmt: skip


def test_new_plugins_pass_strict_type_checks(written: Written) -> None:
    # With the configuration of this project, whose cache then serves: it is the same one.
    sources = os.pathsep.join(map(str, written.paths("src")))
    run("mypy", *written.paths("src"), *written.paths("tests"), MYPYPATH=sources)
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    for kind in KINDS:
        theirs = written.project(kind)["tool"]["mypy"]
        for option in ("strict", "warn_unreachable", "enable_error_code"):
            assert theirs[option] == ours[option]


def test_new_plugins_are_linted_as_this_project_is(written: Written) -> None:
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    for kind in KINDS:
        theirs = written.project(kind)["tool"]["ruff"]["lint"]
        assert theirs["select"] == ours["select"]
        assert set(theirs["ignore"]) <= set(ours["ignore"])


@pytest.mark.parametrize("length", [1, 24])
def test_new_plugins_of_any_name_are_clean(tmp_path: Path, length: int) -> None:
    for kind in KINDS:
        write(tmp_path / kind, kind, "q" * length)
    run("ruff", "check", "--no-cache", tmp_path)
    run("ruff", "format", "--no-cache", "--check", tmp_path)


def test_config_lines_of_the_readmes_put_new_plugins_into_a_signal(
    written: Written, tmp_path: Path
) -> None:
    readmes = (path.read_text() for path in written.paths("README.md"))
    sections = re.findall(r"```yaml\n(.*?)```", "".join(readmes), re.DOTALL)
    assert len(sections) == len(KINDS)
    config = tmp_path / "config.yaml"
    config.write_text("".join(sections))
    # The provider asks a server that does not exist.
    offline = ("--set", "providers.my_provider.enabled=false")
    report = run_weft(
        tmp_path, "signals", "BTCUSDT", "--json", "-c", str(config), *ALONE_SET, *offline,
        env={"PYTHONPATH": str(written.installed), "MY_PROVIDER_API_KEY": "any"},
    ).json()  # fmt: skip
    (signal,) = report["signals"]
    layers = {layer["name"]: layer for layer in signal["layers"]}
    assert layers["my_layer"]["status"] == "ok"
    assert layers["my_layer"]["weight"] > 0.0
    assert "not trained yet" in signal["missing_models"]["models.my_model"]
    used = signal["versions"]["plugins"]
    assert used["layer:my_layer"] == "weft-my-layer 0.1.0"
    assert used["ensemble:my_ensemble"] == "weft-my-ensemble 0.1.0"


DESCRIBE = """
import json
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
registry = Registry(discover())
print(json.dumps({
    record.kind: {
        name: field.description
        for name, field in registry.load(record.kind, record.name).Config.model_fields.items()
    }
    for record in registry.records()
    if record.name == f"my_{record.kind}"
}))
"""


def test_new_plugins_have_options_and_describe_each_of_them(written: Written) -> None:
    kinds = json.loads(run("python", "-c", DESCRIBE, PYTHONPATH=str(written.installed)))
    assert kinds.keys() == set(KINDS)
    assert all(options and all(options.values()) for options in kinds.values()), kinds
