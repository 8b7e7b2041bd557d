"""WebSocket streams, /v5/public/<category>: the client keeps the connection alive."""

import asyncio
import time
import uuid
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool

from weft_sandbox.market.bars import Grid
from weft_sandbox.market.book import Book, bucket_of, changes, make_book
from weft_sandbox.market.coins import Coin
from weft_sandbox.paging import decimal
from weft_sandbox.protocol import MILLI, Json
from weft_sandbox.protocols.bybit.api import VENUES, api
from weft_sandbox.protocols.bybit.rest import INTERVALS, book_row, ticker_row
from weft_sandbox.sockets import Session

_TICK_SECONDS = 0.1
_IDLE_SECONDS = 600.0
_MOST_ARGS, _MOST_TEXT = 10, 21_000
_KINDS = ("kline", "publicTrade", "orderbook", "tickers", "allLiquidation")
_DEPTHS = (1, 50, 200, 500)
_PERIODS = {"kline": 1.0, "tickers": 1.0, "allLiquidation": 0.5}
_MOST_SPAN = 600_000_000


class _Topic:
    """One subscription."""

    def __init__(self, session: Session, category: str, name: str, coin: Coin) -> None:
        self.name, self.coin, self.category = name, coin, category
        self.kind, *self._rest = name.split(".")
        self.due = 0.0
        self._ask, self._venue = session.ask, VENUES[category]
        self._last = session.ask.desk.clock.now()
        self._book: Book | None = None

    @property
    def valid(self) -> bool:
        """Whether the topic exists."""
        if self.kind == "kline":
            return len(self._rest) == 2 and self._rest[0] in INTERVALS
        if self.kind == "orderbook":
            return len(self._rest) == 2 and self._rest[0] in map(str, _DEPTHS)
        linear = self.kind != "allLiquidation" or self.category == "linear"
        return self.kind in _KINDS and len(self._rest) == 1 and linear

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages since the last call."""
        clock = self._ask.desk.clock
        now, last = clock.now(), self._last
        if now <= last and self._book is not None:
            return []
        self._last = now
        self.due = time.monotonic() + _PERIODS.get(self.kind, _TICK_SECONDS)
        stamp = (now + self._ask.server_now - self._ask.now) // MILLI
        last = max(last, now - _MOST_SPAN)
        if self.kind == "orderbook":
            return self._depth(now, stamp)
        events: list[Any] = {
            "kline": self._klines,
            "publicTrade": self._trades,
            "tickers": lambda *_: [ticker_row(self._ask, self.category, self.coin)],
            "allLiquidation": self._liquidations,
        }[self.kind](last, now)
        if not events:
            return []
        data = events[0] if self.kind == "tickers" else events
        return [{"topic": self.name, "type": "snapshot", "ts": stamp, "data": data}]

    def _klines(self, last: int, now: int) -> list[Any]:
        grid, coin = Grid.of(INTERVALS[self._rest[0]]), self.coin
        world, venue = self._ask.world, self._venue
        bars = world.candles(venue, coin, grid, grid.open_of(last), now + 1, now)
        rows = []
        for i in range(len(bars)):
            opening = int(bars.open_time[i])
            end = grid.shifted(opening, 1)
            names = ("open", "close", "high", "low")
            row: dict[str, Any] = {"start": opening // MILLI, "end": end // MILLI - 1}
            row |= {"interval": self._rest[0]}
            row |= {n: decimal(int(getattr(bars, n)[i]), coin.price_digits) for n in names}
            row |= {
                "volume": decimal(int(bars.volume[i]), coin.size_digits),
                "turnover": decimal(int(bars.quote[i]), coin.price_digits + coin.size_digits),
                "confirm": end <= now,
                "timestamp": min(end, now) // MILLI,
            }
            rows.append(row)
        return rows

    def _trades(self, last: int, now: int) -> list[Any]:
        trades = self._ask.world.trades(self._venue, self.coin, last + 1, now + 1, now)
        columns = (trades.number, trades.time, trades.price, trades.size, trades.taker_buys)
        return [
            {
                "T": at // MILLI,
                "s": self.coin.symbol,
                "S": "Buy" if buys else "Sell",
                "v": decimal(size, self.coin.size_digits),
                "p": decimal(price, self.coin.price_digits),
                "i": str(uuid.uuid5(uuid.NAMESPACE_URL, f"{self._venue.name}/{number}")),
                "BT": False,
                "seq": number,
            }
            for number, at, price, size, buys in zip(*(c.tolist() for c in columns), strict=True)
        ]

    def _liquidations(self, last: int, now: int) -> list[Any]:
        deals = self._ask.world.derivatives
        return [
            {
                "T": item.time // MILLI,
                "s": self.coin.symbol,
                # The side of the position that was closed.
                "S": "Buy" if item.sells else "Sell",
                "v": decimal(item.size, self.coin.size_digits),
                "p": decimal(item.price, self.coin.price_digits),
            }
            for item in deals.liquidations(self._venue, self.coin, last + 1, now + 1)
        ]

    def _depth(self, now: int, stamp: int) -> list[dict[str, Any]]:
        markets = self._ask.world.markets
        venue = self._venue
        after = make_book(markets, venue, self.coin, bucket_of(now), int(self._rest[0]))
        before, self._book = self._book, after
        if before is not None and before.bucket == after.bucket:
            return []
        is_snapshot = before is None
        bids, asks = (after.bids, after.asks) if before is None else changes(before, after)
        data = book_row(self.coin, bids.tolist(), asks.tolist(), after.update)
        kind = "snapshot" if is_snapshot else "delta"
        return [{"topic": self.name, "type": kind, "ts": stamp, "data": data}]


class _Connection:
    """One client's topics."""

    def __init__(self, session: Session, category: str) -> None:
        self._session, self._category = session, category
        self._number = uuid.uuid4().hex[:12]
        self._topics: dict[str, _Topic] = {}
        self._heard = time.monotonic()

    async def publish(self) -> None:
        """Send messages; end a connection whose client is silent for too long."""
        idle = self._session.ask.desk.options.get("bybit.idle_seconds", _IDLE_SECONDS)
        while time.monotonic() - self._heard < idle:
            await asyncio.sleep(_TICK_SECONDS)
            if self._topics:
                for message in await run_in_threadpool(self._due):
                    await self._session.push(message)

    def _due(self) -> list[dict[str, Any]]:
        now = time.monotonic()
        due = [topic for topic in list(self._topics.values()) if now >= topic.due]
        return [message for topic in due for message in topic.messages()]

    async def listen(self) -> None:
        """Answer the client until it leaves."""
        while (message := await self._session.receive()) is not None:
            self._heard = time.monotonic()
            await self._session.reply(self._answer(message))

    def _answer(self, message: str | bytes) -> dict[str, Any]:
        try:
            request = orjson.loads(message)
        except ValueError:
            request = None
        if not isinstance(request, dict):
            return self._said("", "error:json decode error", None, ok=False)
        operation, number = str(request.get("op")), request.get("req_id")
        if operation == "ping":
            return self._said("ping", "pong", number)
        args = [str(name) for name in request.get("args") or []]
        topics = {name: self._topic(name) for name in args}
        wrong = self._wrong(operation, args, topics)
        if wrong:
            return self._said(operation, wrong, number, ok=False)
        for name, topic in topics.items():
            if operation == "unsubscribe":
                self._topics.pop(name, None)
            elif topic is not None:
                self._topics.setdefault(name, topic)
        return self._said(operation, operation if operation == "subscribe" else "", number)

    def _wrong(self, operation: str, args: list[str], topics: dict[str, _Topic | None]) -> str:
        """Return the reason of a refusal; "" for a valid request."""
        if operation not in {"subscribe", "unsubscribe"}:
            return f"error:request op {operation} not found"
        if self._category == "spot" and len(args) > _MOST_ARGS:
            return "args size >10"
        if sum(map(len, args)) > _MOST_TEXT:
            return "args length >21000"
        unknown = [name for name, topic in topics.items() if topic is None]
        return f"error:handler not found,topic:{unknown[0]}" if unknown else ""

    def _topic(self, name: str) -> _Topic | None:
        now = self._session.ask.desk.clock.now()
        for coin in self._session.ask.world.coins:
            if name.endswith(f".{coin.symbol}") and coin.listed <= now:
                topic = _Topic(self._session, self._category, name, coin)
                return topic if topic.valid else None
        return None

    def _said(self, operation: str, text: str, number: Json, *, ok: bool = True) -> dict[str, Any]:
        body = {"success": ok, "ret_msg": text, "conn_id": self._number}
        return body | ({"req_id": number} if number is not None else {}) | {"op": operation}


def _register(category: str) -> None:
    async def serve(session: Session) -> None:
        connection = _Connection(session, category)
        await session.together(connection.listen(), connection.publish())
        await session.close()

    api.socket(f"/v5/public/{category}")(serve)


for _category in VENUES:
    _register(_category)
