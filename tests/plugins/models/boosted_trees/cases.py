"""Markets and trainings for tests of the boosted trees."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from weft.components.model import Model
from weft.components.trained import Artifact, Checkpoints, NoCheckpoints, Training
from weft.domain.instruments import describe
from weft.foundation.times import Interval
from weft.market.view import View
from weft.testing import History

HORIZON = 12


def market(
    closes: np.ndarray[Any, np.dtype[np.float64]], *, symbols: tuple[str, ...] | None = None
) -> History:
    """Return a market with given closes (rows, symbols) and small wicks."""
    rng = np.random.default_rng(0)
    rows, count = closes.shape
    opened = np.vstack([closes[:1], closes[:-1]])
    wick = np.abs(rng.normal(0.0, 0.002, (2, rows, count)))
    candles = {
        "open": opened,
        "high": np.maximum(opened, closes) * (1 + wick[0]),
        "low": np.minimum(opened, closes) * (1 - wick[1]),
        "close": closes,
        "volume": rng.lognormal(5, 1, (rows, count)),
    }
    named = symbols or tuple(f"COIN{i}USDT" for i in range(count))
    return History(Interval.parse("1h"), tuple(map(describe, named)), candles, {})


def walk(
    rows: int, symbols: int, *, seed: int, sigma: float = 0.01
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return closes of independent random walks without drift."""
    rng = np.random.default_rng(seed)
    return 100.0 * np.exp(np.cumsum(rng.normal(0.0, sigma, (rows, symbols)), axis=0))


def fitted(
    model: Model, view: View, *, seed: int = 1, checkpoints: Checkpoints | None = None
) -> Artifact:
    """Return the artifact of a model trained on a view."""
    stored = checkpoints or NoCheckpoints()
    return model.fit(view, Training(np.random.default_rng(seed), HORIZON, checkpoints=stored))


@dataclass
class MemoryCheckpoints:
    """Checkpoints in memory."""

    saved: list[Mapping[str, bytes]] = field(default_factory=list)

    def load(self) -> Mapping[str, bytes] | None:
        return self.saved[-1] if self.saved else None

    def save(self, files: Mapping[str, bytes]) -> None:
        self.saved.append(files)
