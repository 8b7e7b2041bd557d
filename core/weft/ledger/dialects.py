"""Dialects: the statements that SQLite and PostgreSQL need for a ledger.

Both guarantee the same: a commit that returned is on disk, writers wait for each other up to half a
minute, and the database itself refuses every change of the table except appending. The owner of the
database can remove these guards; the seals show that.
"""

import sqlite3
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from weft.foundation.dependencies import require
from weft.foundation.errors import StorageError

_WAIT_SECONDS = 30
_TRIES_A_SECOND = 50

_SQLITE_TRIGGERS = {
    "no_update": "BEFORE UPDATE ON entries",
    "no_delete": "BEFORE DELETE ON entries",
    # INSERT OR REPLACE deletes without calling the trigger above.
    "only_append": "BEFORE INSERT ON entries WHEN "
    "NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM entries) "
    "OR EXISTS (SELECT 1 FROM entries WHERE kind = NEW.kind AND key = NEW.key)",
}

# Key of the advisory lock that all writers of a database share.
_LOCK = 0x7765_6674_6C65_6467
# The full name of the table, because a search path could lead to another table; percent signs are
# doubled for the driver.
_POSTGRES_GUARD = """
CREATE OR REPLACE FUNCTION ledger_guard() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    expected bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        EXECUTE format('SELECT COALESCE(MAX(seq), 0) + 1 FROM %%I.%%I',
            TG_TABLE_SCHEMA, TG_TABLE_NAME) INTO expected;
        IF NEW.seq = expected THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the ledger is append-only';
END
$$
"""
_POSTGRES_TRIGGERS = {
    "only_append": "BEFORE INSERT ON entries FOR EACH ROW",
    "no_change": "BEFORE UPDATE OR DELETE OR TRUNCATE ON entries FOR EACH STATEMENT",
}


class Dialect(ABC):
    """A kind of database."""

    @abstractmethod
    def connect(self, url: sa.URL) -> sa.Engine:
        """Return an engine whose transactions are safe for writing a ledger.

        Transactions with the execution option ``writing`` wait for each other.

        Raises:
            StorageError: there is no place for the database.
            MissingDependencyError: its driver is not installed.
        """

    @abstractmethod
    def version(self, connection: sa.Connection) -> int:
        """Return the schema version written in the database, 0 for none."""

    @abstractmethod
    def guard(self, connection: sa.Connection, version: int) -> None:
        """Create the guards that allow only appending, and write the schema version."""


def dialect_of(url: sa.URL) -> Dialect:
    """Return the dialect of a database URL.

    Raises:
        StorageError: a kind of database that Weft does not support.
    """
    name = url.get_backend_name()
    if name not in _DIALECTS:
        raise StorageError(
            f"expected sqlite or postgresql, got {name!r}",
            where="storage.ledger",
            hint="Write it like sqlite:///path/ledger.db or postgresql://user@host/database",
        )
    return _DIALECTS[name]()


class SQLite(Dialect):
    """SQLite: a file, in write-ahead mode."""

    def connect(self, url: sa.URL) -> sa.Engine:
        """Return an engine, and create the file's folder if it is missing."""
        engine = sa.create_engine(url)
        if url.database and "uri" not in url.query:
            try:
                Path(url.database).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"cannot create the folder of {url.database}: {error.strerror}",
                    where="storage.ledger",
                    hint="Point storage.ledger at a folder that can be written",
                ) from error

        @sa.event.listens_for(engine, "connect")
        def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401  # a type of the driver
            # Otherwise the driver would begin transactions too late, and never IMMEDIATE.
            connection.isolation_level = None
            wait = f"busy_timeout={_WAIT_SECONDS * 1000}"
            for pragma in (wait, "synchronous=FULL"):
                connection.execute(f"PRAGMA {pragma}")
            _write_ahead(connection)

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")

        return engine

    def version(self, connection: sa.Connection) -> int:
        """Return the user version in the file's header."""
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())

    def guard(self, connection: sa.Connection, version: int) -> None:
        """Create the triggers."""
        for trigger, condition in _SQLITE_TRIGGERS.items():
            connection.exec_driver_sql(
                f"CREATE TRIGGER {trigger} {condition} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
        connection.exec_driver_sql(f"PRAGMA user_version={version}")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch a database to write-ahead mode.

    While another process switches it, SQLite reports a lock without waiting for the timeout, so
    the attempts are repeated here.
    """
    for left in reversed(range(_WAIT_SECONDS * _TRIES_A_SECOND)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError:
            if not left:
                raise
            time.sleep(1 / _TRIES_A_SECOND)
        else:
            return


class PostgreSQL(Dialect):
    """PostgreSQL: tables in the first schema of the connection's search path."""

    def connect(self, url: sa.URL) -> sa.Engine:
        """Return an engine, without connecting yet."""
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        if url.get_driver_name() == "psycopg":
            require("psycopg", extra="postgres", where="storage.ledger")
        engine = sa.create_engine(
            url,
            # A writer must see the commits made while it waited for the lock.
            isolation_level="READ COMMITTED",
            # The server may have been restarted since the last signal.
            pool_pre_ping=True,
            connect_args={"client_encoding": "utf8"},
        )

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            if not _writes(connection):
                return
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT_SECONDS}s'")
            # Only if it is off: all other values wait at least for the disk.
            connection.exec_driver_sql(
                "SELECT set_config('synchronous_commit', 'on', true) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            # Not LOCK TABLE, which needs the right to change rows.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

        return engine

    def version(self, connection: sa.Connection) -> int:
        """Return the version in the table `ledger_schema`."""
        if not sa.inspect(connection).has_table("ledger_schema"):
            return 0
        query = "SELECT version FROM ledger_schema"
        return int(connection.exec_driver_sql(query).scalar_one())

    def guard(self, connection: sa.Connection, version: int) -> None:
        """Create the triggers, which also apply to sessions in replica mode."""
        connection.exec_driver_sql(_POSTGRES_GUARD)
        for trigger, condition in _POSTGRES_TRIGGERS.items():
            connection.exec_driver_sql(
                f"CREATE TRIGGER {trigger} {condition} EXECUTE FUNCTION ledger_guard()"
            )
            connection.exec_driver_sql(f"ALTER TABLE entries ENABLE ALWAYS TRIGGER {trigger}")
        connection.exec_driver_sql(f"CREATE TABLE ledger_schema AS SELECT {version} AS version")


_DIALECTS: dict[str, type[Dialect]] = {"sqlite": SQLite, "postgresql": PostgreSQL}


def _writes(connection: sa.Connection) -> bool:
    return bool(connection.get_execution_options().get("writing", False))
