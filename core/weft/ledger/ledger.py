"""The ledger: an append-only SQL table of signals, whose rows form a hash chain.

The seal of a row is the SHA-256 of the previous seal and the row's content. Changing, removing or
inserting a row breaks every later seal. Cutting off the end of the table, or computing all seals
again, breaks none: to detect that, store the seal that `Ledger.verify` returns elsewhere, and pass
it to a later `verify`.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from weft.domain.signal import Signal, to_json
from weft.foundation.clock import Clock
from weft.foundation.errors import LedgerTamperedError, StorageError, WeftError
from weft.ledger.dialects import Dialect, dialect_of

SCHEMA_VERSION = 2
SHORTEST_PREFIX = 6
_GENESIS = "0" * 64
_PAGE = 500
_SEALED = ("seq", "kind", "key", "symbol", "as_of", "known_by", "recorded_at", "body")

_metadata = sa.MetaData()
_entries = sa.Table(
    "entries",
    _metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    # Byte order, so that ids with the same beginning are adjacent.
    sa.Column(
        "key",
        sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql"),
        nullable=False,
    ),
    sa.Column("symbol", sa.String(64), nullable=False),
    sa.Column("as_of", sa.String(32), nullable=False),
    sa.Column("known_by", sa.BigInteger, nullable=False),
    sa.Column("recorded_at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("seal", sa.String(64), nullable=False),
    sa.UniqueConstraint("kind", "key"),
    sa.Index("by_symbol", "symbol", "seq"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger.

    Attributes:
        seq: row number, from 1.
        kind: ``signal``, ``training``, ``promotion`` or ``arithmetic``.
        key: id of the signal, or a digest of the note.
        symbol: of the signal; of a training or promotion, the component's key in config.
        as_of: the decision row, ISO 8601 UTC.
        known_by: time up to which the store was read for the signal, microseconds since 1970.
        recorded_at: time of writing, microseconds since 1970. A signal written long after its
            `as_of` was composed in hindsight, and proves nothing.
        body: the signal or note, as plain values.
        seal: SHA-256 over the previous seal and all of the above.
    """

    seq: int
    kind: str
    key: str
    symbol: str
    as_of: str
    known_by: int
    recorded_at: int
    body: dict[str, Any]
    seal: str


@dataclass(frozen=True, slots=True)
class _Row:
    key: str
    symbol: str
    as_of: str
    known_by: int
    body: str


class Ledger:
    """The append-only record of an engine's signals, trainings and promotions.

    Args:
        url: of the database for SQLAlchemy: ``sqlite:///path/ledger.db``, or
            ``postgresql://user:password@host/database`` with the extra ``postgres``.
        clock: for the time of writing.

    Raises:
        StorageError: the database cannot be opened, or has another schema.
    """

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._dialect, self._engine = _open(url)
        try:
            self._prepare()
        except StorageError:
            self.close()
            raise

    def record(
        self,
        signals: Sequence[Signal],
        known_by: int,
        arithmetic: Mapping[str, str] | None = None,
    ) -> int:
        """Write the signals that are not in the ledger yet, all or none; return their number.

        Recording the same signals again writes nothing, for any `known_by`, so a composition may
        be repeated.

        Args:
            signals: composed signals.
            known_by: time up to which the store was read, microseconds since 1970.
            arithmetic: under which they were computed. Where it differs from that of the signals
                before, a separate row notes it first.

        Raises:
            StorageError: the database refused; nothing was written.
        """
        rows = [_Row(s.id, s.symbol, s.as_of, known_by, s.to_json().decode()) for s in signals]
        return self._write("signal", rows, arithmetic)

    def note(self, kind: str, about: str, as_of: str, body: Mapping[str, Any]) -> str:
        """Write a note, and return its key.

        Args:
            kind: ``training`` or ``promotion``.
            about: the component's key in config.
            as_of: latest decision row of the data behind the note, ISO 8601 UTC.
            body: content of the note, as plain values.

        Raises:
            StorageError: the database refused; nothing was written.
        """
        row = self._note(kind, about, as_of, body)
        self._write(kind, [row])
        return row.key

    def _note(self, kind: str, about: str, as_of: str, body: Mapping[str, Any]) -> _Row:
        text = to_json(body).decode()
        now = self._clock.now()
        key = hashlib.sha256(f"{kind} {about} {as_of} {now} {text}".encode()).hexdigest()[:32]
        return _Row(key, about, as_of, now, text)

    def _write(
        self, kind: str, rows: Sequence[_Row], arithmetic: Mapping[str, str] | None = None
    ) -> int:
        """Write the rows that are not in the ledger yet, all or none; return their number."""
        with self._transaction(writing=True) as connection:
            known = self._known(connection, kind, [row.key for row in rows])
            # The first of several rows with equal keys is written.
            new = {row.key: row for row in reversed(rows) if row.key not in known}
            pairs = [(kind, row) for row in rows if new.get(row.key) is row]
            if pairs and arithmetic and arithmetic != self._last_arithmetic(connection):
                note = self._note("arithmetic", "machine", pairs[0][1].as_of, arithmetic)
                pairs.insert(0, ("arithmetic", note))
            self._append(connection, pairs)
            return len(new)

    def _append(self, connection: sa.Connection, pairs: Sequence[tuple[str, _Row]]) -> None:
        """Seal rows, and append them to the table."""
        seq, seal = self._head(connection)
        sealed = []
        for place, (kind, row) in enumerate(pairs, start=seq + 1):
            values = {
                "seq": place,
                "kind": kind,
                **asdict(row),
                "recorded_at": self._clock.now(),
            }
            seal = _seal(seal, values)
            sealed.append({**values, "seal": seal})
        if sealed:
            connection.execute(sa.insert(_entries), sealed)

    @staticmethod
    def _last_arithmetic(connection: sa.Connection) -> dict[str, Any] | None:
        query = sa.select(_entries).where(_entries.c.kind == "arithmetic")
        row = connection.execute(query.order_by(_entries.c.seq.desc()).limit(1)).mappings().first()
        return None if row is None else _parse_body(row)

    def notes(self, kind: str, after: int = 0) -> list[Entry]:
        """Return the notes of a kind, the oldest first.

        Args:
            kind: ``training``, ``promotion`` or ``arithmetic``.
            after: only rows with a larger row number.
        """
        query = (
            sa.select(_entries)
            .where(_entries.c.kind == kind, _entries.c.seq > after)
            .order_by(_entries.c.seq)
        )
        with self._transaction(writing=False) as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def entries(self, symbol: str | None = None, limit: int | None = None) -> Iterator[Entry]:
        """Yield recorded signals, the newest first.

        Args:
            symbol: only signals of this symbol.
            limit: largest number of signals.
        """
        query = (
            sa.select(_entries).where(_entries.c.kind == "signal").order_by(_entries.c.seq.desc())
        )
        if symbol is not None:
            query = query.where(_entries.c.symbol == symbol)
        # Page by page, so that a slow reader keeps no transaction open.
        page, left = query, limit
        while left is None or left > 0:
            size = _PAGE if left is None else min(_PAGE, left)
            with self._transaction(writing=False) as connection:
                rows = connection.execute(page.limit(size)).mappings().all()
            for row in rows:
                yield _entry(row)
            if len(rows) < size:
                return
            page = query.where(_entries.c.seq < rows[-1]["seq"])
            left = None if left is None else left - size

    def find(self, key: str) -> Entry | None:
        """Return the row of a signal, or None.

        Args:
            key: id of the signal, or at least its first 6 characters.

        Raises:
            WeftError: `key` is too short, or several ids begin with it.
        """
        if len(key) < SHORTEST_PREFIX:
            raise WeftError(
                f"{key!r} is too short to name a signal",
                where="ledger",
                hint=f"Give its id, or at least the first {SHORTEST_PREFIX} characters of it",
            )
        # Ids are alphanumeric ASCII; other input would be an error in PostgreSQL.
        if not (key.isascii() and key.isalnum()):
            return None
        beginning = _entries.c.key.between(key, key + "~")
        query = sa.select(_entries).where(_entries.c.kind == "signal", beginning)
        with self._transaction(writing=False) as connection:
            # Sorted, an id equal to `key` comes before longer ones.
            rows = connection.execute(query.order_by(_entries.c.key).limit(2)).mappings().all()
        if len(rows) > 1 and rows[0]["key"] != key:
            raise WeftError(
                f"several signals begin with {key!r}, {rows[0]['key']} and {rows[1]['key']} "
                "among them",
                where="ledger",
                hint="Give more characters of the id",
            )
        return _entry(rows[0]) if rows else None

    def verify(self, noted: str | None = None) -> tuple[int, str]:
        """Check every seal, and return the number of rows and the last seal.

        Args:
            noted: a seal that an earlier call returned. The chain must contain it, which shows
                that its end was not cut off and its seals were not computed again.

        Raises:
            LedgerTamperedError: a row was changed, removed or inserted, with its number; or the
                chain does not contain the noted seal.
            WeftError: `noted` is no seal.
        """
        sought = None if noted is None else _parse_seal(noted)
        seal, count = _GENESIS, 0
        seen = sought in {None, _GENESIS}
        query = sa.select(_entries).order_by(_entries.c.seq).execution_options(yield_per=1000)
        with (
            self._transaction(writing=False) as connection,
            connection.execute(query) as result,
        ):
            for row in result.mappings():
                count += 1
                seal = _seal(seal, row)
                if row["seq"] != count or row["seal"] != seal:
                    raise _tampered(f"row {count} does not follow from the rows before it")
                seen = seen or seal == sought
        if not seen:
            raise _tampered(
                f"none of the {count} rows has the noted seal {sought}: the end was cut off, or "
                "all was sealed anew"
            )
        return count, seal

    def close(self) -> None:
        """Close the database."""
        self._engine.dispose()

    def _prepare(self) -> None:
        with self._transaction(writing=False) as connection:
            if self._is_complete(connection):
                return
        with self._transaction(writing=True) as connection:
            # Another process may have created the schema in the meantime.
            if not self._is_complete(connection):
                _metadata.create_all(connection)
                self._dialect.guard(connection, SCHEMA_VERSION)

    def _is_complete(self, connection: sa.Connection) -> bool:
        """Return whether the database has this version's schema; False for an empty database.

        Raises:
            StorageError: it has another schema.
        """
        written = self._dialect.version(connection)
        if written == SCHEMA_VERSION:
            return True
        if written == 0 and not sa.inspect(connection).has_table("entries"):
            return False
        schema = f"has schema {written}" if written else "has a table 'entries' of another program"
        hint = "Point storage.ledger at another database"
        if written > SCHEMA_VERSION:
            hint = f"Upgrade Weft, or p{hint[1:]}"
        raise StorageError(
            f"the database {schema}; this Weft writes schema {SCHEMA_VERSION} and reads no other",
            where="ledger",
            hint=hint,
        )

    @staticmethod
    def _known(connection: sa.Connection, kind: str, keys: Sequence[str]) -> set[str]:
        """Return the keys that are in the ledger."""
        query = sa.select(_entries.c.key).where(_entries.c.kind == kind)
        known: set[str] = set()
        # In pages, because the number of parameters of a statement is limited.
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
                f"the database refused: {_reason(error)}",
                where="ledger",
                hint="Nothing was written; check storage.ledger, free space and permissions",
            ) from error


def _seal(previous: str, row: "Mapping[str, Any] | sa.RowMapping") -> str:
    try:
        sealed = orjson.dumps([previous, *(row[name] for name in _SEALED)])
    except TypeError:
        # Weft writes only texts and integers.
        raise _tampered(f"row {row['seq']} holds what Weft does not write") from None
    return hashlib.sha256(sealed).hexdigest()


def _parse_seal(text: str) -> str:
    seal = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", seal):
        raise WeftError(
            f"{text!r} is no seal",
            where="ledger",
            hint="Give the 64 hexadecimal digits that `weft ledger verify` printed",
        )
    return seal


def _entry(row: sa.RowMapping) -> Entry:
    return Entry(**{**row, "body": _parse_body(row)})


def _parse_body(row: sa.RowMapping) -> dict[str, Any]:
    try:
        body = orjson.loads(row["body"])
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise _tampered(f"row {row['seq']} holds nothing that Weft writes")
    return body


def _tampered(message: str) -> LedgerTamperedError:
    hint = "Restore the database from a backup made before the change"
    return LedgerTamperedError(message, where="ledger", hint=hint)


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    # Further lines of a server's message are about its functions.
    return str(error.__cause__ or error).strip().split("\n")[0]


def _open(url: str) -> tuple[Dialect, sa.Engine]:
    hint = "Write it like sqlite:///path/ledger.db"
    try:
        address = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # Without the cause's message, which may contain the password.
        raise StorageError("is no database URL", where="storage.ledger", hint=hint) from None
    dialect = dialect_of(address)
    try:
        return dialect, dialect.connect(address)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise StorageError(f"{error}", where="storage.ledger", hint=hint) from error
