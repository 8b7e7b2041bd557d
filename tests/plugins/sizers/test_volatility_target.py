"""Sizes that aim at a constant volatility."""

import numpy as np
import pytest

from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.domain.instruments import describe
from weft.foundation.times import DAY, HOUR, WEEK, YEAR, Interval
from weft.testing import History, random_history
from weft_plugins.sizers.volatility_target import OPEN_HOURS, VolatilityTarget, candles_a_year


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


def test_size_is_limited_to_largest() -> None:
    assert (sizes(VolatilityTarget.Config(target=9.0, largest=0.3))[:, :-1] == 0.3).all()


def test_neutral_signal_has_size_zero() -> None:
    assert (sizes(VolatilityTarget.Config(), direction=0) == 0.0).all()


def test_closed_market_has_size_zero() -> None:
    # The stock in the last column does not trade at the hours of the last rows.
    assert (sizes(VolatilityTarget.Config())[:, -1] == 0.0).all()


@pytest.mark.parametrize(
    ("interval", "per_week"), [("30m", 5 * 14), ("1h", 5 * 7), ("4h", 5 * 2), ("1d", 5)]
)
@pytest.mark.parametrize("steps", [1, 50])
def test_candles_a_year_of_a_stock_follow_its_opening_hours(
    interval: str, per_week: int, steps: int
) -> None:
    length = Interval.parse(interval)
    rows = 60 * WEEK // length.micros
    close_hour = np.arange(1, rows + 1) * (length.micros / HOUR) % 24
    weekday = (np.arange(rows) * length.micros // DAY) % 7
    # Closes from 15:30 to 22:00; closes of daily candles are at midnight.
    open_ = (weekday < 5) & ((close_hour > 15) & (close_hour <= 22) | (interval == "1d"))
    prices = np.where(open_, 100.0, np.nan)[:, None] * [1.0, 1.0]
    prices[:, 1] = 100.0
    panels = dict.fromkeys(("open", "high", "low", "close", "volume"), prices)
    history = History(length, (describe("AAPL"), describe("BTCUSDT")), panels, {})
    seen = history.cut(rows - 100).view([OPEN_HOURS], steps=steps).candles()
    result = candles_a_year(seen, steps)
    np.testing.assert_allclose(result[:, 0], per_week * YEAR / WEEK)
    np.testing.assert_allclose(result[:, 1], YEAR / length.micros)
