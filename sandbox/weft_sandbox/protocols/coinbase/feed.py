"""The WebSocket feed: subscribe within five seconds, then receive numbered messages."""

import asyncio
import time
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool

from weft.foundation.times import SECOND, iso
from weft_sandbox.market.book import Book, bucket_of, changes, make_book
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.venues import COINBASE
from weft_sandbox.paging import decimal
from weft_sandbox.protocols.coinbase.rest import api, products, stats_row, trade_rows
from weft_sandbox.sockets import Session

_TICK_SECONDS = 0.1
_PATIENCE_SECONDS = 5.0
_MESSAGES_A_SECOND = 100
_PERIODS = {"heartbeat": 1.0, "ticker_batch": 5.0, "status": 5.0}
_CHANNELS = ("ticker", "ticker_batch", "heartbeat", "matches", "level2_batch", "status")
_BOOK_LEVELS = 200
_MOST_SPAN = 60 * SECOND

Message = dict[str, Any]


class _Feed:
    """One client's subscriptions."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._subscribed: dict[tuple[str, str], float] = {}
        self._sequence: dict[str, int] = {}
        self._books: dict[str, Book] = {}
        self._last = session.ask.desk.clock.now()

    async def listen(self) -> None:
        """Answer the client until it leaves, or does not subscribe in time."""
        patience = self._session.ask.desk.options.get(
            "coinbase.patience_seconds", _PATIENCE_SECONDS
        )
        try:
            async with asyncio.timeout(patience):
                message = await self._session.receive()
        except TimeoutError:
            await self._session.close(1008, "Did not subscribe in time")
            return
        while message is not None:
            if self._session.too_fast(_MESSAGES_A_SECOND):
                await self._session.close(1008, "Too many messages")
                return
            await self._session.reply(self._answer(message))
            message = await self._session.receive()

    def _answer(self, message: str | bytes) -> Message:
        try:
            request = orjson.loads(message)
            kind = request["type"]
            common = request.get("product_ids") or []
            pairs = []
            for entry in request["channels"]:
                name = entry if isinstance(entry, str) else entry["name"]
                specific = None if isinstance(entry, str) else entry.get("product_ids")
                pairs += [(name, product) for product in specific or common or [""]]
        except (ValueError, KeyError, TypeError, AttributeError):
            return _failed("Malformed JSON", "message is no subscription")
        known = products(self._session.ask)
        for channel, product in pairs:
            if channel not in _CHANNELS:
                return _failed("Failed to subscribe", f"{channel} is not a valid channel")
            if product not in known and channel != "status":
                return _failed("Failed to subscribe", f"{product} is not a valid product")
        if kind == "subscribe":
            self._subscribed |= dict.fromkeys(pairs, 0.0)
        elif kind == "unsubscribe":
            for pair in pairs:
                self._subscribed.pop(pair, None)
                self._books.pop(pair[1], None)
        else:
            return _failed("Failed to subscribe", f"{kind} is not a valid type")
        channels: dict[str, list[str]] = {}
        for channel, product in self._subscribed:
            channels.setdefault(channel, []).append(product)
        entries = [{"name": name, "product_ids": ids} for name, ids in channels.items()]
        return {"type": "subscriptions", "channels": entries}

    async def publish(self) -> None:
        """Send messages while the client is connected."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            if self._subscribed:
                for message in await run_in_threadpool(self._due):
                    await self._session.push(message)

    def _due(self) -> list[Message]:
        now, real = self._session.ask.desk.clock.now(), time.monotonic()
        last, self._last = max(self._last, now - _MOST_SPAN), now
        known = products(self._session.ask)
        messages: list[Message] = []
        for (channel, product), due in list(self._subscribed.items()):
            period = _PERIODS.get(channel)
            if period is not None and real < due:
                continue
            if (channel, product) in self._subscribed:
                self._subscribed[channel, product] = max(due, real - _TICK_SECONDS) + (period or 0)
            if channel == "status":
                names = [{"id": name, "status": "online"} for name in known]
                messages.append({"type": "status", "products": names})
            else:
                messages += self._of(channel, product, known[product], last, now)
        return messages

    def _numbered(self, product: str) -> int:
        start = bucket_of(self._session.ask.desk.clock.now()) * 100
        self._sequence[product] = self._sequence.get(product, start) + 1
        return self._sequence[product]

    def _of(self, channel: str, product: str, coin: Coin, last: int, now: int) -> list[Message]:
        if channel == "level2_batch":
            return self._level2(product, coin, now)
        world = self._session.ask.world
        trades = world.trades(COINBASE, coin, last + 1, now + 1, now)
        if channel == "matches":
            rows = trade_rows(trades, coin)
            head = [{"type": "match", "sequence": self._numbered(product)} for _ in rows]
            return [h | {"product_id": product} | row for h, row in zip(head, rows, strict=True)]
        if channel == "heartbeat":
            opening = now // (60 * SECOND) * 60 * SECOND
            number = world.markets.first_number(COINBASE, coin, opening)
            done = world.trades(COINBASE, coin, opening, now + 1, now)
            beat: Message = {"type": "heartbeat", "sequence": self._numbered(product)}
            beat |= {"last_trade_id": number + len(done) - 1, "product_id": product}
            return [beat | {"time": iso(now)}]
        rows = trade_rows(trades, coin) if len(trades) else []
        rows = rows[-1:] if channel == "ticker_batch" else rows
        return [self._ticker(product, coin, row, now) for row in rows]

    def _ticker(self, product: str, coin: Coin, row: Message, now: int) -> Message:
        day = stats_row(self._session.ask, coin)
        book = self._session.ask.world.book(COINBASE, coin, now, 1)
        price, size = coin.price_digits, coin.size_digits
        bid, ask = book.bids[0].tolist(), book.asks[0].tolist()
        return {
            "type": "ticker",
            "sequence": self._numbered(product),
            "product_id": product,
            "price": row["price"],
            "open_24h": day["open"],
            "volume_24h": day["volume"],
            "low_24h": day["low"],
            "high_24h": day["high"],
            "volume_30d": day["volume_30day"],
            "best_bid": decimal(bid[0], price),
            "best_bid_size": decimal(bid[1], size, 8),
            "best_ask": decimal(ask[0], price),
            "best_ask_size": decimal(ask[1], size, 8),
            # Here the side is the taker's, unlike in trades.
            "side": "buy" if row["side"] == "sell" else "sell",
            "time": row["time"],
            "trade_id": row["trade_id"],
            "last_size": row["size"],
        }

    def _level2(self, product: str, coin: Coin, now: int) -> list[Message]:
        markets = self._session.ask.world.markets
        after = make_book(markets, COINBASE, coin, bucket_of(now), _BOOK_LEVELS)
        before = self._books.get(product)
        self._books[product] = after
        price, size = coin.price_digits, coin.size_digits

        def texts(rows: list[list[int]]) -> list[list[str]]:
            return [[decimal(p, price), decimal(s, size, 8)] for p, s in rows]

        if before is None:
            sides = {"bids": texts(after.bids.tolist()), "asks": texts(after.asks.tolist())}
            return [{"type": "snapshot", "product_id": product, **sides}]
        bids, asks = changes(before, after)
        entries = [["buy", *row] for row in texts(bids.tolist())]
        entries += [["sell", *row] for row in texts(asks.tolist())]
        update = {"type": "l2update", "product_id": product, "time": iso(now), "changes": entries}
        return [update] if entries else []


def _failed(text: str, reason: str) -> Message:
    return {"type": "error", "message": text, "reason": reason}


@api.socket("/")
@api.socket("/feed")
async def serve(session: Session) -> None:
    """Serve one client."""
    feed = _Feed(session)
    await session.together(feed.listen(), feed.publish())
