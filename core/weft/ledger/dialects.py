"""What SQLite and PostgreSQL each need to keep a ledger.

Both give the same: a commit that returned is on disk, one writer at a time while others wait up
to half a minute, and a table that the database itself lets grow at its end and in no other way.
Whoever owns the database can still take the guards away; the seals are there to show it.
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

# Writers of all ledgers in one database share it.
_LOCK = 0x7765_6674_6C65_6467
# The table is read by its full name, since a search path could lead to another one; the percent
# signs are doubled for the driver.
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
    """One kind of database."""

    @abstractmethod
    def connect(self, url: sa.URL) -> sa.Engine:
        """Return an engine whose transactions are safe to write a ledger in.

        Those begun with the execution option ``writing`` wait for each other.

        Raises:
            StorageError: there is no place for the database.
            MissingDependencyError: its driver is not installed.
        """

    @abstractmethod
    def version(self, connection: sa.Connection) -> int:
        """Return the schema version written in the database, 0 where there is none."""

    @abstractmethod
    def guard(self, connection: sa.Connection, version: int) -> None:
        """Make the table refuse everything but appending, and write the schema version."""


def dialect_of(url: sa.URL) -> Dialect:
    """Return how to treat the database a URL leads to.

    Raises:
        StorageError: Weft keeps no ledger in databases of that kind.
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
    """A file, read while it is written."""

    def connect(self, url: sa.URL) -> sa.Engine:
        """Return an engine; makes the file's folder where there is none."""
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
        def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401  # the driver's own type
            # The driver would begin transactions by itself, too late and never IMMEDIATE.
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
        """Return what the file's header says."""
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
    """Switch a database to its write-ahead log, where it is not yet.

    While another process is switching it SQLite says at once that it is locked, whatever the
    timeout is.
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
    """A server; the tables lie in the first schema of the connection's search path."""

    def connect(self, url: sa.URL) -> sa.Engine:
        """Return an engine; nothing is asked of the server yet."""
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        require(url.get_driver_name(), extra="postgres", where="storage.ledger")
        engine = sa.create_engine(
            url,
            # A writer has to see what was committed while it waited for its turn.
            isolation_level="READ COMMITTED",
            # A server may have been started anew since the last signal.
            pool_pre_ping=True,
            connect_args={"client_encoding": "utf8"},
        )

        @sa.event.listens_for(engine, "begin")
        def begin(connection: sa.Connection) -> None:
            if not _writes(connection):
                return
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_WAIT_SECONDS}s'")
            # Only where it is off: the other values wait for the disk too, or for more.
            connection.exec_driver_sql(
                "SELECT set_config('synchronous_commit', 'on', true) "
                "WHERE current_setting('synchronous_commit') = 'off'"
            )
            # Not LOCK TABLE: that takes a right to change rows, which a writer need not have.
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

        return engine

    def version(self, connection: sa.Connection) -> int:
        """Return what the table of the version says."""
        if not sa.inspect(connection).has_table("ledger_schema"):
            return 0
        query = "SELECT version FROM ledger_schema"
        return int(connection.exec_driver_sql(query).scalar_one())

    def guard(self, connection: sa.Connection, version: int) -> None:
        """Create the triggers; they hold in a session that plays the replica as well."""
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
