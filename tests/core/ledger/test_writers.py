"""Several at one ledger: writers wait for each other, readers for nobody."""

import subprocess
import sys
import threading
from pathlib import Path

from tests.core.ledger.places import KNOWN_BY, Place, signals
from weft.ledger.ledger import Ledger


def test_readers_are_not_kept_waiting_by_a_writer(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 2), KNOWN_BY)
    with ledger._transaction(writing=True) as connection:
        connection.exec_driver_sql("CREATE TABLE scratch (x integer)")
        assert len(list(ledger.entries())) == 2
        assert place.opened().verify()[0] == 2


def test_a_writer_waits_for_the_one_before(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 1), KNOWN_BY)
    other = place.opened()
    done = threading.Event()

    def record() -> None:
        other.record(signals(1, 1), KNOWN_BY)
        done.set()

    thread = threading.Thread(target=record)
    with ledger._transaction(writing=True):
        thread.start()
        assert not done.wait(0.3)
    thread.join(timeout=30)
    assert done.is_set()
    assert ledger.verify()[0] == 2


def test_threads_may_record_at_once(ledger: Ledger) -> None:
    def record(first: int) -> None:
        for k in range(5):
            ledger.record(signals(first + 2 * k, 2), KNOWN_BY)

    threads = [threading.Thread(target=record, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.verify()[0] == 40


WRITER = """
import sys, time
from pathlib import Path
from tests.core.ledger.places import KNOWN_BY, NOW, signals
from weft.foundation.clock import SimulatedClock
from weft.ledger.ledger import Ledger

url, me, gate = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
(gate / str(me)).touch()
while len(list(gate.iterdir())) < 2:
    time.sleep(0.002)
ledger = Ledger(url, SimulatedClock(NOW))
for k in range(40):
    ledger.record(signals(3 * k, 2) + signals(10_000 * (me + 1) + k, 1), KNOWN_BY)
ledger.close()
"""


def test_two_processes_may_record_at_once_from_the_first_moment_on(
    place: Place, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, place.url, str(me), str(gate)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for me in range(2)
    ]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    assert place.opened().verify()[0] == 2 * 40 + 2 * 40
