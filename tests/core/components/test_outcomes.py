"""Outcomes, how much of each is its own, and what a forecast of them lost."""

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.metrics import log_loss  # type: ignore[import-untyped]  # ships no types

from weft.components.model import Forecast
from weft.components.needs import candles
from weft.components.outcomes import direction_losses, forward_returns, uniqueness
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.market.view import View
from weft.testing import History, random_history

LABELLED = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=40))


def as_outcomes(there: BoolPanel) -> FloatPanel:
    return np.where(there, 0.01, np.nan)


# Forward returns


def test_a_forward_return_is_the_log_of_a_ratio() -> None:
    close = np.array([[1.0, 10.0], [2.0, np.nan], [4.0, 5.0], [8.0, 20.0]])
    expected = np.log([[4.0, 0.5], [4.0, np.nan], [np.nan, np.nan], [np.nan, np.nan]])
    np.testing.assert_allclose(forward_returns(close, 2), expected)


@given(horizon=st.integers(1, 50), rows=st.integers(1, 60))
def test_an_outcome_is_unknown_exactly_in_the_last_rows(horizon: int, rows: int) -> None:
    close = np.exp(np.random.default_rng(0).normal(size=(rows, 2)))
    known = ~np.isnan(forward_returns(close, horizon))
    np.testing.assert_array_equal(known[:, 0], np.arange(rows) + horizon < rows)


def test_what_comes_after_the_outcome_does_not_matter() -> None:
    close = np.exp(np.random.default_rng(0).normal(size=(30, 2)))
    later = close.copy()
    later[20:] = 1e9
    np.testing.assert_array_equal(forward_returns(later, 5)[:15], forward_returns(close, 5)[:15])


def test_what_a_closed_market_is_worth_is_its_last_close() -> None:
    """A session of three rows in six; after its last row nothing trades for three."""
    close = np.array([[1.0, 2.0, 4.0, np.nan, np.nan, np.nan, 8.0, 16.0, 32.0]]).T
    worth = np.array([[1.0, 2.0, 4.0, 4.0, 4.0, 4.0, 8.0, 16.0, 32.0]]).T
    found = np.exp(forward_returns(close, 3, worth))[:, 0]
    np.testing.assert_allclose(found, [4.0, 2.0, np.nan, np.nan, np.nan, np.nan, *[np.nan] * 3])
    assert np.isnan(forward_returns(close, 3)).all()


# Uniqueness


def shared_out(there: BoolPanel, horizon: int) -> FloatPanel:
    """Return uniqueness by its definition, one outcome at a time."""
    found = np.zeros(there.shape)
    for column in range(there.shape[1]):
        rows = np.flatnonzero(there[:, column])
        alive = np.zeros(len(there) + horizon + 1)
        for row in rows:
            alive[row + 1 : row + horizon + 1] += 1
        for row in rows:
            found[row, column] = (1 / alive[row + 1 : row + horizon + 1]).mean()
    return found


@given(there=LABELLED, horizon=st.integers(1, 30))
def test_uniqueness_is_what_its_definition_says(there: BoolPanel, horizon: int) -> None:
    found = uniqueness(as_outcomes(there), horizon)
    np.testing.assert_allclose(found, shared_out(there, horizon), atol=1e-9)


@given(there=LABELLED, horizon=st.integers(1, 30))
def test_all_shares_together_are_the_rows_that_outcomes_span(
    there: BoolPanel, horizon: int
) -> None:
    """Each row spanned is given away once, however many outcomes share it."""
    spanned = np.zeros((len(there) + horizon + 1, there.shape[1]), dtype=np.bool_)
    for row, column in np.argwhere(there):
        spanned[row + 1 : row + horizon + 1, column] = True
    total = uniqueness(as_outcomes(there), horizon).sum(axis=0) * horizon
    np.testing.assert_allclose(total, spanned.sum(axis=0), atol=1e-8)


@pytest.mark.parametrize("horizon", [1, 5, 24])
def test_inside_a_full_series_each_outcome_has_one_share_in_the_horizon(horizon: int) -> None:
    found = uniqueness(np.zeros((200, 2)), horizon)
    np.testing.assert_allclose(found[horizon:-horizon], 1 / horizon, rtol=1e-9)
    assert (found[0] >= found[horizon]).all()


@pytest.mark.parametrize("horizon", [1, 5, 24])
def test_outcomes_that_do_not_overlap_are_unique(horizon: int) -> None:
    there = (np.arange(200) % horizon == 0)[:, None]
    found = uniqueness(as_outcomes(there), horizon)
    np.testing.assert_allclose(found[there], 1.0, rtol=1e-9)
    assert (found[~there] == 0.0).all()


def test_symbols_do_not_share() -> None:
    rng = np.random.default_rng(1)
    outcomes = as_outcomes(rng.random((80, 3)) < 0.5)
    together = uniqueness(outcomes, 7)
    for column in range(3):
        alone = uniqueness(outcomes[:, [column]], 7)
        np.testing.assert_allclose(together[:, [column]], alone, atol=1e-12)


def test_no_share_is_lost_to_rounding_over_a_long_history() -> None:
    found = uniqueness(np.zeros((200_000, 1)), 12)
    np.testing.assert_allclose(found[12:-12], 1 / 12, rtol=1e-7)


# Losses


def seen(history: History, steps: int = 100) -> View:
    return history.view([candles(warmup=0)], steps=steps)


def saying(chance: FloatPanel) -> Forecast:
    return Forecast(mean=chance * 0.0, probability_up=chance, quantiles={})


def worth(history: History) -> FloatPanel:
    """The closes, those of the stock in the last column carried on, by polars."""
    close = history.candles["close"].copy()
    carried = pl.Series(close[:, -1]).fill_nan(None).fill_null(strategy="forward")
    close[:, -1] = carried.to_numpy()
    return close


def test_losses_are_those_of_scikit_learn() -> None:
    history = random_history(1, rows=400, flaws=False)
    view = seen(history)
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.05, 0.95, (100, 4))
    chance[rng.random((100, 4)) < 0.2] = np.nan
    found = direction_losses(view, saying(chance), 12)
    outcome = forward_returns(history.candles["close"][-100:], 12, worth(history)[-100:])
    for row in range(100):
        counts = ~np.isnan(outcome[row]) & ~np.isnan(chance[row])
        if not counts.any():
            assert np.isnan(found.loss[row])
            assert np.isnan(found.baseline[row])
            continue
        rose = outcome[row, counts] > 0
        assert found.loss[row] == pytest.approx(
            log_loss(rose, chance[row, counts], labels=[False, True])
        )
        assert found.baseline[row] == pytest.approx(np.log(2))
    assert np.isnan(found.loss[-12:]).all()


@pytest.mark.parametrize(
    ("spoil", "column"),
    [
        (lambda view, _: view, 1),
        (lambda view, members: view.with_universe(members), 0),
    ],
)
def test_symbols_outside_the_universe_do_not_count(
    spoil: Callable[[View, BoolPanel], View], column: int
) -> None:
    history = random_history(1, rows=400, flaws=False)
    chance = np.full((100, 4), np.nan)
    chance[:, 0], chance[:, 1] = 0.9, 0.2
    members = np.zeros((100, 4), dtype=np.bool_)
    members[:, 0] = True
    loss = direction_losses(spoil(seen(history), members), saying(chance), 12).loss
    rose = forward_returns(history.candles["close"][-100:], 12) > 0
    each = -np.where(rose, np.log(chance), np.log(1 - chance))
    expected = each[:88, : column + 1].mean(axis=1)
    np.testing.assert_allclose(loss[:88], expected)


def test_a_price_that_stays_neither_rose_nor_fell() -> None:
    history = random_history(1, rows=400, flaws=False)
    still = history.after(300, np.ones_like)
    found = direction_losses(seen(still, 50), saying(np.full((50, 4), 0.9)), 12)
    assert np.isnan(found.loss).all()


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_being_sure_and_wrong_costs_much_but_not_everything(chance: float) -> None:
    found = direction_losses(
        seen(random_history(1, rows=400, flaws=False)), saying(np.full((100, 4), chance)), 12
    )
    assert np.nanmax(found.loss) < 14.0
    assert np.nanmean(found.loss) > 1.0
