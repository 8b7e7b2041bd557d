"""Spot REST, /api/v3."""

from typing import Any

from weft_sandbox.market.bars import MINUTES
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.ticks import Trades
from weft_sandbox.paging import decimal
from weft_sandbox.protocol import MILLI, Ask, Json, Refusal
from weft_sandbox.protocols.binance.api import (
    SPOT,
    Side,
    api,
    coin_of,
    coins_of,
    error,
    klines,
    limit_of,
    time_of,
    time_unit,
)

_ORDER_TYPES = ["LIMIT", "LIMIT_MAKER", "MARKET", "STOP_LOSS_LIMIT", "TAKE_PROFIT_LIMIT"]
_RATE_LIMITS = [
    {"rateLimitType": kind, "interval": unit, "intervalNum": number, "limit": limit}
    for kind, unit, number, limit in (
        ("REQUEST_WEIGHT", "MINUTE", 1, 6_000),
        ("ORDERS", "SECOND", 10, 100),
        ("ORDERS", "DAY", 1, 200_000),
        ("RAW_REQUESTS", "MINUTE", 5, 61_000),
    )
]


def _costs(weight: Json) -> dict[str, Any]:
    return {"weight": weight, "raw": 1}


@api.get("/api/v3/ping", costs=_costs(1))
def ping(_: Ask) -> Json:
    """Return an empty object."""
    return {}


@api.get("/api/v3/time", costs=_costs(1))
def time(ask: Ask) -> Json:
    """Return the server's time."""
    return {"serverTime": ask.server_now // time_unit(ask)}


@api.get("/api/v3/exchangeInfo", costs=_costs(20))
def exchange_info(ask: Ask) -> Json:
    """Return the listed pairs and their rules."""
    coins, _ = coins_of(ask)
    status = ask.query.get("symbolStatus", "TRADING")
    return {
        "timezone": "UTC",
        "serverTime": ask.server_ms,
        "rateLimits": _RATE_LIMITS,
        "exchangeFilters": [],
        "symbols": [_described(coin) for coin in coins] if status == "TRADING" else [],
    }


def _described(coin: Coin) -> dict[str, Any]:
    tick, step = (decimal(1, digits, 8) for digits in (coin.price_digits, coin.size_digits))
    most = "9000000000.00000000"
    sizes = {"minQty": step, "maxQty": most, "stepSize": step}
    filters: list[dict[str, Any]] = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": most, "tickSize": tick},
        {"filterType": "LOT_SIZE", **sizes},
        {
            "filterType": "MARKET_LOT_SIZE",
            **sizes,
            "minQty": "0.00000000",
            "stepSize": "0.00000000",
        },
        {
            "filterType": "NOTIONAL",
            "minNotional": "5.00000000",
            "applyMinToMarket": True,
            "maxNotional": "9000000.00000000",
            "applyMaxToMarket": False,
            "avgPriceMins": 5,
        },
        {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": 200},
    ]
    return {
        "symbol": coin.symbol,
        "status": "TRADING",
        "baseAsset": coin.name,
        "baseAssetPrecision": 8,
        "quoteAsset": "USDT",
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "baseCommissionPrecision": 8,
        "quoteCommissionPrecision": 8,
        "orderTypes": _ORDER_TYPES,
        "icebergAllowed": True,
        "ocoAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": filters,
        "permissions": [],
        "permissionSets": [["SPOT", "MARGIN"]],
    }


@api.get("/api/v3/klines", costs=_costs(2))
@api.get("/api/v3/uiKlines", costs=_costs(2))
def spot_klines(ask: Ask) -> Json:
    """Return candles; the last one may be unfinished."""
    return klines(ask, SPOT)


def _ticker_weight(ask: Ask) -> int:
    if ask.query.get("symbol"):
        return 2
    count = ask.query.get("symbols", "").count(",") + 1 if ask.query.get("symbols") else 101
    return 2 if count <= 20 else 40 if count <= 100 else 80


@api.get("/api/v3/ticker/24hr", costs=_costs(_ticker_weight))
def ticker(ask: Ask) -> Json:
    """Return the past 24 hours of one, some or all pairs."""
    coins, single = coins_of(ask)
    mini = ask.text("type", "FULL", ("FULL", "MINI")) == "MINI"
    rows = [day_row(ask, SPOT, coin, mini=mini) for coin in coins]
    return rows[0] if single else rows


def day_row(ask: Ask, side: Side, coin: Coin, *, mini: bool = False) -> dict[str, Any]:
    """Return the past 24 hours of a pair."""
    world, venue, digits = ask.world, side.venue, side.digits
    day = world.day(venue, coin, ask.now)
    if day is None:
        return {"symbol": coin.symbol}
    price, size = coin.price_digits, coin.size_digits

    def text(ticks: int) -> str:
        sign = "-" if ticks < 0 else ""
        return sign + decimal(abs(ticks), price, digits)

    opening = MINUTES.open_of(ask.now)
    trades = world.trades(venue, coin, opening, ask.now + 1, ask.now)
    first = world.markets.first_number(venue, coin, day.first_time)
    row: dict[str, Any] = {"symbol": coin.symbol}
    extremes = {"highPrice": text(day.high), "lowPrice": text(day.low)}
    sums = {
        "volume": decimal(day.volume, size, digits),
        "quoteVolume": decimal(day.quote, price + size, digits),
    }
    ends = {"openTime": (ask.now - 86_400_000_000) // MILLI, "closeTime": ask.server_ms}
    ids = {"firstId": first, "lastId": first + day.trades - 1, "count": day.trades}
    if mini:
        return (
            row
            | {"openPrice": text(day.open), **extremes, "lastPrice": text(day.close)}
            | (sums | ends | ids)
        )
    row |= {
        "priceChange": text(day.close - day.open),
        "priceChangePercent": f"{(day.close / day.open - 1) * 100:.3f}",
        "weightedAvgPrice": text(round(day.quote / max(day.volume, 1))),
        "lastPrice": text(day.close),
        "lastQty": decimal(int(trades.size[-1]) if len(trades) else 0, size, digits),
        "openPrice": text(day.open),
        **extremes,
        **sums,
        **ends,
        **ids,
    }
    if side is SPOT:
        book = world.book(venue, coin, ask.now, 1)
        row |= {
            "prevClosePrice": text(day.open),
            "bidPrice": text(int(book.bids[0, 0])),
            "bidQty": decimal(int(book.bids[0, 1]), size, digits),
            "askPrice": text(int(book.asks[0, 0])),
            "askQty": decimal(int(book.asks[0, 1]), size, digits),
        }
    return row


@api.get("/api/v3/ticker/price", costs=_costs(lambda ask: 2 if ask.query.get("symbol") else 4))
def ticker_price(ask: Ask) -> Json:
    """Return the last price of one, some or all pairs."""
    coins, single = coins_of(ask)
    rows = [{"symbol": c.symbol, "price": _last(ask, c)} for c in coins]
    return rows[0] if single else rows


def _last(ask: Ask, coin: Coin) -> str:
    return decimal(ask.world.price(SPOT.venue, coin, ask.now), coin.price_digits, SPOT.digits)


@api.get("/api/v3/ticker/bookTicker", costs=_costs(2))
def ticker_book(ask: Ask) -> Json:
    """Return best bid and ask of one, some or all pairs."""
    coins, single = coins_of(ask)
    rows = []
    for coin in coins:
        bids, asks = book_sides(ask, SPOT, coin, 1)
        row = {"symbol": coin.symbol, "bidPrice": bids[0][0], "bidQty": bids[0][1]}
        rows.append(row | {"askPrice": asks[0][0], "askQty": asks[0][1]})
    return rows[0] if single else rows


def _depth_weight(ask: Ask) -> int:
    limit = ask.integer("limit", 100)
    return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1_000 else 250


@api.get("/api/v3/depth", costs=_costs(_depth_weight))
def depth(ask: Ask) -> Json:
    """Return the order book."""
    coin, limit = coin_of(ask), limit_of(ask, 100, 5_000)
    book = ask.world.book(SPOT.venue, coin, ask.now, 1)
    bids, asks = book_sides(ask, SPOT, coin, limit)
    return {"lastUpdateId": book.update, "bids": bids, "asks": asks}


def book_sides(ask: Ask, side: Side, coin: Coin, limit: int) -> tuple[list[list[str]], ...]:
    """Return bids and asks, best first, as texts."""
    book = ask.world.book(side.venue, coin, ask.now, limit)
    return tuple(level_rows(rows.tolist(), coin, side.digits) for rows in (book.bids, book.asks))


def level_rows(rows: list[list[int]], coin: Coin, digits: int) -> list[list[str]]:
    """Return levels of a book as texts."""
    price, size = coin.price_digits, coin.size_digits
    return [[decimal(p, price, digits), decimal(s, size, digits)] for p, s in rows]


@api.get("/api/v3/aggTrades", costs=_costs(4))
def spot_agg_trades(ask: Ask) -> Json:
    """Return aggregated trades."""
    rows = agg_trades(ask, SPOT)
    return [row | {"M": True} for row in rows]


def agg_trades(ask: Ask, side: Side) -> list[dict[str, Any]]:
    """Return aggregated trades by the rules of both sides; here each row is one trade."""
    coin, limit = coin_of(ask), limit_of(ask, 500, 1_000)
    start, end = time_of(ask, "startTime"), time_of(ask, "endTime")
    number = ask.integer("fromId", -1)
    if number >= 0 and (start is not None or end is not None):
        raise Refusal(error(-1128, "Combination of optional parameters invalid."))
    markets = ask.world.markets
    if number >= 0:
        trades = markets.trades_from(side.venue, coin, number, limit, ask.now)
    elif start is None:
        last = ask.now if end is None else min(end + MILLI - 1, ask.now)
        newest = markets.trades(side.venue, coin, last, last + 1, ask.now)
        opening = MINUTES.open_of(last)
        while len(newest) < limit and opening >= coin.listed:
            newest = markets.trades(side.venue, coin, opening, last + 1, ask.now)
            opening -= 60_000_000
        trades = newest.rows(slice(max(len(newest) - limit, 0), None))
    else:
        trades = _oldest(ask, side, coin, start, ask.now if end is None else end, limit)
    return trade_rows(trades, coin, side.digits, time_unit(ask))


def _oldest(ask: Ask, side: Side, coin: Coin, start: int, end: int, limit: int) -> Trades:
    """Return the first trades of a span, both ends included, and read only few minutes more."""
    end = min(end + MILLI, ask.now + 1)
    start = max(start, coin.listed)
    minutes = 16
    while True:
        until = min(start + minutes * 60_000_000, end)
        trades = ask.world.trades(side.venue, coin, start, until, ask.now)
        if len(trades) >= limit or until >= end:
            return trades.rows(slice(0, limit))
        minutes *= 4


def trade_rows(trades: Trades, coin: Coin, digits: int, unit: int) -> list[dict[str, Any]]:
    """Return trades with the names of aggregated trades."""
    columns = (trades.number, trades.time, trades.price, trades.size, trades.taker_buys)
    return [
        {
            "a": number,
            "p": decimal(price, coin.price_digits, digits),
            "q": decimal(size, coin.size_digits, digits),
            "f": number,
            "l": number,
            "T": time // unit,
            "m": not buys,
        }
        for number, time, price, size, buys in zip(*(c.tolist() for c in columns), strict=True)
    ]
