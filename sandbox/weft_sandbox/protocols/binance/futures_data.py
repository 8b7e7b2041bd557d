"""USDT-M statistics, /futures/data: the last thirty days only."""

from typing import Any

import numpy as np

from weft.foundation.arrays import Times
from weft.foundation.times import DAY, Interval
from weft_sandbox.market.bars import Grid
from weft_sandbox.market.coins import Coin
from weft_sandbox.protocol import MILLI, Ask, Json, Refusal
from weft_sandbox.protocols.binance.api import (
    FUTURES,
    INVALID_INTERVAL,
    api,
    coin_of,
    error,
    limit_of,
    time_of,
)

_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
_OLDEST = 30 * DAY
_COSTS = {"futures_data": 1}
_RATIOS = {
    "topLongShortPositionRatio": "top_position_ratio",
    "topLongShortAccountRatio": "top_account_ratio",
    "globalLongShortAccountRatio": "long_short_ratio",
}


def _asked(ask: Ask) -> tuple[Coin, Times, str]:
    coin, period = coin_of(ask), ask.text("period")
    if period not in _PERIODS:
        raise Refusal(INVALID_INTERVAL)
    limit = limit_of(ask, 30, 500)
    start, end = time_of(ask, "startTime"), time_of(ask, "endTime")
    if start is not None and start < ask.now - _OLDEST - DAY:
        raise Refusal(error(-1130, "parameter 'startTime' is invalid."))
    step = Interval.parse(period).micros
    last = min(ask.now if end is None else end, ask.now) // step
    first = last - limit + 1
    if start is not None:
        first = -(-start // step)
        last = min(last, first + limit - 1)
    oldest = max(-(-(ask.now - _OLDEST) // step), -(-coin.listed // step))
    return coin, np.arange(max(first, oldest), last + 1, dtype=np.int64) * step, period


@api.get("/futures/data/openInterestHist", costs=_COSTS)
def open_interest(ask: Ask) -> Json:
    """Return open interest in coins and dollars."""
    coin, times, _ = _asked(ask)
    values = ask.world.derivatives.open_interest(FUTURES.venue, coin, times).tolist()
    rows = []
    for time, value in zip(times.tolist(), values, strict=True):
        worth = value * ask.world.price(FUTURES.venue, coin, time) * coin.tick
        row = {"symbol": coin.symbol, "sumOpenInterest": f"{value:.8f}"}
        row |= {"sumOpenInterestValue": f"{worth:.8f}", "timestamp": time // MILLI}
        rows.append(row | {"CMCCirculatingSupply": f"{coin.supply:.8f}"})
    return rows


@api.get("/futures/data/{name:str}", costs=_COSTS)
def statistics(ask: Ask) -> Json:
    """Return the ratio of longs to shorts, or of taker purchases to taker sales."""
    name = ask.path["name"]
    if name == "takerlongshortRatio":
        return _taker(ask)
    if name not in _RATIOS:
        raise Refusal(error(-5000, f"Path /futures/data/{name}, Method GET is invalid", 404))
    coin, times, _ = _asked(ask)
    ratios = ask.world.derivatives.ratio(_RATIOS[name], coin, times).tolist()
    return [
        {
            "symbol": coin.symbol,
            "longAccount": f"{ratio / (1 + ratio):.4f}",
            "longShortRatio": f"{ratio:.4f}",
            "shortAccount": f"{1 / (1 + ratio):.4f}",
            "timestamp": time // MILLI,
        }
        for time, ratio in zip(times.tolist(), ratios, strict=True)
    ]


def _taker(ask: Ask) -> list[dict[str, Any]]:
    coin, times, period = _asked(ask)
    if not len(times):
        return []
    grid = Grid.of(period)
    # The row of an instant covers the period that ends there.
    first, last = grid.shifted(int(times[0]), -1), int(times[-1])
    bars = ask.world.candles(FUTURES.venue, coin, grid, first, last, ask.now)
    rows = zip(bars.open_time.tolist(), bars.taker.tolist(), bars.volume.tolist(), strict=True)
    return [
        {
            "buySellRatio": f"{bought / (volume - bought):.4f}",
            "buyVol": f"{bought * coin.step:.4f}",
            "sellVol": f"{(volume - bought) * coin.step:.4f}",
            "timestamp": grid.shifted(opening, 1) // MILLI,
        }
        for opening, bought, volume in rows
    ]
