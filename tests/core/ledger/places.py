"""Databases a ledger can be kept in, seen by its owner and by somebody who goes past it."""

import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import psycopg

from tests.support import sample_signal
from weft.domain.signal import Signal
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, iso
from weft.ledger.ledger import Ledger

NOW = 500_000 * HOUR
KNOWN_BY = NOW - 7
GENESIS = "0" * 64
COLUMNS = "seq, kind, key, symbol, as_of, known_by, recorded_at, body"


def signals(first: int, count: int, symbol: str = "BTCUSDT") -> list[Signal]:
    """Signals that differ in their score."""
    return [
        sample_signal(symbol=symbol, as_of=iso(NOW), score=float(k))
        for k in range(first, first + count)
    ]


class Place(ABC):
    """One empty database.

    Attributes:
        url: how Weft is told of it.
        refusal: what its driver raises.
        unguard: statements that take the guards away.
        stamp: writes a schema version.
        stamped: reads it.
    """

    url: str
    refusal: type[Exception]
    unguard: tuple[str, ...]
    stamp: str
    stamped: str

    def __init__(self) -> None:
        self._ledgers: list[Ledger] = []

    def opened(self, now: int = NOW) -> Ledger:
        """A ledger in it, which is closed with it."""
        self._ledgers.append(Ledger(self.url, SimulatedClock(now)))
        return self._ledgers[-1]

    @abstractmethod
    def raw(self, *statements: str) -> list[Any]:
        """Run SQL past the ledger, in the way of somebody who wants it to say something else."""

    def unguarded(self, *statements: str) -> list[Any]:
        """The same, by somebody who may take the guards away."""
        return self.raw(*self.unguard, *statements)

    def close(self) -> None:
        for ledger in self._ledgers:
            ledger.close()


class SQLitePlace(Place):
    refusal = sqlite3.DatabaseError
    unguard = tuple(f"DROP TRIGGER {name}" for name in ("no_update", "no_delete", "only_append"))
    stamp = "PRAGMA user_version = {}"
    stamped = "PRAGMA user_version"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.url = f"sqlite:///{path}"

    def raw(self, *statements: str) -> list[Any]:
        found: list[Any] = []
        connection = sqlite3.connect(self.path, isolation_level=None)
        try:
            for statement in statements:
                found = connection.execute(statement).fetchall()
        finally:
            connection.close()
        return found


class PostgresPlace(Place):
    refusal = psycopg.Error
    unguard = tuple(f"DROP TRIGGER {name} ON entries" for name in ("only_append", "no_change"))
    stamp = "UPDATE ledger_schema SET version = {}"
    stamped = "SELECT version FROM ledger_schema"

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url

    def raw(self, *statements: str) -> list[Any]:
        found: list[Any] = []
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                cursor = connection.execute(statement)
                found = cursor.fetchall() if cursor.description else []
        return found
