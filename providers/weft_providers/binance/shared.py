"""What Binance's spot and futures APIs have in common: error codes, candles, filters."""

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

_MILLI = 1_000
_UNKNOWN_SYMBOL, _ILLEGAL_CHARACTERS, _TOO_MANY = -1121, -1100, -1003
_BANNED = re.compile(r"banned until ([0-9]{13})\b")


def classify(status: int, body: Any, headers: Headers) -> type[SourceError] | None:  # noqa: ANN401, ARG001  # JSON, in the form the contract fixes
    """Return what one of Binance's own codes means, where the status does not say it."""
    told = body if status >= 400 and isinstance(body, dict) else {}
    if told.get("code") == _UNKNOWN_SYMBOL:
        return UnlistedSymbolError
    if told.get("code") == _TOO_MANY and _BANNED.search(str(told.get("msg"))):
        return BannedError
    if told.get("code") == _ILLEGAL_CHARACTERS and "'symbol'" in str(told.get("msg")):
        return UnlistedSymbolError
    return None


def waits(body: Any, _: Headers, now: int) -> float | None:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return the seconds up to the end of a ban, which its message names."""
    told = _BANNED.search(str(body["msg"]))
    return int(told[1]) / _MILLI - now / SECOND if told else None


def read_instrument(entry: Reader, kind: Kind = Kind.SPOT, **known: Any) -> Instrument:  # noqa: ANN401  # JSON, in the form the contract fixes
    """Return an instrument as exchangeInfo describes it.

    Args:
        entry: of the list of symbols.
        kind: of contract.
        known: further attributes.
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


async def read_page(
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
        http: asks.
        path: of the klines.
        name: of the interval.
        symbol: whose candles.
        interval: their length.
        first: earliest open time, microseconds since 1970.
        size: most rows of an answer.
        cost: of the request.
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
        if opened < first:
            raise row.at(0).unexpected("a time from startTime on")
        o, h, low, c, v = (row.number(i) for i in range(1, 6))
        return opened, o, h, low, c, v

    answered = answer.read.rows()
    rows, problems = parse_candles(answered, parse)
    following = max(rows)[0] + interval.micros if len(answered) >= size else None
    return Page(rows, answer, following, problems)


async def read_book(
    http: Http, path: str, symbol: str, levels: int, cost: int
) -> tuple[Book, HttpResponse]:
    """Return the order book of a symbol, and the answer it stood in."""
    answer = await http.get(path, params={"symbol": symbol, "limit": levels}, cost=cost)
    return Book(answer.read), answer


def cost_of(rows: int, costs: Sequence[tuple[int, int]]) -> int:
    """Return the weight of a request for so many rows, from a table of most rows and weight."""
    return next(cost for most, cost in costs if rows <= most)
