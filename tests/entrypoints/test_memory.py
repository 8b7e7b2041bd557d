"""Memory of the process: freed memory returns to the system, unless the user sets otherwise."""

import os
import subprocess
import sys

import pytest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

FREED = """
from weft_app.memory import return_freed_memory
return_freed_memory()
import polars as pl

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 // 2**20

pl.Series([1.0]).sort()
before = resident()
for _ in range(3):
    pl.select(pl.int_range(20_000_000).sort(descending=True))
print(resident() - before)
"""

SETTINGS = """
import os
from weft_app.memory import return_freed_memory
return_freed_memory()
print(os.environ["_RJEM_MALLOC_CONF"], os.environ["MALLOC_ARENA_MAX"])
"""


def run(code: str, **environ: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("_RJEM", "MALLOC"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@LINUX
def test_memory_freed_by_polars_returns_to_the_system() -> None:
    """Each of the columns and of their sorted copies takes 160 MB."""
    assert int(run(FREED)) < 60


@pytest.mark.parametrize("arenas", ["7", "as many as you like"])
def test_settings_of_the_user_win(arenas: str) -> None:
    output = run(SETTINGS, _RJEM_MALLOC_CONF="dirty_decay_ms:99", MALLOC_ARENA_MAX=arenas)
    assert output == f"dirty_decay_ms:99 {arenas}"
