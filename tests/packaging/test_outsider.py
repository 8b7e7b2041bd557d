"""The wheel and a plugin of another author, installed side by side in a new environment."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from weft.config.loading import load_settings
from weft_app.commands.new import Plugin

ROOT = Path(__file__).parents[2]
OUTSIDER = ROOT / "examples" / "weft-tides"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = [
    ROOT / name for name in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
]


def run(*command: str | Path, cwd: Path) -> str:
    """Return the output of a command; fail with its errors."""
    clean = {k: v for k, v in os.environ.items() if k not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    done = subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=clean,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a new environment with the wheel without extras, and the plugin."""
    folder = tmp_path_factory.mktemp("outsider")
    for source in (ROOT, OUTSIDER):
        build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
        run(*build, source, cwd=folder)
    uv = Path(sys.executable).with_name("uv")
    run(uv, "venv", "--python", sys.executable, folder / "env", cwd=folder)
    python = folder / "env" / "bin" / "python"
    wheels = sorted(folder.glob("*.whl"))
    assert len(wheels) == 2
    run(uv, "pip", "install", "--python", python, *wheels, "pytest", cwd=folder)
    return python


def test_layer_of_a_plugin_is_in_a_signal(environment: Path, tmp_path: Path) -> None:
    weft = environment.with_name("weft")
    overrides = ("providers.tides.enabled=true", "layers.momentum.weight=0.2")
    chosen = [part for override in overrides for part in ("--set", override)]
    report = json.loads(run(weft, "signals", "--json", *chosen, cwd=tmp_path))
    (signal,) = report["signals"]
    assert signal["symbol"] == "TIDEUSDT"
    assert signal["data"] == signal["data"] | {"kind": "synthetic", "provider": "tides"}
    layers = {layer["name"]: layer for layer in signal["layers"]}
    assert layers.keys() > {"momentum", "technical"}
    assert layers["momentum"]["status"] == "ok"
    assert layers["momentum"]["weight"] > 0.0
    assert signal["versions"]["plugins"]["layer:momentum"] == "weft-tides 0.1.0"


def test_installed_plugin_changes_nothing_until_config_names_it(
    environment: Path, tmp_path: Path
) -> None:
    weft = environment.with_name("weft")
    report = json.loads(run(weft, "signals", "BTCUSDT", "--json", cwd=tmp_path))
    names = {layer["name"] for layer in report["signals"][0]["layers"]}
    default = load_settings(environ={}).settings.layers
    assert names == {name for name, slot in default.items() if slot.enabled}
    records = json.loads(run(weft, "plugins", "list", "--json", cwd=tmp_path))
    status = {(r["kind"], r["name"]): r["status"] for r in records}
    assert status["layer", "momentum"] == "discovered"


def test_tests_of_a_plugin_pass(environment: Path, tmp_path: Path) -> None:
    output = run(environment, "-m", "pytest", "-q", OUTSIDER / "tests", cwd=tmp_path)
    assert " passed in " in output
    assert "failed" not in output


def test_example_is_configured_as_weft_new_configures_a_plugin() -> None:
    example = tomllib.loads((OUTSIDER / "pyproject.toml").read_text())
    written = tomllib.loads(Plugin("layer", "tides").files()[Path("pyproject.toml")].decode())
    assert example["tool"] == written["tool"]
    assert example["build-system"] == written["build-system"]
    entry_points = example["project"].pop("entry-points")
    assert entry_points.keys() == {"weft.providers", "weft.layers"}
    del written["project"]["entry-points"], written["project"]["description"]
    assert example["project"].pop("description")
    assert example["project"] == written["project"]


def test_serve_names_the_extra_that_it_lacks(environment: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [environment.with_name("weft"), "serve"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'weft[api]'" in done.stderr


def test_wheel_contains_its_data_files(environment: Path, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "import weft\n"
        "packages = Path(weft.__file__).parents[1]\n"
        "print(*(name for line in open(0) if not (packages / (name := line.strip())).is_file()))"
    )
    wanted = "\n".join(
        path.relative_to(package.parent).as_posix()
        for package in PACKAGES
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in {".py", ".pyc", ".nbi", ".nbc"}
    )
    assert "weft_app/templates/layer/config.yaml.tmpl" in wanted
    done = subprocess.run(
        [environment, "-c", code],
        input=wanted,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.split() == [], done.stderr
    assert done.returncode == 0, done.stderr
