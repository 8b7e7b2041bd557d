"""Memory of the process: what is freed goes back to the system, unless the user says otherwise."""

import os
import subprocess
import sys

import pytest

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

KEPT = """
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

SAID = """
import os
from weft_app.memory import return_freed_memory
return_freed_memory()
print(os.environ["_RJEM_MALLOC_CONF"], os.environ["MALLOC_ARENA_MAX"])
"""


def run(code: str, **environ: str) -> str:
    own = {k: v for k, v in os.environ.items() if not k.startswith(("_RJEM", "MALLOC"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=own | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@LINUX
def test_a_process_keeps_little_of_what_polars_has_freed() -> None:
    """Each of the columns and of their sorted copies takes 160 MB."""
    assert int(run(KEPT)) < 60


@pytest.mark.parametrize("arenas", ["7", "as many as you like"])
def test_what_the_user_says_stands(arenas: str) -> None:
    said = run(SAID, _RJEM_MALLOC_CONF="dirty_decay_ms:99", MALLOC_ARENA_MAX=arenas)
    assert said == f"dirty_decay_ms:99 {arenas}"
