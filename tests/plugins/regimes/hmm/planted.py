"""A market of four known states, as observations and as candles."""

from typing import Final

import numpy as np

from weft.components.trained import Training
from weft.domain.instruments import describe
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import Interval
from weft.testing.history import START, History
from weft_plugins.checkpoints import sealed
from weft_plugins.regimes.hmm.detector import Observed
from weft_plugins.regimes.hmm.parameters import Parameters
from weft_plugins.regimes.hmm.stateless import Stateless

NAMES = ("bull_trend", "bear_trend", "sideways", "high_volatility")
FEATURES: Final[tuple[Observed, ...]] = ("log_return", "log_volatility", "log_volume_ratio", "rsi")

MEANS = np.array(
    [
        [0.004, -5.0, 0.0, 65.0],
        [-0.004, -5.0, 0.0, 35.0],
        [0.0, -6.0, -0.3, 50.0],
        [-0.001, -3.6, 0.6, 47.0],
    ]
)
DEVIATIONS = np.array(
    [
        [0.006, 0.3, 0.3, 6.0],
        [0.006, 0.3, 0.3, 6.0],
        [0.002, 0.3, 0.3, 6.0],
        [0.025, 0.4, 0.5, 10.0],
    ]
)
PLAIN = Stateless(1e-4, 12.0, 0.0, np.ones(1), np.zeros(1), np.full(1, 1e-4))
"""A normal of constant deviation."""

TRANSITION = np.array(
    [
        [0.96, 0.01, 0.02, 0.01],
        [0.01, 0.96, 0.01, 0.02],
        [0.015, 0.015, 0.96, 0.01],
        [0.02, 0.02, 0.02, 0.94],
    ]
)


def chain(rows: int, rng: np.random.Generator, transition: FloatPanel = TRANSITION) -> np.ndarray:
    """States of a chain."""
    states = np.empty(rows, dtype=np.int64)
    states[0] = 0
    sums = transition.cumsum(axis=1)
    for row, draw in enumerate(rng.random(rows - 1), start=1):
        states[row] = min(np.searchsorted(sums[states[row - 1]], draw), len(transition) - 1)
    return states


def observations(rows: int, seed: int) -> tuple[FloatPanel, np.ndarray]:
    """Observations of the planted market, and its true states."""
    rng = np.random.default_rng(seed)
    states = chain(rows, rng)
    return MEANS[states] + DEVIATIONS[states] * rng.normal(size=(rows, 4)), states


def truth() -> Parameters:
    """Parameters of the planted market, not standardised."""
    return Parameters(
        features=FEATURES,
        center=np.zeros(4),
        scale=np.ones(4),
        names=NAMES,
        transition=TRANSITION,
        means=MEANS,
        covariances=np.stack([np.diag(d**2) for d in DEVIATIONS]),
        stateless=PLAIN,
    )


def training(seed: int = 1, previous: dict[str, bytes] | None = None) -> Training:
    earlier = None if previous is None else sealed(previous, {})
    return Training(np.random.default_rng(seed), horizon=12, previous=earlier)


def candle_history(rows: int, seed: int, symbols: tuple[str, ...] = ("BTCUSDT",)) -> History:
    """Candles of coins that follow the planted states."""
    rng = np.random.default_rng(seed)
    states = chain(rows, rng)
    drift, spread = MEANS[states, 0], DEVIATIONS[states, 0]
    shape = (rows, len(symbols))
    returns: Floats = drift[:, None] + spread[:, None] * rng.normal(size=shape)
    close = 100.0 * np.exp(np.cumsum(returns, axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    volume = np.exp(0.3 * rng.normal(size=shape)) * 100.0
    candles = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": volume,
    }
    instruments = tuple(describe(s) for s in symbols)
    return History(Interval.parse("1h"), instruments, candles, {}, first_close=START)
