"""Progress of a command, and tables, on a terminal and without one."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support import PATIENCE_SECONDS
from weft_app import progress
from weft_app.progress import Phase, phase


class Watch:
    """A clock set by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def test_the_time_left_follows_the_pace_since_the_first_update() -> None:
    watch = Watch()
    training = Phase("Training", in_percent=True, clock=watch)
    assert training.state() == ""
    # Reading history took 100 s; a checkpoint has finished the first half.
    watch.seconds = 100.0
    training.update(50, 100, "loss 0.5")
    assert training.state() == "50 %, loss 0.5"
    watch.seconds = 160.0
    training.update(60)
    # Ten parts in a minute leave four minutes for forty.
    assert training.seconds_left() == pytest.approx(240.0)
    assert training.state() == "60 %, about 4 minutes left, loss 0.5"


def test_parts_are_counted() -> None:
    compiling = Phase("Compiling", total=24)
    compiling.advance("rsi")
    compiling.advance("macd")
    assert compiling.state() == "2 of 24, macd"


class Lines:
    """Stands for a stderr that is not a terminal."""

    def __init__(self) -> None:
        self.text = ""
        self.third = threading.Event()

    def write(self, text: str) -> None:
        self.text += text
        if self.text.count("\n") >= 3:
            self.third.set()

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False


def test_a_phase_writes_a_line_at_its_start_and_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = Lines()
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(progress, "PAUSE_SECONDS", 0.01)
    with phase("Collecting") as collecting:
        assert stderr.text.startswith("Collecting ...\n")
        collecting.update(note="100 new facts")
        assert stderr.third.wait(PATIENCE_SECONDS)
    lines = stderr.text.splitlines()
    assert "100 new facts; 0." in lines[2]
    assert all(line.startswith("Collecting") for line in lines)


def test_the_first_line_is_written_before_heavy_imports() -> None:
    script = (
        "import sys\n"
        "from weft_app import cli\n"
        "class First:\n"
        "    encoding = 'utf-8'\n"
        "    def isatty(self): return False\n"
        "    def flush(self): pass\n"
        "    def write(self, text):\n"
        "        print(text.strip(), *sorted(m for m in sys.modules if '.' not in m))\n"
        "        raise SystemExit\n"
        "sys.stderr = First()\n"
        "cli.app(['signals'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    line, *modules = done.stdout.partition(" ... ")[0], *done.stdout.split()[2:]
    assert line == "Loading"
    assert {"typer", "weft_app"} <= set(modules)
    assert not {"numba", "polars", "deltalake", "scipy", "sqlalchemy"} & set(modules)


TABLE = """
import fcntl, struct, sys, termios
from tests.support import sample_signal
from weft.domain.signal import Report
from weft_app.commands.signals import _print_table
fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, int(sys.argv[1]), 0, 0))
levels = {"entry": 101864.9, "stop_loss": 98000.1, "take_profit": 110000.2}
found = [sample_signal(symbol=name, **levels) for name in ("1000PEPEUSDT", "BTCUSDT")]
_print_table(Report(found[0].as_of, "real", tuple(found), {}), "real data", {})
"""


def _on_a_terminal(columns: int) -> list[str]:
    """Return the lines of a table of signals on a pseudo terminal of a given width."""
    pty = pytest.importorskip("pty")
    import os  # noqa: PLC0415  # beside the module that Windows lacks

    ours, theirs = pty.openpty()
    script = [sys.executable, "-c", TABLE, str(columns)]
    env = {n: v for n, v in os.environ.items() if n not in {"COLUMNS", "LINES", "NO_COLOR"}}
    env |= {"TERM": "xterm"}
    with subprocess.Popen(
        script, stdout=theirs, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2], env=env
    ) as process:
        os.close(theirs)
        written = b""
        while True:
            try:
                part = os.read(ours, 1 << 16)
            except OSError:
                # Linux reports the end of a pseudo terminal as an error.
                break
            if not part:
                break
            written += part
        assert process.stderr is not None
        problem = process.stderr.read().decode()
    os.close(ours)
    assert process.returncode == 0, problem
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written.decode())
    return plain.replace("\r\n", "\n").split("\n")


def test_a_terminal_of_80_columns_shows_levels_and_reasons() -> None:
    lines = _on_a_terminal(80)
    assert max(map(len, lines)) <= 80
    output = "\n".join(lines)
    for figure in ("1000PEPEUSDT", "LONG", "60", "101,864.9", "98,000.1", "110,000.2", "10%"):
        assert figure in output
    assert any(line.split() == ["BTCUSDT", "technical", "+12"] for line in lines)


def test_a_wide_terminal_shows_all_columns() -> None:
    (row,) = [line for line in _on_a_terminal(160) if line.strip().startswith("BTCUSDT")]
    assert "technical +12" in row
    assert "110,000.2" in row
