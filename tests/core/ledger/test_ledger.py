"""The ledger: append-only, sealed, idempotent."""

import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.fakes import a_signal
from weft.clock import SimulatedClock
from weft.errors import LedgerTamperedError, StorageError
from weft.ledger.ledger import SCHEMA_VERSION, Ledger

REST = "symbol, as_of, recorded_at, body, seal"
NOW = 1_700_000_000_000_000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a folder" / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return Ledger(f"sqlite:///{path}", SimulatedClock(NOW))


def raw(path: Path, *statements: str) -> None:
    """Change the database behind the ledger's back, its triggers dropped first."""
    with sqlite3.connect(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in names.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def test_what_was_recorded_can_be_read_newest_first(ledger: Ledger) -> None:
    signals = [a_signal(symbol, 1) for symbol in ("AAA", "BBB", "CCC")]
    assert ledger.record(signals) == 3
    entries = list(ledger.entries())
    assert [entry.symbol for entry in entries] == ["CCC", "BBB", "AAA"]
    assert [entry.key for entry in entries] == [s.id for s in reversed(signals)]
    assert entries[0].body == signals[2].to_dict() | {"layers": [], "direction": "NEUTRAL"}
    assert {entry.recorded_at for entry in entries} == {NOW}
    assert [entry.symbol for entry in ledger.entries(limit=2)] == ["CCC", "BBB"]
    assert [entry.symbol for entry in ledger.entries(symbol="BBB")] == ["BBB"]


def test_recording_again_writes_nothing(ledger: Ledger) -> None:
    signals = [a_signal("AAA", 1), a_signal("AAA", 2)]
    assert ledger.record(signals) == 2
    head = ledger.verify()
    assert ledger.record(signals) == 0
    assert ledger.record([*signals, signals[0]]) == 0
    assert ledger.verify() == head


def test_many_signals_at_once(ledger: Ledger) -> None:
    signals = [a_signal(f"S{n}", 1) for n in range(1_300)]
    assert ledger.record(signals) == 1_300
    assert ledger.record(signals) == 0
    assert ledger.verify()[0] == 1_300
    assert len(list(ledger.entries())) == 1_300
    assert len(list(ledger.entries(limit=700))) == 700


def test_an_empty_ledger_verifies(ledger: Ledger) -> None:
    assert ledger.verify() == (0, "0" * 64)


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ("UPDATE entries SET body = replace(body, 'NEUTRAL', 'LONG') WHERE seq = 3", 3),
        ("UPDATE entries SET recorded_at = recorded_at - 1 WHERE seq = 2", 2),
        ("UPDATE entries SET symbol = 'X' WHERE seq = 1", 1),
        ("UPDATE entries SET as_of = '2020-01-01T00:00:00Z' WHERE seq = 4", 4),
        ("UPDATE entries SET seal = '00' WHERE seq = 5", 5),
        ("DELETE FROM entries WHERE seq = 1", 1),
        ("DELETE FROM entries WHERE seq = 3", 3),
        (f"INSERT INTO entries SELECT 9, kind, 'x', {REST} FROM entries WHERE seq = 5", 6),
        ("UPDATE entries SET recorded_at = 1.5 WHERE seq = 2", 2),
        ("UPDATE entries SET body = x'00ff' WHERE seq = 2", 2),
    ],
)
def test_every_change_behind_its_back_is_found(
    ledger: Ledger, path: Path, change: str, row: int
) -> None:
    ledger.record([a_signal(f"S{n}", n) for n in range(5)])
    raw(path, change)
    with pytest.raises(LedgerTamperedError, match=f"row {row} "):
        ledger.verify()


def test_rows_that_changed_places_are_found(ledger: Ledger, path: Path) -> None:
    ledger.record([a_signal(f"S{n}", n) for n in range(5)])
    raw(
        path,
        "UPDATE entries SET seq = 99 WHERE seq = 2",
        "UPDATE entries SET seq = 2 WHERE seq = 3",
        "UPDATE entries SET seq = 3 WHERE seq = 99",
    )
    with pytest.raises(LedgerTamperedError):
        ledger.verify()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entries SET symbol = 'X'",
        "DELETE FROM entries",
        f"INSERT OR REPLACE INTO entries SELECT 1, kind, key, {REST} FROM entries WHERE seq = 1",
    ],
)
def test_the_database_itself_refuses_changes(ledger: Ledger, path: Path, change: str) -> None:
    ledger.record([a_signal("AAA", 1), a_signal("BBB", 1)])
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        connection.execute(change)
    connection.close()
    assert ledger.verify()[0] == 2


def test_commits_survive_a_loss_of_power(path: Path, ledger: Ledger) -> None:
    ledger.record([a_signal("AAA", 1)])
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    with ledger._transaction(writing=False) as own:
        assert own.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2


def test_a_newer_schema_is_refused(ledger: Ledger, path: Path) -> None:
    ledger.close()
    raw(path, f"PRAGMA user_version={SCHEMA_VERSION + 1}")
    with pytest.raises(StorageError, match="schema"):
        Ledger(f"sqlite:///{path}", SimulatedClock(NOW))


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    file.write_text("not a database at all, just some text that is long enough")
    with pytest.raises(StorageError, match="refused"):
        Ledger(f"sqlite:///{file}", SimulatedClock(NOW))


@pytest.mark.parametrize("url", ["nonsense", "nosuch://x/y", "sqlite:////proc/nowhere/ledger.db"])
def test_a_place_that_cannot_be_is_told(url: str) -> None:
    with pytest.raises(StorageError, match=r"storage\.ledger"):
        Ledger(url, SimulatedClock(NOW))


def test_two_processes_record_side_by_side(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from tests.faults.fakes import a_signal\n"
        "from weft.clock import SystemClock\n"
        "from weft.ledger.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1], SystemClock())\n"
        "for n in range(60):\n"
        "    ledger.record([a_signal(sys.argv[2], n), a_signal('BOTH', n)])\n"
    )
    url = f"sqlite:///{tmp_path}/ledger.db"
    root = Path(__file__).parents[3]
    writers = [
        subprocess.Popen([sys.executable, "-c", code, url, name], cwd=root) for name in ("A", "B")
    ]
    assert [writer.wait(120) for writer in writers] == [0, 0]
    assert Ledger(url, SimulatedClock(NOW)).verify()[0] == 180


def test_any_other_content_is_another_id() -> None:
    signal = a_signal("AAA", 1)
    assert signal.id == a_signal("AAA", 1).id
    others = {a_signal("AAB", 1).id, a_signal("AAA", 2).id, signal.id}
    assert len(others) == 3
    assert replace(signal, entry=float("nan")).to_json().count(b"NaN") == 0
