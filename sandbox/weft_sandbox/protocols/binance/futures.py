"""USDT-M futures REST, /fapi/v1."""

from typing import Any

import numpy as np

from weft.foundation.times import HOUR
from weft_sandbox.market.coins import Coin
from weft_sandbox.paging import decimal, window
from weft_sandbox.protocol import MILLI, Ask, Json, Refusal
from weft_sandbox.protocols.binance.api import (
    FUTURES,
    api,
    coin_of,
    coins_of,
    error,
    klines,
    limit_of,
    symbols,
    time_of,
)
from weft_sandbox.protocols.binance.spot import agg_trades, book_sides, day_row

_DEPTHS = (5, 10, 20, 50, 100, 500, 1_000)
_OLDEST_TRADES = 48 * HOUR
_RATE_LIMITS = [
    {"rateLimitType": kind, "interval": unit, "intervalNum": number, "limit": limit}
    for kind, unit, number, limit in (
        ("REQUEST_WEIGHT", "MINUTE", 1, 2_400),
        ("ORDERS", "MINUTE", 1, 1_200),
        ("ORDERS", "SECOND", 10, 300),
    )
]
_NEVER = 4_133_404_800_000
"""Delivery date of a perpetual, in milliseconds."""


def _costs(weight: Json) -> dict[str, Any]:
    return {"futures_weight": weight}


@api.get("/fapi/v1/ping", costs=_costs(1))
def ping(_: Ask) -> Json:
    """Return an empty object."""
    return {}


@api.get("/fapi/v1/time", costs=_costs(1))
def time(ask: Ask) -> Json:
    """Return the server's time."""
    return {"serverTime": ask.server_ms}


@api.get("/fapi/v1/exchangeInfo", costs=_costs(1))
def exchange_info(ask: Ask) -> Json:
    """Return all contracts and their rules."""
    return {
        "timezone": "UTC",
        "serverTime": ask.server_ms,
        "futuresType": "U_MARGINED",
        "rateLimits": _RATE_LIMITS,
        "exchangeFilters": [],
        "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
        "symbols": [_described(coin) for coin in symbols(ask).values()],
    }


def _described(coin: Coin) -> dict[str, Any]:
    tick, step = decimal(1, coin.price_digits), decimal(1, coin.size_digits)
    sizes = {"minQty": step, "maxQty": "1000000000", "stepSize": step}
    prices = {"minPrice": tick, "maxPrice": "4529764", "tickSize": tick}
    return {
        "symbol": coin.symbol,
        "pair": coin.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": _NEVER,
        "onboardDate": coin.listed // MILLI,
        "status": "TRADING",
        "baseAsset": coin.name,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        # Not the tick size: a client that uses this value as one rounds wrongly.
        "pricePrecision": min(coin.price_digits + 2, 8),
        "quantityPrecision": coin.size_digits,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "filters": [
            {"filterType": "PRICE_FILTER", **prices},
            {"filterType": "LOT_SIZE", **sizes},
            {"filterType": "MARKET_LOT_SIZE", **sizes},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
        ],
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _kline_weight(ask: Ask) -> int:
    limit = ask.integer("limit", 500)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1_000 else 10


@api.get("/fapi/v1/klines", costs=_costs(_kline_weight))
def futures_klines(ask: Ask) -> Json:
    """Return candles; the last one may be unfinished."""
    _check_order(ask)
    return klines(ask, FUTURES)


def _check_order(ask: Ask) -> None:
    start, end = time_of(ask, "startTime"), time_of(ask, "endTime")
    if start is not None and end is not None and start > end:
        raise Refusal(error(-1023, "Start time is greater than end time."))


def _depth_weight(ask: Ask) -> int:
    limit = ask.integer("limit", 500)
    return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20


@api.get("/fapi/v1/depth", costs=_costs(_depth_weight))
def depth(ask: Ask) -> Json:
    """Return the order book."""
    coin, limit = coin_of(ask), ask.integer("limit", 500)
    if limit not in _DEPTHS:
        raise Refusal(error(-4021, f"{limit} is not valid depth limit."))
    book = ask.world.book(FUTURES.venue, coin, ask.now, 1)
    bids, asks = book_sides(ask, FUTURES, coin, limit)
    times = {"E": ask.server_ms, "T": book.time // MILLI}
    return {"lastUpdateId": book.update, **times, "bids": bids, "asks": asks}


@api.get("/fapi/v1/aggTrades", costs=_costs(20))
def futures_agg_trades(ask: Ask) -> Json:
    """Return aggregated trades of the past 48 hours."""
    start, end = time_of(ask, "startTime"), time_of(ask, "endTime")
    _check_order(ask)
    if start is not None and end is not None and end - start >= HOUR:
        raise Refusal(error(-1127, "More than 1 hours between startTime and endTime."))
    oldest = (ask.now - _OLDEST_TRADES) // MILLI
    rows = agg_trades(ask, FUTURES)
    return [row | {"nq": row["q"]} for row in rows if row["T"] >= oldest]


@api.get("/fapi/v1/ticker/24hr", costs=_costs(lambda ask: 1 if ask.query.get("symbol") else 40))
def ticker(ask: Ask) -> Json:
    """Return the past 24 hours of one or all contracts."""
    coins, single = coins_of(ask)
    rows = [day_row(ask, FUTURES, coin) for coin in coins]
    return rows[0] if single else rows


@api.get("/fapi/v1/fundingRate", costs={"funding": 1})
def funding_rate(ask: Ask) -> Json:
    """Return settled funding, oldest first; without times the latest 200."""
    coins = [coin_of(ask)] if ask.query.get("symbol") else list(symbols(ask).values())
    start, end = time_of(ask, "startTime"), time_of(ask, "endTime")
    newest = start is None
    limit = limit_of(ask, 200 if newest and end is None else 100, 1_000)
    until = ask.now if end is None else min(end, ask.now)
    first = until - 8 * HOUR * (limit + 1) if start is None else start
    rows: list[dict[str, Any]] = []
    deals = ask.world.derivatives
    for coin in coins:
        times = deals.funding_times(coin, first, until + 1)
        times = times[window(len(times), limit, newest=newest)]
        rates = deals.funding_rates(FUTURES.venue, coin, times).tolist()
        marks = deals.settlement_prices(FUTURES.venue, coin, times).tolist()
        for time_, rate, mark in zip(times.tolist(), rates, marks, strict=True):
            row = {
                "symbol": coin.symbol,
                "fundingTime": time_ // MILLI,
                "fundingRate": f"{rate:.8f}",
            }
            rows.append(row | {"markPrice": f"{mark:.8f}", "rateType": "Regular"})
    rows.sort(key=lambda row: row["fundingTime"])
    return rows[window(len(rows), limit, newest=newest)]


@api.get("/fapi/v1/fundingInfo", costs={"funding": 1})
def funding_info(ask: Ask) -> Json:
    """Return the caps of each contract's funding."""
    caps = {"adjustedFundingRateCap": "0.00750000", "adjustedFundingRateFloor": "-0.00750000"}
    rest = {**caps, "fundingIntervalHours": 8, "disclaimer": False}
    return [{"symbol": symbol, **rest} for symbol in symbols(ask)]


@api.get("/fapi/v1/premiumIndex", costs=_costs(lambda ask: 1 if ask.query.get("symbol") else 10))
def premium_index(ask: Ask) -> Json:
    """Return mark price, index price and funding of one or all contracts."""
    coins, single = coins_of(ask)
    rows = [mark_row(ask, coin) for coin in coins]
    return rows[0] if single else rows


def mark_row(ask: Ask, coin: Coin) -> dict[str, Any]:
    """Return mark price, index price and funding of a contract."""
    deals = ask.world.derivatives
    following = deals.next_funding(ask.now)
    rate = deals.funding_rates(FUTURES.venue, coin, np.array([following - 8 * HOUR]))[0]
    mark = f"{deals.mark_price(FUTURES.venue, coin, ask.now):.8f}"
    return {
        "symbol": coin.symbol,
        "markPrice": mark,
        "indexPrice": f"{deals.index_price(coin, ask.now):.8f}",
        "estimatedSettlePrice": mark,
        "lastFundingRate": f"{rate:.8f}",
        "interestRate": "0.00010000",
        "nextFundingTime": following // MILLI,
        "time": ask.server_ms,
    }


@api.get("/fapi/v1/openInterest", costs=_costs(1))
def open_interest(ask: Ask) -> Json:
    """Return the current open interest in coins."""
    coin = coin_of(ask)
    times = np.array([ask.now])
    value = ask.world.derivatives.open_interest(FUTURES.venue, coin, times)[0]
    text = f"{value:.{coin.size_digits}f}"
    return {"openInterest": text, "symbol": coin.symbol, "time": ask.server_ms}
