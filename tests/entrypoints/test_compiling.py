"""Compiling kernels ahead: once for a machine, and not again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ALONE_SET, run_weft

SCRIPT = "from weft_app.compiling import _is_cache_empty as f; print(f())"


def _is_cache_empty(cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
        check=True,
    )
    return done.stdout.strip()


def test_kernels_are_compiled_ahead_only_while_none_is_cached(tmp_path: Path) -> None:
    assert _is_cache_empty(tmp_path) == "True"
    assert _is_cache_empty(tmp_path) == "False"


@pytest.mark.slow
def test_after_compiling_ahead_the_default_composition_compiles_nothing(tmp_path: Path) -> None:
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    subprocess.run(
        [sys.executable, "-m", "weft_app.compiling"], env={**os.environ, **cache}, check=True
    )
    compiled = set((tmp_path / "cache").rglob("*.nbi"))
    assert len(compiled) > 20
    assert run_weft(tmp_path, "signals", *ALONE_SET, env=cache).code == 0
    assert run_weft(tmp_path, "signals", env=cache).code == 0
    assert set((tmp_path / "cache").rglob("*.nbi")) == compiled
