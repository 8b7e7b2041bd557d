"""Order blocks and fair value gaps, against their definitions written as searches over the past."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.plugins.features.panels import Columns, compute, make, market
from weft.foundation.arrays import Floats

seeds = st.integers(0, 10_000)


@dataclass
class _Zone:
    top: float
    bottom: float
    born: int


def _is_swing_high(high: Floats, row: int, swing: int) -> bool:
    if row < swing or row + swing >= len(high):
        return False
    before, after = high[row - swing : row], high[row + 1 : row + swing + 1]
    return bool(high[row] > before.max() and high[row] >= after.max())


def _bullish_zones(columns: Columns, swing: int, max_age: int) -> list[_Zone | None]:
    """Return the zone that stands after each candle, searching the past for all it needs."""
    opened, high, low, close = (columns[n][:, 0] for n in ("open", "high", "low", "close"))
    zones: list[_Zone | None] = []
    zone: _Zone | None = None
    level: tuple[int, float] | None = None
    for row in range(len(close)):
        if _is_swing_high(high[: row + 1], row - swing, swing):
            level = (row - swing, high[row - swing])
        if level is not None and row - level[0] >= max_age:
            level = None
        if level is not None and close[row] > level[1]:
            level = None
            oldest = max(0, row - max_age + 1)
            falling = [k for k in range(oldest, row) if close[k] < opened[k]]
            if falling:
                zone = _Zone(high[falling[-1]], low[falling[-1]], row)
        if zone is not None and (row - zone.born >= max_age or close[row] < zone.bottom):
            zone = None
        zones.append(zone)
    return zones


def _upside_down(columns: Columns) -> Columns:
    swapped = {"open": "open", "high": "low", "low": "high", "close": "close"}
    return {name: -columns[other] for name, other in swapped.items()}


@settings(deadline=None)  # the first example may compile
@given(seed=seeds, swing=st.integers(1, 10), max_age=st.integers(11, 60))
def test_order_blocks_are_what_a_search_finds(seed: int, swing: int, max_age: int) -> None:
    columns = market(150, symbols=1, seed=seed)
    # Coarse prices, so that equal highs and unmoved candles occur.
    columns = {name: np.round(values, 0) for name, values in columns.items()}
    found = compute(make("order_block", swing=swing, max_age=max_age), columns)
    close = columns["close"][:, 0]
    bullish = _bullish_zones(columns, swing, max_age)
    bearish = _bullish_zones(_upside_down(columns), swing, max_age)
    for row, (below, above) in enumerate(zip(bullish, bearish, strict=True)):
        state, up, down = (found[n][row, 0] for n in found)
        if row < 2 * swing:
            assert np.isnan([state, up, down]).all()
            continue
        expected = 0.0
        if below is None:
            assert np.isnan(up)
        else:
            assert up == (close[row] - below.top) / close[row]
            expected += close[row] - below.top <= below.top - below.bottom
        if above is None:
            assert np.isnan(down)
        else:
            assert down == (-close[row] - above.top) / close[row]
            expected -= -close[row] - above.top <= above.top - above.bottom
        assert state == expected


def test_both_kinds_of_order_block_occur() -> None:
    state = compute(make("order_block"), market(2000, symbols=4))["state"]
    assert {-1.0, 0.0, 1.0} <= set(np.unique(state[20:]))


def test_an_order_block_by_hand() -> None:
    #        0    1    2    3    4    5    6    7    8
    open_ = [10.0, 11.0, 12.0, 11.5, 10.5, 10.0, 12.5, 12.2, 10.4]
    close = [11.0, 12.0, 11.5, 10.5, 10.1, 12.5, 12.6, 10.6, 9.0]
    high = [11.1, 12.1, 12.3, 11.6, 10.6, 12.6, 12.8, 12.3, 10.5]
    low = [9.9, 10.9, 11.4, 10.4, 10.0, 9.9, 12.4, 10.5, 8.9]
    rows = {"open": open_, "high": high, "low": low, "close": close, "volume": close}
    columns = {name: np.array(values)[:, None] for name, values in rows.items()}
    found = compute(make("order_block", swing=2, max_age=50), columns)
    # The high of candle 2 is a swing once candle 4 has closed; candle 5 closes above it, and
    # candle 4, the last to fall before, is the block from 10.0 to 10.6.
    distance = found["bullish_distance"][:, 0]
    assert np.isnan(distance[:5]).all()
    np.testing.assert_allclose(distance[5:8], [1.9 / 12.5, 2.0 / 12.6, 0.0], atol=1e-15)
    assert np.isnan(distance[8])  # closed below 10.0
    np.testing.assert_array_equal(found["state"][4:8, 0], [0, 0, 0, 1])


def test_swings_must_be_known_before_they_are_forgotten() -> None:
    with pytest.raises(ValidationError, match="must be more than swing"):
        make("order_block", swing=5, max_age=5)


@settings(deadline=None)
@given(seed=seeds, max_age=st.integers(1, 30))
def test_fair_value_gaps_are_what_a_search_finds(seed: int, max_age: int) -> None:
    # Coarse prices, so that edges are touched to the digit.
    columns = {n: np.round(v, 1) for n, v in market(120, symbols=1, seed=seed).items()}
    high, low, close = (columns[n][:, 0] for n in ("high", "low", "close"))
    found = compute(make("fair_value_gap", max_age=max_age), columns)
    for row in range(120):
        gap, distance = found["gap"][row, 0], found["distance"][row, 0]
        if row < 2:
            assert np.isnan(gap)
            assert np.isnan(distance)
            continue
        size = max(low[row] - high[row - 2], 0.0) + min(high[row] - low[row - 2], 0.0)
        assert gap == size / close[row]
        expected = 0.0
        for born in range(row, max(1, row - max_age), -1):
            bullish, bearish = low[born] > high[born - 2], high[born] < low[born - 2]
            later = slice(born + 1, row + 1)
            if bullish and not (low[later] <= high[born - 2]).any():
                expected = (close[row] - high[born - 2]) / close[row]
            if bearish and not (high[later] >= low[born - 2]).any():
                expected = (close[row] - low[born - 2]) / close[row]
            if bullish or bearish:
                break
        assert distance == expected


def test_gaps_of_both_kinds_occur_and_are_filled() -> None:
    found = compute(make("fair_value_gap"), market(2000, symbols=2))
    assert (found["gap"][2:] > 0).any()
    assert (found["gap"][2:] < 0).any()
    assert (found["distance"][2:] == 0).any()
    # The sign of the distance is the side of the gap.
    arises = np.abs(found["gap"]) > 0
    assert (np.sign(found["distance"][arises]) == np.sign(found["gap"][arises])).all()
