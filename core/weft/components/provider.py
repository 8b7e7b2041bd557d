"""Providers: each brings candles or observations from one source."""

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar

from weft.components.base import Component
from weft.market.instruments import Instrument
from weft.times import Interval

if TYPE_CHECKING:
    import httpx
    import polars as pl

    from weft.clock import Clock


class SourceKind(StrEnum):
    """What the data of a source is. It travels with every signal made from it."""

    REAL = "real"
    SYNTHETIC = "synthetic"
    SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Request:
    """What the engine asks of a provider.

    Attributes:
        interval: candles wanted.
        symbols: instruments wanted; empty for everything the provider has.
        since: earliest open time wanted of symbols that nothing is known of yet, microseconds
            since 1970; a source that is read whole, such as a folder, may give more.
        known: latest open time already stored, by symbol.
        cursor: what the provider returned with its last batch, kept for each source and
            interval, to tell what has changed since.
    """

    interval: Interval
    symbols: tuple[str, ...]
    since: int
    known: Mapping[str, int] = field(default_factory=dict)
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What a provider brings in one go.

    Attributes:
        candles: columns symbol, interval, open_time (µs, UTC), open, high, low, close, volume,
            and optionally known_at (µs, UTC; the candle's close where absent).
        observations: columns metric, scope, entity, event_time, known_at, value.
        instruments: what is known about the instruments in the batch.
        problems: what was refused or repaired on the way, one readable line each.
        cursor: handed back in the next `Request`; None to leave the last one in place.
    """

    candles: "pl.DataFrame | None" = None
    observations: "pl.DataFrame | None" = None
    instruments: tuple[Instrument, ...] = ()
    problems: tuple[str, ...] = ()
    cursor: str | None = None


class Provider(Component):
    """Brings data from one source.

    The module of a provider holds only what is particular to that source: paths, parameters,
    parsing, units, and the rule that says when each row became known.

    Attributes:
        fallback: used on its own accord only when no other provider is.
    """

    kind: ClassVar[str] = "provider"
    fallback: ClassVar[bool] = False

    @property
    def source_kind(self) -> SourceKind:
        """What its data is; a plain value in the class body does as well."""
        return SourceKind.REAL

    def ready(self) -> bool:
        """Whether ``enabled: auto`` switches it on: it has the path or key it needs."""
        return True

    @property
    def source(self) -> str:
        """Name under which its rows are stored; differs wherever the rows may differ."""
        return self.name

    @abstractmethod
    def fetch(
        self, request: Request, http: "httpx.AsyncClient", clock: "Clock"
    ) -> AsyncIterator[Batch]:
        """Yield batches until everything asked for, and closed by now, has been given.

        Each batch is stored before the next is asked for, so a long download that is cut off
        resumes where it stopped.

        Raises:
            ProviderError: the source could not be read.
            DataError: what it gave cannot be used.
        """
