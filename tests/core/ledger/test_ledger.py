"""The ledger: what was said stays said, and whoever changes it is found out."""

import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
import pytest
import sqlalchemy as sa

from weft.clock import SimulatedClock
from weft.errors import LedgerTamperedError, StorageError
from weft.ledger import ledger as ledger_module
from weft.ledger.ledger import SCHEMA_VERSION, Entry, Ledger
from weft.signal import DataNote, Direction, Signal, Versions, with_id
from weft.times import HOUR, iso

NOW = 500_000 * HOUR
GENESIS = "0" * 64

PLAIN = Signal(
    id="",
    symbol="BTCUSDT",
    as_of=iso(NOW),
    interval="1h",
    horizon="12h",
    direction=Direction.LONG,
    score=55.5,
    confidence=61.0,
    calibrated=False,
    entry=100.0,
    stop_loss=98.0,
    take_profit=104.0,
    risk_reward=2.0,
    position_size=0.25,
    layers=(),
    missing_layers={},
    data=DataNote("real", "binance", "live", iso(NOW), 0.0, 1.0),
    versions=Versions("0.1.0", "abc", {}, {}),
)


def signals(first: int, count: int, symbol: str = "BTCUSDT") -> list[Signal]:
    """Signals that differ in their score."""
    return [
        with_id(replace(PLAIN, symbol=symbol, score=float(k))) for k in range(first, first + count)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def opened(path: Path, now: int = NOW) -> Ledger:
    return Ledger(f"sqlite:///{path}", SimulatedClock(now))


@pytest.fixture
def ledger(path: Path) -> Ledger:
    return opened(path)


def raw(path: Path, *statements: str) -> list[Any]:
    """Run SQL past the ledger, in the way of somebody who wants it to say something else."""
    found: list[Any] = []
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in statements:
            found = connection.execute(statement).fetchall()
    finally:
        connection.close()
    return found


UNGUARDED = ("DROP TRIGGER no_update", "DROP TRIGGER no_delete", "DROP TRIGGER only_append")


# Recording


def test_signals_are_recorded_whole_and_newest_first(ledger: Ledger) -> None:
    first, second = signals(0, 2)
    assert ledger.record([first, second]) == 2
    newest, oldest = ledger.entries()
    assert (oldest.seq, newest.seq) == (1, 2)
    assert newest == Entry(
        seq=2,
        kind="signal",
        key=second.id,
        symbol="BTCUSDT",
        as_of=iso(NOW),
        recorded_at=NOW,
        body=orjson.loads(second.to_json()),
        seal=newest.seal,
    )


def test_recording_again_writes_nothing(ledger: Ledger) -> None:
    batch = signals(0, 3)
    assert ledger.record(batch) == 3
    head = ledger.verify()
    assert ledger.record(batch) == 0
    assert ledger.record([]) == 0
    assert ledger.verify() == head
    assert ledger.record([*batch, *signals(3, 1), *signals(3, 1)]) == 1
    assert ledger.verify()[0] == 4


def test_more_signals_than_a_statement_takes_parameters_are_recorded(ledger: Ledger) -> None:
    batch = signals(0, 2 * ledger_module._PAGE + 3)
    assert ledger.record(batch) == len(batch)
    assert ledger.record(batch) == 0
    assert ledger.verify()[0] == len(batch)
    assert [e.seq for e in ledger.entries()] == list(range(len(batch), 0, -1))


def test_a_batch_is_recorded_whole_or_not_at_all(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.record(signals(0, 2))
    broken = replace(signals(2, 1)[0], symbol=None)  # type: ignore[arg-type] # what a fault may bring
    with pytest.raises(StorageError):
        ledger.record([*signals(3, 2), broken])
    assert ledger.verify()[0] == 2
    assert ledger.record(signals(3, 2)) == 2


def test_a_ledger_is_found_again_as_it_was_left(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 3))
    head = ledger.verify()
    ledger.close()
    again = opened(path, NOW + HOUR)
    assert again.verify() == head
    again.record(signals(3, 1))
    assert next(again.entries()).recorded_at == NOW + HOUR
    assert again.verify()[0] == 4


def test_opening_a_ledger_that_is_there_writes_nothing(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 1))
    holder = sqlite3.connect(path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")  # another process is writing
    try:
        assert opened(path).verify()[0] == 1
    finally:
        holder.close()


# Reading


def test_entries_can_be_limited_and_filtered(ledger: Ledger) -> None:
    ledger.record(signals(0, 4))
    ledger.record(signals(4, 3, "ETHUSDT"))
    ledger.record(signals(7, 1))
    assert [e.seq for e in ledger.entries()] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [e.seq for e in ledger.entries(limit=3)] == [8, 7, 6]
    assert [e.seq for e in ledger.entries("BTCUSDT")] == [8, 4, 3, 2, 1]
    assert [e.seq for e in ledger.entries("BTCUSDT", limit=2)] == [8, 4]
    assert [e.seq for e in ledger.entries("ETHUSDT", limit=99)] == [7, 6, 5]
    assert list(ledger.entries("NONE")) == []
    assert list(ledger.entries(limit=0)) == list(ledger.entries(limit=-1)) == []


@pytest.mark.parametrize("limit", [None, 1, 2, 3, 4, 5, 6, 7, 8, 99])
def test_entries_come_page_by_page_without_a_seam(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(ledger_module, "_PAGE", 3)
    ledger.record(signals(0, 7))
    expected = [7, 6, 5, 4, 3, 2, 1][:limit]
    assert [e.seq for e in ledger.entries("BTCUSDT", limit)] == expected


def test_a_reader_that_stops_half_way_keeps_nobody_waiting(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 5))
    reader = ledger.entries()
    next(reader)
    assert opened(path).record(signals(5, 5)) == 5
    assert [e.seq for e in islice(reader, 2)] == [4, 3]
    ledger.record(signals(10, 1))


# The chain


def test_seals_are_what_the_documentation_says(path: Path, ledger: Ledger) -> None:
    """SHA-256 over the seal before it and everything the row says, as a JSON list."""
    import hashlib  # noqa: PLC0415 - an oracle of this one test
    import json  # noqa: PLC0415 - and not the library the ledger uses

    ledger.record(signals(0, 3))
    seal = GENESIS
    for *said, written in raw(
        path, "SELECT seq, kind, key, symbol, as_of, recorded_at, body, seal FROM entries"
    ):
        text = json.dumps([seal, *said], separators=(",", ":"), ensure_ascii=False)
        seal = hashlib.sha256(text.encode()).hexdigest()
        assert written == seal
    assert ledger.verify() == (3, seal)


def test_an_empty_ledger_verifies(ledger: Ledger) -> None:
    assert ledger.verify() == (0, GENESIS)


@pytest.mark.parametrize(
    "change",
    [
        "kind = 'outcome'",
        "key = 'other'",
        "symbol = 'ETHUSDT'",
        "as_of = '2020-01-01T00:00:00Z'",
        "recorded_at = recorded_at - 1",
        "recorded_at = recorded_at + 0.5",
        "body = replace(body, 'LONG', 'SHORT')",
        "body = body || ' '",
        "body = CAST(body AS BLOB)",
        "seal = replace(seal, 'a', 'b')",
    ],
)
@pytest.mark.parametrize("row", [1, 3, 5])
def test_a_changed_row_is_found_and_named(
    path: Path, ledger: Ledger, change: str, row: int
) -> None:
    ledger.record(signals(0, 5))
    raw(path, *UNGUARDED, f"UPDATE entries SET {change} WHERE seq = {row}")
    with pytest.raises(LedgerTamperedError, match=f"row {row} "):
        ledger.verify()


@pytest.mark.parametrize("row", [1, 3, 4])
def test_a_removed_row_is_found_and_named(path: Path, ledger: Ledger, row: int) -> None:
    ledger.record(signals(0, 5))
    raw(path, *UNGUARDED, f"DELETE FROM entries WHERE seq = {row}")
    with pytest.raises(LedgerTamperedError, match=f"row {row} "):
        ledger.verify()


def test_a_row_removed_with_its_gap_closed_is_found(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 5))
    raw(path, *UNGUARDED, "DELETE FROM entries WHERE seq = 2")
    for seq in (3, 4, 5):
        raw(path, f"UPDATE entries SET seq = {seq - 1} WHERE seq = {seq}")
    with pytest.raises(LedgerTamperedError, match="row 2 "):
        ledger.verify()


def test_an_inserted_row_is_found_and_named(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 3))
    copy = "kind, 'forged', symbol, as_of, recorded_at, body, seal FROM entries WHERE seq = 3"
    raw(path, *UNGUARDED, f"INSERT INTO entries SELECT 4, {copy}")
    with pytest.raises(LedgerTamperedError, match="row 4 "):
        ledger.verify()


def test_rows_that_change_places_are_found(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 3))
    swap = "UPDATE entries SET seq = {} WHERE seq = {}"
    raw(path, *UNGUARDED, swap.format(99, 2), swap.format(2, 3), swap.format(3, 99))
    with pytest.raises(LedgerTamperedError, match="row 2 "):
        ledger.verify()


def test_a_chain_made_anew_from_a_changed_row_on_differs_from_the_head_noted_before(
    path: Path, ledger: Ledger
) -> None:
    """The chain alone cannot tell; a head that is noted elsewhere can."""
    ledger.record(signals(0, 3))
    noted = ledger.verify()
    raw(path, *UNGUARDED, "UPDATE entries SET symbol = 'ETHUSDT' WHERE seq = 2")
    columns = "seq, kind, key, symbol, as_of, recorded_at, body"
    seal = GENESIS
    for said in raw(path, f"SELECT {columns} FROM entries"):
        seal = ledger_module._seal(seal, dict(zip(columns.split(", "), said, strict=True)))
        raw(path, f"UPDATE entries SET seal = '{seal}' WHERE seq = {said[0]}")
    assert ledger.verify()[0] == 3
    assert ledger.verify() != noted


def test_a_body_that_is_no_signal_is_told_to_readers_too(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 2))
    for body in ("'{'", "'[1]'"):
        raw(path, "DROP TRIGGER IF EXISTS no_update", f"UPDATE entries SET body = {body}")
        with pytest.raises(LedgerTamperedError, match="row 2 "):
            list(ledger.entries())


_FIRST = "symbol, as_of, recorded_at, body, seal FROM entries WHERE seq = 1"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET symbol = 'X' WHERE seq = 1",
        "DELETE FROM entries WHERE seq = 1",
        "DELETE FROM entries",
        "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE seq = 1",
        f"REPLACE INTO entries SELECT 3, kind, key, {_FIRST}",
        f"INSERT INTO entries SELECT 7, kind, 'new', {_FIRST}",
    ],
)
def test_the_database_itself_refuses_everything_but_appending(
    path: Path, ledger: Ledger, statement: str
) -> None:
    ledger.record(signals(0, 2))
    head = ledger.verify()
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        raw(path, statement)
    assert ledger.verify() == head
    assert ledger.record(signals(2, 1)) == 1


# Safety on disk


def test_a_commit_waits_for_the_disk_and_a_writer_for_other_writers(ledger: Ledger) -> None:
    with ledger._transaction(writing=False) as connection:
        asked = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "busy_timeout", "user_version")
        }
    assert asked == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "busy_timeout": 30_000,
        "user_version": SCHEMA_VERSION,
    }


def test_readers_are_not_kept_waiting_by_a_writer(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 2))
    with ledger._transaction(writing=True) as connection:
        connection.exec_driver_sql("CREATE TABLE scratch (x)")
        assert len(list(ledger.entries())) == 2
        assert opened(path).verify()[0] == 2


def test_threads_may_record_at_once(ledger: Ledger) -> None:
    def record(first: int) -> None:
        for k in range(5):
            ledger.record(signals(first + 2 * k, 2))

    threads = [threading.Thread(target=record, args=(100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.verify()[0] == 40


WRITER = """
import sys, time
from pathlib import Path
from tests.core.ledger.test_ledger import opened, signals

path, me, gate = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
(gate / str(me)).touch()
while len(list(gate.iterdir())) < 2:
    time.sleep(0.002)
ledger = opened(path)
for k in range(40):
    ledger.record(signals(3 * k, 2) + signals(10_000 * (me + 1) + k, 1))
"""


def test_two_processes_may_record_at_once_from_the_first_moment_on(
    path: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    root = Path(__file__).parents[3]
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(me), str(gate)],
            stderr=subprocess.PIPE,
            text=True,
            cwd=root,
        )
        for me in range(2)
    ]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    assert opened(path).verify()[0] == 2 * 40 + 2 * 40


def test_a_full_disk_is_told_and_costs_nothing_that_was_there(ledger: Ledger) -> None:
    ledger.record(signals(0, 3))
    head = ledger.verify()

    def limit(pages: int) -> Callable[..., None]:
        def set_limit(connection: Any, *_: object) -> None:
            connection.execute(f"PRAGMA max_page_count={pages}")

        return set_limit

    ledger.close()
    full = limit(20)
    sa.event.listen(ledger._engine, "connect", full)
    with pytest.raises(StorageError, match=r"full.*Nothing was written"):
        ledger.record(signals(3, 500))
    assert ledger.verify() == head
    sa.event.remove(ledger._engine, "connect", full)
    ledger.close()
    assert ledger.record(signals(3, 500)) == 500
    assert ledger.verify()[0] == 503


def test_a_ledger_nobody_may_write_can_be_read_and_is_told_about(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = opened(path)
    ledger.record(signals(0, 2))
    ledger.close()
    monkeypatch.chdir(path.parent)
    frozen = Ledger(f"sqlite:///file:{path}?mode=ro&uri=true", SimulatedClock(NOW))
    assert frozen.verify()[0] == 2
    assert not (path.parent / "file:").exists()
    with pytest.raises(StorageError, match=r"readonly.*Nothing was written"):
        frozen.record(signals(2, 1))


def test_a_folder_is_made_for_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "with space" / "ünter" / "ledger.db"
    opened(path).record(signals(0, 1))
    assert opened(path).verify()[0] == 1


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot create the folder.*storage\.ledger"):
        opened(tmp_path / "taken" / "ledger.db")


def test_a_file_that_is_no_database_is_told(path: Path) -> None:
    path.write_bytes(b"this is no database at all, and it is long enough to be looked at" * 20)
    with pytest.raises(StorageError, match="not a database"):
        opened(path)


def test_a_damaged_database_is_told(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 200))
    ledger.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))
    with pytest.raises(StorageError):
        opened(path).verify()


@pytest.mark.parametrize("url", ["", "no url", "nosuchdb:///x", "postgresql+nosuchdriver://h/d"])
def test_an_address_that_leads_nowhere_is_told(url: str) -> None:
    with pytest.raises(StorageError, match=r"storage\.ledger.*sqlite:///"):
        Ledger(url, SimulatedClock(NOW))


def test_a_ledger_of_a_newer_weft_is_refused_and_left_alone(path: Path, ledger: Ledger) -> None:
    ledger.record(signals(0, 1))
    ledger.close()
    raw(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(StorageError, match=r"schema 2, this Weft knows up to 1.*Upgrade Weft"):
        opened(path)
    assert raw(path, "PRAGMA user_version") == [(SCHEMA_VERSION + 1,)]


def test_a_schema_half_made_is_completed(path: Path) -> None:
    """A process may die between making the file and making the table."""
    raw(path, "PRAGMA journal_mode = WAL")
    assert path.exists()
    ledger = opened(path)
    ledger.record(signals(0, 1))
    with pytest.raises(sqlite3.DatabaseError, match="append-only"):
        raw(path, "DELETE FROM entries")
