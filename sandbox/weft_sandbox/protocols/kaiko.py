"""Kaiko's market data: order books, trades and aggregates; numbers are texts.

Depths and slippage are series of the world around a usual size (see `usual`); prices, volumes and
counts are those of the market.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import HOUR, Interval, TimeError
from weft_sandbox.limits import Budget
from weft_sandbox.market.bars import Bars, Grid
from weft_sandbox.market.coins import OPENING, Coin
from weft_sandbox.market.recipes import recipe_of
from weft_sandbox.market.venues import BYBIT_SPOT, COINBASE, PERPETUAL, REFERENCE, Venue
from weft_sandbox.market.world import World
from weft_sandbox.paging import decimal, decode_cursor, encode_cursor
from weft_sandbox.protocol import MILLI, Answer, Api, Ask, Json, Key, Problem, Refusal
from weft_sandbox.protocol import iso_millis as iso

EXCHANGES = {
    ("binc", "spot"): (REFERENCE, "usdt"),
    ("binc", "perpetual-future"): (PERPETUAL, "usdt"),
    ("bybt", "spot"): (BYBIT_SPOT, "usdt"),
    ("cbse", "spot"): (COINBASE, "usd"),
    ("krkn", "spot"): (Venue("kraken-spot", share=0.2, spread=3.5e-4), "usd"),
    ("stmp", "spot"): (Venue("bitstamp-spot", share=0.08, spread=4.0e-4), "usd"),
}
BANDS = ("0_1", "0_2", "0_3", "0_4", "0_5", "0_6", "0_7", "0_8", "0_9", "1", "1_5", "2", "4", "10")
_TOLD = {
    Problem.BAD_PARAMETER: (400, "Bad parameter"),
    Problem.NOT_FOUND: (404, "Not found"),
    Problem.PLAN: (403, "Your licence does not include this data"),
    Problem.RATE_LIMITED: (429, "Too many requests"),
    Problem.BANNED: (429, "Too many requests"),
    Problem.SERVER: (500, "Internal server error"),
}
_LARGEST = {"books": (10, 100), "candles": (100, 100_000), "trades": (100, 10_000)}


def _errors(problem: Problem, detail: str) -> Answer:
    status, text = _TOLD.get(problem, (401, "Missing or invalid API key"))
    wait = {"Retry-After": detail} if status == 429 else {}
    return Answer({"result": "error", "message": text}, status, wait)


api = Api(
    "kaiko",
    errors=_errors,
    key=Key(header="X-Api-Key"),
    # Set by contract; this is the lowest known limit.
    budgets=(Budget("second", 100, 1),),
)


def usual(world: World, name: str, coin: Coin, times: Times, middle: float) -> Floats:
    """Return a series of the world, scaled to vary around a middle."""
    return world.series(name, coin.name, times) * (middle / recipe_of(name).level)


class _Query(NamedTuple):
    """The parameters of a first request, which its further pages repeat."""

    first: int
    end: int
    interval: str
    ascending: bool
    size: int
    slippage: float
    offset: int = 0


_MARKET = "exchanges/{exchange}/{klass}/{instrument}"
_BOOKS = f"/v2/data/order_book_snapshots.v1/{_MARKET}"
_TRADES = f"/v2/data/trades.v1/{_MARKET}"
_TICKS = f"/v3/data/trades.v1/{_MARKET}/trades"


def _market(ask: Ask) -> tuple[Venue, Coin]:
    place = EXCHANGES.get((ask.path["exchange"], ask.path["klass"]))
    base, _, quote = ask.path["instrument"].partition("-")
    coin = ask.world.coin.get(base.upper()) if base.islower() else None
    if place is None or coin is None or quote != place[1] or coin.listed > ask.now:
        raise Refusal(Problem.NOT_FOUND)
    return place[0], coin


def _query_of(ask: Ask, kind: str, interval: str) -> _Query:
    token = ask.query.get("continuation_token")
    if token:
        if set(ask.query) != {"continuation_token"}:
            raise Refusal(Problem.BAD_PARAMETER, "continuation_token")
        return _Query(*decode_cursor(token, "continuation_token"))
    usual_size, largest = _LARGEST[kind]
    size = ask.integer("page_size", usual_size, 1, largest)
    name = ask.text("interval", interval)
    try:
        length = Interval.parse(name).micros
    except TimeError:
        raise Refusal(Problem.BAD_PARAMETER, "interval") from None
    end = min(ask.instant("end_time", ask.now, unit=None), ask.now)
    first = max(ask.instant("start_time", end - size * length, unit=None), OPENING)
    ascending = ask.text("sort", "desc", ("asc", "desc")) == "asc"
    slippage = float(ask.integer("slippage", 0, 0))
    return _Query(first, end, name, ascending, size, slippage)


def _page(
    ask: Ask, query: _Query, path: str, stamps: Times, make: Callable[[Times], list[Any]]
) -> Json:
    """Return one page of the rows of ascending times, with the URL of the next page."""
    count, stop = len(stamps), query.offset + query.size
    if query.ascending:
        rows = make(stamps[query.offset : stop])
    else:
        rows = make(stamps[max(count - stop, 0) : count - query.offset])[::-1]
    for name, value in ask.path.items():
        path = path.replace(f"{{{name}}}", value)
    span = {"start_timestamp": OPENING // MILLI, "end_timestamp": None}
    body: dict[str, Any] = {
        "query": {**ask.path, "page_size": query.size, "interval": query.interval},
        "time": iso(ask.now),
        "timestamp": ask.now // MILLI,
        "data": rows,
        "result": "success",
        "access": {"access_range": span, "data_range": span},
    }
    if stop < count:
        token = encode_cursor(list(query._replace(offset=stop)))
        host = ask.headers.get("host", "127.0.0.1")
        body["continuation_token"] = token
        body["next_url"] = f"http://{host}/{api.name}{path}?continuation_token={token}"
    return body


def _opens(query: _Query) -> tuple[Grid, Times]:
    grid = Grid.of(query.interval)
    # The start is inclusive, the end is not.
    return grid, np.arange(grid.ceil(query.first), query.end, grid.micros)


@api.get(f"{_BOOKS}/ob_aggregations/{{form}}", plan=True)
def aggregated_books(ask: Ask) -> Json:
    """Return the mean order books of intervals, stamped with their start."""
    if ask.path["form"] not in {"full", "depth", "slippage"}:
        raise Refusal(Problem.NOT_FOUND)
    venue, coin = _market(ask)
    query = _query_of(ask, "books", "1h")
    grid, opens = _opens(query)

    def make(stamps: Times) -> list[Any]:
        return _books(ask.world, venue, coin, stamps, stamps + grid.micros, query.slippage)

    closed = opens[opens + grid.micros <= ask.now]
    return _page(ask, query, f"{_BOOKS}/ob_aggregations/{{form}}", closed, make)


@api.get(f"{_BOOKS}/snapshots/{{form}}", plan=True)
def snapshots(ask: Ask) -> Json:
    """Return sampled order books, one every 30 seconds."""
    form, limit = ask.path["form"], ask.integer("limit_orders", 10, 1, 1_000)
    if form not in {"raw", "full", "depth", "slippage"}:
        raise Refusal(Problem.NOT_FOUND)
    venue, coin = _market(ask)
    query = _query_of(ask, "books", "30s")

    def make(stamps: Times) -> list[Any]:
        rows = _books(ask.world, venue, coin, stamps, stamps, query.slippage)
        for row, at in zip(rows, stamps.tolist(), strict=True):
            if form == "raw":
                row.clear()
            row.update(poll_timestamp=at // MILLI, poll_date=iso(at), timestamp=None)
            if form in {"raw", "full"}:
                row.update(_levels(ask.world, venue, coin, at, limit))
        return rows

    times = _opens(query._replace(interval="30s"))[1]
    return _page(ask, query, f"{_BOOKS}/snapshots/{{form}}", times, make)


def _levels(world: World, venue: Venue, coin: Coin, at: int, limit: int) -> dict[str, Any]:
    def level(size: int, price: int) -> dict[str, str]:
        return {
            "amount": decimal(size, coin.size_digits),
            "price": decimal(price, coin.price_digits),
        }

    book = world.book(venue, coin, at, limit)
    sides = {"asks": book.asks.tolist(), "bids": book.bids.tolist()}
    return {side: [level(size, price) for price, size in rows] for side, rows in sides.items()}


def _books(
    world: World, venue: Venue, coin: Coin, stamps: Times, ends: Times, order: float
) -> list[dict[str, Any]]:
    if not len(stamps):
        return []
    hours = Grid.of("1h")
    opens = np.unique(hours.floor(ends - HOUR))
    bars = world.candles(venue, coin, hours, int(opens[0]), int(opens[-1]) + 1, int(ends[-1]))
    mid = np.interp(ends - HOUR, bars.open_time, (bars.open + bars.close) / 2 * coin.tick)
    depth = coin.turnover * venue.share
    bids = usual(world, "bid_depth_usd", coin, ends, 2.0 * depth) / mid
    asks = usual(world, "ask_depth_usd", coin, ends, 2.0 * depth) / mid
    spread = usual(world, "bid_ask_spread", coin, ends, 2e-4) * mid
    slip = usual(world, "slippage", coin, ends, 3e-4) * np.sqrt(order / 100_000)
    rows = []
    for i, stamp in enumerate(stamps.tolist()):
        thin = order > min(bids[i], asks[i]) * mid[i] * 10
        row: dict[str, Any] = {"poll_timestamp": stamp // MILLI, "poll_date": iso(stamp)}
        for side, volume in (("bid", bids[i]), ("ask", asks[i])):
            for band in BANDS:
                share = min(float(band.replace("_", ".")), 4.0)
                row[f"{side}_volume{band}"] = repr(float(volume * share))
            tilt = 1.1 if side == "ask" else 0.9
            row[f"{side}_slippage"] = None if thin else repr(float(slip[i] * tilt))
        row |= {"spread": repr(float(spread[i])), "mid_price": repr(float(mid[i]))}
        rows.append(row)
    return rows


_FORMS = {
    "ohlcv": ("open", "high", "low", "close", "volume"),
    "vwap": ("price",),
    "count_ohlcv_vwap": ("open", "high", "low", "close", "volume", "price", "count"),
}


_EMPTY: Mapping[str, Any] = {"volume": "0", "count": 0}
"""Fields of an interval without trades that are not null."""


def _column(name: str, bars: Bars, coin: Coin) -> list[Any]:
    """Return one field of every candle, as the API writes it."""
    if name == "count":
        return list(bars.trades.tolist())
    if name == "price":
        volume = np.maximum(bars.volume, 1)
        return [repr(price) for price in (bars.quote / volume * coin.tick).tolist()]
    digits = coin.size_digits if name == "volume" else coin.price_digits
    return [decimal(value, digits) for value in getattr(bars, name).tolist()]


@api.get(f"{_TRADES}/aggregations/{{form}}")
def candles(ask: Ask) -> Json:
    """Return candles, volume-weighted prices and counts; the last row may be unfinished."""
    wanted = _FORMS.get(ask.path["form"])
    if wanted is None:
        raise Refusal(Problem.NOT_FOUND)
    venue, coin = _market(ask)
    query = _query_of(ask, "candles", "1d")
    grid, opens = _opens(query)

    def make(stamps: Times) -> list[Any]:
        if not len(stamps):
            return []
        bars = ask.world.candles(venue, coin, grid, int(stamps[0]), int(stamps[-1]) + 1, ask.now)
        columns = [_column(name, bars, coin) for name in wanted]
        volumes = bars.volume.tolist()
        at = {t: i for i, t in enumerate(bars.open_time.tolist()) if volumes[i]}
        empty = dict.fromkeys(wanted) | {k: v for k, v in _EMPTY.items() if k in wanted}
        rows = []
        for opening in stamps.tolist():
            i = at.get(opening)
            cells = empty if i is None else dict(zip(wanted, (c[i] for c in columns), strict=True))
            rows.append({"timestamp": opening // MILLI, **cells})
        return rows

    listed = opens[opens >= grid.open_of(coin.listed)]
    return _page(ask, query, f"{_TRADES}/aggregations/{{form}}", listed, make)


@api.get(_TICKS)
def trades(ask: Ask) -> Json:
    """Return trades of at most an hour."""
    venue, coin = _market(ask)
    query = _query_of(ask, "trades", "1h")
    sample = ask.world.trades(venue, coin, max(query.first, query.end - HOUR), query.end, ask.now)

    def make(indices: Times) -> list[Any]:
        return [
            {
                "timestamp": int(sample.time[i]) // MILLI,
                "trade_id": str(sample.number[i]),
                "price": decimal(int(sample.price[i]), coin.price_digits),
                "amount": decimal(int(sample.size[i]), coin.size_digits),
                "taker_side_sell": not sample.taker_buys[i],
            }
            for i in indices
        ]

    return _page(ask, query, _TICKS, np.arange(len(sample)), make)
