"""Runs the command line in this process, which saves its imports at every call."""

import traceback
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support import Done, Weft, run_weft
from weft.foundation.errors import WeftError
from weft_app.cli import app, exit_code


def invoke(
    folder: Path,
    patch: pytest.MonkeyPatch,
    *arguments: str,
    env: Mapping[str, str] | None = None,
) -> Done:
    """Run a command in a folder; errors end it as they end the program."""
    patch.chdir(folder)
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": "200", **(env or {})})
    error = done.exception
    if isinstance(error, WeftError):
        return Done(exit_code(error), done.stdout, f"{done.stderr}weft: {error}\n")
    if error is not None and not isinstance(error, SystemExit):
        pytest.fail("".join(traceback.format_exception(error)))
    return Done(done.exit_code, done.stdout, done.stderr)


@pytest.fixture
def weft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Weft:
    """Runs the `weft` command in this process, in an empty folder."""
    folder = tmp_path / "cwd"
    folder.mkdir()
    return partial(invoke, folder, monkeypatch)


@pytest.fixture
def weft_process(tmp_path: Path) -> Weft:
    """Runs the `weft` command in a process of its own, in the folder of `weft`."""
    folder = tmp_path / "cwd"
    folder.mkdir(exist_ok=True)
    return partial(run_weft, folder)
