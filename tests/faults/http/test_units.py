"""H9: prices in another unit: a slip is refused, a lasting change is kept and told."""

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

_PATHS = {"binance": "/api/v3/klines", "bybit": "/v5/market/kline", "coinbase": "/candles"}
_MICROS = {"binance": 1_000, "bybit": 1_000, "coinbase": 1_000_000}
_BITCOIN = {"binance": "BTCUSDT", "bybit": "BTCUSDT", "coinbase": "BTC-USD"}


def times_factor(
    exchange: str, factor: float, first: int, last: int
) -> Callable[[Ask, Reply], Reply]:
    """Multiply the prices of candles that open in a span of time, as told by one exchange."""
    unit = _MICROS[exchange]

    def spoil(ask: Ask, reply: Reply) -> Reply:
        if _PATHS[exchange] not in ask.url:
            return reply
        body = orjson.loads(reply.body)
        rows: list[Candle] = body["result"]["list"] if exchange == "bybit" else body
        for row in rows:
            if first <= int(row[0]) * unit <= last:
                for at in range(1, 5):
                    price = float(row[at]) * factor
                    row[at] = str(price) if isinstance(row[at], str) else price
        return replace(reply, body=orjson.dumps(body))

    return spoil


def of(clean: Rows, exchange: str) -> Rows:
    return {row for row in clean if row[0] == "candles" and row[1].startswith(exchange)}


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("factor", [1_000.0, 0.001])
def test_h9_a_candle_in_another_unit_is_refused(
    desk: Open, clean_candles: Rows, exchange: str, factor: float
) -> None:
    at = NOW // HOUR * HOUR - 24 * HOUR
    one = desk(exchange)
    with Tap(spoil=times_factor(exchange, factor, at, at)).listening():
        one.collect()
    rows, clean = one.rows(CANDLES), of(clean_candles, exchange)
    assert rows < clean
    assert len(clean) - len(rows) == 2
    assert "times off the close before and the open after it" in one.troubles()[exchange]
    assert one.composes()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h9_decimals_that_shift_for_good_are_kept_and_told(
    desk: Open, clean_candles: Rows, exchange: str
) -> None:
    since = NOW // HOUR * HOUR - 24 * HOUR
    one = desk(exchange)
    with Tap(spoil=times_factor(exchange, 1_000.0, since, NOW)).listening():
        one.collect()
    assert len(one.rows(CANDLES)) == len(of(clean_candles, exchange))
    assert "redenominated, or in another unit" in one.troubles()[exchange]
    assert one.composes()


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h9_the_newest_candle_in_another_unit_waits_for_the_next(
    sandbox: Sandbox, desk: Open, exchange: str
) -> None:
    newest = NOW // HOUR * HOUR
    one = desk(exchange)
    one.collect()
    before = one.rows_of(CANDLES, _BITCOIN[exchange])
    # The next candle comes alone, a thousand times too large.
    later = NOW + HOUR
    sandbox.clock.move(later, 0)
    with Tap(spoil=times_factor(exchange, 1_000.0, newest, later)).listening():
        one.collect(at=later)
    assert one.rows_of(CANDLES, _BITCOIN[exchange]) == before
    assert "until the next one agrees" in one.troubles()[exchange]
    assert one.composes()
    # Told rightly in the next round, it takes its place.
    one.collect()
    assert before <= one.rows_of(CANDLES, _BITCOIN[exchange])
    assert one.status()[exchange].newest_candle == later // HOUR * HOUR


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_h9_a_slip_that_is_never_mended_is_left_out(
    sandbox: Sandbox, desk: Open, exchange: str
) -> None:
    newest = NOW // HOUR * HOUR
    one = desk(exchange)
    one.collect()
    before = one.rows(CANDLES)
    with Tap(spoil=times_factor(exchange, 1_000.0, newest, newest)).listening():
        for hours in (1, 2):
            later = NOW + hours * HOUR
            sandbox.clock.move(later, 0)
            one.collect(at=later)
    assert one.status()[exchange].newest_candle == (NOW + 2 * HOUR) // HOUR * HOUR
    assert before <= one.rows(CANDLES)
    opens = {float(row[5]) for row in one.rows_of(CANDLES, _BITCOIN[exchange])}
    assert max(opens) / min(opens) < 10
