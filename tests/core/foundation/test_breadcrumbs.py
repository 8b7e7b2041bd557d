"""The names of plugin calls under way outlive the process that made the calls."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from weft.foundation.breadcrumbs import Breadcrumbs, take_left_behind

_DIES = """
import ctypes, os, signal, sys
from pathlib import Path
from weft.foundation.breadcrumbs import Breadcrumbs
from weft.foundation.calls import Calls

breadcrumbs = Breadcrumbs(Path(sys.argv[1]))
breadcrumbs.titles = {"layer bad": "layer bad (acme 1.2)"}
calls = Calls(breadcrumbs=breadcrumbs)
calls.call("layer good", lambda: 1, 60.0)
ends = {
    "exit": lambda: os._exit(3),
    "crash": lambda: ctypes.string_at(0),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "close": calls.close,
}
with breadcrumbs.note("provider slow"):
    calls.call("layer bad", ends[sys.argv[2]], 60.0)
"""


def run(folder: Path, end: str) -> int:
    return subprocess.run(
        [sys.executable, "-c", _DIES, str(folder), end], timeout=120, check=False
    ).returncode


@pytest.mark.parametrize("end", ["exit", "crash", "kill"])
def test_a_process_that_dies_leaves_the_calls_under_way_latest_first(
    tmp_path: Path, end: str
) -> None:
    expected = {"exit": 3, "crash": -signal.SIGSEGV, "kill": -signal.SIGKILL}[end]
    assert run(tmp_path, end) == expected
    assert take_left_behind(tmp_path) == ["layer bad (acme 1.2)", "provider slow"]
    assert take_left_behind(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_a_process_that_closes_leaves_nothing(tmp_path: Path) -> None:
    assert run(tmp_path, "close") == 0
    assert not list(tmp_path.iterdir())


def test_the_notes_of_a_process_that_runs_are_left_alone(tmp_path: Path) -> None:
    breadcrumbs = Breadcrumbs(tmp_path)
    with breadcrumbs.note("layer busy"):
        assert take_left_behind(tmp_path) == []
        assert len(list(tmp_path.iterdir())) == 1
    breadcrumbs.close()
    breadcrumbs.close()
    assert not list(tmp_path.iterdir())


def test_a_call_that_ends_is_no_longer_noted_and_more_calls_than_slots_do_no_harm(
    tmp_path: Path,
) -> None:
    breadcrumbs, release = Breadcrumbs(tmp_path), threading.Event()
    started = threading.Barrier(101)

    def hold() -> None:
        with breadcrumbs.note("x" * 999):
            started.wait(60.0)
            release.wait(60.0)

    threads = [threading.Thread(target=hold) for _ in range(100)]
    for thread in threads:
        thread.start()
    started.wait(60.0)
    release.set()
    for thread in threads:
        thread.join(60.0)
    (path,) = tmp_path.iterdir()
    assert not any(path.read_bytes())
    breadcrumbs.close()


def test_a_damaged_file_is_removed(tmp_path: Path) -> None:
    (tmp_path / "7-x.calls").write_bytes(os.urandom(100))
    assert len(take_left_behind(tmp_path)) <= 1
    assert not list(tmp_path.iterdir())
