"""Small features for the tests of the engine, and panels to run them on."""

from dataclasses import replace

import numpy as np
from pydantic import Field

from weft.components.base import ComponentConfig
from weft.components.feature import Bar, StepFeature, step
from weft.domain.candles import FIELDS, Candles, candles_from_arrays
from weft.domain.instruments import SESSIONS, Instrument
from weft.features.engine import BLOCK, FeatureEngine
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import Interval

HOUR = Interval.parse("1h")
BLOCK_START = 100 * BLOCK
"""Grid index of a candle that begins a block."""


class Mean(StepFeature):
    """An average that never quite forgets, so that every start shows in its last digits."""

    name = "mean"
    outputs = ("mean", "seen")

    class Config(ComponentConfig):
        """Options."""

        window: int = Field(default=8, ge=2)
        notes: list[str] = Field(default_factory=list)

    config: Config

    @property
    def warmup(self) -> int:
        """Deliberately too short to hide the start."""
        return self.config.window

    @property
    def state_size(self) -> int:
        """Candles seen, average."""
        return 2

    @property
    def params(self) -> tuple[float, ...]:
        """The window."""
        return (self.config.window,)

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # a compiled step is static
        """Take one candle."""
        state[0] += 1.0
        state[1] += (bar.close - state[1]) / params[0]
        out[0] = state[1]
        out[1] = state[0]


class Echo(StepFeature):
    """Everything a step is given, and how often it was called."""

    name = "echo"
    outputs = ("time", "open", "high", "low", "close", "volume", "calls")
    warmup = 3
    state_size = 2

    @step
    def advance(state: Floats, bar: Bar, params: Floats, out: Floats) -> None:  # noqa: N805  # a compiled step is static
        """Take one candle."""
        # The first cell differs between symbols, so that no two of them step together.
        state[0] = bar.close
        state[1] += 1.0
        out[0] = bar.time
        out[1] = bar.open
        out[2] = bar.high
        out[3] = bar.low
        out[4] = bar.close
        out[5] = bar.volume
        out[6] = state[1]


def columns(rows: int, symbols: int = 3, seed: int = 0) -> dict[str, FloatPanel]:
    """Return numbers that are all different."""
    random = np.random.default_rng(seed)
    return {name: random.lognormal(size=(rows, symbols)) for name in FIELDS}


def panel(
    values: dict[str, FloatPanel],
    start: int = BLOCK_START,
    *,
    calendars: tuple[str, ...] | None = None,
    interval: Interval = HOUR,
    generation: int | None = None,
) -> Candles:
    """Return columns as candles; `calendars` are "open" or "sessions", one per symbol."""
    rows, symbols = values["close"].shape
    kinds = calendars or ("open",) * symbols
    instruments = [
        Instrument(
            symbol=f"S{k}",
            base=f"S{k}",
            quote="USD",
            calendar=SESSIONS if kind == "sessions" else "24/7",
        )
        for k, kind in enumerate(kinds)
    ]
    times = (start + np.arange(rows, dtype=np.int64)) * interval.micros
    contiguous = {name: np.ascontiguousarray(values[name]) for name in FIELDS}
    return replace(
        candles_from_arrays(interval, times, instruments, contiguous), generation=generation
    )


def compute_all(feature: StepFeature, candles: Candles, rows: int, threads: int = 1) -> FloatPanel:
    """Return all outputs of a feature as a new engine computes them."""
    found = FeatureEngine(threads).panels(feature, candles, rows)
    return np.array([found[output] for output in feature.outputs])


def live_panel(candles: Candles, end: int, generation: int = 1, first: int = 0) -> Candles:
    """Return rows as a panel that later ones continue."""
    return replace(candles.slice(first, end), generation=generation)
