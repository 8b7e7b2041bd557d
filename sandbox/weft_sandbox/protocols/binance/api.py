"""Binance's limits, headers, error bodies and common parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import orjson

from weft.foundation.times import HOUR, MINUTE
from weft_sandbox.limits import Budget, Meter
from weft_sandbox.market.bars import Bars, Grid
from weft_sandbox.market.coins import Coin
from weft_sandbox.market.venues import PERPETUAL, REFERENCE, Venue
from weft_sandbox.paging import decimal
from weft_sandbox.protocol import MILLI, Answer, Api, Ask, Problem, Refusal

SPOT_INTERVALS = (
    *("1s", "1m", "3m", "5m", "15m", "30m"),
    *("1h", "2h", "4h", "6h", "8h", "12h"),
    *("1d", "3d", "1w", "1M"),
)
FUTURES_INTERVALS = SPOT_INTERVALS[1:]
_MICROS = 10**14
"""Larger times are microseconds; in milliseconds this is the year 5138."""


def error(code: int, message: str, status: int = 400) -> Answer:
    """Return an error in Binance's form."""
    return Answer({"code": code, "msg": message}, status)


INVALID_SYMBOL = error(-1121, "Invalid symbol.")
INVALID_INTERVAL = error(-1120, "Invalid interval.")


_TOO_MUCH = (
    "Too much request weight used; please use WebSocket Streams for live updates to avoid "
    "polling the API."
)
_BANNED = "Way too much request weight used; IP banned until 1767225600000."
_BAD_KEY = error(-2014, "API-key format invalid.", 401)
_NO_PERMISSION = error(-2015, "Invalid API-key, IP, or permissions for action.", 401)
_ERRORS = {
    Problem.RATE_LIMITED: error(-1003, _TOO_MUCH, 429),
    Problem.BANNED: error(-1003, _BANNED, 418),
    Problem.NOT_FOUND: Answer(b"<html><body>404 Not found</body></html>", 404, {}, "text/html"),
    Problem.NO_KEY: _BAD_KEY,
    Problem.BAD_KEY: _BAD_KEY,
    Problem.EXPIRED_KEY: _NO_PERMISSION,
    Problem.PLAN: _NO_PERMISSION,
    Problem.SERVER: error(-1000, "An unknown error occurred while processing the request.", 500),
}


def _errors(problem: Problem, detail: str) -> Answer:
    if problem is Problem.BAD_PARAMETER:
        text = f"Mandatory parameter '{detail}' was not sent, was empty/null, or malformed."
        return error(-1102, text)
    answer = _ERRORS[problem]
    waits = problem in {Problem.RATE_LIMITED, Problem.BANNED}
    return replace(answer, headers={"Retry-After": detail}) if waits else answer


def _headers(meters: Mapping[str, Meter]) -> dict[str, str]:
    for name in ("weight", "futures_weight"):
        if name in meters:
            used = str(meters[name].used)
            return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}
    return {}


api = Api(
    "binance",
    errors=_errors,
    budgets=(
        Budget("weight", 6_000, 60),
        Budget("raw", 61_000, 300),
        Budget("futures_weight", 2_400, 60),
        Budget("futures_data", 1_000, 300),
        Budget("funding", 500, 300),
    ),
    headers=_headers,
    ban_after=20,
    shutdown=lambda now: {"e": "serverShutdown", "E": now // MILLI},
)


@dataclass(frozen=True, slots=True)
class Side:
    """Spot or USDT-M, which differ in prices, intervals and some rules.

    Attributes:
        venue: venue of the prices.
        intervals: intervals of candles.
        most: greatest number of candles in one response.
        digits: least decimals of each number.
    """

    venue: Venue
    intervals: tuple[str, ...]
    most: int
    digits: int


SPOT = Side(REFERENCE, SPOT_INTERVALS, 1_000, 8)
FUTURES = Side(PERPETUAL, FUTURES_INTERVALS, 1_500, 0)


def symbols(ask: Ask) -> dict[str, Coin]:
    """Return the pairs that are listed by now."""
    return {coin.symbol: coin for coin in ask.world.coins if coin.listed <= ask.now}


def coin_of(ask: Ask) -> Coin:
    """Return the coin of the parameter `symbol`."""
    name = ask.text("symbol")
    if not name.isalnum() or not name.isascii():
        text = (
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'."
        )
        raise Refusal(error(-1100, text))
    coin = symbols(ask).get(name)
    if coin is None:
        raise Refusal(INVALID_SYMBOL)
    return coin


def coins_of(ask: Ask) -> tuple[list[Coin], bool]:
    """Return the coins of `symbol` or `symbols`, or all, and whether `symbol` is given."""
    if ask.query.get("symbol"):
        return [coin_of(ask)], True
    text = ask.query.get("symbols")
    listed = symbols(ask)
    if not text:
        return list(listed.values()), False
    try:
        names = orjson.loads(text)
        return [listed[name] for name in names], False
    except KeyError:
        raise Refusal(INVALID_SYMBOL) from None
    except (ValueError, TypeError):
        text = "Illegal characters found in parameter 'symbols'; legal range is a JSON array."
        raise Refusal(error(-1100, text)) from None


def limit_of(ask: Ask, default: int, most: int) -> int:
    """Return `limit`, cut at its maximum."""
    limit = ask.integer("limit", default)
    if limit < 1:
        raise Refusal(error(-1130, "Data sent for parameter 'limit' is not valid."))
    return min(limit, most)


def time_of(ask: Ask, name: str) -> int | None:
    """Return a time in microseconds, from milliseconds or microseconds."""
    value = ask.integer(name, -1)
    if value < 0:
        if ask.query.get(name):
            raise Refusal(Problem.BAD_PARAMETER, name)
        return None
    return value if value >= _MICROS else value * MILLI


def time_unit(ask: Ask) -> int:
    """Return the microseconds in the unit of the response's times."""
    return 1 if ask.headers.get("X-MBX-TIME-UNIT", "").upper() == "MICROSECOND" else MILLI


def _zone_of(ask: Ask) -> int:
    text = ask.query.get("timeZone") or "0"
    sign = -1 if text.startswith("-") else 1
    hours, _, minutes = text.lstrip("+-").partition(":")
    if not hours.isdecimal() or (minutes and not minutes.isdecimal()) or int(hours) > 14:
        raise Refusal(error(-1130, "Data sent for parameter 'timeZone' is not valid."))
    return sign * (int(hours) * HOUR + int(minutes or 0) * MINUTE)


def klines(ask: Ask, side: Side, default: int = 500) -> list[list[object]]:
    """Return candles by the rules of both sides."""
    coin = coin_of(ask)
    interval = ask.text("interval")
    if interval not in side.intervals:
        raise Refusal(INVALID_INTERVAL)
    limit = limit_of(ask, default, side.most)
    grid = Grid.of(interval, _zone_of(ask))
    start, end = time_of(ask, "startTime"), time_of(ask, "endTime")
    last = grid.open_of(min(ask.now if end is None else end, ask.now))
    first = grid.shifted(last, 1 - limit)
    if start is not None:
        first = grid.ceil(max(start, grid.open_of(coin.listed)))
        last = min(last, grid.shifted(first, limit - 1))
    bars = ask.world.candles(side.venue, coin, grid, first, last + 1, ask.now)
    return kline_rows(bars, coin, grid, side.digits, time_unit(ask))


def kline_rows(bars: Bars, coin: Coin, grid: Grid, digits: int, unit: int) -> list[list[object]]:
    """Return candles as arrays of twelve elements."""
    price, size = coin.price_digits, coin.size_digits
    rows: list[list[object]] = []
    columns = (bars.open_time, bars.open, bars.high, bars.low, bars.close, bars.volume)
    more = (bars.quote, bars.trades, bars.taker, bars.taker_quote)
    for t, o, h, low, c, v, q, n, b, bq in zip(
        *(x.tolist() for x in (*columns, *more)), strict=True
    ):
        close_time = grid.shifted(t, 1) // unit - 1
        numbers = [decimal(p, price, digits) for p in (o, h, low, c)]
        row = [t // unit, *numbers, decimal(v, size, digits), close_time]
        row += [decimal(q, price + size, digits), n, decimal(b, size, digits)]
        rows.append([*row, decimal(bq, price + size, digits), "0"])
    return rows
