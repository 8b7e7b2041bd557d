"""Markets made of given returns, for the tests of how coins move together."""

from collections.abc import Mapping, Sequence

import numpy as np

from weft.components.feature import PanelFeature
from weft.components.needs import feature as feature_need
from weft.domain.instruments import describe
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import Interval
from weft.testing import History
from weft.testing.history import installed_feature


def from_returns(
    returns: FloatPanel,
    bases: Sequence[str],
    metrics: Mapping[str, FloatPanel] | None = None,
    interval: str = "1h",
) -> History:
    """Return candles whose closes have these log returns, of coins against USDT."""
    close = 100.0 * np.exp(np.cumsum(returns, axis=0))
    names = ("open", "high", "low", "close")
    columns = {**dict.fromkeys(names, close), "volume": np.ones_like(close)}
    instruments = tuple(describe(f"{base}USDT") for base in bases)
    return History(Interval.parse(interval), instruments, columns, metrics or {})


def compute(feature: PanelFeature, history: History, steps: int) -> Mapping[str, FloatPanel]:
    """Return every output of a feature on the last rows of a market."""
    need = feature_need(feature.name, **feature.config.model_dump())
    view = history.view(
        [need],
        steps=steps,
        make_feature=lambda n: feature if n == need else installed_feature(n),
    )
    return {output: view.feature(need, output=output) for output in feature.outputs}
