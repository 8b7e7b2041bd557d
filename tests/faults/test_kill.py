"""A process killed while it writes: what was committed stays, what was not is never seen."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.fakes import BATCH, a_signal
from weft.foundation.clock import SystemClock
from weft.foundation.times import Interval
from weft.ledger.ledger import Ledger
from weft.store.lake import Lake
from weft.store.store import Store

ROOT = Path(__file__).parents[2]


class Victim:
    """A writer that is killed some while after it began, or after a commit."""

    def __init__(self, what: str, folder: Path, first: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.writer", what, str(folder), str(first)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def kill(self, after: int, seconds: float) -> int:
        """Kill it some seconds after so many commits; return the last batch it said was committed.

        -1 where it said of none.
        """
        with self.process as process:
            assert process.stdout is not None
            assert process.stderr is not None
            ready = process.stdout.readline()
            told = [process.stdout.readline() for _ in range(after)]
            time.sleep(seconds)
            process.kill()
            told += process.stdout.readlines()
            complaints = process.stderr.read()
        assert (ready, process.returncode) == ("ready\n", -signal.SIGKILL), complaints
        # The last line may be cut off in the middle of its digits.
        return max((int(line) for line in told if line.endswith("\n")), default=-1)


def whole_batches(counts: Counter[int], committed: int) -> int:
    """Check that every batch is whole, none that was committed is missing; return the last."""
    assert set(counts.values()) <= {BATCH}, counts
    last = max(counts, default=-1)
    assert set(counts) == set(range(last + 1))
    # The one after was committed, if it is there, before there was time to say so.
    assert last in {committed, committed + 1}
    return last


def check_store(folder: Path, committed: int) -> int:
    store = Store(Lake(folder / "lake"), SystemClock())
    rows = store.candles({"source": ["BTCUSDT"]}, Interval.parse("1h"))
    assert rows["open_time"].is_unique().all()
    for name in ("high", "low", "close", "volume"):
        assert (rows[name] == rows["open"]).all()
    last = whole_batches(Counter(int(value) - 1 for value in rows["open"]), committed)
    if last >= 0:
        assert [i.symbol for i in store.instruments("source")] == ["BTCUSDT"]
    cursor = store.cursor("source", Interval.parse("1h"))
    assert cursor is None or int(cursor) <= last
    return last


def check_ledger(folder: Path, committed: int) -> int:
    ledger = Ledger(f"sqlite:///{folder}/ledger.db", SystemClock())
    rows, _ = ledger.verify()
    found = Counter(int(entry.body["score"]) for entry in ledger.entries())
    assert found.total() == rows
    last = whole_batches(found, committed)
    # What is there already is not written again.
    again = [a_signal(f"S{last}N{n}", last) for n in range(BATCH)] if last >= 0 else []
    assert ledger.record(again, known_by=0) == 0
    ledger.close()
    return last


CHECKS = {"store": check_store, "ledger": check_ledger}


def kill_again_and_again(what: str, folder: Path, times: int, seed: int) -> None:
    """Each victim goes on from where the one before was killed; each eighth starts afresh."""
    rng = random.Random(seed)
    last = -1
    for kill in range(times):
        if kill % 8 == 0:
            folder, last = folder / "afresh", -1
            folder.mkdir()
        commits, longest = rng.choice([(0, 0.03), (0, 0.4), (1, 0.03), (3, 0.1)])
        committed = Victim(what, folder, last + 1).kill(commits, rng.uniform(0.0, longest))
        assert committed >= last + commits or commits == 0
        last = CHECKS[what](folder, max(committed, last))


@pytest.mark.parametrize("what", CHECKS)
def test_nothing_committed_is_lost_and_nothing_half_written_is_read(
    what: str, tmp_path: Path
) -> None:
    kill_again_and_again(what, tmp_path, times=5, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("what", CHECKS)
def test_the_same_over_many_kills(what: str, tmp_path: Path) -> None:
    kill_again_and_again(what, tmp_path, times=50, seed=2)
