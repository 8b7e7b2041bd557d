"""Stdout holds results only: output of plugins, C code and child processes goes to stderr."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ALONE_SET, Weft

PLUGIN = '''
import ctypes
import os
import subprocess

from weft import Layer, candles
from weft_providers.synthetic import Synthetic

print("noise at import")


class NoisyLayer(Layer):
    """Prints in every way a plugin can."""

    name = "noisy"
    needs = [candles(warmup=1)]

    def score(self, view):
        print("noise in score")
        os.write(1, b"noise by descriptor\\n")
        subprocess.run(["echo", "noise of a child process"], check=True)
        c = ctypes.CDLL(None)
        c.puts(b"noise from C")
        c.fflush(None)
        return view.scores(0.0 * view.candles().close[-view.steps :])


class NoisySource(Synthetic):
    """Prints while it fetches."""

    name = "noisy"

    async def fetch(self, request, http, clock):
        print("noise in fetch")
        async for batch in super().fetch(request, http, clock):
            yield batch
'''
ENTRY_POINTS = """[weft.layers]
noisy = noisy:NoisyLayer

[weft.providers]
noisy = noisy:NoisySource
"""
NOISE = (
    "noise at import",
    "noise in score",
    "noise in fetch",
    "noise by descriptor",
    "noise of a child process",
    "noise from C",
)
COMMAND = (
    "signals",
    "--json",
    *ALONE_SET,
    "--set=layers.noisy.weight=1",
    "--set=providers.noisy.enabled=true",
    "--set=providers.synthetic.enabled=false",
)

needs_posix = pytest.mark.skipif(os.name != "posix", reason="the plugin runs echo and calls libc")


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution with a layer and a source that print, on the path of child processes."""
    folder = tmp_path / "site"
    metadata = folder / "noisy-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: noisy\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "noisy.py").write_text(PLUGIN)
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))


@needs_posix
@pytest.mark.usefixtures("plugin")
def test_output_of_a_plugin_goes_to_stderr_and_stdout_is_one_document(weft_process: Weft) -> None:
    done = weft_process(*COMMAND)
    report = done.json()
    layers = {layer["name"]: layer["status"] for layer in report["signals"][0]["layers"]}
    assert layers == {"noisy": "ok", "technical": "ok"}
    for line in NOISE:
        assert line in done.err.splitlines()


@pytest.mark.parametrize("line", [["--version"], ["--help"], ["ledger", "verify", "--help"]])
def test_help_and_version_go_to_stdout(line: list[str], weft_process: Weft) -> None:
    done = weft_process(*line)
    assert done.code == 0
    assert done.out.strip()


def test_a_print_after_the_results_goes_to_stderr() -> None:
    script = (
        "import atexit, sys\n"
        "from weft_app import cli\n"
        "atexit.register(print, 'noise at exit')\n"
        "sys.argv = ['weft', 'config', 'check', '--json']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["interval"] == "1h"
    assert "noise at exit" in done.stderr
