"""Made-up markets for the tests of features, and the shortest way through the engine."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import entry_points

import numpy as np

from weft.components.feature import StepFeature
from weft.domain.candles import FIELDS, Candles, candles_from_arrays
from weft.domain.instruments import SESSIONS, Instrument
from weft.features.engine import BLOCK, FeatureEngine
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import Interval

HOUR = Interval.parse("1h")

BLOCK_START = 200 * BLOCK
"""Grid index of a candle that begins a block."""

Columns = dict[str, FloatPanel]

FEATURES: dict[str, type[StepFeature]] = {
    entry.name: found
    for entry in entry_points(group="weft.features")
    if issubclass(found := entry.load(), StepFeature)
}


def make(name: str, **options: float) -> StepFeature:
    """Return a built-in feature with these options."""
    cls = FEATURES[name]
    return cls(cls.Config.model_validate(options))


def market(rows: int, symbols: int = 3, seed: int = 0, price: float = 100.0) -> Columns:
    """Return a random walk with gaps between candles and volume that varies a thousandfold."""
    random = np.random.default_rng(seed)
    shape = (rows, symbols)
    close = price * np.exp(np.cumsum(random.normal(0, 0.01, shape), axis=0))
    last = np.vstack([close[:1], close[:-1]])
    opened = last * np.exp(random.normal(0, 0.002, shape))
    high = np.maximum(opened, close) * np.exp(np.abs(random.normal(0, 0.003, shape)))
    low = np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, 0.003, shape)))
    volume = random.lognormal(3, 1.5, shape)
    return {"open": opened, "high": high, "low": low, "close": close, "volume": volume}


def flat(rows: int, symbols: int = 1, price: float = 100.0, volume: float = 1.0) -> Columns:
    """Return candles of a price that never moves."""
    columns = {name: np.full((rows, symbols), price) for name in FIELDS}
    return {**columns, "volume": np.full((rows, symbols), volume)}


def panel(
    columns: Columns,
    start: int = BLOCK_START,
    *,
    sessions: bool = False,
    interval: Interval = HOUR,
    generation: int | None = None,
) -> Candles:
    """Return columns as candles whose first row has grid index `start`."""
    rows, symbols = columns["close"].shape
    calendar = SESSIONS if sessions else "24/7"
    instruments = [
        Instrument(symbol=f"S{k}", base=f"S{k}", quote="USD", calendar=calendar)
        for k in range(symbols)
    ]
    times = (start + np.arange(rows, dtype=np.int64)) * interval.micros
    contiguous = {name: np.ascontiguousarray(columns[name]) for name in FIELDS}
    candles = candles_from_arrays(interval, times, instruments, contiguous)
    return replace(candles, generation=generation)


def compute(
    feature: StepFeature, candles: Candles | Columns, rows: int | None = None
) -> Mapping[str, FloatPanel]:
    """Return a feature's outputs, on every row unless fewer are asked for."""
    source = candles if isinstance(candles, Candles) else panel(candles)
    return FeatureEngine(1).panels(feature, source, len(source) if rows is None else rows)


def only(feature: StepFeature, columns: Columns) -> Floats:
    """Return the first output of a feature on the first symbol."""
    return np.asarray(compute(feature, columns)[feature.outputs[0]][:, 0])


def cut(columns: Columns, start: int, stop: int | None = None) -> Columns:
    """Return some rows of columns."""
    return {name: values[start:stop] for name, values in columns.items()}


def scaled(columns: Columns, price: float, volume: float = 1.0) -> Columns:
    """Return columns in other units of price and volume."""
    prices = {name: columns[name] * price for name in FIELDS[:4]}
    return {**prices, "volume": columns["volume"] * volume}
