"""How far off a volatility is: planted errors are found, chance is not taken for one."""

import numpy as np
import pytest
from scipy.special import polygamma

from weft_plugins.risks.monte_carlo.uncertainty import (
    TYPICAL_UNCERTAINTY,
    _chance_variances,
    expected_volatility,
    long_run_variance,
    uncertainty_of,
)

RNG = np.random.default_rng
HORIZON = 12


@pytest.mark.parametrize("planted", [0.2, 0.4])
def test_a_planted_error_is_found(planted: float) -> None:
    # Volatility stays for twenty horizons, so that hardly any of them holds two.
    turned_out = 0.01 * np.repeat(np.exp(planted * RNG(0).normal(size=600)), 20 * HORIZON)
    change = turned_out * RNG(1).normal(size=len(turned_out))
    found = uncertainty_of(change, np.full(len(change), 0.01), HORIZON)
    assert found == pytest.approx(planted, rel=0.08)
    # Where it was known, nothing is off.
    assert uncertainty_of(change, turned_out, HORIZON) < 0.1


def test_what_was_expected_counts_not_what_was_known_afterwards() -> None:
    turned_out = 0.01 * np.repeat(np.exp(0.4 * RNG(12).normal(size=2000)), HORIZON)
    change = turned_out * RNG(13).normal(size=len(turned_out))
    squares = np.concatenate([np.zeros(HORIZON), np.cumsum(change**2)])
    afterwards = np.sqrt((squares[HORIZON:] - squares[:-HORIZON]) / HORIZON)
    assert uncertainty_of(change, afterwards, HORIZON) > 0.4


def test_the_unit_of_returns_does_not_matter() -> None:
    change = 0.01 * RNG(2).standard_t(4, 3000)
    wide = np.exp(0.3 * RNG(3).normal(size=3000))
    found = uncertainty_of(change, wide, HORIZON)
    assert uncertainty_of(100 * change, wide, HORIZON) == pytest.approx(found, rel=1e-9)


def test_what_normals_show_by_chance_is_trigamma() -> None:
    found = _chance_variances(300)
    counts = np.arange(1, 301)
    np.testing.assert_allclose(found[1:], polygamma(1, counts / 2), rtol=1e-9)


@pytest.mark.parametrize("horizon", [1, 3, HORIZON, 100])
def test_normals_of_a_known_volatility_are_certain_at_every_horizon(horizon: int) -> None:
    change = 0.01 * RNG(4).normal(size=400 * horizon + 4000)
    assert uncertainty_of(change, np.full(len(change), 0.01), horizon) < 0.12


def test_without_history_it_is_what_is_typical() -> None:
    for change, volatility in (
        (np.empty(0), np.empty(0)),
        (np.full(500, np.nan), np.full(500, 0.01)),
        (np.zeros(500), np.full(500, 0.01)),
        (RNG(5).normal(size=500), np.full(500, np.nan)),
        (RNG(5).normal(size=8), np.ones(8)),
    ):
        assert uncertainty_of(change, volatility, HORIZON) == pytest.approx(TYPICAL_UNCERTAINTY)


def test_ten_horizons_count_as_much_as_what_is_typical() -> None:
    horizon, rows = 2000, 22_000
    change = 0.01 * RNG(6).normal(size=rows)
    found = uncertainty_of(change, np.full(rows, 0.01), horizon)
    assert found == pytest.approx(TYPICAL_UNCERTAINTY / 2**0.5, rel=0.02)


def test_hours_of_a_closed_market_are_passed_over() -> None:
    rows = 20_000
    turned_out = 0.01 * np.repeat(np.exp(0.4 * RNG(7).normal(size=rows // 200)), 200)
    change = turned_out * RNG(8).normal(size=rows)
    change[np.arange(rows) % 24 >= 7] = np.nan
    found = uncertainty_of(change, np.full(rows, 0.01), 24)
    assert found == pytest.approx(0.4, rel=0.15)


def test_the_expected_variance_is_halfway_to_that_of_the_long_run() -> None:
    short, long = np.array([[0.01, 0.03, 0.02, np.nan]]), np.array([[9e-4, 1e-4, np.nan, 1e-4]])
    found = expected_volatility(np.vstack([short, short]), long)
    np.testing.assert_allclose(found, [[5e-4**0.5, 5e-4**0.5, 0.02, np.nan]])


@pytest.mark.parametrize("index", [5_003, 5_000, 17, -40])
def test_the_long_run_is_the_blocks_that_have_ended(index: int) -> None:
    rows, block, blocks = 300, 10, 6
    change = RNG(9).normal(size=(rows, 2))
    change[RNG(10).random((rows, 2)) < 0.1] = np.nan
    change[:100, 1] = np.nan
    found = long_run_variance(change, index, block, blocks)
    for row in range(100, rows):
        ended = row - (index - (rows - 1 - row)) % block
        past = change[max(0, ended - block * blocks + 1) : ended + 1]
        for column in range(2):
            known = past[:, column][np.isfinite(past[:, column])]
            expected = (known**2).mean() if len(known) else np.nan
            assert found[row, column] == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_the_long_run_at_a_row_does_not_depend_on_the_rows_around() -> None:
    change = RNG(11).normal(size=(300, 3))
    whole = long_run_variance(change, 1_000, 10, 6)
    fewer = long_run_variance(change[130:280], 980, 10, 6)
    np.testing.assert_array_equal(fewer[70:], whole[200:280])
    np.testing.assert_array_equal(
        long_run_variance(change[:, 1:2].copy(), 1_000, 10, 6)[70:], whole[70:, 1:2]
    )
