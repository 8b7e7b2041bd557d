"""Listings: known instruments, and the source of the candles of each at any time."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from weft.domain.instruments import Instrument
from weft.foundation.times import Interval


@dataclass(frozen=True, slots=True)
class CandleSpan:
    """One source's candles of one symbol.

    Attributes:
        source: name of the source.
        instrument: the instrument as the source describes it.
        first_close: close of the earliest candle, microseconds since 1970.
        last_close: close of the latest candle.
    """

    source: str
    instrument: Instrument
    first_close: int
    last_close: int

    def with_closes(self, first: int, last: int) -> "CandleSpan":
        """Return the span extended to candles from `first` to `last`."""
        return replace(
            self,
            first_close=min(first, self.first_close),
            last_close=max(last, self.last_close),
        )


@dataclass(frozen=True, slots=True)
class SymbolSources:
    """A symbol and all sources that have candles of it.

    At each time, the preferred source among those whose candles had begun is used. A source that
    begins later therefore changes no earlier result.

    Attributes:
        symbol: the instrument's name.
        series: span of each source, the preferred source first.
    """

    symbol: str
    series: tuple[CandleSpan, ...]

    @property
    def first_close(self) -> int:
        """Close of the earliest candle of any source."""
        return min(series.first_close for series in self.series)

    @property
    def last_close(self) -> int:
        """Close of the latest candle of the preferred source."""
        return self.series[0].last_close

    def at(self, instant: int) -> CandleSpan | None:
        """Return the span of the source in use at a time, or None before any source began."""
        return next((s for s in self.series if s.first_close <= instant), None)

    def described_at(self, instant: int) -> Instrument | None:
        """Return the instrument as known at a time, None before its first candle.

        A later delisting is left out.
        """
        span = self.at(instant)
        if span is None:
            return None
        delisted = span.instrument.delisted
        if delisted is None or delisted <= instant:
            return span.instrument
        return replace(span.instrument, delisted=None)

    def handover_times(self, base: Interval) -> dict[tuple[str, str], int]:
        """Return the open time from which a preferred source replaces another source.

        Args:
            base: length of the candles, and distance of the rows.

        Returns:
            Open times, microseconds since 1970, by (replaced source, symbol).
        """
        handovers = {}
        for rank, series in enumerate(self.series):
            if rank:
                begins = min(preferred.first_close for preferred in self.series[:rank])
                # A candle belongs to the first row at or after its close.
                handovers[series.source, self.symbol] = base.ceil(begins) - 2 * base.micros + 1
        return handovers


Listings: TypeAlias = Mapping[str, SymbolSources]


def list_symbols(series: Iterable[CandleSpan], sources: Sequence[str]) -> dict[str, SymbolSources]:
    """Return the sources of each symbol, in the order of the symbols.

    Args:
        series: one span for each pair of source and symbol.
        sources: names of the sources, the preferred one first.
    """
    rank = {source: place for place, source in enumerate(sources)}
    spans: dict[str, list[CandleSpan]] = {}
    for span in sorted(series, key=lambda s: (s.instrument.symbol, rank[s.source])):
        spans.setdefault(span.instrument.symbol, []).append(span)
    return {symbol: SymbolSources(symbol, tuple(each)) for symbol, each in spans.items()}
