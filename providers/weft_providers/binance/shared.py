"""Error codes, candles, order books and instruments of Binance's spot and futures APIs."""

import re
from collections.abc import Sequence
from typing import Any

from weft.domain.instruments import Instrument, Kind, split_pair
from weft.foundation.times import SECOND, Interval
from weft.sources.candles import Page, Row, parse_candles
from weft.sources.exchange import Book
from weft.sources.http import (
    BannedError,
    Http,
    HttpResponse,
    Reader,
    SourceError,
    UnlistedSymbolError,
)
from weft.sources.http.api import Headers

_KLINE_FIELDS = 12
_MILLI = 1_000
_UNKNOWN_SYMBOL, _ILLEGAL_CHARACTERS, _TOO_MANY = -1121, -1100, -1003
_BANNED = re.compile(r"banned until ([0-9]{13})\b")


def classify(status: int, body: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401, ARG001  # JSON, in the form the contract fixes
    """Return the error of Binance's own code; None where the HTTP status is enough."""
    error = body if status >= 400 and isinstance(body, dict) else {}
    if error.get("code") == _UNKNOWN_SYMBOL:
        return UnlistedSymbolError
    if error.get("code") == _TOO_MANY and _BANNED.search(str(error.get("msg"))):
        return BannedError
    if error.get("code") == _ILLEGAL_CHARACTERS and "'symbol'" in str(error.get("msg")):
        return UnlistedSymbolError
    return None


def waits(body: Any, _: Headers, now: int) -> float | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the seconds until the end of a ban, from its message."""
    until = _BANNED.search(str(body["msg"]))
    return int(until[1]) / _MILLI - now / SECOND if until else None


def parse_instrument(entry: Reader, kind: Kind = Kind.SPOT, **known: Any) -> Instrument:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return an instrument as exchangeInfo describes it.

    Args:
        entry: entry of the list of symbols.
        kind: kind of the instrument.
        known: further attributes of the instrument.
    """
    filters = {f.text("filterType"): f for f in entry.rows("filters")}
    price, size = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    pair = (entry.text("baseAsset"), entry.text("quoteAsset"))
    base, quote, multiplier = split_pair("/".join(pair)) or (*pair, 1)
    return Instrument(
        symbol=entry.text("symbol"),
        base=base,
        quote=quote,
        kind=kind,
        venue="binance",
        multiplier=multiplier,
        tick=price.number("tickSize") if price else 0.0,
        lot=size.number("stepSize") if size else 0.0,
        **known,
    )


async def ask_page(
    http: Http,
    path: str,
    name: str,
    symbol: str,
    interval: Interval,
    first: int,
    size: int,
    cost: int,
) -> Page:
    """Return the oldest candles from `first` on, as klines give them.

    Args:
        http: client of the API.
        path: path of the klines.
        name: Binance's name of the interval.
        symbol: symbol of the candles.
        interval: length of the candles.
        first: earliest open time, microseconds since 1970.
        size: most rows in the answer.
        cost: weight of the request.
    """
    start = -(-first // _MILLI)
    params: dict[str, str | int] = {
        "symbol": symbol,
        "interval": name,
        "startTime": start,
        "limit": size,
    }
    answer = await http.get(path, params=params, cost=cost)

    def parse(row: Reader) -> Row:
        opened = row.instant(0, unit="ms")
        o, h, low, c, v = (row.number(i) for i in range(1, 6))
        # A field too few or too many moves values to the place of others.
        row.expect_length(_KLINE_FIELDS)
        if row.instant(6, unit="ms") != opened + interval.micros - _MILLI:
            raise row.at(6).unexpected("the close time of the candle")
        return opened, o, h, low, c, v

    answered = answer.read.rows()
    rows, problems = parse_candles(
        answered, parse, lambda opened: opened >= first, "a time from startTime on"
    )
    following = max(rows)[0] + interval.micros if len(answered) >= size else None
    return Page(rows, answer, following, problems)


async def ask_book(
    http: Http, path: str, symbol: str, levels: int, cost: int
) -> tuple[Book, HttpResponse]:
    """Return the order book of a symbol, and the answer with it."""
    answer = await http.get(path, params={"symbol": symbol, "limit": levels}, cost=cost)
    return Book(answer.read), answer


def cost_of(rows: int, costs: Sequence[tuple[int, int]]) -> int:
    """Return the weight of a request, from a table of most rows and weight."""
    return next(cost for most, cost in costs if rows <= most)
