"""Which instruments there are, and whose candles stand for each of them, at any instant."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from weft.domain.instruments import Instrument
from weft.foundation.times import Interval


@dataclass(frozen=True, slots=True)
class CandleSpan:
    """One source's candles of one symbol.

    Attributes:
        source: whose they are.
        instrument: what the source says about it.
        first_close: close of the earliest candle, microseconds since 1970.
        last_close: close of the latest candle.
    """

    source: str
    instrument: Instrument
    first_close: int
    last_close: int

    def with_closes(self, first: int, last: int) -> "CandleSpan":
        """Return the series with candles from `first` to `last` added to it."""
        return replace(
            self,
            first_close=min(first, self.first_close),
            last_close=max(last, self.last_close),
        )


@dataclass(frozen=True, slots=True)
class SymbolSources:
    """A symbol, and every source that has candles of it.

    At each instant the most preferred source counts whose candles had begun by then. A source
    that begins later therefore changes no earlier answer.

    Attributes:
        symbol: the instrument's name.
        series: one for each source, the preferred one first.
    """

    symbol: str
    series: tuple[CandleSpan, ...]

    @property
    def first_close(self) -> int:
        """Close of the earliest candle any source has."""
        return min(series.first_close for series in self.series)

    @property
    def last_close(self) -> int:
        """Close of the latest candle of the source in use now."""
        return self.series[0].last_close

    def at(self, instant: int) -> CandleSpan | None:
        """Return the series in use at an instant, or None where none had begun."""
        return next((s for s in self.series if s.first_close <= instant), None)

    def described_at(self, instant: int) -> Instrument | None:
        """Return the instrument as it could be known at an instant, None before its first candle.

        That it would stop trading later is left out.
        """
        used = self.at(instant)
        if used is None:
            return None
        delisted = used.instrument.delisted
        if delisted is None or delisted <= instant:
            return used.instrument
        return replace(used.instrument, delisted=None)

    def ends(self, base: Interval) -> dict[tuple[str, str], int]:
        """Return the open time from which a source's candles stand aside for a preferred one's.

        Args:
            base: length of the candles, and distance of the rows they go to.

        Returns:
            Keys are pairs of source and symbol; sources that never stand aside are left out.
        """
        ends = {}
        for rank, series in enumerate(self.series):
            if rank:
                begins = min(preferred.first_close for preferred in self.series[:rank])
                # A candle goes to the first row at or after its close.
                ends[series.source, self.symbol] = base.ceil(begins) - 2 * base.micros + 1
        return ends


Listings: TypeAlias = Mapping[str, SymbolSources]


def list_symbols(series: Iterable[CandleSpan], sources: Sequence[str]) -> dict[str, SymbolSources]:
    """Return what each symbol is listed as, in the order of the symbols.

    Args:
        series: one for each pair of source and symbol.
        sources: names of the sources, the preferred one first.
    """
    rank = {source: place for place, source in enumerate(sources)}
    found: dict[str, list[CandleSpan]] = {}
    for one in sorted(series, key=lambda s: (s.instrument.symbol, rank[s.source])):
        found.setdefault(one.instrument.symbol, []).append(one)
    return {symbol: SymbolSources(symbol, tuple(each)) for symbol, each in found.items()}
