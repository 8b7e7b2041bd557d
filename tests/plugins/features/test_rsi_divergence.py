"""The RSI of slow candles, against slow candles joined independently."""

import numpy as np
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plugins.features.panels import BLOCK_START, Columns, compute, cut, make, market, panel
from weft.domain.candles import aggregate
from weft.foundation.arrays import Floats
from weft.foundation.times import HOUR, Interval


def _slow_rsi(known: list[tuple[int, float]], rows: int, window: int) -> Floats:
    """Return on each row the RSI of the (row it is known on, close) slow candles known by then."""
    rsi = talib.RSI(np.array([close for _, close in known]), window) if known else np.array([])
    values = np.full(rows, np.nan)
    for (row, _), value in zip(known, rsi, strict=True):
        values[row:] = value
    return values


def _check(columns: Columns, start: int, known: list[tuple[int, float]], slow: int) -> None:
    rows = len(columns["close"])
    found = compute(make("rsi_divergence", window=3, slow_candles=slow), panel(columns, start))
    fast = talib.RSI(np.ascontiguousarray(columns["close"][:, 0]), 3)
    np.testing.assert_allclose(found["fast"][:, 0], fast, rtol=1e-11)
    np.testing.assert_allclose(found["slow"][:, 0], _slow_rsi(known, rows, 3), rtol=1e-11)
    np.testing.assert_array_equal(found["spread"], found["fast"] - found["slow"])


@settings(deadline=None)  # the first example may compile
@given(offset=st.integers(0, 23), slow=st.integers(2, 24), seed=st.integers(0, 1000))
def test_slow_candles_are_whole_and_close_on_absolute_time(
    offset: int, slow: int, seed: int
) -> None:
    columns = market(250, symbols=1, seed=seed)
    start = BLOCK_START + offset
    known = [
        (row, columns["close"][row, 0])
        for row in range(250)
        if (start + row) % slow == 0 and row >= slow - 1
    ]
    _check(columns, start, known, slow)


def test_they_are_the_candles_the_core_joins() -> None:
    columns = market(400, symbols=1, seed=1)
    fine = panel(columns, BLOCK_START + 1)
    coarse = aggregate(fine, Interval.parse("4h"))
    rsi = compute(make("rsi", window=14), coarse)["rsi"]
    slow = compute(make("rsi_divergence"), fine)["slow"]
    at = np.searchsorted(fine.times, coarse.times)
    np.testing.assert_allclose(slow[at], rsi, rtol=1e-12)


def test_weeks_begin_on_monday() -> None:
    columns = market(200, symbols=1, seed=2)
    day = Interval.parse("1d")
    fine = panel(columns, 20_000, interval=day)
    coarse = aggregate(fine, Interval.parse("1w"))
    rsi = compute(make("rsi", window=3), coarse)["rsi"]
    slow = compute(make("rsi_divergence", window=3, slow_candles=7), fine)["slow"]
    at = np.searchsorted(fine.times, coarse.times)
    np.testing.assert_allclose(slow[at], rsi, rtol=1e-12)


def test_a_slow_candle_with_a_hole_is_left_out() -> None:
    columns = market(200, symbols=1, seed=3)
    for values in columns.values():
        values[101] = np.nan
    whole = compute(make("rsi_divergence", window=3), panel(columns))
    after = compute(make("rsi_divergence", window=3), panel(cut(columns, 102), BLOCK_START + 102))
    for output, values in whole.items():
        np.testing.assert_array_equal(values[102:], after[output])


@pytest.mark.parametrize("opens", [13, 14])
@pytest.mark.parametrize("first", [0, 1])
def test_where_the_market_sleeps_what_traded_makes_up_a_slow_candle(opens: int, first: int) -> None:
    # Hourly candles of a session of seven hours; four-hour candles, of which one ends at night.
    columns = market(24 * 30, symbols=1, seed=4)
    start = BLOCK_START - BLOCK_START % 24
    hour = (start + np.arange(24 * 30)) % 24
    trades = (hour > opens) & (hour <= opens + 7)
    begin = int(np.flatnonzero(trades)[first])
    for values in columns.values():
        values[~trades] = np.nan
    columns, start = cut(columns, begin), start + begin
    rows = np.flatnonzero(trades[begin:])
    known: list[tuple[int, float]] = []
    part = np.ceil((start + rows) / 4).astype(int)
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        name = part[rows == row][0]
        if following is not None and part[rows == following][0] == name:
            continue
        if name == part[0] and (start + rows[0] - 1) % 4:
            continue  # the market may have traded before the first candle known
        close = float(columns["close"][row, 0])
        if name * 4 - start == row:
            known.append((int(row), close))
        elif following is not None:
            known.append((int(following), close))
    candles = panel(columns, start, sessions=True)
    slow = compute(make("rsi_divergence", window=3), candles)["slow"][:, 0]
    expected = np.where(trades[begin:], _slow_rsi(known, len(slow), 3), np.nan)
    assert candles.interval.micros == HOUR
    np.testing.assert_allclose(slow, expected, rtol=1e-11)
