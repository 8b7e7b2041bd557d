"""Beta and what is made of it, against pandas and statsmodels, and on planted markets."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.rolling import (  # type: ignore[import-untyped]  # it ships no types
    RollingOLS,
)

from tests.plugins.features.planted_pairs import compute, from_returns
from weft.components.feature import PanelFeature
from weft.foundation.arrays import FloatPanel
from weft.testing import parametrize_with_checks
from weft_plugins.features.beta import Beta
from weft_plugins.features.cross import Decorrelation, Divergence, LeadLag, SectorCorrelation
from weft_plugins.features.regression import fit, sums

ROWS, WINDOW, LEAST = 260, 30, 12


@parametrize_with_checks(
    [
        Beta(),
        Beta(Beta.Config(lag=2, against="sector")),
        Divergence(),
        Divergence(Divergence.Config(horizon=200, skip=24)),
        SectorCorrelation(),
        Decorrelation(),
        LeadLag(),
    ]
)
def test_conformance(check: Callable[[], None]) -> None:
    check()


def pairs(seed: int, holes: float = 0.0, columns: int = 5) -> tuple[FloatPanel, FloatPanel]:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.0005, 0.03, (ROWS, 1))
    y = rng.uniform(-1, 2, columns) * x + rng.standard_t(4, (ROWS, columns)) * 0.02
    y[rng.random(y.shape) < holes] = np.nan
    x[rng.random(x.shape) < holes / 3] = np.nan
    return x, y


@pytest.mark.parametrize("holes", [0.0, 0.1, 0.35])
def test_a_fit_is_that_of_statsmodels(holes: float) -> None:
    x, y = pairs(1, holes)
    found = fit(x, y, window=WINDOW, least=LEAST, first_index=77, rows=ROWS)
    for column in range(y.shape[1]):
        exog = np.column_stack([np.ones(ROWS), x[:, 0]])
        wanted = RollingOLS(
            pd.Series(y[:, column]), exog, WINDOW, min_nobs=LEAST, expanding=True, missing="drop"
        ).fit()
        params = np.asarray(wanted.params)
        # statsmodels skips rows without a pair; compare where there is one.
        known = ~np.isnan(params[:, 0]) & ~np.isnan(x[:, 0] * y[:, column])
        assert known.sum() > 80
        np.testing.assert_allclose(found[0, known, column], params[known, 1], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[3, known, column], params[known, 0], rtol=0, atol=1e-12)
        residual = y[:, column] - (exog * params).sum(axis=1)
        np.testing.assert_allclose(found[1, known, column], residual[known], rtol=0, atol=1e-12)
        deviation = np.sqrt(np.asarray(wanted.mse_resid))
        np.testing.assert_allclose(found[4, known, column], deviation[known], rtol=1e-9)


@pytest.mark.parametrize("holes", [0.0, 0.1, 0.35])
def test_slope_and_correlation_are_those_of_pandas(holes: float) -> None:
    x, y = pairs(2, holes)
    found = fit(x, y, window=WINDOW, least=LEAST, first_index=3, rows=ROWS)
    for column in range(y.shape[1]):
        both = pd.DataFrame({"x": x[:, 0], "y": y[:, column]})
        both[both.isna().any(axis=1)] = np.nan
        rolling = both.rolling(WINDOW, min_periods=LEAST)
        beta = rolling.cov()["y"].xs("x", level=1) / rolling.var()["x"]
        correlation = rolling.corr()["y"].xs("x", level=1)
        np.testing.assert_allclose(found[0, :, column], beta, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[2, :, column], correlation, rtol=0, atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    start=st.integers(0, ROWS - WINDOW - 1),
    first=st.integers(0, 10_000),
    holes=st.sampled_from([0.0, 0.2]),
    window=st.integers(5, WINDOW),
)
def test_no_bit_depends_on_where_the_panel_begins(
    start: int, first: int, holes: float, window: int
) -> None:
    x, y = pairs(3, holes)
    y[5, 0] = 1e6  # what has left the window must leave nothing behind
    whole = fit(x, y, window=window, least=4, first_index=first, rows=ROWS)
    rows = ROWS - start - window + 1
    later = fit(x[start:], y[start:], window=window, least=4, first_index=first + start, rows=rows)
    np.testing.assert_array_equal(later, whole[:, -rows:])
    added = sums(y, window=window, first_index=first, rows=ROWS)
    again = sums(y[start:], window=window, first_index=first + start, rows=rows)
    np.testing.assert_array_equal(again, added[:, -rows:])


def test_columns_in_many_tiles_and_with_an_x_of_their_own_agree() -> None:
    x, y = pairs(4, columns=600)
    common = fit(x, y, window=WINDOW, least=LEAST, first_index=0, rows=ROWS)
    own = fit(np.repeat(x, 600, axis=1), y, window=WINDOW, least=LEAST, first_index=0, rows=ROWS)
    np.testing.assert_array_equal(common, own)


@pytest.mark.parametrize("row", [0, 1, 100, ROWS - 2, ROWS - 1])
def test_a_hole_is_found_wherever_it_is_and_touches_its_own_column_alone(row: int) -> None:
    x, y = pairs(4, columns=300)
    whole = fit(x, y, window=WINDOW, least=LEAST, first_index=7, rows=ROWS)
    y[row, 2] = np.nan
    found = fit(x, y, window=WINDOW, least=LEAST, first_index=7, rows=ROWS)
    own = fit(np.repeat(x, 300, axis=1), y, window=WINDOW, least=LEAST, first_index=7, rows=ROWS)
    np.testing.assert_array_equal(found, own)
    others = np.arange(300) != 2
    np.testing.assert_array_equal(found[..., others], whole[..., others])
    changed = ~np.isclose(found[0, :, 2], whole[0, :, 2], equal_nan=True)
    known = np.flatnonzero(changed)
    assert known.size
    assert row <= known.min()
    assert known.max() < row + WINDOW


def test_the_benchmark_has_a_beta_of_one_to_itself_and_no_residual() -> None:
    rng = np.random.default_rng(5)
    history = from_returns(rng.normal(0, 0.01, (400, 3)), ("BTC", "ETH", "SOL"))
    found = compute(Beta(Beta.Config(window=100, least=50)), history, 300)
    np.testing.assert_allclose(found["beta"][:, 0], 1.0, rtol=0, atol=1e-12)
    np.testing.assert_allclose(found["residual"][:, 0], 0.0, atol=1e-15)
    np.testing.assert_allclose(found["correlation"][:, 0], 1.0, rtol=0, atol=1e-12)
    assert (found["deviation"][:, 0] == 0.0).all()
    assert (np.abs(found["residual"][:, 1:]) > 0.0).all()


def test_beta_scales_with_returns_and_a_planted_one_is_recovered() -> None:
    rng = np.random.default_rng(6)
    btc = rng.normal(0, 0.01, 800)
    noise = rng.normal(0, 0.005, 800)
    returns = np.column_stack([btc, 1.7 * btc + noise, 2.0 * (1.7 * btc + noise)])
    feature = Beta(Beta.Config(window=700))
    found = compute(feature, from_returns(returns, ("BTC", "ETH", "SOL")), 20)
    standard_error = 0.5 / np.sqrt(700)
    assert np.abs(found["beta"][:, 1] - 1.7).max() < 4 * standard_error
    np.testing.assert_allclose(found["deviation"][:, 1], 0.005, rtol=0.12)
    for output in ("beta", "residual", "alpha", "deviation"):
        np.testing.assert_allclose(found[output][:, 2], 2 * found[output][:, 1], rtol=1e-9)
    np.testing.assert_allclose(found["correlation"][:, 2], found["correlation"][:, 1], rtol=1e-9)


def test_without_the_benchmark_the_mean_of_all_coins_stands_in() -> None:
    rng = np.random.default_rng(7)
    returns = rng.normal(0, 0.01, (300, 3))
    feature = Beta(Beta.Config(window=100))
    found = compute(feature, from_returns(returns, ("AAA", "BBB", "CCC")), 1)
    market = returns[-100:].mean(axis=1)
    wanted = [np.polyfit(market, returns[-100:, k], 1)[0] for k in range(3)]
    np.testing.assert_allclose(found["beta"][0], wanted, rtol=1e-9)


def test_a_sector_leaves_its_own_coin_out_and_a_stranger_has_the_market() -> None:
    rng = np.random.default_rng(8)
    returns = rng.normal(0, 0.01, (300, 5))
    bases = ("UNI", "AAVE", "CRV", "BTC", "NOBODY")
    feature = SectorCorrelation(SectorCorrelation.Config(window=100))
    found = compute(feature, from_returns(returns, bases), 1)["correlation"][0]
    last = returns[-100:]
    peers = [[1, 2], [0, 2], [0, 1], [0, 1, 2, 4], [0, 1, 2, 3]]
    wanted = [np.corrcoef(last[:, k], last[:, p].mean(axis=1))[0, 1] for k, p in enumerate(peers)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_a_hole_in_one_coin_leaves_the_mean_of_its_peers_whole() -> None:
    rng = np.random.default_rng(13)
    returns = rng.normal(0, 0.01, (300, 4))
    history = from_returns(returns, ("UNI", "AAVE", "CRV", "SNX"))
    for panel in history.candles.values():
        panel[250:260, 3] = np.nan
    feature = Beta(Beta.Config(window=100, least=50, against="sector"))
    found = compute(feature, history, 1)["beta"][0]
    returns[250:261, 3] = np.nan
    for column in range(3):
        peers = np.nanmean(np.delete(returns[-100:], column, axis=1), axis=1)
        slope = np.polyfit(peers, returns[-100:, column], 1)[0]
        assert found[column] == pytest.approx(slope, rel=1e-9)
    both = ~np.isnan(returns[-100:, 3])
    slope = np.polyfit(returns[-100:, :3].mean(axis=1)[both], returns[-100:, 3][both], 1)[0]
    assert found[3] == pytest.approx(slope, rel=1e-9)


def test_divergence_is_the_summed_residual_of_the_whole_windows_fit() -> None:
    rng = np.random.default_rng(9)
    returns = rng.normal(0, 0.01, (300, 2))
    feature = Divergence(Divergence.Config(window=200, horizon=50, skip=10))
    found = compute(feature, from_returns(returns, ("BTC", "ETH")), 1)
    x, y = returns[-200:].T
    slope, constant = np.polyfit(x, y, 1)
    residuals = y - constant - slope * x
    change = residuals[-50:-10].sum()
    np.testing.assert_allclose(found["change"][0, 1], change, rtol=1e-8)
    deviation = np.sqrt((residuals**2).sum() / 198)
    np.testing.assert_allclose(found["score"][0, 1], change / deviation / np.sqrt(40), rtol=1e-8)
    assert np.isnan(found["score"][0, 0])


def test_a_tie_that_breaks_shows_and_one_that_holds_does_not() -> None:
    rng = np.random.default_rng(10)
    btc = rng.normal(0, 0.01, 900)
    tied = btc + rng.normal(0, 0.005, 900)
    broken = tied.copy()
    broken[-72:] = rng.normal(0, 0.01, 72)
    history = from_returns(np.column_stack([btc, tied, broken]), ("BTC", "ETH", "SOL"))
    found = compute(Decorrelation(), history, 1)["score"][0]
    assert abs(found[1]) < 3.0
    assert found[2] > 5.0


def test_decorrelation_is_about_standard_normal_while_nothing_changes() -> None:
    rng = np.random.default_rng(11)
    btc = rng.normal(0, 0.01, (900, 1))
    coins = 0.8 * btc + rng.normal(0, 0.01, (900, 200))
    bases = ("BTC", *(f"C{k}" for k in range(200)))
    found = compute(Decorrelation(), from_returns(np.hstack([btc, coins]), bases), 1)["score"]
    assert 0.8 < found[0, 1:].std() < 1.2


def test_a_planted_lead_is_found_and_none_is_where_there_is_none() -> None:
    rng = np.random.default_rng(12)
    btc = rng.normal(0, 0.01, 1500)
    late = np.concatenate([[0.0], 0.8 * btc[:-1]]) + rng.normal(0, 0.01, 1500)
    returns = np.column_stack([btc, late, rng.normal(0, 0.01, 1500)])
    history = from_returns(returns, ("BTC", "ETH", "SOL"))
    found = compute(LeadLag(), history, 500)
    assert (found["t_statistic"][:, 1] > 10).all()
    np.testing.assert_allclose(found["slope"][:, 1], 0.8, atol=0.2)
    following = returns[-499:, 1]
    assert np.corrcoef(found["score"][:-1, 1], following)[0, 1] > 0.5
    assert np.abs(found["score"][:, 2]).max() < 0.2 * np.abs(found["score"][:, 1]).max()


@pytest.mark.parametrize(
    ("feature", "options", "message"),
    [
        (Beta, {"window": 20, "least": 21}, "must not be more than window"),
        (Divergence, {"horizon": 5, "skip": 5}, "must be more than skip"),
        (Divergence, {"window": 100, "horizon": 101}, "not more than window"),
        (SectorCorrelation, {"against": "benchmark"}, "sector"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    feature: type[PanelFeature], options: dict[str, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        feature.Config.model_validate(options)
