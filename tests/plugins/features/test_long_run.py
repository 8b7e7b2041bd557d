"""Tens of thousands of candles, live, one at a time: nothing drifts away from TA-Lib."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import talib

from tests.plugins.features.panels import BLOCK_START, make, market, panel
from weft.features.engine import BLOCK, FeatureEngine
from weft.foundation.arrays import Floats

ROWS = 50_000
FIRST = 5_000
SYMBOLS = 3
START = BLOCK_START - 777

Series = dict[str, Floats]

ORACLES: dict[str, tuple[str, Callable[[Series], Floats]]] = {
    "rsi": ("rsi", lambda s: talib.RSI(s["close"], 14)),
    "ema": ("ema", lambda s: talib.EMA(s["close"], 21)),
    "sma": ("sma", lambda s: talib.SMA(s["close"], 50)),
    "atr": ("atr", lambda s: talib.ATR(s["high"], s["low"], s["close"], 14)),
    "adx": ("adx", lambda s: talib.ADX(s["high"], s["low"], s["close"], 14)),
    "macd": ("macd", lambda s: talib.MACD(s["close"])[0]),
    "bollinger": ("upper", lambda s: talib.BBANDS(s["close"], 20, 2.0, 2.0)[0]),
    "volume_ratio": ("ratio", lambda s: s["volume"] / talib.SMA(s["volume"], 20)),
}


@pytest.mark.slow
def test_fifty_thousand_live_candles_stay_with_talib() -> None:
    columns = market(ROWS, symbols=SYMBOLS, seed=30)
    candles = panel(columns, START)
    features = {name: make(name) for name in ORACLES}
    series = [
        {n: np.ascontiguousarray(v[:, symbol]) for n, v in columns.items()}
        for symbol in range(SYMBOLS)
    ]
    engine = FeatureEngine(1)
    live: dict[str, list[Floats]] = {name: [] for name in ORACLES}
    for end in range(FIRST, ROWS + 1):
        # Panels as live hands them out: from where the block's warm-up begins to the newest candle.
        block = (START + end - 1) // BLOCK * BLOCK
        newest = replace(candles.slice(max(0, block - 1000 - START), end), generation=1)
        for name, (output, _) in ORACLES.items():
            live[name].append(engine.panels(features[name], newest, 1)[output][0])
    for name, (_, oracle) in ORACLES.items():
        found = np.array(live[name])
        for symbol in range(SYMBOLS):
            expected = oracle(series[symbol])
            scale = np.nanmax(np.abs(expected))
            np.testing.assert_allclose(
                found[:, symbol], expected[FIRST - 1 :], rtol=1e-10, atol=1e-12 * scale
            )
