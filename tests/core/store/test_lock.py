"""The lock between processes: one holder at a time, and no holder outlives its process."""

import subprocess
import sys
from pathlib import Path

import pytest

from weft.store.lock import only_one

HOLD = """
import sys, time
from pathlib import Path
from weft.store.lock import only_one
with only_one(Path(sys.argv[1])) as free:
    print(free, flush=True)
    time.sleep(60)
"""


def is_free(path: Path) -> bool:
    with only_one(path) as free:
        return free


def test_only_one_holds_it_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with only_one(path) as free:
        assert free
        assert not is_free(path)
        assert not is_free(path)
    assert is_free(path)


def test_it_is_let_go_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), only_one(tmp_path / "lock"):
        raise ZeroDivisionError
    assert is_free(tmp_path / "lock")


def test_a_process_that_is_killed_lets_go_of_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert not is_free(path)
        holder.kill()
        holder.wait()
    assert is_free(path)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"), only_one(tmp_path / "nowhere" / "lock"):
        pytest.fail("held what is not there")
