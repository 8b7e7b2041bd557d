"""Editions: a source that is started over keeps its rows under a new name; the old ones stay."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import polars as pl

EDITION: Final = "edition"
"""What stands for an interval in the rows that count the editions of a source."""


@dataclass(frozen=True, slots=True)
class Editions:
    """The name under which each source's rows are kept.

    Args:
        numbers: the edition in use of each source that was started over, from 2.
    """

    numbers: Mapping[str, int] = field(default_factory=dict)

    def number(self, source: str) -> int:
        """Return the edition in use of a source; 1 for one that was never started over."""
        return self.numbers.get(source, 1)

    def kept_as(self, source: str) -> str:
        """Return under which name the rows of a source are kept."""
        return _name(source, self.number(source))

    def as_asked(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return stored rows under the sources' own names, without those of earlier editions."""
        if not self.numbers or "source" not in rows.columns:
            return rows
        earlier = [_name(s, n) for s, last in self.numbers.items() for n in range(1, last)]
        names = {_name(source, last): source for source, last in self.numbers.items()}
        own = pl.col("source")
        return rows.filter(~own.is_in(earlier)).with_columns(own.replace(names))


def _name(source: str, number: int) -> str:
    return source if number == 1 else f"{source}@{number}"
