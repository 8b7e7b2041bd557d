"""REST: numbers in candles, texts elsewhere; newest rows first."""

from typing import Any

from weft.foundation.times import DAY, SECOND, iso
from weft_sandbox.limits import Budget
from weft_sandbox.market.bars import MINUTES, Grid
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.ticks import Trades
from weft_sandbox.market.venues import COINBASE
from weft_sandbox.paging import decimal
from weft_sandbox.protocol import Answer, Api, Ask, Json, Key, Problem, Refusal

_GRANULARITIES = {60: "1m", 300: "5m", 900: "15m", 3600: "1h", 21600: "6h", 86400: "1d"}
_MOST = 300
_TOO_MANY = (
    "granularity too small for the requested time range. "
    "Count of aggregations requested exceeds 300"
)


def message(status: int, text: str) -> Answer:
    """Return an error in Coinbase's form."""
    return Answer({"message": text}, status)


def _errors(problem: Problem, detail: str) -> Answer:
    match problem:
        case Problem.RATE_LIMITED | Problem.BANNED:
            return message(429, "Public rate limit exceeded")
        case Problem.NOT_FOUND:
            return message(404, "NotFound")
        case Problem.BAD_PARAMETER:
            return message(400, f"Invalid {detail}")
        case Problem.NO_KEY | Problem.BAD_KEY | Problem.EXPIRED_KEY:
            return message(401, "Invalid API Key")
        case Problem.PLAN:
            return message(403, "Forbidden")
    return message(500, "Internal server error")


api = Api(
    "coinbase",
    errors=_errors,
    key=Key(header="CB-ACCESS-KEY", required=False),
    # Ten requests a second, and bursts to 15.
    budgets=(Budget("second", 15, 1.5, bucket=True),),
)


def products(ask: Ask) -> dict[str, Coin]:
    """Return the products that are listed by now."""
    now = ask.desk.clock.now()
    return {f"{coin.name}-USD": coin for coin in ask.world.coins if coin.listed <= now}


def _coin(ask: Ask) -> Coin:
    coin = products(ask).get(ask.path["id"])
    if coin is None:
        raise Refusal(Problem.NOT_FOUND)
    return coin


@api.get("/products/{id}/candles")
def candles(ask: Ask) -> Json:
    """Return rows of time, low, high, open, close and volume, newest first."""
    coin, seconds = _coin(ask), ask.integer("granularity", 60)
    if seconds not in _GRANULARITIES:
        raise Refusal(message(400, "Unsupported granularity"))
    grid = Grid.of(_GRANULARITIES[seconds])
    last = grid.open_of(ask.now)
    first = grid.shifted(last, 1 - _MOST)
    if ask.query.get("start") and ask.query.get("end"):
        start, end = (ask.instant(name, 0, unit=SECOND) for name in ("start", "end"))
        if end < start:
            raise Refusal(message(400, "start must be before end"))
        # Both ends are inclusive, so a span of 300 steps may give 301 rows.
        if end - start > _MOST * grid.micros:
            raise Refusal(message(400, _TOO_MANY))
        first, last = grid.ceil(max(start, 0)), min(grid.open_of(end), last)
    bars = ask.world.candles(COINBASE, coin, grid, first, last + 1, ask.now)
    columns = (bars.open_time, bars.low, bars.high, bars.open, bars.close, bars.volume)
    price, size = 10**coin.price_digits, 10**coin.size_digits
    rows = [
        [t // SECOND, low / price, h / price, o / price, c / price, v / size]
        for t, low, h, o, c, v in zip(*(x.tolist() for x in columns), strict=True)
        # A bucket without trades is left out.
        if v
    ]
    return rows[::-1]


@api.get("/products/{id}/ticker")
def ticker(ask: Ask) -> Json:
    """Return the last trade, the best prices and the day's volume."""
    coin = _coin(ask)
    trades = _newest(ask, coin, 1)
    book, day = ask.world.book(COINBASE, coin, ask.now, 1), ask.world.day(COINBASE, coin, ask.now)
    price, size = coin.price_digits, coin.size_digits
    return {
        "trade_id": int(trades.number[-1]),
        "price": decimal(int(trades.price[-1]), price),
        "size": decimal(int(trades.size[-1]), size, 8),
        "time": iso(int(trades.time[-1])),
        "bid": decimal(int(book.bids[0, 0]), price),
        "ask": decimal(int(book.asks[0, 0]), price),
        "volume": decimal(day.volume if day else 0, size, 8),
        "rfq_volume": "0",
        "conversions_volume": "0",
    }


def _newest(ask: Ask, coin: Coin, count: int, before: int | None = None) -> Trades:
    """Return the last trades by now, or those before a trade number."""
    markets, now = ask.world.markets, ask.now
    if before is not None:
        return markets.trades_from(COINBASE, coin, max(before - count, 0), count, now)
    opening = MINUTES.open_of(now)
    trades = markets.trades(COINBASE, coin, opening, now + 1, now)
    while len(trades) < count and opening > coin.listed:
        opening -= MINUTES.micros
        trades = markets.trades(COINBASE, coin, opening, now + 1, now)
    return trades.rows(slice(max(len(trades) - count, 0), None))


def trade_rows(trades: Trades, coin: Coin) -> list[dict[str, Any]]:
    """Return trades; `side` is the maker's, so in a `buy` the taker sold."""
    columns = (trades.number, trades.time, trades.price, trades.size, trades.taker_buys)
    return [
        {
            "trade_id": number,
            "side": "sell" if buys else "buy",
            "size": decimal(size, coin.size_digits, 8),
            "price": decimal(price, coin.price_digits),
            "time": iso(at),
        }
        for number, at, price, size, buys in zip(*(c.tolist() for c in columns), strict=True)
    ]


@api.get("/products/{id}/trades")
def trades(ask: Ask) -> Json:
    """Return trades, newest first; `after` moves to older ones, `before` to newer ones."""
    coin, limit = _coin(ask), ask.integer("limit", 1_000, 1, 1_000)
    after, before = ask.integer("after", -1), ask.integer("before", -1)
    if before >= 0:
        data = ask.world.markets.trades_from(COINBASE, coin, before + 1, limit, ask.now)
    else:
        data = _newest(ask, coin, limit, after if after >= 0 else None)
        data = data.rows(data.number < after) if after >= 0 else data
    rows = trade_rows(data, coin)[::-1]
    if not rows:
        return rows
    ends = {"CB-BEFORE": str(rows[0]["trade_id"]), "CB-AFTER": str(rows[-1]["trade_id"])}
    return Answer(rows, headers=ends)


@api.get("/products/{id}/book")
def book(ask: Ask) -> Json:
    """Return the order book: the best prices, or all levels."""
    coin, level = _coin(ask), ask.integer("level", 1, 1, 3)
    data = ask.world.book(COINBASE, coin, ask.now, 1 if level == 1 else 500)
    price, size = coin.price_digits, coin.size_digits

    def rows(side: list[list[int]]) -> list[list[Any]]:
        third: Any = f"{data.bucket:032x}" if level == 3 else 1
        return [[decimal(p, price), decimal(s, size, 8), third] for p, s in side]

    sides = {"bids": rows(data.bids.tolist()), "asks": rows(data.asks.tolist())}
    return {"sequence": data.update, **sides, "time": iso(data.time)}


@api.get("/products/{id}/stats")
def stats(ask: Ask) -> Json:
    """Return the past day and month."""
    coin = _coin(ask)
    return stats_row(ask, coin)


def stats_row(ask: Ask, coin: Coin) -> dict[str, str]:
    """Return the past day and month of a product."""
    now = ask.desk.clock.now()
    day, grid = ask.world.day(COINBASE, coin, now), Grid.of("1h")
    first = grid.ceil(now - 30 * DAY)
    month = ask.world.candles(COINBASE, coin, grid, first, now + 1, now)
    if day is None:
        return {}
    price, size = coin.price_digits, coin.size_digits
    prices = {"open": day.open, "high": day.high, "low": day.low, "last": day.close}
    volumes = {"volume": day.volume, "volume_30day": int(month.volume.sum())}
    row = {name: decimal(value, price) for name, value in prices.items()}
    return row | {name: decimal(value, size, 8) for name, value in volumes.items()}


@api.get("/products")
def all_products(ask: Ask) -> Json:
    """Return all products."""
    return [_described(name, coin) for name, coin in products(ask).items()]


@api.get("/products/{id}")
def product(ask: Ask) -> Json:
    """Return one product."""
    return _described(ask.path["id"], _coin(ask))


def _described(name: str, coin: Coin) -> dict[str, Any]:
    return {
        "id": name,
        "base_currency": coin.name,
        "quote_currency": "USD",
        "quote_increment": decimal(1, coin.price_digits),
        "base_increment": decimal(1, coin.size_digits, 8),
        "display_name": name.replace("-", "/"),
        "min_market_funds": "1",
        "margin_enabled": False,
        "post_only": False,
        "limit_only": False,
        "cancel_only": False,
        "status": "online",
        "status_message": "",
        "trading_disabled": False,
        "fx_stablecoin": False,
        "auction_mode": False,
    }


@api.get("/time")
def time(ask: Ask) -> Json:
    """Return the server's time."""
    return {"iso": iso(ask.server_now), "epoch": ask.server_now / SECOND}
