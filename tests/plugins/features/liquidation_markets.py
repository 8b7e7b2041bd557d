"""Markets with open interest, for the tests of liquidation levels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tests.plugins.features.planted_pairs import compute
from weft.domain.instruments import describe
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import Interval
from weft.testing import History
from weft_plugins.features.liquidation_levels import LiquidationLevels

HOUR = Interval.parse("1h")
LEVERAGES = (5, 10, 25, 50, 100)
FOREVER = 1e15


def only(leverage: int, **more: Any) -> LiquidationLevels:
    """Return the feature with one leverage alone, without fading."""
    shares = {f"share_{one}x": float(one == leverage) for one in LEVERAGES}
    options = {**shares, "half_life": FOREVER, "window": 64, **more}
    return LiquidationLevels(LiquidationLevels.Config.model_validate(options))


def market(
    close: Floats | FloatPanel,
    metrics: Mapping[str, Floats | FloatPanel],
    *,
    high: Floats | FloatPanel | None = None,
    low: Floats | FloatPanel | None = None,
) -> History:
    def panel(values: Floats | FloatPanel) -> FloatPanel:
        return np.asarray(values, dtype=np.float64).reshape(len(close), -1)

    closes = panel(close)
    candles = {
        "open": closes,
        "high": closes if high is None else panel(high),
        "low": closes if low is None else panel(low),
        "close": closes,
        "volume": np.ones_like(closes),
    }
    instruments = tuple(describe(f"C{column}USDT") for column in range(closes.shape[1]))
    return History(HOUR, instruments, candles, {n: panel(v) for n, v in metrics.items()})


def last(feature: LiquidationLevels, history: History) -> dict[str, float]:
    """Return every output on the last row of the first symbol."""
    return {name: panel[-1, 0] for name, panel in compute(feature, history, 1).items()}


def doubled(*after: float, rows: int = 30) -> Floats:
    """Return an open interest of 100 that becomes 200, and what comes then."""
    return np.array([100.0] * (rows - len(after) - 1) + [200.0, *after])
