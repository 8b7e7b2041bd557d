"""Runs of candles, and windows of markets that close."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plugins.models.transformer.cases import TINY
from weft.domain.calendar import rows_spanned
from weft.domain.candles import FIELDS, Candles, Presence, candles_from_arrays
from weft.domain.instruments import describe
from weft.foundation.arrays import BoolPanel
from weft.foundation.times import Interval
from weft.testing import History, random_history
from weft_plugins.models.transformer.model import Transformer
from weft_plugins.models.transformer.windows import Runs, Windows, cells_where

HOUR = Interval.parse("1h")


def panel(there: BoolPanel, interval: Interval = HOUR) -> Candles:
    """A coin and a stock with candles where `there` is set."""
    rows = len(there)
    close = np.where(there, np.arange(1.0, 2 * rows + 1).reshape(rows, 2), np.nan)
    times = np.arange(1, rows + 1, dtype=np.int64) * interval.micros
    columns = dict.fromkeys(FIELDS, close)
    return candles_from_arrays(interval, times, (describe("BTCUSDT"), describe("ACME")), columns)


def rows_of_run(candles: Candles, row: int, column: int, length: int) -> list[int] | None:
    """Walk back from a cell over candles; None at a gap or the beginning."""
    result: list[int] = []
    for at in range(row, -1, -1):
        if candles.presence[at, column] == Presence.TRADED:
            result.insert(0, at)
        elif candles.presence[at, column] != Presence.CLOSED or not result:
            return None
        if len(result) == length:
            return result
    return None


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 6),
    st.integers(0, 20),
)
def test_runs_equal_those_of_walking_back(
    there: list[tuple[bool, bool]], length: int, reach: int
) -> None:
    candles = panel(np.array(there))
    runs = Runs.of(candles, np.ones((len(there), 2), dtype=np.bool_))
    full = runs.complete(length, reach)
    for row in range(len(there)):
        for column in range(2):
            walked = rows_of_run(candles, row, column, length)
            expected = walked if walked and row - walked[0] <= reach else None
            assert full[row, column] == (expected is not None)
            if expected:
                back = runs.back(np.array([row]), np.array([column]), length)
                assert back[0].tolist() == expected


def test_unusable_candle_ends_a_run() -> None:
    usable = np.ones((8, 2), dtype=np.bool_)
    usable[4] = False
    full = Runs.of(panel(np.ones((8, 2), dtype=np.bool_)), usable).complete(3, 9)
    assert full[:, 0].tolist() == [False, False, True, True, False, False, False, True]


def packed(history: History) -> History:
    """A coin with the candles of the stock, without closed hours."""
    there = ~np.isnan(history.candles["close"][:, -1])
    columns = {name: panel[there, -1:] for name, panel in history.candles.items()}
    return History(history.interval, (describe("COINUSDT"),), columns, {})


def test_stock_windows_skip_closed_hours() -> None:
    history = random_history(3, rows=900, flaws=False)
    needs = Transformer(TINY).needs
    closing = Windows.of(history.view(needs, steps=400).candles(), TINY.window)
    coin = packed(history)
    full = Windows.of(coin.view(needs, steps=coin.rows - TINY.window).candles(), TINY.window)
    stock = cells_where(closing.complete & (np.arange(4) == 3))
    inputs, volatility = closing.inputs(stock)
    last = cells_where(full.complete).pick(slice(-len(stock), None))
    assert len(stock) > 100
    np.testing.assert_array_equal(inputs, full.inputs(last)[0])
    np.testing.assert_array_equal(volatility, full.inputs(last)[1])


def test_stock_targets_use_the_last_close() -> None:
    history = random_history(3, rows=900, flaws=False)
    horizon = 12
    windows = Windows.of(history.view(Transformer(TINY).needs, steps=400).candles(), TINY.window)
    chosen = windows.complete & windows.labelled(horizon) & (np.arange(4) == 3)
    cells = cells_where(chosen)
    _, volatility = windows.inputs(cells)
    units = volatility[:, None] * np.sqrt(np.arange(1, horizon + 1))
    marked = pl.Series(windows.log_close[:, 3]).fill_nan(None).fill_null(strategy="forward")
    closes = marked.to_numpy()
    for row, reports in zip(
        cells.rows, windows.targets(cells, volatility, horizon) * units, strict=True
    ):
        np.testing.assert_allclose(
            reports, closes[row + 1 : row + horizon + 1] - closes[row], atol=1e-12
        )
    # The last hour of a session is followed by twelve hours without a candle.
    hour = np.arange(400) % 24
    ends = windows.complete[-400:, 3]
    never = [h for h in np.unique(hour[ends]) if not chosen[-400:, 3][ends & (hour == h)].any()]
    assert len(never) == 1


@pytest.mark.parametrize("interval", ["1h", "1d"])
def test_live_window_is_complete_where_the_historical_one_is(interval: str) -> None:
    """Over a weekend, which leaves fewer candles in the live warm-up."""
    rows = 2600 if interval == "1h" else 600
    length = Interval.parse(interval).micros
    times = np.arange(rows) * length
    day, hour = times // (24 * HOUR.micros), times // HOUR.micros % 24
    there = (day % 7 < 5) & ((hour >= 14) & (hour <= 20) | (interval == "1d"))
    there &= ~((day > 20) & (day < 29))  # a long closure
    close = np.where(there, np.exp(np.random.default_rng(1).normal(0, 0.01, rows).cumsum()), np.nan)
    columns = dict.fromkeys(FIELDS, close[:, None])
    history = History(
        Interval.parse(interval), (describe("ACME"),), columns, {}, first_close=length
    )
    needs = Transformer(TINY).needs
    steps = rows - rows_spanned(TINY.window, history.interval) - 1
    full = Windows.of(history.view(needs, steps=steps).candles(), TINY.window).complete[-steps:]
    assert full.any()
    for back in range(0, steps, 7):
        cut = history.cut(history.rows - back)
        live = Windows.of(cut.view(needs, steps=1).candles(), TINY.window).complete[-1]
        assert live.tolist() == full[steps - 1 - back].tolist()
