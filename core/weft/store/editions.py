"""Editions: a source that is started over stores rows under a new name; old rows stay."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

EDITION: Final = "edition"
"""Value of the column `interval` in rows that count the editions of a source."""


@dataclass(frozen=True, slots=True)
class Editions:
    """Name under which the rows of each source are stored.

    Args:
        numbers: current edition of each source that was started over, from 2.
    """

    numbers: Mapping[str, int] = field(default_factory=dict)

    def number(self, source: str) -> int:
        """Return the current edition of a source; 1 if it was never started over."""
        return self.numbers.get(source, 1)

    def stored_name(self, source: str) -> str:
        """Return the name under which the rows of a source are stored."""
        return _name(source, self.number(source))

    def current(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return stored rows of the current editions, under the plain names of the sources."""
        if not self.numbers or "source" not in rows.columns:
            return rows
        earlier = [_name(s, n) for s, last in self.numbers.items() for n in range(1, last)]
        names = {_name(source, last): source for source, last in self.numbers.items()}
        stored = pl.col("source")
        return rows.filter(~stored.is_in(earlier)).with_columns(stored.replace(names))


def _name(source: str, number: int) -> str:
    return source if number == 1 else f"{source}@{number}"
