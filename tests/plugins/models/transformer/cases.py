"""Small markets with a known law, networks and trainings for tests of the transformer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from weft.components.trained import Artifact, Training
from weft.domain.instruments import describe
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import Interval
from weft.testing.history import History
from weft_plugins.models.transformer.model import Transformer
from weft_plugins.models.transformer.network import (
    Architecture,
    Network,
    build_network,
)

HORIZON = 4

TINY = Transformer.Config(
    window=16,
    width=16,
    layers=2,
    heads=4,
    feed_forward=16,
    passes=8,
    epochs=2,
    windows_per_epoch=384,
    threads=1,
    device="cpu",
)

BUILD = Architecture(
    inputs=5, window=16, horizon=3, width=16, heads=4, layers=3, hidden=24, passes=6, dropout=0.2
)


def market(returns: FloatPanel, volume: FloatPanel | None = None) -> History:
    """A market of coins with these log returns; candles range from close to close."""
    close = 100.0 * np.exp(np.cumsum(returns, axis=0))
    opened = np.vstack([np.full((1, close.shape[1]), 100.0), close[:-1]])
    candles = {
        "open": opened,
        "high": np.maximum(opened, close) * 1.001,
        "low": np.minimum(opened, close) * 0.999,
        "close": close,
        "volume": np.ones_like(close) if volume is None else volume,
    }
    names = tuple(describe(f"COIN{i}USDT") for i in range(close.shape[1]))
    return History(Interval.parse("1h"), names, candles, {})


def noise(rows: int = 900, symbols: int = 3, seed: int = 0) -> History:
    """A market of white noise."""
    return market(np.random.default_rng(seed).normal(0.0, 0.01, (rows, symbols)))


@dataclass
class MemoryCheckpoints:
    """Checkpoints in memory; after some saves the training stops, as by a signal."""

    stop_after: int | None = None
    files: Mapping[str, bytes] | None = None
    saves: int = 0

    def load(self) -> Mapping[str, bytes] | None:
        return self.files

    def save(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.saves += 1
        if self.saves == self.stop_after:
            raise KeyboardInterrupt


@dataclass
class ProgressLog:
    """Records progress reports."""

    reports: list[tuple[float, float, dict[str, float]]] = field(default_factory=list)

    def __call__(self, done: float, total: float, **figures: float) -> None:
        self.reports.append((done, total, figures))


def fit(
    history: History,
    config: Transformer.Config = TINY,
    *,
    rows: int | None = None,
    seed: int = 0,
    horizon: int = HORIZON,
    storage: MemoryCheckpoints | None = None,
    progress: Callable[..., None] = lambda done, total, **figures: None,
) -> Artifact:
    """Train on the last rows of a history."""
    model = Transformer(config)
    view = history.view(model.needs, steps=rows or history.rows - config.window)
    training = Training(
        np.random.default_rng(seed), horizon, progress, storage or MemoryCheckpoints()
    )
    return model.fit(view, training)


def fresh_network(build: Architecture = BUILD, seed: int = 0) -> Network:
    """A network in double precision with random weights in its head."""
    network = build_network(build, seed).double().eval()
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(seed))
    return network


def windows_of(build: Architecture, count: int, seed: int = 0) -> NDArray[np.float64]:
    """Windows of noise."""
    return np.random.default_rng(seed).normal(size=(count, build.window, build.inputs))
