"""Liquidation levels: cases by hand, and what is unknown."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from tests.plugins.features.liquidation_markets import LEVERAGES, doubled, last, market, only
from tests.plugins.features.planted_pairs import compute
from weft.components.needs import feature as feature_need
from weft.foundation.arrays import FloatPanel, Times
from weft.market.metrics import MetricPanel
from weft.market.view import View
from weft.testing import History, parametrize_with_checks
from weft_plugins.features.liquidation_levels import LiquidationLevels


@parametrize_with_checks(
    [
        LiquidationLevels(),
        LiquidationLevels(LiquidationLevels.Config(window=50, half_life=9.0, stale_rows=3)),
    ]
)
def test_conformance(check: Callable[[], None]) -> None:
    check()


# By hand


def test_what_is_opened_is_liquidated_at_the_price_less_its_margin() -> None:
    # 50 coins long at 100 * (1 - 1/10 + 0.005) = 90.5, and 50 short at 109.5, of 200 in all.
    said = last(only(10), market(np.full(30, 100.0), {"open_interest": doubled(200.0)}))
    weighted = 50 * (1 - 0.095 / 0.1) / 200
    assert said == pytest.approx(
        {
            "balance": 0.0,
            "above": weighted,
            "below": weighted,
            "nearest_above": 0.095,
            "nearest_below": 0.095,
            "tracked": 0.5,
        },
        abs=1e-12,
    )


@pytest.mark.parametrize(("leverage", "distance"), [(25, 0.035), (50, 0.015), (100, 0.005)])
def test_more_leverage_is_liquidated_sooner(leverage: int, distance: float) -> None:
    said = last(only(leverage), market(np.full(30, 100.0), {"open_interest": doubled()}))
    assert said["nearest_above"] == pytest.approx(distance)
    assert said["nearest_below"] == pytest.approx(distance)
    assert said["above"] == pytest.approx(0.25 * (1 - distance / 0.1))


def test_leverage_5_is_out_of_reach_but_tracked() -> None:
    said = last(only(5), market(np.full(30, 100.0), {"open_interest": doubled()}))
    assert said["tracked"] == pytest.approx(0.5)
    assert said["above"] == said["below"] == 0.0
    assert all(math.isnan(said[n]) for n in ("balance", "nearest_above", "nearest_below"))
    far = last(only(5, reach=0.2), market(np.full(30, 100.0), {"open_interest": doubled()}))
    assert far["nearest_above"] == pytest.approx(0.195)


def test_the_ratio_of_accounts_splits_what_is_opened() -> None:
    ratio = np.full(30, 3.0)
    metrics = {"open_interest": doubled(), "long_short_ratio": ratio}
    said = last(only(10), market(np.full(30, 100.0), metrics))
    assert said["balance"] == pytest.approx(-0.5)
    assert said["below"] == pytest.approx(75 * 0.05 / 200)
    unknown = np.where(np.arange(30) < 29, 3.0, np.nan)
    half = last(only(10), market(np.full(30, 100.0), {**metrics, "long_short_ratio": unknown}))
    assert half["balance"] == pytest.approx(0.0, abs=1e-12)


def test_positions_are_opened_at_the_typical_price() -> None:
    close = np.full(30, 100.0)
    high, low = close.copy(), close.copy()
    high[-1], low[-1] = 104.0, 99.0  # (104 + 99 + 100) / 3 = 101
    said = last(only(10), market(close, {"open_interest": doubled()}, high=high, low=low))
    assert said["nearest_below"] == pytest.approx(1 - 101 * 0.905 / 100)


@pytest.mark.parametrize(("touch", "closed"), [(96.51, False), (96.5, True), (90.0, True)])
def test_a_long_is_closed_by_a_later_low_that_reaches_its_level(touch: float, closed: bool) -> None:
    close = np.full(30, 100.0)
    low = close.copy()
    low[-1] = touch
    interest = doubled(150.0 if closed else 200.0)
    said = last(only(25), market(close, {"open_interest": interest}, low=low))
    if closed:
        # 50 of the 200 coins were forced out, the shorts are all that is known of the rest.
        assert said["balance"] == 1.0
        assert said["above"] == pytest.approx(50 * 0.65 / 150)
        assert said["tracked"] == pytest.approx(50 / 150)
        assert math.isnan(said["nearest_below"])
    else:
        assert said["balance"] == pytest.approx(0.0, abs=1e-12)


def test_a_short_is_closed_by_a_later_high_that_reaches_its_level() -> None:
    close = np.full(30, 100.0)
    high = close.copy()
    high[-1] = 103.5
    said = last(only(25), market(close, {"open_interest": doubled(150.0)}, high=high))
    assert said["balance"] == -1.0
    high[-1] = 103.49
    kept = last(only(25), market(close, {"open_interest": doubled(200.0)}, high=high))
    assert kept["balance"] == pytest.approx(0.0, abs=1e-12)


def test_the_candle_in_which_it_is_opened_does_not_close_it() -> None:
    close = np.full(30, 100.0)
    low, high = close.copy(), close.copy()
    low[-1], high[-1] = 90.0, 110.0
    said = last(only(25), market(close, {"open_interest": doubled()}, high=high, low=low))
    assert said["tracked"] == pytest.approx(0.5)


def test_what_was_forced_out_and_does_not_show_was_opened_anew() -> None:
    close = np.full(30, 100.0)
    low = close.copy()
    low[-1] = 96.5
    said = last(only(25), market(close, {"open_interest": doubled(200.0)}, low=low))
    price = (100 + 96.5 + 100) / 3
    # 50 shorts from 100, and 25 long and 25 short from the lower price.
    assert said["tracked"] == pytest.approx(0.5)
    assert said["below"] == pytest.approx(25 * (1 - (1 - price * 0.965 / 100) / 0.1) / 200)


def test_falling_open_interest_takes_from_all_alike() -> None:
    flat = np.full(30, 100.0)
    before = last(only(10), market(flat, {"open_interest": doubled()}))
    after = last(only(10), market(flat, {"open_interest": doubled(100.0)}))
    assert after == pytest.approx(before, abs=1e-12)
    again = last(only(10), market(flat, {"open_interest": doubled(100.0, 200.0)}))
    # Half of 100 was known, and 100 more is.
    assert again["tracked"] == pytest.approx(150 / 200)


def test_positions_fade_with_their_half_life() -> None:
    flat = np.full(30, 100.0)
    feature = only(10, half_life=4.0)
    shares = [
        last(feature, market(flat, {"open_interest": doubled(*[200.0] * candles)}))["tracked"]
        for candles in (0, 4, 8)
    ]
    assert shares == pytest.approx([0.5, 0.25, 0.125])


def test_the_heaviest_cluster_counts_not_the_closest() -> None:
    close = np.array([100.0] * 29 + [102.0])
    # 10 coins opened at 100, 300 at 102: longs at 90.5 and 92.31, 11.3 % and 9.5 % below 102.
    interest = np.array([100.0] * 28 + [110.0, 410.0])
    said = last(only(10, reach=0.2), market(close, {"open_interest": interest}))
    assert said["nearest_above"] == pytest.approx(0.095)
    interest = np.array([100.0] * 28 + [400.0, 410.0])
    said = last(only(10, reach=0.2), market(close, {"open_interest": interest}))
    assert said["nearest_above"] == pytest.approx(109.5 / 102 - 1)
    assert said["nearest_below"] == pytest.approx(1 - 90.5 / 102)
    wide = last(only(10, reach=0.2, cluster=0.2), market(close, {"open_interest": interest}))
    mean = (300 * (109.5 / 102 - 1) + 10 * 0.095) / 310
    assert wide["nearest_above"] == pytest.approx(mean)


@pytest.mark.parametrize(("now", "balance"), [(103.0, 1.0), (97.0, -1.0)])
def test_the_side_that_is_closer_to_its_levels_is_heavier(now: float, balance: float) -> None:
    close = np.array([100.0] * 29 + [now])
    said = last(only(10), market(close, {"open_interest": doubled(200.0)}))
    assert said["balance"] == balance


# What is known


def test_a_price_that_rises_is_no_position_opened() -> None:
    close = np.exp(np.cumsum(np.random.default_rng(1).normal(0.01, 0.01, 60)))
    said = last(only(10), market(close, {"open_interest_usd": 5.0 * close}))
    assert said["tracked"] == pytest.approx(0.0, abs=1e-12)
    grown = 5.0 * np.where(np.arange(60) < 59, 1.0, 2.0)
    said = last(only(10), market(close, {"open_interest_usd": grown * close}))
    assert said["tracked"] == pytest.approx(0.5)


def held(history: History, feature: LiquidationLevels, every: int) -> Mapping[str, FloatPanel]:
    """Return the outputs where metrics are told on every so many rows alone, and then kept."""
    need = feature_need(feature.name, **feature.config.model_dump())
    view = history.view([need], steps=6, make_feature=lambda _: feature)

    def rarely(panel_of: Callable[[Times], MetricPanel], times: Times) -> MetricPanel:
        panel = panel_of(times)
        rows = np.arange(len(panel.times))
        age = rows % every
        seconds = np.broadcast_to(age[:, None] * 3600.0, panel.values.shape)
        return replace(panel, values=panel.values[rows - age], age_seconds=seconds)

    panels = {name: partial(rarely, panel_of) for name, panel_of in view._data.metrics.items()}
    data = replace(view._data, metrics=panels)
    told = View(data, 6, [need], "test")
    return {output: told.feature(need, output=output) for output in feature.outputs}


def test_usd_are_turned_into_coins_at_the_price_of_when_they_were_counted() -> None:
    close = np.exp(np.cumsum(np.random.default_rng(2).normal(0, 0.01, 120)))
    history = market(close, {"open_interest_usd": 5.0 * close})
    said = held(history, only(10, stale_rows=8), every=8)
    np.testing.assert_allclose(said["tracked"], 0.0, atol=1e-12)
    stale = held(history, only(10, stale_rows=3), every=8)
    assert np.isnan(stale["tracked"]).any()
    assert not np.isnan(stale["tracked"]).all()


def test_another_measure_of_open_interest_opens_nothing() -> None:
    coins, usd = doubled(200.0, 200.0, 200.0), np.full(30, 5e6)
    coins[-2:] = np.nan
    metrics = {"open_interest": coins, "open_interest_usd": usd}
    said = last(only(10), market(np.full(30, 100.0), metrics))
    assert said["tracked"] == pytest.approx(0.5)
    assert said["above"] == pytest.approx(0.0125)


@pytest.mark.parametrize("wrong", [np.nan, 0.0, -5.0, np.inf])
def test_all_is_unknown_where_open_interest_is(wrong: float) -> None:
    flat = np.full(30, 100.0)
    assert np.isnan(list(last(only(10), market(flat, {})).values())).all()
    interest = doubled(wrong, 200.0)
    said = compute(only(10), market(flat, {"open_interest": interest}), 2)
    for panel in said.values():
        assert np.isnan(panel[0, 0])
    assert said["tracked"][1, 0] == pytest.approx(0.5)


def test_levels_are_touched_while_open_interest_is_unknown() -> None:
    close = np.full(30, 100.0)
    low = close.copy()
    low[-2] = 96.0
    said = last(only(25), market(close, {"open_interest": doubled(np.nan, 150.0)}, low=low))
    assert said["balance"] == 1.0
    assert said["tracked"] == pytest.approx(50 / 150)


def test_a_missing_candle_has_no_levels_and_ends_none() -> None:
    close = np.array([100.0] * 28 + [np.nan, 100.0])
    said = compute(only(10), market(close, {"open_interest": doubled(200.0, 200.0)}), 2)
    for panel in said.values():
        assert np.isnan(panel[0, 0])
    assert said["tracked"][1, 0] == pytest.approx(0.5)


def test_constant_open_interest_has_no_levels() -> None:
    said = last(only(10), market(np.full(30, 100.0), {"open_interest": np.full(30, 7.0)}))
    assert said["above"] == said["below"] == said["tracked"] == 0.0
    assert math.isnan(said["balance"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cluster": 0.2}, "wider than reach"),
        ({f"share_{one}x": 0.0 for one in LEVERAGES}, "at least one"),
        ({"maintenance_margin": 0.01}, "maintenance_margin"),
        ({"reach": 1.0}, "reach"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LiquidationLevels.Config.model_validate(options)
