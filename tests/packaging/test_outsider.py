"""An outsider's distribution beside our wheel, in an environment made for the test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUTSIDER = ROOT / "examples" / "weft-tides"


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it printed; fail with its errors."""
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
    """The interpreter of an environment that holds our wheel without extras, and the outsider."""
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


def test_the_outsiders_layer_is_in_a_composed_signal(environment: Path, tmp_path: Path) -> None:
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


def test_installing_it_changes_nothing_until_config_names_it(
    environment: Path, tmp_path: Path
) -> None:
    weft = environment.with_name("weft")
    report = json.loads(run(weft, "signals", "BTCUSDT", "--json", cwd=tmp_path))
    names = [layer["name"] for layer in report["signals"][0]["layers"]]
    assert names == ["correlation", "ml", "on_chain", "sentiment", "technical"]
    records = json.loads(run(weft, "plugins", "list", "--json", cwd=tmp_path))
    status = {(r["kind"], r["name"]): r["status"] for r in records}
    assert status["layer", "momentum"] == "discovered"


def test_the_outsiders_own_tests_pass_with_our_kit(environment: Path, tmp_path: Path) -> None:
    told = run(environment, "-m", "pytest", "-q", OUTSIDER / "tests", cwd=tmp_path)
    assert " passed in " in told
    assert "failed" not in told


def test_serving_without_the_extra_says_how_to_get_it(environment: Path, tmp_path: Path) -> None:
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


def test_the_wheel_carries_its_data_files(environment: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.resources import files\n"
        "assert files('weft').joinpath('data/default_config.yaml').is_file()\n"
        "assert all(files(p).joinpath('py.typed').is_file() for p in\n"
        "    ('weft', 'weft_plugins', 'weft_providers', 'weft_app'))\n"
    )
    run(environment, "-c", code, cwd=tmp_path)
