"""The events of Binance's streams between two instants, one class for each kind of stream."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from weft.foundation.times import SECOND
from weft_sandbox.market.bars import Grid
from weft_sandbox.market.book import UPDATES_A_BUCKET, Book, bucket_of, changes, make_book
from weft_sandbox.market.coins import Coin
from weft_sandbox.paging import decimal
from weft_sandbox.protocol import MILLI, Desk
from weft_sandbox.protocols.binance.api import FUTURES, SPOT, Side
from weft_sandbox.protocols.binance.spot import level_rows, trade_rows

Event = dict[str, Any]
_BOOK_LEVELS = 500
_MOST_TRADE_SECONDS = 600
"""Greatest number of trades in one step at high speed; a client could not read all."""
_MOST_BARS = 1_000


class Feed(ABC):
    """One stream.

    Attributes:
        period: real seconds between two events.
    """

    period = 0.1

    def __init__(self, desk: Desk, side: Side, coin: Coin) -> None:
        self.desk, self.side, self.coin = desk, side, coin

    @abstractmethod
    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return the events after `last` and up to `now`, oldest first."""

    def text(self, ticks: int) -> str:
        """Return a price as text."""
        return decimal(ticks, self.coin.price_digits, self.side.digits)


class TradeFeed(Feed):
    """Trades as they happen."""

    def __init__(self, desk: Desk, side: Side, coin: Coin, kind: str) -> None:
        super().__init__(desk, side, coin)
        self.kind = kind

    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return the trades of the span."""
        first = max(last + 1, now - _MOST_TRADE_SECONDS * SECOND)
        trades = self.desk.world.trades(self.side.venue, self.coin, first, now + 1, now)
        happened = []
        for row in trade_rows(trades, self.coin, self.side.digits, MILLI):
            event: Event = {"e": self.kind, "E": server_ms, "s": self.coin.symbol, **row}
            if self.kind == "trade":
                event["t"] = event.pop("a")
                del event["f"], event["l"]
            happened.append(event | ({"M": True} if self.side is SPOT else {}))
        return happened


class KlineFeed(Feed):
    """The current candle, and each candle once more after its close."""

    def __init__(self, desk: Desk, side: Side, coin: Coin, interval: str) -> None:
        super().__init__(desk, side, coin)
        self.interval, self.grid = interval, Grid.of(interval)
        self.period = 1.0 if side is SPOT else 0.25

    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return the candles that closed in the span, and the open one."""
        world, grid = self.desk.world, self.grid
        first = max(grid.open_of(last), grid.shifted(grid.open_of(now), -_MOST_BARS))
        bars = world.candles(self.side.venue, self.coin, grid, first, now + 1, now)
        number = world.markets.first_number(self.side.venue, self.coin, first) if len(bars) else 0
        price, size, least = self.coin.price_digits, self.coin.size_digits, self.side.digits
        happened: list[Event] = []
        for i in range(len(bars)):
            opening, count = int(bars.open_time[i]), int(bars.trades[i])
            end = grid.shifted(opening, 1)
            cells = (int(c[i]) for c in (bars.open, bars.close, bars.high, bars.low))
            o, c, h, low = (self.text(p) for p in cells)
            kline = {
                "t": opening // MILLI,
                "T": end // MILLI - 1,
                "s": self.coin.symbol,
                "i": self.interval,
                "f": number,
                "L": number + count - 1,
                "o": o,
                "c": c,
                "h": h,
                "l": low,
                "v": decimal(int(bars.volume[i]), size, least),
                "n": count,
                "x": end <= now,
                "q": decimal(int(bars.quote[i]), price + size, least),
                "V": decimal(int(bars.taker[i]), size, least),
                "Q": decimal(int(bars.taker_quote[i]), price + size, least),
                "B": "0",
            }
            number += count
            happened.append({"e": "kline", "E": server_ms, "s": self.coin.symbol, "k": kline})
        return happened


class DepthFeed(Feed):
    """Changes of the book, each following the one before without a gap."""

    def __init__(self, desk: Desk, side: Side, coin: Coin, period: float) -> None:
        super().__init__(desk, side, coin)
        self.period = period
        self._book: Book | None = None

    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return the changes since the last event."""
        markets, venue = self.desk.world.markets, self.side.venue
        before = self._book
        if before is None:
            before = make_book(markets, venue, self.coin, bucket_of(last), _BOOK_LEVELS)
        bucket = bucket_of(now)
        if bucket <= before.bucket:
            return []
        self._book = after = make_book(markets, venue, self.coin, bucket, _BOOK_LEVELS)
        bids, asks = (
            level_rows(s.tolist(), self.coin, self.side.digits) for s in changes(before, after)
        )
        event: Event = {"e": "depthUpdate", "E": server_ms}
        if self.side is FUTURES:
            # Futures updates start where the last one ended: U is at most pu + 1.
            event |= {"T": after.time // MILLI}
        event |= {"s": self.coin.symbol, "U": before.update + 1, "u": after.update}
        if self.side is FUTURES:
            event |= {"pu": before.update}
        return [event | {"b": bids, "a": asks}]


class PartialDepthFeed(Feed):
    """The best levels of the book, complete each time."""

    def __init__(self, desk: Desk, side: Side, coin: Coin, levels: int, period: float) -> None:
        super().__init__(desk, side, coin)
        self.levels, self.period = levels, period

    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return the current book."""
        book = self.desk.world.book(self.side.venue, self.coin, now, self.levels)
        sides = [
            level_rows(s.tolist(), self.coin, self.side.digits) for s in (book.bids, book.asks)
        ]
        if self.side is SPOT:
            return [{"lastUpdateId": book.update, "bids": sides[0], "asks": sides[1]}]
        times = {"e": "depthUpdate", "E": server_ms, "T": book.time // MILLI}
        ids = {"U": book.update - UPDATES_A_BUCKET + 1, "u": book.update}
        ids |= {"pu": book.update - UPDATES_A_BUCKET}
        return [times | {"s": self.coin.symbol} | ids | {"b": sides[0], "a": sides[1]}]


class BookTickerFeed(Feed):
    """Best bid and ask after each change."""

    def __init__(self, desk: Desk, side: Side, coin: Coin) -> None:
        super().__init__(desk, side, coin)
        self._last_quote: Event = {}

    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return best bid and ask if they differ from the last event."""
        book = self.desk.world.book(self.side.venue, self.coin, now, 1)
        sides = [
            level_rows(s.tolist(), self.coin, self.side.digits) for s in (book.bids, book.asks)
        ]
        (bid, bids), (ask, asks) = sides[0][0], sides[1][0]
        best = {"s": self.coin.symbol, "b": bid, "B": bids, "a": ask, "A": asks}
        if best == self._last_quote:
            return []
        self._last_quote = best
        times = {"e": "bookTicker", "E": server_ms, "T": server_ms} if self.side is FUTURES else {}
        return [times | {"u": book.update} | best]


class MarkPriceFeed(Feed):
    """Mark price and funding of one contract."""

    def __init__(self, desk: Desk, side: Side, coin: Coin, period: float) -> None:
        super().__init__(desk, side, coin)
        self.period = period

    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return the current mark price."""
        deals, venue = self.desk.world.derivatives, self.side.venue
        following = deals.next_funding(now)
        rate = deals.funding_rates(venue, self.coin, np.array([following - 8 * 3600 * SECOND]))[0]
        mark = f"{deals.mark_price(venue, self.coin, now):.8f}"
        prices = {"p": mark, "i": f"{deals.index_price(self.coin, now):.8f}", "P": mark}
        event = {"e": "markPriceUpdate", "E": server_ms, "s": self.coin.symbol, **prices}
        return [event | {"r": f"{rate:.8f}", "T": following // MILLI}]


class ForceOrderFeed(Feed):
    """Liquidations, only the last one of each second."""

    period = 1.0

    def events(self, last: int, now: int, server_ms: int) -> list[Event]:
        """Return the last liquidation of each second of the span."""
        first = max(last + 1, now - _MOST_TRADE_SECONDS * SECOND)
        deals = self.desk.world.derivatives
        all_of_them = deals.liquidations(self.side.venue, self.coin, first, now + 1)
        happened = []
        for item in {item.time // SECOND: item for item in all_of_them}.values():
            size = decimal(item.size, self.coin.size_digits)
            price = self.text(item.price)
            order = {"s": self.coin.symbol, "S": "SELL" if item.sells else "BUY", "o": "LIMIT"}
            order |= {"f": "IOC", "q": size, "p": price, "ap": price, "X": "FILLED", "l": size}
            order_time = {"z": size, "T": item.time // MILLI}
            happened.append({"e": "forceOrder", "E": server_ms, "o": order | order_time})
        return happened


class Joined(Feed):
    """The same feed of all coins: ``!forceOrder@arr``, ``!markPrice@arr``."""

    def __init__(self, parts: list[Feed], *, as_list: bool) -> None:
        super().__init__(parts[0].desk, parts[0].side, parts[0].coin)
        self._parts, self._as_list, self.period = parts, as_list, parts[0].period

    def events(self, last: int, now: int, server_ms: int) -> list[Any]:
        """Return the events of all parts, as one list if the stream has that form."""
        happened = [event for part in self._parts for event in part.events(last, now, server_ms)]
        return [happened] if self._as_list and happened else happened


_DEPTH = re.compile(r"depth(5|10|20)?(?:@(100|250|500|1000)ms)?")
_Makers: TypeAlias = dict[str, Callable[[], Feed]]


def make_feed(desk: Desk, side: Side, name: str, now: int) -> Feed | None:
    """Return the feed of a stream such as ``btcusdt@kline_1m``; None for an unknown name."""
    symbol, _, kind = name.partition("@")
    coins = {coin.symbol.lower(): coin for coin in desk.world.coins if coin.listed <= now}
    if side is FUTURES and name == "!forceOrder@arr":
        return Joined([ForceOrderFeed(desk, side, coin) for coin in coins.values()], as_list=False)
    if side is FUTURES and symbol == "!markPrice" and kind in {"arr", "arr@1s"}:
        period = 1.0 if kind.endswith("1s") else 3.0
        parts: list[Feed] = [MarkPriceFeed(desk, side, c, period) for c in coins.values()]
        return Joined(parts, as_list=True)
    coin = coins.get(symbol)
    return None if coin is None else _of_coin(desk, side, coin, kind)


def _of_coin(desk: Desk, side: Side, coin: Coin, kind: str) -> Feed | None:
    interval = kind.removeprefix("kline_")
    if kind != interval:
        known = interval in side.intervals
        return KlineFeed(desk, side, coin, interval) if known else None
    if depth := _DEPTH.fullmatch(kind):
        period = int(depth[2] or (1000 if side is SPOT else 250)) / 1000
        if depth[1]:
            return PartialDepthFeed(desk, side, coin, int(depth[1]), period)
        return DepthFeed(desk, side, coin, period)
    plain: _Makers = {
        "aggTrade": lambda: TradeFeed(desk, side, coin, kind),
        "trade": lambda: TradeFeed(desk, side, coin, kind),
        "bookTicker": lambda: BookTickerFeed(desk, side, coin),
    }
    if side is FUTURES:
        plain |= {
            "markPrice": lambda: MarkPriceFeed(desk, side, coin, 3.0),
            "markPrice@1s": lambda: MarkPriceFeed(desk, side, coin, 1.0),
            "forceOrder": lambda: ForceOrderFeed(desk, side, coin),
        }
    make = plain.get(kind)
    return None if make is None else make()
