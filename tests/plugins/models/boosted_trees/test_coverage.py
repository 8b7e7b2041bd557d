"""Coverage of the quantiles of boosted trees in calm and turbulent times."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.plugins.models.boosted_trees.cases import HORIZON, fitted, market
from weft.components.model import Forecast
from weft.components.outcomes import forward_returns
from weft.domain.instruments import describe
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.times import Interval
from weft.testing import History
from weft_plugins.models.boosted_trees.model import XGBoost

SPELL = 1500
"""Length of a calm or turbulent spell, rows."""

SYMBOLS = 6
TRAINED_ON = 3500
TESTED = 3000
WEEK = 168


def model(**options: Any) -> XGBoost:
    """Return trees whose inputs do not predict volatility.

    So their classes alone cannot tell calm from turbulence.
    """
    tiny = {"trees": 8, "depth": 2, "rate": 0.1, "features": ("volume",), "threshold": 0.01}
    return XGBoost(XGBoost.Config(**{**tiny, "threads": 1, **options}))


def sizes(calm: float, turbulent: float) -> FloatPanel:
    """Return the volatility of one candle, with spells of a different length for each symbol."""
    rows = np.arange(TRAINED_ON + TESTED + 600)[:, None] + np.arange(SYMBOLS) * SPELL // 3
    result: FloatPanel = np.where(rows // SPELL % 2, turbulent, calm)
    return result


@cache
def spells(calm: float, turbulent: float) -> History:
    """Return a market without drift and with fat-tailed returns."""
    size = sizes(calm, turbulent)
    shock = np.random.default_rng(8).standard_t(5, size.shape) / np.sqrt(5 / 3)
    return market(100.0 * np.exp(np.cumsum(size * shock, axis=0)))


def said_later(history: History, component: XGBoost, rows: int) -> tuple[Forecast, FloatPanel]:
    """Return forecasts of the last rows by a model of earlier rows, and the outcomes."""
    before = history.cut(history.rows - rows - HORIZON)
    trained_artifact = component.load(
        fitted(component, before.view(component.needs, steps=TRAINED_ON))
    )
    view = history.view(component.needs, steps=rows, learned=trained_artifact)
    return component.predict(view), forward_returns(view.candles().close[-rows:], HORIZON)


def beyond(output: Forecast, actual: FloatPanel, rows: BoolPanel) -> tuple[float, float]:
    """Return the share of outcomes below the 5 % and above the 95 % quantile."""
    known = rows & ~np.isnan(actual) & ~np.isnan(output.quantiles[0.05])
    assert known.sum() > 1000
    low, high = (output.quantiles[level][known] for level in (0.05, 0.95))
    return float((actual[known] < low).mean()), float((actual[known] > high).mean())


def settled(size: FloatPanel) -> BoolPanel:
    """Return the rows whose last week and next horizon are in one spell."""
    last = np.arange(len(size))
    first = np.maximum(last - WEEK, 0)
    ahead = np.minimum(last + HORIZON, len(size) - 1)
    same: BoolPanel = (size[first] == size) & (size[ahead] == size)
    return same


@pytest.mark.parametrize("calm", [True, False])
def test_quantiles_cover_calm_and_turbulent_rows_alike(calm: bool) -> None:
    size = sizes(0.004, 0.016)
    output, actual = said_later(spells(0.004, 0.016), model(), TESTED)
    rows = (settled(size) & ((size == 0.004) == calm))[-TESTED:]
    assert beyond(output, actual, rows) == pytest.approx((0.05, 0.05), abs=0.02)
    # Comparison: one constant width, equal to the mean width.
    for level, quantile in output.quantiles.items():
        quantile[:] = np.nanquantile(actual, level)
    assert (max if calm else min)(beyond(output, actual, rows)) == pytest.approx(
        0.0 if calm else 0.12, abs=0.03
    )


def test_quantiles_of_constant_volatility_are_not_wider() -> None:
    output, actual = said_later(spells(0.01, 0.01), model(), TESTED)
    assert beyond(output, actual, ~np.isnan(actual)) == pytest.approx((0.05, 0.05), abs=0.015)
    width = np.mean(output.quantiles[0.95] - output.quantiles[0.05])
    outcomes = actual[~np.isnan(actual)]
    assert width == pytest.approx(np.diff(np.quantile(outcomes, (0.05, 0.95)))[0], rel=0.06)


def test_quantiles_cover_an_unseen_symbol() -> None:
    """The symbol is ten times as volatile as the training symbols."""
    base = spells(0.01, 0.01)
    component = model()
    before = base.cut(base.rows - TESTED - HORIZON)
    trained_artifact = component.load(
        fitted(component, before.view(component.needs, steps=TRAINED_ON))
    )
    wild = market(100.0 * (base.candles["close"] / 100.0) ** 10)
    view = wild.view(component.needs, steps=TESTED, learned=trained_artifact)
    actual = forward_returns(view.candles().close[-TESTED:], HORIZON)
    result = beyond(component.predict(view), actual, ~np.isnan(actual))
    assert result == pytest.approx((0.05, 0.05), abs=0.02)


def test_overfitted_trees_do_not_narrow_the_quantiles() -> None:
    """Their probabilities are overconfident; out-of-fold outcomes correct the levels."""
    greedy = {"trees": 20, "depth": 10, "rate": 1.0, "least_leaf": 0.01, "penalty": 0.0}
    history = spells(0.01, 0.01)
    reports = {}
    for hold_out in (True, False):
        output, actual = said_later(
            history, model(**greedy, threshold=0.002, hold_out=hold_out), TESTED
        )
        reports[hold_out] = beyond(output, actual, ~np.isnan(actual))
    assert reports[True] == pytest.approx((0.05, 0.05), abs=0.015)
    assert min(reports[False]) > 0.075


def test_constant_or_new_price_has_a_probability_and_no_quantiles() -> None:
    base = spells(0.01, 0.01)
    component = model()
    trained_artifact = component.load(
        fitted(component, base.view(component.needs, steps=TRAINED_ON))
    )
    closes = base.candles["close"].copy()
    closes[-400:, 0] = closes[-400, 0]
    candles = {name: panel.copy() for name, panel in market(closes).candles.items()}
    for panel in candles.values():
        panel[:-100, 1] = np.nan
    view = History(base.interval, base.instruments, candles, {}).view(
        component.needs, steps=50, learned=trained_artifact
    )
    output = component.predict(view)
    assert not np.isnan(output.probability_up).any()
    for quantile in output.quantiles.values():
        assert np.isnan(quantile[:, :2]).all()
        assert np.isfinite(quantile[:, 2:]).all()


NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT")


def real(folder: Path, rows: int) -> History:
    """Return the latest hours of a few perpetuals."""
    frames = [pl.read_parquet(folder / f"{name}.parquet").sort("open_time") for name in NAMES]
    fields = ("open", "high", "low", "close", "volume")
    candles = {
        field: np.column_stack([frame.tail(rows)[field].to_numpy() for frame in frames])
        for field in fields
    }
    return History(Interval.parse("1h"), tuple(map(describe, NAMES)), candles, {})


@pytest.mark.slow
def test_quantiles_cover_real_hours_in_calm_and_turbulent_times(real_data: Path) -> None:
    """A third of the rows holds about 300 non-overlapping outcomes of correlated symbols.

    So a share of 5 % is known to within about two points.
    """
    rows = 5000
    history = real(real_data / "crypto_perp_1h", 2 * rows + 800)
    component = model(trees=40, depth=4, features=("base", "momentum"), threshold=0.008)
    before = history.cut(history.rows - rows - HORIZON)
    trained_artifact = component.load(fitted(component, before.view(component.needs, steps=rows)))
    view = history.view(component.needs, steps=rows, learned=trained_artifact)
    output, actual = component.predict(view), forward_returns(view.candles().close[-rows:], HORIZON)
    assert beyond(output, actual, ~np.isnan(actual)) == pytest.approx((0.05, 0.05), abs=0.015)
    moves = np.diff(np.log(view.candles().close), axis=0, prepend=np.nan)
    recent = np.lib.stride_tricks.sliding_window_view(moves[-rows - 47 :], 48, axis=0).std(axis=-1)
    low, high = np.quantile(recent, (1 / 3, 2 / 3), axis=0)
    for third in (recent <= low, recent >= high):
        assert beyond(output, actual, third) == pytest.approx((0.05, 0.05), abs=0.025)
