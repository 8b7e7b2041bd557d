"""What trades and liquidations of one interval come to. A sum of a part of them is never told."""

from dataclasses import dataclass, field
from typing import NamedTuple

from weft.foundation.times import Interval
from weft.sources.stream.events import Liquidation, Trade

TRADE_METRICS = ("trade_count", "taker_buy_sell_ratio", "vwap")
LIQUIDATION_METRICS = ("long_liquidations_usd", "short_liquidations_usd")
_KEPT_INTERVALS = 3
_MOST_MISSING = 10_000


class Fact(NamedTuple):
    """One observation of an instrument, at the close of an interval."""

    metric: str
    symbol: str
    event_time: int
    value: float


@dataclass(slots=True)
class _Sum:
    bought: float = 0.0
    sold: float = 0.0
    value: float = 0.0
    count: int = 0
    told: bool = False


class TradeSums:
    """Count, taker ratio and volume-weighted price of every interval and symbol.

    Where the venue numbers its events, an interval counts only if no number is missing in it. One
    without a single trade gives nothing: it has no price, and silence proves no rest.

    Args:
        interval: of the sums.

    Attributes:
        duplicates: trades that had come before.
        late: trades of intervals too long past to be told anew.
    """

    def __init__(self, interval: Interval) -> None:
        self.duplicates = self.late = 0
        self._interval = interval
        self._sums: dict[tuple[str, int], _Sum] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._missing: dict[str, dict[int, tuple[int, int]]] = {}
        self._broken: set[tuple[str, int]] = set()
        self._oldest = 0

    def add(self, trade: Trade) -> bool:
        """Count a trade, once; return whether one before it is missing now."""
        opened = self._interval.floor(trade.time)
        gap = False
        if trade.id is not None:
            last, last_time = self._last.get(trade.symbol, (trade.id - 1, trade.time))
            if trade.id <= last:
                if self._missing.get(trade.symbol, {}).pop(trade.id, None) is None:
                    self.duplicates += 1
                    return False
            else:
                gap = trade.id > last + 1
                if gap:
                    self._miss(trade.symbol, last + 1, trade.id, last_time, trade.time)
                self._last[trade.symbol] = trade.id, trade.time
        if opened < self._oldest:
            self.late += 1
            return gap
        key = trade.symbol, opened
        one = self._sums.get(key)
        if one is None:
            one = self._sums[key] = _Sum()
        if trade.bought:
            one.bought += trade.size
        else:
            one.sold += trade.size
        one.value += trade.price * trade.size
        one.count += trade.trades
        one.told = False
        return gap

    def tell(self, opened: int, symbol: str) -> list[Fact]:
        """Return the facts of an interval, again if something came late; none if one is missing.

        Args:
            opened: where the interval begins, microseconds since 1970.
            symbol: whose trades.
        """
        one = self._sums.get((symbol, opened))
        if one is None or one.told or not self.whole(opened, symbol):
            return []
        one.told = True
        size = one.bought + one.sold
        values = {"trade_count": float(one.count)}
        if one.sold > 0:
            values["taker_buy_sell_ratio"] = one.bought / one.sold
        if size > 0:
            values["vwap"] = one.value / size
        close = opened + self._interval.micros
        return [Fact(metric, symbol, close, value) for metric, value in values.items()]

    def whole(self, opened: int, symbol: str) -> bool:
        """Whether no trade of an interval is known to be missing."""
        if (symbol, opened) in self._broken:
            return False
        spans = self._missing.get(symbol, {}).values()
        return not any(first <= opened <= last for first, last in spans)

    def forget(self, now: int) -> None:
        """Drop what is too long past to be told anew."""
        self._oldest = self._interval.floor(now) - _KEPT_INTERVALS * self._interval.micros
        self._sums = {k: one for k, one in self._sums.items() if k[1] >= self._oldest}
        self._broken = {key for key in self._broken if key[1] >= self._oldest}
        for symbol, missing in self._missing.items():
            recent = {i: span for i, span in missing.items() if span[1] >= self._oldest}
            self._missing[symbol] = recent

    def _miss(self, symbol: str, first: int, end: int, since: int, until: int) -> None:
        """Note that the numbers from `first` to before `end` are missing, between two instants."""
        span = self._interval.floor(since), self._interval.floor(until)
        missing = self._missing.setdefault(symbol, {})
        if end - first + len(missing) <= _MOST_MISSING:
            missing.update(dict.fromkeys(range(first, end), span))
            return
        begin = max(span[0], self._oldest)
        self._broken |= {
            (symbol, opened) for opened in range(begin, span[1] + 1, self._interval.micros)
        }


@dataclass(slots=True)
class _Forced:
    seen: set[Liquidation] = field(default_factory=set)
    told: bool = False


class LiquidationSums:
    """What was closed by force in every interval and symbol, in units of the quote.

    Venues tell only some of all liquidations (Binance the latest of each second and symbol), so
    the sums are too low rather than too high.

    Args:
        interval: of the sums.

    Attributes:
        duplicates: liquidations that had come before.
        late: liquidations of intervals too long past to be told anew.
    """

    def __init__(self, interval: Interval) -> None:
        self.duplicates = self.late = 0
        self._interval = interval
        self._sums: dict[tuple[str, int], _Forced] = {}
        self._oldest = 0

    def add(self, one: Liquidation) -> None:
        """Count a liquidation, once."""
        opened = self._interval.floor(one.time)
        if opened < self._oldest:
            self.late += 1
            return
        forced = self._sums.setdefault((one.symbol, opened), _Forced())
        if one in forced.seen:
            self.duplicates += 1
            return
        forced.seen.add(one)
        forced.told = False

    def tell(self, opened: int, symbol: str) -> list[Fact]:
        """Return the facts of an interval, again if something came late; zero where none came."""
        forced = self._sums.setdefault((symbol, opened), _Forced())
        if forced.told:
            return []
        forced.told = True
        close = opened + self._interval.micros
        # Sorted, so that the sum does not depend on the order of arrival.
        values = [(one.long, one.price * one.size) for one in sorted(forced.seen)]
        return [
            Fact(metric, symbol, close, sum((value for long, value in values if long is side), 0.0))
            for metric, side in zip(LIQUIDATION_METRICS, (True, False), strict=True)
        ]

    def forget(self, now: int) -> None:
        """Drop what is too long past to be told anew."""
        self._oldest = self._interval.floor(now) - _KEPT_INTERVALS * self._interval.micros
        self._sums = {k: one for k, one in self._sums.items() if k[1] >= self._oldest}
