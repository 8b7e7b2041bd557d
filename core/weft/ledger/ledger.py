"""Writes signals to a SQL table that is only ever added to, each row sealed by the one before.

The seal of a row is the SHA-256 of the seal before it and of everything the row says. Changing,
removing or inserting a row breaks every seal after it. Cutting off the end of the table does
not; note the head that `Ledger.verify` returns somewhere else to notice that as well.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa

from weft.clock import Clock
from weft.errors import LedgerTamperedError, StorageError
from weft.signal import Signal

SCHEMA_VERSION = 1
_GENESIS = "0" * 64
_PAGE = 500
_SEALED = ("seq", "kind", "key", "symbol", "as_of", "recorded_at", "body")

_metadata = sa.MetaData()
_entries = sa.Table(
    "entries",
    _metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("key", sa.String(64), nullable=False),
    sa.Column("symbol", sa.String(64), nullable=False),
    sa.Column("as_of", sa.String(32), nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("seal", sa.String(64), nullable=False),
    sa.UniqueConstraint("kind", "key"),
    sa.Index("by_symbol", "symbol", "seq"),
)

_TRIGGERS = {
    "no_update": "BEFORE UPDATE ON entries",
    "no_delete": "BEFORE DELETE ON entries",
    # INSERT OR REPLACE deletes without calling the trigger above.
    "only_append": "BEFORE INSERT ON entries WHEN "
    "NEW.seq <> (SELECT COALESCE(MAX(seq), 0) + 1 FROM entries) "
    "OR EXISTS (SELECT 1 FROM entries WHERE kind = NEW.kind AND key = NEW.key)",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger.

    Attributes:
        seq: its place, from 1.
        kind: what it records: ``signal``.
        key: the signal's id.
        symbol: what it is about.
        as_of: the decision row, ISO 8601 UTC.
        recorded_at: when it was written, microseconds since 1970. A signal written long after
            its `as_of` was made in hindsight, and proves nothing.
        body: the signal as it was, as plain values.
        seal: SHA-256 over the seal before it and all of the above.
    """

    seq: int
    kind: str
    key: str
    symbol: str
    as_of: str
    recorded_at: int
    body: dict[str, Any]
    seal: str


class Ledger:
    """The record of one engine's signals.

    Args:
        url: where the database is, as SQLAlchemy writes it (``sqlite:///path/ledger.db``).
        clock: tells when a row is written.

    Raises:
        StorageError: the database cannot be opened, or a newer Weft has written it.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._engine = _open(url)
        with self._transaction(writing=False) as connection:
            complete = _is_complete(connection)
        if not complete:
            with self._transaction(writing=True) as connection:
                _create(connection)

    def record(self, signals: Sequence[Signal]) -> int:
        """Write signals that are not there yet, all of them or none; return how many.

        Recording the same signals again writes nothing, so a composition may be repeated.

        Raises:
            StorageError: the database refused; nothing was written.
        """
        with self._transaction(writing=True) as connection:
            known = self._known(connection, [signal.id for signal in signals])
            seq, seal = self._head(connection)
            rows = []
            for signal in signals:
                if signal.id in known:
                    continue
                known.add(signal.id)
                seq += 1
                row = {
                    "seq": seq,
                    "kind": "signal",
                    "key": signal.id,
                    "symbol": signal.symbol,
                    "as_of": signal.as_of,
                    "recorded_at": self._clock.now(),
                    "body": signal.to_json().decode(),
                }
                seal = _seal(seal, row)
                rows.append({**row, "seal": seal})
            if rows:
                connection.execute(sa.insert(_entries), rows)
            return len(rows)

    def entries(self, symbol: str | None = None, limit: int | None = None) -> Iterator[Entry]:
        """Yield rows, the newest first.

        Args:
            symbol: only rows about this symbol.
            limit: at most so many.
        """
        query = sa.select(_entries).order_by(_entries.c.seq.desc())
        if symbol is not None:
            query = query.where(_entries.c.symbol == symbol)
        # A page at a time, so that a slow reader holds no transaction open.
        page, left = query, limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            with self._transaction(writing=False) as connection:
                rows = connection.execute(page.limit(size)).mappings().all()
            for row in rows:
                yield Entry(**{**row, "body": _read_body(row)})
            if len(rows) < size:
                return
            page = query.where(_entries.c.seq < rows[-1]["seq"])
            left = None if left is None else left - size

    def verify(self) -> tuple[int, str]:
        """Check every seal, and return the number of rows and the last seal.

        Raises:
            LedgerTamperedError: a row was changed, removed or inserted; says which.
        """
        seal, count = _GENESIS, 0
        with self._transaction(writing=False) as connection:
            query = sa.select(_entries).order_by(_entries.c.seq)
            for row in connection.execution_options(yield_per=1000).execute(query).mappings():
                count += 1
                seal = _seal(seal, row)
                if row["seq"] != count or row["seal"] != seal:
                    raise _tampered(f"row {count} does not follow from the rows before it")
        return count, seal

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    @staticmethod
    def _known(connection: sa.Connection, keys: Sequence[str]) -> set[str]:
        """Return those of `keys` that are there."""
        query = sa.select(_entries.c.key).where(_entries.c.kind == "signal")
        known: set[str] = set()
        # A statement takes only so many parameters.
        for start in range(0, len(keys), _PAGE):
            page = query.where(_entries.c.key.in_(keys[start : start + _PAGE]))
            known.update(connection.scalars(page))
        return known

    @staticmethod
    def _head(connection: sa.Connection) -> tuple[int, str]:
        query = sa.select(_entries.c.seq, _entries.c.seal).order_by(_entries.c.seq.desc()).limit(1)
        row = connection.execute(query).first()
        return (0, _GENESIS) if row is None else (row.seq, row.seal)

    @contextmanager
    def _transaction(self, *, writing: bool) -> Iterator[sa.Connection]:
        try:
            with self._engine.execution_options(writing=writing).begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise StorageError(
                f"the database refused: {error.__cause__ or error}",
                where="ledger",
                hint="Nothing was written; check storage.ledger, free space and permissions",
            ) from error


def _seal(previous: str, row: "Mapping[str, Any] | sa.RowMapping") -> str:
    try:
        sealed = orjson.dumps([previous, *(row[name] for name in _SEALED)])
    except TypeError:
        # Weft writes texts and whole numbers only.
        raise _tampered(f"row {row['seq']} holds what Weft does not write") from None
    return hashlib.sha256(sealed).hexdigest()


def _read_body(row: sa.RowMapping) -> dict[str, Any]:
    try:
        body = orjson.loads(row["body"])
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise _tampered(f"row {row['seq']} holds no signal")
    return body


def _tampered(message: str) -> LedgerTamperedError:
    hint = "Restore the database from a backup made before the change"
    return LedgerTamperedError(message, where="ledger", hint=hint)


def _open(url: str) -> sa.Engine:
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise StorageError(
            f"{error}", where="storage.ledger", hint="Write it like sqlite:///path/ledger.db"
        ) from error
    if engine.dialect.name == "sqlite":
        _prepare_sqlite(engine)
    return engine


def _prepare_sqlite(engine: sa.Engine) -> None:
    """Let a commit return only once it is on disk, and writers wait for each other."""
    if engine.url.database and "uri" not in engine.url.query:
        try:
            Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(
                f"cannot create the folder of {engine.url.database}: {error.strerror}",
                where="storage.ledger",
                hint="Point storage.ledger at a folder that can be written",
            ) from error

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own type
        # The driver would begin transactions by itself, too late and never IMMEDIATE.
        connection.isolation_level = None
        for pragma in ("busy_timeout=30000", "journal_mode=WAL", "synchronous=FULL"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        writing = connection.get_execution_options().get("writing", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")


def _is_complete(connection: sa.Connection) -> bool:
    """Whether the database is of this Weft's schema already.

    Raises:
        StorageError: a newer Weft has written it.
    """
    if connection.dialect.name != "sqlite":
        return False
    written = int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())
    if written > SCHEMA_VERSION:
        raise StorageError(
            f"the database has schema {written}, this Weft knows up to {SCHEMA_VERSION}",
            where="ledger",
            hint="Upgrade Weft, or point storage.ledger at another database",
        )
    return written == SCHEMA_VERSION


def _create(connection: sa.Connection) -> None:
    _metadata.create_all(connection)
    if connection.dialect.name == "sqlite":
        for trigger, condition in _TRIGGERS.items():
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {trigger} {condition} "
                "BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
            )
        connection.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
