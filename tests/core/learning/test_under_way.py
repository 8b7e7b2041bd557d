"""Trainings under way as seen by other processes, and the order of trainings."""

import subprocess
import sys
from pathlib import Path

import orjson

from tests.support import make_engine
from weft.foundation.times import SECOND, parse_time
from weft.learning.under_way import UnderWay, read_under_way, shown_under_way

BEGAN = parse_time("2026-01-01T21:21:00Z")


class Ticking:
    """A clock that advances by three seconds at each reading."""

    def __init__(self) -> None:
        self.now = BEGAN - 3 * SECOND

    def __call__(self) -> int:
        self.now += 3 * SECOND
        return self.now


def test_training_is_visible_while_it_runs(tmp_path: Path) -> None:
    reports: list[tuple[float, float, dict[str, float]]] = []

    def progress(done: float, total: float, **figures: float) -> None:
        reports.append((done, total, figures))

    clock = Ticking()
    with shown_under_way(tmp_path, clock, progress) as shown:
        assert read_under_way(tmp_path, BEGAN) == UnderWay(BEGAN, None)
        shown(30, 100, loss=0.5)
        seen = read_under_way(tmp_path, BEGAN)
        assert seen == UnderWay(BEGAN, 0.3)
        assert str(seen) == "training since 21:21 UTC, 30 % done"
        assert read_under_way(tmp_path, clock.now + 7200 * SECOND) is None
    assert reports == [(30, 100, {"loss": 0.5})]
    assert read_under_way(tmp_path, BEGAN) is None
    assert list(tmp_path.iterdir()) == []


def test_file_of_a_dead_process_does_not_count(tmp_path: Path) -> None:
    script = "import os; print(os.getpid())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    body = {"since": BEGAN, "share": 0.5, "process": int(done.stdout), "written": BEGAN}
    (tmp_path / ".under-way.json").write_bytes(orjson.dumps(body))
    assert read_under_way(tmp_path, BEGAN) is None
    (tmp_path / ".under-way.json").write_bytes(b"half a docu")
    assert read_under_way(tmp_path, BEGAN) is None


def test_fastest_component_is_trained_first(tmp_path: Path) -> None:
    engine = make_engine(tmp_path)
    order = engine.trainer.cheapest_first()
    assert sorted(order) == sorted(engine.composition.trained)
    assert (order[0], order[-1]) == ("regime", "models.transformer")
    slow = {"artifact": "a", "promoted": False, "why": "", "seconds": 9e9, "figures": {"rows": 1}}
    engine.ledger.note("training", "regime", "2026-01-01T00:00:00Z", slow)
    assert engine.trainer.cheapest_first()[-1] == "regime"
    engine.close()
