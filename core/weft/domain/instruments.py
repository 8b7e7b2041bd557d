"""Instruments, the assets they are about, and the scope of facts."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum

from weft.domain.names import is_ticker, read_pair
from weft.foundation.errors import DataError, UnknownSymbolError, nearest

ALWAYS_OPEN = "24/7"
"""Calendar of a market that never closes: a missing candle is a gap, not a closed hour."""

SESSIONS = "sessions"
"""Calendar of a market with opening hours, the exact hours being unknown."""


class Scope(StrEnum):
    """What a fact is about."""

    INSTRUMENT = "instrument"
    ASSET = "asset"
    MARKET = "market"


class Kind(StrEnum):
    """Kind of contract."""

    SPOT = "spot"
    PERPETUAL = "perpetual"
    FUTURE = "future"
    EQUITY = "equity"
    INDEX = "index"
    UNKNOWN = "unknown"
    """Neither the name nor the source defines it; treated as a market with closing hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One tradable instrument.

    Attributes:
        symbol: the name used everywhere in Weft, for instance ``BTCUSDT``.
        base: the asset it is about (``BTC``); facts about the asset apply to it.
        quote: the currency or asset of its prices.
        kind: spot, perpetual, future, equity or index.
        venue: where it trades.
        calendar: ``24/7``, ``sessions``, or an exchange's calendar code such as ``XNYS``.
        tick: smallest price step, 0 where unknown.
        lot: smallest quantity step, 0 where unknown.
        multiplier: units of `base` in one unit of the instrument (1000 for ``1000PEPEUSDT``).
        listed: first instant of trading, microseconds since 1970, None where unknown.
        delisted: last instant of trading, None while it trades.
        renamed_from: earlier symbols of the same instrument, oldest first.
    """

    symbol: str
    base: str
    quote: str
    kind: Kind = Kind.SPOT
    venue: str = ""
    calendar: str = ALWAYS_OPEN
    tick: float = 0.0
    lot: float = 0.0
    multiplier: int = 1
    listed: int | None = None
    delisted: int | None = None
    renamed_from: tuple[str, ...] = ()

    @property
    def always_open(self) -> bool:
        """Whether the market never closes."""
        return self.calendar == ALWAYS_OPEN


def split_pair(symbol: str) -> tuple[str, str, int] | None:
    """Return (base, quote, multiplier) of a pair, or None where the name is no pair.

    ``BTC-USD``, ``BTC/USDT`` and ``BTCUSDT`` are pairs; ``1000PEPEUSDT`` is 1000 PEPE. All forms
    are in `weft.domain.names`.
    """
    pair = read_pair(symbol)
    return None if pair is None else (pair.base, pair.quote, pair.multiplier)


def find_spelling(name: str, known: Iterable[str]) -> str | None:
    """Return the known symbol that a name means, or None.

    Case and separators do not matter: ``btc/usdt`` means BTCUSDT, unless a symbol has exactly that
    name.
    """
    symbols = list(known)
    if name in symbols:
        return name
    for form in (str.casefold, _letters):
        matches = [symbol for symbol in symbols if form(symbol) == form(name)]
        if len(matches) == 1:
            return matches[0]
    return None


def _letters(symbol: str) -> str:
    return re.sub(r"[-/_: ]", "", symbol).casefold()


def describe(symbol: str, *, venue: str = "", kind: Kind | None = None) -> Instrument:
    """Return the instrument that a symbol's name describes.

    A name that is no pair means a stock with trading sessions, quoted in USD; where it does not
    look like a stock either, the kind is `UNKNOWN`. A stated kind overrides the name: spot and
    perpetual markets never close, whatever their quote.

    Args:
        symbol: the instrument's name.
        venue: where it trades.
        kind: kind of contract; derived from the name where None.
    """
    pair = None if kind in {Kind.EQUITY, Kind.INDEX} else read_pair(symbol)
    if pair is None:
        sort = kind or (Kind.EQUITY if is_ticker(symbol) else Kind.UNKNOWN)
        rests = sort not in {Kind.SPOT, Kind.PERPETUAL}
        calendar = SESSIONS if rests else ALWAYS_OPEN
        return Instrument(
            symbol=symbol, base=symbol, quote="USD", kind=sort, venue=venue, calendar=calendar
        )
    return Instrument(
        symbol=symbol,
        base=pair.base,
        quote=pair.quote,
        kind=kind or Kind(pair.contract),
        venue=venue,
        calendar=SESSIONS if pair.rests and kind is None else ALWAYS_OPEN,
        multiplier=pair.multiplier,
    )


def unsettled(instruments: Iterable[Instrument]) -> list[str]:
    """Return a message for each instrument whose kind its name does not define."""
    return [
        f"{instrument.symbol}: the name does not say what it is; taken for a stock with trading "
        "sessions, quoted in USD. Set market to spot, perpetual or equity, or rename it, such as "
        "BTC-USD"
        for instrument in instruments
        if instrument.kind is Kind.UNKNOWN
    ]


@dataclass(slots=True)
class InstrumentTable:
    """Instruments known to one engine, and the names that sources use for them."""

    _instruments: dict[str, Instrument] = field(default_factory=dict)
    _aliases: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, instrument: Instrument) -> None:
        """Add an instrument, replacing an earlier one with the same symbol."""
        self._instruments[instrument.symbol] = instrument

    def alias(self, source: str, external: str, symbol: str) -> None:
        """Record that `source` calls `symbol` by the name `external`.

        Raises:
            DataError: `source` already uses `external` for another instrument.
        """
        known = self._aliases.setdefault((source, external), symbol)
        if known != symbol:
            raise DataError(
                f"{external!r} already means {known}, so it cannot also mean {symbol}", where=source
            )

    def translate(self, source: str, external: str) -> str:
        """Return the symbol that `source` calls `external`, or `external` without an alias."""
        return self._aliases.get((source, external), external)

    def retire(self, symbol: str, instant: int) -> None:
        """Record that an instrument stopped trading at `instant`."""
        self.add(replace(self[symbol], delisted=instant))

    def of_asset(self, asset: str) -> tuple[str, ...]:
        """Return the symbols of all instruments about `asset`."""
        return tuple(s for s, i in self._instruments.items() if i.base == asset)

    def select(self, symbols: Iterable[str]) -> tuple[Instrument, ...]:
        """Return the instruments of `symbols`, in that order."""
        return tuple(self[symbol] for symbol in symbols)

    def named(self, name: str) -> Instrument:
        """Return the instrument that a name means, in any spelling.

        Raises:
            UnknownSymbolError: no provider has brought it.
        """
        return self[find_spelling(name, self._instruments) or name]

    def __getitem__(self, symbol: str) -> Instrument:
        try:
            return self._instruments[symbol]
        except KeyError:
            close = nearest(symbol, list(self._instruments))
            raise UnknownSymbolError(
                f"no provider has brought {symbol!r}",
                hint=f"Did you mean {close}?" if close else "Check the providers in config.yaml",
            ) from None

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._instruments

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._instruments.values())

    def __len__(self) -> int:
        return len(self._instruments)
