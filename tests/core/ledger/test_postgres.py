"""A ledger on a server: what the server's settings, its users and its absence can do to it."""

import sys
from pathlib import Path

import pytest

from tests.core.ledger.places import KNOWN_BY, NOW, PostgresPlace, signals
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import MissingDependencyError, StorageError
from weft.ledger.ledger import SCHEMA_VERSION, Ledger


def asked(ledger: Ledger, *names: str) -> dict[str, str]:
    """What holds in a transaction that writes."""
    with ledger._transaction(writing=True) as connection:
        return {n: connection.exec_driver_sql(f"SHOW {n}").scalar_one() for n in names}


def set_default(place: PostgresPlace, name: str, value: str) -> None:
    place.raw(
        f"DO $$BEGIN EXECUTE format('ALTER DATABASE %I SET {name} = ''{value}''', "
        "current_database()); END$$"
    )


def test_a_writer_waits_for_the_disk_and_for_other_writers_but_not_for_ever(
    postgres_place: PostgresPlace,
) -> None:
    settings = {
        "lock_timeout": "30s",
        "synchronous_commit": "on",
        "transaction_isolation": "read committed",
        "client_encoding": "UTF8",
    }
    assert asked(postgres_place.opened(), *settings) == settings
    for name, value in (
        ("lock_timeout", "1ms"),
        ("synchronous_commit", "off"),
        ("default_transaction_isolation", "serializable"),
        ("client_encoding", "LATIN1"),
    ):
        set_default(postgres_place, name, value)
    assert asked(postgres_place.opened(), *settings) == settings


def test_a_server_that_waits_for_more_than_its_disk_goes_on_doing_so(
    postgres_place: PostgresPlace,
) -> None:
    set_default(postgres_place, "synchronous_commit", "remote_apply")
    found = asked(postgres_place.opened(), "synchronous_commit")
    assert found == {"synchronous_commit": "remote_apply"}


def test_a_writer_that_waits_too_long_is_told(
    postgres_place: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weft.ledger.dialects._WAIT_SECONDS", 1)
    ledger, other = postgres_place.opened(), postgres_place.opened()
    with (
        ledger._transaction(writing=True),
        pytest.raises(StorageError, match=r"lock timeout.*Nothing was written"),
    ):
        other.record(signals(0, 1), KNOWN_BY)
    assert other.record(signals(0, 1), KNOWN_BY) == 1


def test_a_server_started_anew_between_two_signals_does_no_harm(
    postgres_place: PostgresPlace,
) -> None:
    ledger = postgres_place.opened()
    ledger.record(signals(0, 1), KNOWN_BY)
    postgres_place.raw(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    assert ledger.record(signals(1, 1), KNOWN_BY) == 1
    assert ledger.verify()[0] == 2


def test_a_server_that_is_not_there_is_told_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://weft:hush@/ledger?host={tmp_path}"
    with pytest.raises(StorageError, match=r"the database refused: .*storage\.ledger") as caught:
        Ledger(url, SimulatedClock(NOW))
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"package psycopg.*weft\[postgres\]"):
        Ledger("postgresql://weft@h/d", SimulatedClock(NOW))


def test_a_writer_needs_no_right_to_change_rows(postgres_place: PostgresPlace) -> None:
    postgres_place.opened().record(signals(0, 1), KNOWN_BY)
    postgres_place.raw(
        "DROP ROLE IF EXISTS scribe",
        "CREATE ROLE scribe LOGIN",
        "GRANT SELECT, INSERT ON entries TO scribe",
        "GRANT SELECT ON ledger_schema TO scribe",
    )
    url = postgres_place.url.replace("//weft@", "//scribe@")
    ledger = Ledger(url, SimulatedClock(NOW))
    assert ledger.record(signals(0, 3), KNOWN_BY) == 2
    assert ledger.verify()[0] == 3
    ledger.close()
    postgres_place.raw("DROP OWNED BY scribe", "DROP ROLE scribe")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_in_another_encoding_keeps_a_ledger(
    postgres: PostgresPlace, encoding: str
) -> None:
    name = encoding.lower()
    postgres.raw(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
    place = PostgresPlace(postgres.url.replace("/postgres?", f"/{name}?"))
    ledger = place.opened()
    (signal,) = signals(0, 1, "ÜNTER")
    assert ledger.record([signal], KNOWN_BY) == 1
    assert ledger.verify()[0] == 1
    found = ledger.find(signal.id[:6])
    assert found is not None
    assert found.symbol == "ÜNTER"
    place.close()
    postgres.raw(f"DROP DATABASE {name} WITH (FORCE)")


def test_two_ledgers_lie_side_by_side_in_schemas_of_one_database(
    postgres_place: PostgresPlace,
) -> None:
    postgres_place.opened().record(signals(0, 2), KNOWN_BY)
    postgres_place.raw("CREATE SCHEMA second")
    ledger = Ledger(f"{postgres_place.url}&options=-csearch_path%3Dsecond", SimulatedClock(NOW))
    assert ledger.verify()[0] == 0
    assert ledger.record(signals(0, 1), KNOWN_BY) == 1
    assert postgres_place.raw("SELECT version FROM second.ledger_schema") == [(SCHEMA_VERSION,)]
    assert postgres_place.opened().verify()[0] == 2
    ledger.close()
