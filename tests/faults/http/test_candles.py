"""Nonsense in candles: impossible prices, stamps, duplicates, gaps, pages, unfinished ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import orjson
import pytest

from tests.faults.http.world import EXCHANGES, NOW, Desk, Rows
from weft.foundation.times import HOUR
from weft.sources.http.connection import Reply
from weft.store.tables import CANDLES
from weft.testing.providers.wiretap import Ask, Tap
from weft_sandbox import Sandbox

Open: TypeAlias = Callable[..., Desk]
Candle: TypeAlias = list[Any]
Change: TypeAlias = Callable[[list[Candle]], list[Candle]]

_PATHS = {"binance": "/api/v3/klines", "bybit": "/v5/market/kline", "coinbase": "/candles"}
_FIELDS = {
    "binance": {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
    "bybit": {"open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
    "coinbase": {"low": 1, "high": 2, "open": 3, "close": 4, "volume": 5},
}


def collected(desk: Open, exchange: str, change: Change, rounds: int = 1) -> Desk:
    """Return a desk after a round in which candles of an exchange were something else."""

    def spoil(ask: Ask, reply: Reply) -> Reply:
        if _PATHS[exchange] not in ask.url:
            return reply
        body = orjson.loads(reply.body)
        if exchange == "bybit":
            body["result"]["list"] = change(body["result"]["list"])
        else:
            body = change(body)
        return replace(reply, body=orjson.dumps(body))

    one = desk(exchange)
    with Tap(spoil=spoil).listening():
        for _ in range(rounds):
            one.collect()
    return one


def of(clean: Rows, exchange: str) -> Rows:
    return {row for row in clean if row[0] == "candles" and row[1].startswith(exchange)}


def middle(rows: list[Candle]) -> Candle:
    return rows[len(rows) // 2]


def put(row: Candle, at: int, value: float) -> None:
    row[at] = str(value) if isinstance(row[at], str) else value


def stamp(rows: list[Candle], make: Callable[[int], int]) -> list[Candle]:
    for row in rows:
        row[0] = str(make(int(row[0]))) if isinstance(row[0], str) else make(row[0])
    return rows


def nonsense(exchange: str, what: str) -> Change:
    fields = _FIELDS[exchange]

    def change(rows: list[Candle]) -> list[Candle]:
        if rows:
            row = middle(rows)
            high, low = (float(row[fields[name]]) for name in ("high", "low"))
            if what == "no price":
                put(row, fields["close"], 0.0)
            elif what == "a negative price":
                put(row, fields["low"], -low)
            elif what == "high below low":
                put(row, fields["high"], low)
                put(row, fields["low"], high)
            elif what == "a close beyond":
                put(row, fields["close"], 1000 * high)
            else:
                put(row, fields["volume"], -1.0)
        return rows

    return change


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize(
    "what", ["no price", "a negative price", "high below low", "a close beyond", "negative volume"]
)
def test_h9_candles_that_cannot_be_are_refused_and_named(
    desk: Open, clean_candles: Rows, exchange: str, what: str
) -> None:
    one = collected(desk, exchange, nonsense(exchange, what))
    rows, clean = one.rows(CANDLES), of(clean_candles, exchange)
    assert rows < clean
    # One of each symbol, on each page.
    assert len(clean) - len(rows) <= 4
    assert "refused" in one.troubles()[exchange]
    assert one.composes()


_STAMPS: dict[str, Callable[[int], int]] = {
    "a thousand times as large": lambda t: t * 1000,
    "a thousand times as small": lambda t: t // 1000,
    "ten years ahead": lambda t: t + (10 * 365 * 24 * HOUR // (1000 if t > 1e12 else 1_000_000)),
    "half an hour late": lambda t: t + (1_800_000 if t > 1e12 else 1_800),
}


@pytest.mark.parametrize(
    ("exchange", "what"),
    [(exchange, what) for exchange in EXCHANGES for what in _STAMPS],
)
def test_h10_candles_with_other_stamps_are_not_stored(
    desk: Open, clean_candles: Rows, exchange: str, what: str
) -> None:
    one = collected(desk, exchange, lambda rows: stamp(rows, _STAMPS[what]))
    assert one.rows(CANDLES) == set()
    assert one.troubles()[exchange]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h11_candles_that_come_twice_are_stored_once(
    desk: Open, clean_candles: Rows, exchange: str
) -> None:
    one = collected(desk, exchange, lambda rows: [row for row in rows for _ in range(2)], rounds=2)
    assert one.rows(CANDLES) == of(clean_candles, exchange)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h11_candles_that_come_twice_with_two_values_are_refused(
    desk: Open, clean_candles: Rows, exchange: str
) -> None:
    def twins(rows: list[Candle]) -> list[Candle]:
        other = list(middle(rows))
        put(other, 5, float(other[5]) + 1.0)
        return [*rows, other]

    one = collected(desk, exchange, twins)
    assert one.rows(CANDLES) < of(clean_candles, exchange)
    assert one.troubles()[exchange]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h12_candles_in_any_order_are_the_same(
    sandbox: Sandbox, desk: Open, clean_candles: Rows, exchange: str
) -> None:
    sandbox.fault({"kind": "shuffle_rows", "path": f"*{_PATHS[exchange]}", "seed": 4})
    one = desk(exchange)
    one.collect()
    assert one.rows(CANDLES) == of(clean_candles, exchange)


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h12_candles_with_a_gap_stay_candles_with_a_gap(
    desk: Open, clean_candles: Rows, exchange: str
) -> None:
    def holed(rows: list[Candle]) -> list[Candle]:
        return [row for row in rows if row is not middle(rows)]

    one = collected(desk, exchange, holed, rounds=2)
    assert one.rows(CANDLES) < of(clean_candles, exchange)
    assert one.composes()


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("kind", ["cursor_loop", "empty_rows"])
def test_h12_candles_of_pages_that_do_not_end_or_are_empty(
    sandbox: Sandbox, desk: Open, clean_candles: Rows, exchange: str, kind: str
) -> None:
    sandbox.fault({"kind": kind, "path": f"*{_PATHS[exchange]}", "provider": exchange})
    symbol = "BTC-USD" if exchange == "coinbase" else "BTCUSDT"
    options = (f"{exchange}.page_size=10", f"{exchange}.symbols=[{symbol}]")
    one = desk(exchange, overrides=tuple(f"providers.{option}" for option in options))
    one.collect()
    assert one.rows(CANDLES) <= of(clean_candles, exchange)
    (armed,) = sandbox.faults.report()
    assert armed["struck"] <= 60


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h12_candles_that_are_not_finished_wait(
    sandbox: Sandbox, desk: Open, clean_candles: Rows, exchange: str
) -> None:
    one = desk(exchange)
    one.collect()
    spans = one.engine.market.known_spans(one.engine.composition.providers[0].component.source)
    assert {span.last + HOUR for span in spans.values()} == {NOW // HOUR * HOUR}
    before = one.rows(CANDLES)
    later = NOW + HOUR
    sandbox.clock.move(later, 0)
    one.collect(at=later)
    # What was unfinished before came whole, and nothing else changed.
    assert before <= one.rows(CANDLES)
    spans = one.engine.market.known_spans(one.engine.composition.providers[0].component.source)
    assert {span.last + HOUR for span in spans.values()} == {later // HOUR * HOUR}
