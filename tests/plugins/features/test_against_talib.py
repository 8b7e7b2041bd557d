"""Every indicator TA-Lib has: the same values, and nothing where TA-Lib says nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import talib

from tests.plugins.features.panels import Columns, compute, make, market
from weft.foundation.arrays import Floats

Series = dict[str, Floats]
Oracle = Callable[[Series], dict[str, Floats]]


def _adx(window: int) -> Oracle:
    return lambda s: {
        "adx": talib.ADX(s["high"], s["low"], s["close"], window),
        "plus_di": talib.PLUS_DI(s["high"], s["low"], s["close"], window),
        "minus_di": talib.MINUS_DI(s["high"], s["low"], s["close"], window),
    }


def _macd(fast: int, slow: int, signal: int) -> Oracle:
    names = ("macd", "signal", "histogram")
    return lambda s: dict(zip(names, talib.MACD(s["close"], fast, slow, signal), strict=True))


def _bollinger(window: int, deviations: float) -> Oracle:
    names = ("upper", "middle", "lower")
    return lambda s: dict(
        zip(names, talib.BBANDS(s["close"], window, deviations, deviations), strict=True)
    )


def _obv(window: int) -> Oracle:
    def change(s: Series) -> dict[str, Floats]:
        level = talib.OBV(s["close"], s["volume"])
        difference = np.full_like(level, np.nan)
        difference[window:] = level[window:] - level[: max(0, len(level) - window)]
        return {"change": difference}

    return change


CASES: list[tuple[str, dict[str, float], Oracle]] = [
    ("rsi", {"window": 14}, lambda s: {"rsi": talib.RSI(s["close"], 14)}),
    ("rsi", {"window": 2}, lambda s: {"rsi": talib.RSI(s["close"], 2)}),
    ("ema", {"window": 2}, lambda s: {"ema": talib.EMA(s["close"], 2)}),
    ("ema", {"window": 21}, lambda s: {"ema": talib.EMA(s["close"], 21)}),
    ("sma", {"window": 2}, lambda s: {"sma": talib.SMA(s["close"], 2)}),
    ("sma", {"window": 200}, lambda s: {"sma": talib.SMA(s["close"], 200)}),
    ("macd", {}, _macd(12, 26, 9)),
    ("macd", {"fast": 2, "slow": 3, "signal": 1}, _macd(2, 3, 1)),
    ("macd", {"fast": 5, "slow": 35, "signal": 5}, _macd(5, 35, 5)),
    ("adx", {}, _adx(14)),
    ("adx", {"window": 2}, _adx(2)),
    ("atr", {}, lambda s: {"atr": talib.ATR(s["high"], s["low"], s["close"], 14)}),
    ("atr", {"window": 2}, lambda s: {"atr": talib.ATR(s["high"], s["low"], s["close"], 2)}),
    ("bollinger", {}, _bollinger(20, 2.0)),
    ("bollinger", {"window": 5, "deviations": 1.5}, _bollinger(5, 1.5)),
    ("obv", {"window": 20}, _obv(20)),
    ("obv", {"window": 1}, _obv(1)),
    (
        "volume_ratio",
        {"window": 20},
        lambda s: {"ratio": s["volume"] / talib.SMA(s["volume"], 20)},
    ),
    (
        "ema_cross",
        {},
        lambda s: {"spread": talib.EMA(s["close"], 9) / talib.EMA(s["close"], 21) - 1},
    ),
]


def _series(columns: Columns, symbol: int) -> Series:
    return {name: np.ascontiguousarray(values[:, symbol]) for name, values in columns.items()}


@pytest.mark.parametrize(
    ("name", "options", "oracle"), CASES, ids=[f"{n}-{o}" for n, o, _ in CASES]
)
def test_equals_talib(name: str, options: dict[str, float], oracle: Oracle) -> None:
    columns = market(900, symbols=4, seed=7)
    found = compute(make(name, **options), columns)
    for symbol in range(4):
        for output, expected in oracle(_series(columns, symbol)).items():
            values = found[output][:, symbol]
            np.testing.assert_array_equal(np.isnan(values), np.isnan(expected))
            scale = np.nanmax(np.abs(expected))
            np.testing.assert_allclose(values, expected, rtol=1e-10, atol=1e-12 * scale)


@pytest.mark.parametrize("rows", [1, 2, 14, 15, 27, 28, 33, 34])
def test_a_short_history_has_the_same_beginning(rows: int) -> None:
    columns = market(rows, symbols=1, seed=3)
    for name, options, oracle in CASES:
        found = compute(make(name, **options), columns)
        for output, expected in oracle(_series(columns, 0)).items():
            np.testing.assert_allclose(found[output][:, 0], expected, rtol=1e-10, atol=1e-10)


def test_rsi_of_a_published_worksheet() -> None:
    # Closes and RSI (14) of the worked example in StockCharts' ChartSchool, to two decimals.
    closes = [
        *(44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433),
        *(46.0826, 45.8931, 46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116),
        *(46.2222, 45.6439, 46.2122, 46.2521, 45.7137, 46.4515, 45.7835, 45.3548, 44.0288),
        *(44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314),
    ]
    published = [
        *(70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38),
        *(54.71, 50.42, 39.99, 41.46, 41.87, 45.46, 37.30, 33.08, 37.77),
    ]
    close = np.array(closes)[:, None]
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
    values = compute(make("rsi", window=14), columns)["rsi"][14:, 0]
    np.testing.assert_array_equal(np.round(values, 2), published)
