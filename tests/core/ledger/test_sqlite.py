"""A ledger in a file: what the disk can do to it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.core.ledger.places import KNOWN_BY, NOW, SQLitePlace, signals
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import StorageError
from weft.ledger.ledger import SCHEMA_VERSION, Ledger


@pytest.fixture
def ledger(sqlite_place: SQLitePlace) -> Ledger:
    return sqlite_place.opened()


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


def test_a_full_disk_is_told_and_costs_nothing_that_was_there(ledger: Ledger) -> None:
    ledger.record(signals(0, 3), KNOWN_BY)
    head = ledger.verify()

    def limit(pages: int) -> Callable[..., None]:
        def set_limit(connection: Any, *_: object) -> None:
            connection.execute(f"PRAGMA max_page_count={pages}")

        return set_limit

    ledger.close()
    full = limit(20)
    sa.event.listen(ledger._engine, "connect", full)
    with pytest.raises(StorageError, match=r"full.*Nothing was written"):
        ledger.record(signals(3, 500), KNOWN_BY)
    assert ledger.verify() == head
    sa.event.remove(ledger._engine, "connect", full)
    ledger.close()
    assert ledger.record(signals(3, 500), KNOWN_BY) == 500
    assert ledger.verify()[0] == 503


def test_a_ledger_nobody_may_write_can_be_read_and_is_told_about(
    sqlite_place: SQLitePlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = sqlite_place.opened()
    ledger.record(signals(0, 2), KNOWN_BY)
    ledger.close()
    folder = sqlite_place.path.parent
    monkeypatch.chdir(folder)
    frozen = Ledger(f"sqlite:///file:{sqlite_place.path}?mode=ro&uri=true", SimulatedClock(NOW))
    assert frozen.verify()[0] == 2
    assert not (folder / "file:").exists()
    with pytest.raises(StorageError, match=r"readonly.*Nothing was written"):
        frozen.record(signals(2, 1), KNOWN_BY)
    frozen.close()


def test_a_folder_is_made_for_the_ledger(tmp_path: Path) -> None:
    place = SQLitePlace(tmp_path / "with space" / "ünter" / "ledger.db")
    place.opened().record(signals(0, 1), KNOWN_BY)
    assert place.opened().verify()[0] == 1
    place.close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match=r"cannot create the folder.*storage\.ledger"):
        SQLitePlace(tmp_path / "taken" / "ledger.db").opened()


def test_a_file_that_is_no_database_is_told(sqlite_place: SQLitePlace) -> None:
    text = b"this is no database at all, and it is long enough to be looked at"
    sqlite_place.path.write_bytes(text * 20)
    with pytest.raises(StorageError, match="not a database"):
        sqlite_place.opened()


def test_a_damaged_database_is_told(sqlite_place: SQLitePlace, ledger: Ledger) -> None:
    ledger.record(signals(0, 200), KNOWN_BY)
    ledger.close()
    with sqlite_place.path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(sqlite_place.path.stat().st_size - 4096))
    with pytest.raises(StorageError):
        sqlite_place.opened().verify()


def test_a_schema_half_made_is_completed(sqlite_place: SQLitePlace) -> None:
    """A process may die between making the file and making the table."""
    sqlite_place.raw("PRAGMA journal_mode = WAL")
    assert sqlite_place.path.exists()
    sqlite_place.opened().record(signals(0, 1), KNOWN_BY)
    with pytest.raises(sqlite_place.refusal, match="append-only"):
        sqlite_place.raw("DELETE FROM entries")
