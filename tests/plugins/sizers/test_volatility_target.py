"""Sizes that aim at a constant volatility."""

import numpy as np
import pytest

from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.testing import random_history
from weft_plugins.sizers.volatility_target import VolatilityTarget


def sizes(config: VolatilityTarget.Config, direction: int = 1, interval: str = "1h") -> np.ndarray:
    sizer = VolatilityTarget(config)
    view = random_history(seed=5, rows=900, flaws=False, interval=interval).view(
        sizer.needs, steps=2
    )
    shape = (view.steps, len(view.symbols))
    fusion = Fusion(
        np.zeros(shape), np.zeros(shape), np.full(shape, direction, np.int8), {}, calibrated=False
    )
    prices = np.ones(shape)
    return sizer.size(view, fusion, Levels(prices, prices, prices)).fraction


def test_size_times_realised_volatility_is_the_target() -> None:
    config = VolatilityTarget.Config(target=0.1, largest=100.0)
    history = random_history(seed=5, rows=900, flaws=False)
    returns = np.diff(np.log(history.candles["close"][-49:, 0]))
    a_year = returns.std(ddof=1) * np.sqrt(365.25 * 24)
    assert sizes(config)[-1, 0] * a_year == pytest.approx(0.1)


def test_no_size_is_larger_than_allowed() -> None:
    assert (sizes(VolatilityTarget.Config(target=9.0, largest=0.3))[:, :-1] == 0.3).all()


def test_neutral_holds_nothing() -> None:
    assert (sizes(VolatilityTarget.Config(), direction=0) == 0.0).all()


def test_a_closed_market_holds_nothing() -> None:
    # The stock in the last column does not trade at the hours of the last rows.
    assert (sizes(VolatilityTarget.Config())[:, -1] == 0.0).all()
