"""Sums of trades and liquidations over an interval; an incomplete sum is never reported."""

from dataclasses import dataclass, field
from typing import NamedTuple

from weft.foundation.times import Interval
from weft.sources.stream.events import Liquidation, Trade

TRADE_METRICS = ("trade_count", "taker_buy_sell_ratio", "vwap")
LIQUIDATION_METRICS = ("long_liquidations_usd", "short_liquidations_usd")
_OPEN_INTERVALS = 3
_MOST_MISSING = 10_000


class Fact(NamedTuple):
    """One observation of an instrument, at the close of an interval.

    Attributes:
        metric: canonical name.
        symbol: instrument.
        event_time: close of the interval, microseconds since 1970.
        value: in the canonical unit.
    """

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
    reported: bool = False


class TradeSums:
    """Computes trade count, taker ratio and VWAP for every interval and symbol.

    If the venue numbers its trades, an interval is reported only if no number is missing. An
    interval without trades gives no fact: it has no price, and silence does not prove that nothing
    traded.

    Args:
        interval: length of a sum.

    Attributes:
        duplicates: trades received more than once.
        late: trades of intervals too old to be reported again.
    """

    def __init__(self, interval: Interval) -> None:
        self.duplicates = self.late = 0
        self._interval = interval
        self._sums: dict[tuple[str, int], _Sum] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._missing: dict[str, dict[int, tuple[int, int]]] = {}
        self._incomplete: set[tuple[str, int]] = set()
        self._oldest = 0

    def add(self, trade: Trade) -> bool:
        """Add a trade once; return whether a trade before the added one is missing."""
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
        total = self._sums.get(key)
        if total is None:
            total = self._sums[key] = _Sum()
        if trade.bought:
            total.bought += trade.size
        else:
            total.sold += trade.size
        total.value += trade.price * trade.size
        total.count += trade.trades
        total.reported = False
        return gap

    def facts(self, opened: int, symbol: str) -> list[Fact]:
        """Return the facts of an interval, again after late trades; none if a trade is missing.

        Args:
            opened: start of the interval, microseconds since 1970.
            symbol: instrument of the trades.
        """
        total = self._sums.get((symbol, opened))
        if total is None or total.reported or not self.is_complete(opened, symbol):
            return []
        total.reported = True
        size = total.bought + total.sold
        values = {"trade_count": float(total.count)}
        if total.sold > 0:
            values["taker_buy_sell_ratio"] = total.bought / total.sold
        if size > 0:
            values["vwap"] = total.value / size
        close = opened + self._interval.micros
        return [Fact(metric, symbol, close, value) for metric, value in values.items()]

    def is_complete(self, opened: int, symbol: str) -> bool:
        """Whether no trade of an interval is known to be missing."""
        if (symbol, opened) in self._incomplete:
            return False
        spans = self._missing.get(symbol, {}).values()
        return not any(first <= opened <= last for first, last in spans)

    def forget(self, now: int) -> None:
        """Drop intervals too old to be reported again."""
        self._oldest = self._interval.floor(now) - _OPEN_INTERVALS * self._interval.micros
        self._sums = {k: total for k, total in self._sums.items() if k[1] >= self._oldest}
        self._incomplete = {key for key in self._incomplete if key[1] >= self._oldest}
        for symbol, missing in self._missing.items():
            recent = {i: span for i, span in missing.items() if span[1] >= self._oldest}
            self._missing[symbol] = recent

    def _miss(self, symbol: str, first: int, end: int, since: int, until: int) -> None:
        """Record that the numbers from `first` to before `end` are missing between two instants."""
        span = self._interval.floor(since), self._interval.floor(until)
        missing = self._missing.setdefault(symbol, {})
        if end - first + len(missing) <= _MOST_MISSING:
            missing.update(dict.fromkeys(range(first, end), span))
            return
        begin = max(span[0], self._oldest)
        self._incomplete |= {
            (symbol, opened) for opened in range(begin, span[1] + 1, self._interval.micros)
        }


@dataclass(slots=True)
class _LiquidationSum:
    seen: set[Liquidation] = field(default_factory=set)
    reported: bool = False


class LiquidationSums:
    """Sums the liquidations of longs and of shorts for every interval and symbol, in quote units.

    Venues publish only some liquidations (Binance the latest of each second and symbol), so the
    sums are lower bounds.

    Args:
        interval: length of a sum.

    Attributes:
        duplicates: liquidations received more than once.
        late: liquidations of intervals too old to be reported again.
    """

    def __init__(self, interval: Interval) -> None:
        self.duplicates = self.late = 0
        self._interval = interval
        self._sums: dict[tuple[str, int], _LiquidationSum] = {}
        self._oldest = 0

    def add(self, liquidation: Liquidation) -> None:
        """Add a liquidation once."""
        opened = self._interval.floor(liquidation.time)
        if opened < self._oldest:
            self.late += 1
            return
        total = self._sums.setdefault((liquidation.symbol, opened), _LiquidationSum())
        if liquidation in total.seen:
            self.duplicates += 1
            return
        total.seen.add(liquidation)
        total.reported = False

    def facts(self, opened: int, symbol: str) -> list[Fact]:
        """Return the facts of an interval, again after late liquidations; zero without any."""
        total = self._sums.setdefault((symbol, opened), _LiquidationSum())
        if total.reported:
            return []
        total.reported = True
        close = opened + self._interval.micros
        # Sorted, so that the sum does not depend on the order of arrival.
        values = [(item.long, item.price * item.size) for item in sorted(total.seen)]
        return [
            Fact(metric, symbol, close, sum((value for long, value in values if long is side), 0.0))
            for metric, side in zip(LIQUIDATION_METRICS, (True, False), strict=True)
        ]

    def forget(self, now: int) -> None:
        """Drop intervals too old to be reported again."""
        self._oldest = self._interval.floor(now) - _OPEN_INTERVALS * self._interval.micros
        self._sums = {k: total for k, total in self._sums.items() if k[1] >= self._oldest}
