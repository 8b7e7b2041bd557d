"""Standard indicators on 1,000 symbols: history and one live candle, against TA-Lib."""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import talib
from rich.console import Console
from rich.table import Table

from weft.components.feature import StepFeature
from weft.domain.candles import FIELDS, Candles, candles_from_arrays
from weft.domain.instruments import describe
from weft.features.engine import BLOCK, FeatureEngine
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import Interval
from weft_plugins.features.momentum import Rsi
from weft_plugins.features.trend import Adx, Ema, Macd, Sma
from weft_plugins.features.volatility import Atr, Bollinger
from weft_plugins.features.volume import Obv, VolumeRatio

SYMBOLS = 1_000
ROWS = 2_000
TAIL = 300
ROUNDS = 7
LIVE_ROUNDS = 60
TAIL_ROUNDS = 5
TOLERANCE = 1e-10
BLOCK_START = 200 * BLOCK

Series = dict[str, Floats]
Outputs = dict[str, Floats]
Rivals = dict[str, Callable[[], object]]


@dataclass(frozen=True)
class Indicator:
    """One indicator of Weft and of TA-Lib.

    Attributes:
        label: for the table.
        feature: of Weft.
        bare: only the TA-Lib call.
        same: TA-Lib's calls, and the arithmetic, for the outputs both have.
        stream: opens TA-Lib's live object on a history.
        update: the columns that object is given with each candle.
    """

    label: str
    feature: StepFeature
    bare: Callable[[Series], object]
    same: Callable[[Series], Outputs]
    stream: Callable[[Series], Any]  # the stubs of TA-Lib lack the methods of its live objects
    update: tuple[str, ...] = ("close",)


def _rsi(window: int) -> Indicator:
    return Indicator(
        f"RSI {window}",
        Rsi(Rsi.Config(window=window)),
        lambda s: talib.RSI(s["close"], window),
        lambda s: {"rsi": talib.RSI(s["close"], window)},
        lambda s: talib.stream.RSI(s["close"], window),
    )


def _ema(window: int) -> Indicator:
    return Indicator(
        f"EMA {window}",
        Ema(Ema.Config(window=window)),
        lambda s: talib.EMA(s["close"], window),
        lambda s: {"ema": talib.EMA(s["close"], window)},
        lambda s: talib.stream.EMA(s["close"], window),
    )


def _sma(window: int) -> Indicator:
    return Indicator(
        f"SMA {window}",
        Sma(Sma.Config(window=window)),
        lambda s: talib.SMA(s["close"], window),
        lambda s: {"sma": talib.SMA(s["close"], window)},
        lambda s: talib.stream.SMA(s["close"], window),
    )


def _bands(s: Series) -> Outputs:
    upper, middle, lower = talib.BBANDS(s["close"], 20, 2.0, 2.0)
    return {"upper": upper, "middle": middle, "lower": lower}


def _directions(s: Series) -> Outputs:
    prices = (s["high"], s["low"], s["close"], 14)
    return {
        "adx": talib.ADX(*prices),
        "plus_di": talib.PLUS_DI(*prices),
        "minus_di": talib.MINUS_DI(*prices),
    }


def _obv_change(s: Series) -> Outputs:
    level = talib.OBV(s["close"], s["volume"])
    change = np.full_like(level, np.nan)
    change[20:] = level[20:] - level[:-20]
    return {"change": change}


INDICATORS = (
    _rsi(14),
    _rsi(7),
    Indicator(
        "MACD 12, 26, 9",
        Macd(),
        lambda s: talib.MACD(s["close"]),
        lambda s: dict(zip(Macd.outputs, talib.MACD(s["close"]), strict=True)),
        lambda s: talib.stream.MACD(s["close"]),
    ),
    _ema(9),
    _ema(21),
    _sma(50),
    _sma(200),
    Indicator(
        "ADX 14",
        Adx(),
        lambda s: talib.ADX(s["high"], s["low"], s["close"], 14),
        _directions,
        lambda s: talib.stream.ADX(s["high"], s["low"], s["close"], 14),
        ("high", "low", "close"),
    ),
    Indicator(
        "Bollinger 20",
        Bollinger(),
        lambda s: talib.BBANDS(s["close"], 20, 2.0, 2.0),
        _bands,
        lambda s: talib.stream.BBANDS(s["close"], 20, 2.0, 2.0),
    ),
    Indicator(
        "ATR 14",
        Atr(),
        lambda s: talib.ATR(s["high"], s["low"], s["close"], 14),
        lambda s: {"atr": talib.ATR(s["high"], s["low"], s["close"], 14)},
        lambda s: talib.stream.ATR(s["high"], s["low"], s["close"], 14),
        ("high", "low", "close"),
    ),
    Indicator(
        "OBV change 20",
        Obv(),
        lambda s: talib.OBV(s["close"], s["volume"]),
        _obv_change,
        lambda s: talib.stream.OBV(s["close"], s["volume"]),
        ("close", "volume"),
    ),
    Indicator(
        "Volume over SMA 20",
        VolumeRatio(),
        lambda s: talib.SMA(s["volume"], 20),
        lambda s: {"ratio": s["volume"] / talib.SMA(s["volume"], 20)},
        lambda s: talib.stream.SMA(s["volume"], 20),
        ("volume",),
    ),
)


def main() -> None:
    """Measure and print."""
    console = Console(highlight=False)
    engine = FeatureEngine()
    engine.compile(i.feature for i in INDICATORS)
    _history(console, engine)
    _live(console)


def _market(rows: int, start: int) -> Candles:
    random = np.random.default_rng(0)
    shape = (rows, SYMBOLS)
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 0.01, shape), axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) * np.exp(np.abs(random.normal(0, 0.003, shape))),
        "low": np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, 0.003, shape))),
        "close": close,
        "volume": random.lognormal(3, 1, shape),
    }
    interval = Interval.parse("1h")
    times = (start + np.arange(rows, dtype=np.int64)) * interval.micros
    names = [describe(f"S{k}USDT") for k in range(SYMBOLS)]
    return candles_from_arrays(interval, times, names, columns)


def _series(candles: Candles, rows: slice) -> list[Series]:
    """Return the candles of each symbol as contiguous arrays, which TA-Lib reads fastest."""
    turned = {n: np.ascontiguousarray(getattr(candles, n)[rows].T) for n in FIELDS}
    return [{n: turned[n][symbol] for n in FIELDS} for symbol in range(SYMBOLS)]


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _side_by_side(rivals: Rivals, rounds: int) -> dict[str, float]:
    """Return the median time of each, in seconds; they run in turns, under the same load."""
    times: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, work in rivals.items():
            times[name].append(_timed(work))
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def _difference(panel: FloatPanel, expected: FloatPanel, what: str) -> float:
    """Return the largest difference in units of the panel's scale; exit where NaNs differ."""
    if not np.array_equal(np.isnan(panel), np.isnan(expected)):
        raise SystemExit(f"{what}: values are missing on one side only")
    scale = np.nanmax(np.abs(expected))
    return float(np.nanmax(np.abs(panel - expected)) / scale)


# History


def _history(console: Console, engine: FeatureEngine) -> None:
    inside = _market(ROWS, BLOCK_START)
    # Half of the rows in one block, half in the next, whose run-up is computed as well.
    across = _market(ROWS + 1_000, BLOCK_START - 2_000)
    series = _series(inside, slice(None))
    _each(console, engine, inside, series)
    threads = f"{os.cpu_count()} threads"
    rivals: Rivals = {
        "TA-Lib, one call each, results discarded": partial(_bare, INDICATORS, series),
        "TA-Lib, all outputs, kept as panels": partial(_outputs, INDICATORS, series),
        "Weft, one thread": partial(_weft, INDICATORS, FeatureEngine(1), inside),
        f"Weft, {threads}": partial(_weft, INDICATORS, engine, inside),
        f"Weft, {threads}, across blocks": partial(_weft, INDICATORS, engine, across),
    }
    title = "All twelve together, with all outputs of Weft"
    _totals(console, title, _side_by_side(rivals, ROUNDS), 1e3, "ms")


def _each(console: Console, engine: FeatureEngine, inside: Candles, series: list[Series]) -> None:
    table = Table("", "TA-Lib", "Weft", "ratio", "difference")
    table.title = f"{SYMBOLS:,} symbols x {ROWS:,} candles, milliseconds"
    for indicator in INDICATORS:
        rivals: Rivals = {
            "TA-Lib": partial(_bare, [indicator], series),
            "Weft": partial(_weft, [indicator], engine, inside),
        }
        spent = _side_by_side(rivals, ROUNDS)
        difference = _history_difference(indicator, engine, inside, series)
        if difference > TOLERANCE:
            raise SystemExit(f"{indicator.label} differs from TA-Lib by {difference:.1e}")
        times = [f"{spent[side] * 1e3:.1f}" for side in rivals]
        ratio = f"{spent['TA-Lib'] / spent['Weft']:.1f}x"
        table.add_row(indicator.label, *times, ratio, f"{difference:.0e}")
    console.print(table)


def _bare(indicators: Sequence[Indicator], series: list[Series]) -> None:
    for indicator in indicators:
        for symbol in series:
            indicator.bare(symbol)


def _outputs(indicators: Sequence[Indicator], series: list[Series]) -> list[Outputs]:
    outputs = []
    for indicator in indicators:
        panels = {o: np.empty((SYMBOLS, ROWS)) for o in indicator.same(series[0])}
        for k, symbol in enumerate(series):
            for output, values in indicator.same(symbol).items():
                panels[output][k] = values
        outputs.append(panels)
    return outputs


def _weft(
    indicators: Sequence[Indicator], engine: FeatureEngine, candles: Candles
) -> list[Mapping[str, FloatPanel]]:
    return [engine.panels(i.feature, candles, ROWS) for i in indicators]


def _history_difference(
    indicator: Indicator, engine: FeatureEngine, candles: Candles, series: list[Series]
) -> float:
    panels = engine.panels(indicator.feature, candles, ROWS)
    expected = [indicator.same(symbol) for symbol in series]
    return max(
        _difference(panels[o], np.column_stack([e[o] for e in expected]), f"{indicator.label}, {o}")
        for o in expected[0]
    )


def _totals(console: Console, title: str, spent: dict[str, float], unit: float, name: str) -> None:
    """Print each time, and its ratio to that of Weft."""
    ours = [label for label in spent if label.startswith("Weft")]
    table = Table("", name, *(f"over {o.removeprefix('Weft, ')}" for o in ours), title=title)
    for label, seconds in spent.items():
        ratios = [f"{seconds / spent[o]:.1f}x" for o in ours] if label not in ours else []
        table.add_row(label, f"{seconds * unit:,.1f}", *ratios)
    console.print(table)


# Live


def _live(console: Console) -> None:
    """Measure one new candle for every symbol and every indicator."""
    candles = _market(ROWS + 2 * LIVE_ROUNDS + 40, BLOCK_START - ROWS)
    ends = range(ROWS + 20, ROWS + 21 + 2 * LIVE_ROUNDS)
    first, *later = (replace(candles.slice(0, end), generation=1) for end in ends)
    engine = FeatureEngine()
    _step(engine, first)
    streams = [[i.stream(s) for s in _series(first, slice(None))] for i in INDICATORS]
    steps = [partial(_step, engine, panel) for panel in later]
    updates = [partial(_update, streams, _given(panel)) for panel in later]
    tails = [_series(panel, slice(len(panel) - TAIL, None)) for panel in later[:TAIL_ROUNDS]]
    # Between two real candles everything leaves the cache; running in turns comes close to that.
    spent: dict[str, list[float]] = {"tail": [], "stream": [], "step": []}
    for k in range(LIVE_ROUNDS):
        spent["step"].append(_timed(steps[k]))
        spent["stream"].append(_timed(updates[k]))
        if k < TAIL_ROUNDS:
            spent["tail"].append(_timed(partial(_bare, INDICATORS, tails[k])))
    labels = (f"TA-Lib on the last {TAIL} candles", "TA-Lib, its live objects updated", "Weft")
    medians = dict(zip(labels, map(statistics.median, spent.values()), strict=True))
    title = f"One new candle, {SYMBOLS:,} symbols, all twelve"
    _totals(console, title, medians, 1e6, "microseconds")
    warm = [
        statistics.median(_timed(work) for work in works[LIVE_ROUNDS:])
        for works in (steps, updates)
    ]
    console.print(
        f"Candle after candle, all of it in the cache: Weft {warm[0] * 1e6:.0f} microseconds, "
        f"TA-Lib's live objects {warm[1] * 1e6:,.0f}, {warm[1] / warm[0]:.1f}x."
    )
    _check_live(console, engine, later[-1], streams)
    _step(engine, replace(candles.slice(0, ROWS), generation=2))
    begins = replace(candles.slice(0, ROWS + 1), generation=2)
    seconds = _timed(partial(_step, engine, begins))
    console.print(
        f"The one candle in {BLOCK:,} that begins a block takes {seconds * 1e3:.0f} ms, "
        "because every state starts afresh.\n"
    )


def _given(panel: Candles) -> list[list[tuple[float, ...]]]:
    """Return the arguments of each live object of TA-Lib for the latest candle."""
    return [
        list(zip(*(getattr(panel, c)[-1].tolist() for c in i.update), strict=True))
        for i in INDICATORS
    ]


def _step(engine: FeatureEngine, panel: Candles) -> None:
    for indicator in INDICATORS:
        engine.panels(indicator.feature, panel, 1)


def _update(streams: list[list[Any]], given: list[list[tuple[float, ...]]]) -> None:
    for objects, rows in zip(streams, given, strict=True):
        for indicator, candle in zip(objects, rows, strict=True):
            indicator.update(*candle)


def _check_live(
    console: Console,
    engine: FeatureEngine,
    newest: Candles,
    streams: list[list[Any]],
) -> None:
    """Compare live values with TA-Lib over the whole history, and with its live objects."""
    series = _series(newest, slice(None))
    to_history = to_stream = 0.0
    for indicator, objects in zip(INDICATORS, streams, strict=True):
        panels = engine.panels(indicator.feature, newest, 1)
        expected = [indicator.same(symbol) for symbol in series]
        for output in expected[0]:
            last = np.array([[e[output][-1] for e in expected]])
            to_history = max(to_history, _difference(panels[output], last, indicator.label))
        if indicator.label not in {"OBV change 20", "Volume over SMA 20"}:
            values = [np.atleast_1d(live.value)[0] for live in objects]
            main = panels[indicator.feature.outputs[0]]
            to_stream = max(to_stream, _difference(main, np.array([values]), indicator.label))
    console.print(
        f"Live values differ from TA-Lib over the whole history by {to_history:.0e}, "
        f"from its live objects by {to_stream:.0e}."
    )
    if max(to_history, to_stream) > TOLERANCE:
        raise SystemExit("live values differ from TA-Lib")


if __name__ == "__main__":
    main()
