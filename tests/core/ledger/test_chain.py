"""The chain of seals: whoever changes what was said is found out."""

import hashlib
import json

import pytest

from tests.core.ledger.places import (
    COLUMNS,
    GENESIS,
    KNOWN_BY,
    Place,
    PostgresPlace,
    SQLitePlace,
    signals,
)
from weft.foundation.errors import LedgerTamperedError, WeftError
from weft.ledger import ledger as ledger_module
from weft.ledger.ledger import Ledger


def seal_anew(place: Place) -> None:
    """Write seals that fit whatever the rows say now."""
    seal = GENESIS
    for said in place.raw(f"SELECT {COLUMNS} FROM entries ORDER BY seq"):
        seal = ledger_module._seal(seal, dict(zip(COLUMNS.split(", "), said, strict=True)))
        place.raw(f"UPDATE entries SET seal = '{seal}' WHERE seq = {said[0]}")


def test_seals_are_what_the_documentation_says(place: Place, ledger: Ledger) -> None:
    """SHA-256 over the seal before it and everything the row says, as a JSON list."""
    ledger.record(signals(0, 3), KNOWN_BY)
    seal = GENESIS
    for *said, written in place.raw(f"SELECT {COLUMNS}, seal FROM entries ORDER BY seq"):
        text = json.dumps([seal, *said], separators=(",", ":"), ensure_ascii=False)
        seal = hashlib.sha256(text.encode()).hexdigest()
        assert written == seal
    assert ledger.verify() == (3, seal)


def test_an_empty_ledger_verifies(ledger: Ledger) -> None:
    assert ledger.verify() == (0, GENESIS)


def test_every_column_is_sealed() -> None:
    assert [*ledger_module._SEALED, "seal"] == list(ledger_module._entries.c.keys())


CHANGES = [
    "kind = 'outcome'",
    "key = 'other'",
    "symbol = 'ETHUSDT'",
    "as_of = '2020-01-01T00:00:00Z'",
    "known_by = known_by - 1",
    "recorded_at = recorded_at - 1",
    "body = replace(body, 'LONG', 'SHORT')",
    "body = body || ' '",
    "seal = 'x' || substr(seal, 2)",
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("row", [1, 3, 5])
def test_a_changed_row_is_found_and_named(
    place: Place, ledger: Ledger, change: str, row: int
) -> None:
    ledger.record(signals(0, 5), KNOWN_BY)
    place.unguarded(f"UPDATE entries SET {change} WHERE seq = {row}")
    with pytest.raises(LedgerTamperedError, match=f"row {row} "):
        ledger.verify()


@pytest.mark.parametrize("change", ["recorded_at = recorded_at + 0.5", "body = CAST(body AS BLOB)"])
def test_a_value_of_another_type_is_found_and_named(sqlite_place: SQLitePlace, change: str) -> None:
    ledger = sqlite_place.opened()
    ledger.record(signals(0, 5), KNOWN_BY)
    sqlite_place.unguarded(f"UPDATE entries SET {change} WHERE seq = 3")
    with pytest.raises(LedgerTamperedError, match="row 3 "):
        ledger.verify()


@pytest.mark.parametrize("row", [1, 3, 4])
def test_a_removed_row_is_found_and_named(place: Place, ledger: Ledger, row: int) -> None:
    ledger.record(signals(0, 5), KNOWN_BY)
    place.unguarded(f"DELETE FROM entries WHERE seq = {row}")
    with pytest.raises(LedgerTamperedError, match=f"row {row} "):
        ledger.verify()


def test_a_row_removed_with_its_gap_closed_is_found(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 5), KNOWN_BY)
    place.unguarded("DELETE FROM entries WHERE seq = 2")
    for seq in (3, 4, 5):
        place.raw(f"UPDATE entries SET seq = {seq - 1} WHERE seq = {seq}")
    with pytest.raises(LedgerTamperedError, match="row 2 "):
        ledger.verify()


def test_an_inserted_row_is_found_and_named(place: Place, ledger: Ledger) -> None:
    """The guards let it in, for it is in its place; its seal shows it."""
    ledger.record(signals(0, 3), KNOWN_BY)
    copy = COLUMNS.replace("seq, ", "4, ").replace("key", "'forged'")
    place.raw(f"INSERT INTO entries SELECT {copy}, seal FROM entries WHERE seq = 3")
    with pytest.raises(LedgerTamperedError, match="row 4 "):
        ledger.verify()


def test_rows_that_change_places_are_found(place: Place, ledger: Ledger) -> None:
    ledger.record(signals(0, 3), KNOWN_BY)
    swap = "UPDATE entries SET seq = {} WHERE seq = {}"
    place.unguarded(swap.format(99, 2), swap.format(2, 3), swap.format(3, 99))
    with pytest.raises(LedgerTamperedError, match="row 2 "):
        ledger.verify()


# A seal noted earlier


def test_every_seal_of_the_chain_may_have_been_noted(ledger: Ledger) -> None:
    noted = [ledger.verify()[1]]
    for k in range(4):
        ledger.record(signals(k, 1), KNOWN_BY)
        noted.append(ledger.verify()[1])
    assert len(set(noted)) == 5
    for seal in noted:
        assert ledger.verify(seal) == (4, noted[-1])
    assert ledger.verify(f" {noted[2].upper()}\n") == (4, noted[-1])


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_an_end_cut_off_is_found_by_the_seal_noted_before(
    place: Place, ledger: Ledger, kept: int
) -> None:
    ledger.record(signals(0, 4), KNOWN_BY)
    _, noted = ledger.verify()
    place.unguarded(f"DELETE FROM entries WHERE seq > {kept}")
    assert ledger.verify()[0] == kept
    with pytest.raises(LedgerTamperedError, match=rf"{kept} rows .*{noted}: the end was cut off"):
        ledger.verify(noted)


def test_a_chain_sealed_anew_is_found_by_the_seal_noted_before(
    place: Place, ledger: Ledger
) -> None:
    ledger.record(signals(0, 2), KNOWN_BY)
    _, early = ledger.verify()
    ledger.record(signals(2, 2), KNOWN_BY)
    _, late = ledger.verify()
    place.unguarded("UPDATE entries SET symbol = 'ETHUSDT' WHERE seq = 3")
    seal_anew(place)
    assert ledger.verify()[0] == 4
    assert ledger.verify(early)[0] == 4  # nothing before it was changed
    with pytest.raises(LedgerTamperedError, match="all was sealed anew"):
        ledger.verify(late)


@pytest.mark.parametrize("noted", ["", "abc", "g" * 64, "0" * 63, "0" * 65])
def test_what_is_no_seal_is_told_and_accuses_nobody(ledger: Ledger, noted: str) -> None:
    with pytest.raises(WeftError, match=r"is no seal.*64 hexadecimal digits") as caught:
        ledger.verify(noted)
    assert not isinstance(caught.value, LedgerTamperedError)


# The database's own guards


_FIRST = f"{COLUMNS.replace('seq, kind, key, ', '')}, seal FROM entries WHERE seq = 1"
EVERYWHERE = [
    "UPDATE entries SET symbol = 'X' WHERE seq = 1",
    "DELETE FROM entries WHERE seq = 1",
    "DELETE FROM entries",
    f"INSERT INTO entries SELECT 7, kind, 'new', {_FIRST}",
    f"INSERT INTO entries SELECT 0, kind, 'new', {_FIRST}",
    f"INSERT INTO entries SELECT -1, kind, 'new', {_FIRST}",
]
ONLY_SQLITE = [
    "INSERT OR REPLACE INTO entries SELECT * FROM entries WHERE seq = 1",
    f"REPLACE INTO entries SELECT 3, kind, key, {_FIRST}",
]
ONLY_POSTGRES = [
    "TRUNCATE entries",
    "UPDATE entries SET symbol = 'X' WHERE false",
    (
        "INSERT INTO entries SELECT * FROM entries WHERE seq = 1 "
        "ON CONFLICT (seq) DO UPDATE SET symbol = 'X'"
    ),
    f"INSERT INTO entries SELECT NULL, kind, 'new', {_FIRST}",
    "SET session_replication_role = replica; DELETE FROM entries",
    (
        "CREATE SCHEMA aside; CREATE TABLE aside.entries AS SELECT 6 AS seq; "
        "SET search_path = aside; INSERT INTO public.entries "
        f"SELECT 7, kind, 'new', {_FIRST.replace('entries', 'public.entries')}"
    ),
]


def check_refused(place: Place, statement: str) -> None:
    ledger = place.opened()
    ledger.record(signals(0, 2), KNOWN_BY)
    head = ledger.verify()
    with pytest.raises(place.refusal, match="append-only"):
        place.raw(*statement.split("; "))
    assert ledger.verify() == head
    assert ledger.record(signals(2, 1), KNOWN_BY) == 1


@pytest.mark.parametrize("statement", EVERYWHERE)
def test_the_database_itself_refuses_everything_but_appending(place: Place, statement: str) -> None:
    check_refused(place, statement)


@pytest.mark.parametrize("statement", ONLY_SQLITE)
def test_sqlite_refuses_what_only_it_can_do(sqlite_place: SQLitePlace, statement: str) -> None:
    check_refused(sqlite_place, statement)


@pytest.mark.parametrize("statement", ONLY_POSTGRES)
def test_postgresql_refuses_what_only_it_can_do(
    postgres_place: PostgresPlace, statement: str
) -> None:
    check_refused(postgres_place, statement)
