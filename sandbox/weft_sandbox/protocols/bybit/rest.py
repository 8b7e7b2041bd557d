"""REST, /v5/market."""

from typing import Any

import numpy as np

from weft.foundation.arrays import Times
from weft.foundation.times import HOUR, SECOND, Interval
from weft_sandbox.market.bars import Bars, Grid
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.venues import BYBIT_LINEAR, BYBIT_SPOT, Venue
from weft_sandbox.paging import decimal, decode_cursor, encode_cursor
from weft_sandbox.protocol import MILLI, Ask, Json, Problem, Refusal
from weft_sandbox.protocols.bybit.api import VENUES, api, envelope, market_of

INTERVALS = {
    **{n: f"{n}m" for n in ("1", "3", "5", "15", "30", "60", "120", "240", "360", "720")},
    "D": "1d",
    "W": "1w",
    "M": "1M",
}
_PERIODS = {"5min": "5m", "15min": "15m", "30min": "30m", "1h": "1h", "4h": "4h", "1d": "1d"}


def _limit(ask: Ask, default: int, most: int) -> int:
    return ask.integer("limit", default, 1, most)


def _span(ask: Ask) -> tuple[int | None, int]:
    start, end = (ask.instant(name, -1) for name in ("startTime", "endTime"))
    return (None if start < 0 else start), (ask.now if end < 0 else min(end, ask.now))


def _bars(ask: Ask, venue: Venue, coin: Coin) -> Bars:
    grid = Grid.of(INTERVALS[ask.text("interval", choices=tuple(INTERVALS))])
    limit = _limit(ask, 200, 1_000)
    start, end = ask.instant("start", -1), ask.instant("end", -1)
    last = grid.open_of(min(ask.now if end < 0 else end, ask.now))
    first = grid.shifted(last, 1 - limit)
    if start >= 0:
        first = grid.ceil(max(start, coin.listed))
        if end < 0:
            last = min(last, grid.shifted(first, limit - 1))
        first = max(first, grid.shifted(last, 1 - limit))
    return ask.world.candles(venue, coin, grid, first, last + 1, ask.now)


@api.get("/v5/market/kline")
def kline(ask: Ask) -> Json:
    """Return candles, newest first; the first may be unfinished."""
    category, venue, coin = market_of(ask)
    bars = _bars(ask, venue, coin)
    price, size = coin.price_digits, coin.size_digits
    rows = [
        [
            str(int(bars.open_time[i]) // MILLI),
            *(decimal(int(c[i]), price) for c in (bars.open, bars.high, bars.low, bars.close)),
            decimal(int(bars.volume[i]), size),
            decimal(int(bars.quote[i]), price + size),
        ]
        for i in range(len(bars) - 1, -1, -1)
    ]
    return envelope({"category": category, "symbol": coin.symbol, "list": rows}, at=ask.server_ms)


@api.get("/v5/market/{kind}-price-kline")
def price_kline(ask: Ask) -> Json:
    """Return candles of mark price, index price or premium: five columns."""
    category, venue, coin = market_of(ask, spot=False)
    kind, digits = ask.path["kind"], coin.price_digits
    if kind not in {"mark", "index", "premium-index"}:
        raise Refusal(Problem.NOT_FOUND)
    bars = _bars(ask, BYBIT_SPOT, coin)
    columns = np.stack([bars.open, bars.high, bars.low, bars.close]) * coin.tick
    if len(bars) and kind != "index":
        premium = ask.world.markets.premium(venue, coin, bars.open_time)
        columns = columns * (1 + premium) if kind == "mark" else np.stack([premium] * 4)
        digits = digits if kind == "mark" else 8
    rows = [
        [str(time // MILLI), *(f"{value:.{digits}f}" for value in values)]
        for time, values in zip(bars.open_time.tolist(), columns.T.tolist(), strict=True)
    ]
    result = {"category": category, "symbol": coin.symbol, "list": rows[::-1]}
    return envelope(result, at=ask.server_ms)


def _page(ask: Ask, coin: Coin, period: str, limit: int) -> tuple[Times, str]:
    """Return one page of instants, newest first, and the cursor of the next one."""
    step = Interval.parse(period).micros
    start, end = _span(ask)
    if ask.query.get("cursor"):
        state = decode_cursor(ask.text("cursor"))
        if not isinstance(state, int):
            raise Refusal(Problem.BAD_PARAMETER, "cursor")
        end = min(end, state)
    last = end // step
    oldest = -(-max(coin.listed, coin.listed if start is None else start) // step)
    first = max(last - limit + 1, oldest)
    times = np.arange(first, last + 1, dtype=np.int64)[::-1] * step
    more = first > oldest and len(times) == limit
    return times, encode_cursor((first - 1) * step) if more else ""


@api.get("/v5/market/open-interest")
def open_interest(ask: Ask) -> Json:
    """Return open interest of both sides, newest first."""
    category, venue, coin = market_of(ask, spot=False)
    period = _PERIODS[ask.text("intervalTime", choices=tuple(_PERIODS))]
    times, cursor = _page(ask, coin, period, _limit(ask, 50, 200))
    values = ask.world.derivatives.open_interest(venue, coin, times).tolist()
    rows = [
        {
            "openInterest": f"{value:.{coin.size_digits}f}",
            "singleOpenInterest": f"{value / 2:.{coin.size_digits}f}",
            "timestamp": str(time // MILLI),
        }
        for time, value in zip(times.tolist(), values, strict=True)
    ]
    result = {"symbol": coin.symbol, "category": category, "list": rows, "nextPageCursor": cursor}
    return envelope(result, at=ask.server_ms)


@api.get("/v5/market/account-ratio")
def account_ratio(ask: Ask) -> Json:
    """Return the shares of accounts that are long and short, newest first."""
    _, _, coin = market_of(ask, spot=False)
    period = _PERIODS[ask.text("period", choices=tuple(_PERIODS))]
    times, cursor = _page(ask, coin, period, _limit(ask, 50, 500))
    ratios = ask.world.derivatives.ratio("long_short_ratio", coin, times).tolist()
    rows = []
    for time, ratio in zip(times.tolist(), ratios, strict=True):
        buys = round(ratio / (1 + ratio), 4)
        row = {"symbol": coin.symbol, "buyRatio": f"{buys:.4f}", "sellRatio": f"{1 - buys:.4f}"}
        rows.append(row | {"timestamp": str(time // MILLI)})
    return envelope({"list": rows, "nextPageCursor": cursor}, at=ask.server_ms)


@api.get("/v5/market/funding/history")
def funding_history(ask: Ask) -> Json:
    """Return settled funding, newest first."""
    category, venue, coin = market_of(ask, spot=False)
    limit = _limit(ask, 200, 200)
    if ask.query.get("startTime") and not ask.query.get("endTime"):
        raise Refusal(Problem.BAD_PARAMETER, "endTime")
    start, end = _span(ask)
    deals = ask.world.derivatives
    first = end - 8 * HOUR * (limit + 1) if start is None else start
    times = deals.funding_times(coin, first, end + 1)[::-1][:limit]
    rates = deals.funding_rates(venue, coin, times).tolist()
    rows = [
        {
            "symbol": coin.symbol,
            "fundingRate": f"{rate:.8f}",
            "fundingRateTimestamp": str(time // MILLI),
        }
        for time, rate in zip(times.tolist(), rates, strict=True)
    ]
    return envelope({"category": category, "list": rows}, at=ask.server_ms)


@api.get("/v5/market/tickers")
def tickers(ask: Ask) -> Json:
    """Return the past 24 hours of one or all symbols."""
    category = ask.text("category", choices=tuple(VENUES))
    if ask.query.get("symbol"):
        coins = [market_of(ask)[2]]
    else:
        coins = [coin for coin in ask.world.coins if coin.listed <= ask.now]
    rows = [ticker_row(ask, category, coin) for coin in coins]
    return envelope({"category": category, "list": rows}, at=ask.server_ms)


def ticker_row(ask: Ask, category: str, coin: Coin) -> dict[str, Any]:
    """Return the past 24 hours of a symbol."""
    world, venue, now = ask.world, VENUES[category], ask.desk.clock.now()
    day, book = world.day(venue, coin, now), world.book(venue, coin, now, 1)
    price, size = coin.price_digits, coin.size_digits
    if day is None:
        return {"symbol": coin.symbol}
    row = {
        "symbol": coin.symbol,
        "lastPrice": decimal(day.close, price),
        "bid1Price": decimal(int(book.bids[0, 0]), price),
        "bid1Size": decimal(int(book.bids[0, 1]), size),
        "ask1Price": decimal(int(book.asks[0, 0]), price),
        "ask1Size": decimal(int(book.asks[0, 1]), size),
        "prevPrice24h": decimal(day.open, price),
        "price24hPcnt": f"{day.close / day.open - 1:.6f}",
        "highPrice24h": decimal(day.high, price),
        "lowPrice24h": decimal(day.low, price),
        "volume24h": decimal(day.volume, size),
        "turnover24h": decimal(day.quote, price + size),
    }
    if venue is BYBIT_LINEAR:
        deals, times = world.derivatives, np.array([now])
        following = deals.next_funding(now)
        rate = deals.funding_rates(venue, coin, np.array([following - 8 * HOUR]))[0]
        amount = float(deals.open_interest(venue, coin, times)[0])
        mark = deals.mark_price(venue, coin, now)
        row |= {
            "markPrice": f"{mark:.{price}f}",
            "indexPrice": f"{deals.index_price(coin, now):.{price}f}",
            "openInterest": f"{amount:.{size}f}",
            "openInterestValue": f"{amount * mark:.2f}",
            "fundingRate": f"{rate:.8f}",
            "nextFundingTime": str(following // MILLI),
            "fundingIntervalHour": "8",
        }
    return row


@api.get("/v5/market/time")
def time(ask: Ask) -> Json:
    """Return the server's time."""
    nanos = str(ask.server_now * 1_000)
    return envelope(
        {"timeSecond": str(ask.server_now // SECOND), "timeNano": nanos}, at=ask.server_ms
    )


@api.get("/v5/market/orderbook")
def orderbook(ask: Ask) -> Json:
    """Return the order book."""
    _, venue, coin = market_of(ask)
    book = ask.world.book(venue, coin, ask.now, _limit(ask, 25, 500))
    row = book_row(coin, book.bids.tolist(), book.asks.tolist(), book.update)
    return envelope(row | {"ts": ask.server_ms}, at=ask.server_ms)


def book_row(
    coin: Coin, bids: list[list[int]], asks: list[list[int]], update: int
) -> dict[str, Any]:
    """Return the levels of a book as texts."""
    price, size = coin.price_digits, coin.size_digits
    b, a = ([[decimal(p, price), decimal(s, size)] for p, s in side] for side in (bids, asks))
    return {"s": coin.symbol, "b": b, "a": a, "u": update, "seq": update}


@api.get("/v5/market/instruments-info")
def instruments(ask: Ask) -> Json:
    """Return the instruments and their rules."""
    category = ask.text("category", choices=tuple(VENUES))
    rows = []
    for coin in ask.world.coins:
        if coin.listed <= ask.now and ask.query.get("symbol") in {None, "", coin.symbol}:
            step = decimal(1, coin.size_digits)
            lot = {"basePrecision": step, "minOrderQty": step, "qtyStep": step, "minOrderAmt": "5"}
            row: dict[str, Json] = {
                "symbol": coin.symbol,
                "baseCoin": coin.name,
                "quoteCoin": "USDT",
            }
            row |= {"status": "Trading", "contractType": "LinearPerpetual", "fundingInterval": 480}
            row |= {"settleCoin": "USDT", "launchTime": str(coin.listed // MILLI)}
            tick = {"tickSize": decimal(1, coin.price_digits)}
            rows.append(row | {"priceFilter": tick, "lotSizeFilter": lot})
    return envelope({"category": category, "list": rows, "nextPageCursor": ""}, at=ask.server_ms)
