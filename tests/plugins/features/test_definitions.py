"""Features TA-Lib does not have, against their definitions written out in plain NumPy."""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import pytest

from tests.plugins.features.panels import Columns, compute, cut, flat, make, market, only
from weft.foundation.arrays import Floats


def _windows(values: Floats, window: int) -> Iterator[tuple[int, Floats]]:
    for end in range(window - 1, len(values)):
        yield end, values[end - window + 1 : end + 1]


def _one(columns: Columns, name: str, symbol: int = 0) -> Floats:
    return np.asarray(columns[name][:, symbol])


@pytest.mark.parametrize("window", [2, 5, 48])
def test_volatility_is_the_deviation_of_log_returns(window: int) -> None:
    columns = market(300, symbols=2, seed=1)
    found = compute(make("volatility", window=window), columns)["volatility"]
    for symbol in range(2):
        close = _one(columns, "close", symbol)
        returns = np.log(close[1:] / close[:-1])
        expected = np.full(300, np.nan)
        for end, part in _windows(returns, window):
            expected[end + 1] = np.std(part, ddof=1)
        np.testing.assert_allclose(found[:, symbol], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("factor", [1e-300, 1e-9, 0.4, 0.7, 1.0, 1.0001, 1.4, 1.6, 3.0, 1e9, 1e300])
def test_volatility_of_moves_of_any_size(factor: float) -> None:
    # Two returns, log(factor) and 0, deviate by |log(factor)| / sqrt(2).
    columns = flat(3)
    columns["close"] = np.array([[1.0], [factor], [factor]])
    value = only(make("volatility", window=2), columns)[-1]
    assert value == pytest.approx(abs(math.log(factor)) / math.sqrt(2), rel=1e-15, abs=1e-300)


def test_volatility_says_nothing_of_prices_without_a_logarithm() -> None:
    columns = market(40, symbols=1)
    columns["close"][10] = 0.0
    columns["close"][20] = -3.0
    values = only(make("volatility", window=4), columns)
    unknown = np.isin(np.arange(40), [*range(4), *range(10, 15), *range(20, 25)])
    np.testing.assert_array_equal(np.isnan(values), unknown)


@pytest.mark.parametrize("window", [1, 2, 24])
def test_vwap_weighs_typical_prices_by_volume(window: int) -> None:
    columns = market(200, symbols=1, seed=2)
    high, low, close, volume = (_one(columns, n) for n in ("high", "low", "close", "volume"))
    typical = (high + low + close) / 3
    expected = np.full(200, np.nan)
    for end, part in _windows(np.arange(200.0), window):
        rows = part.astype(int)
        expected[end] = np.average(typical[rows], weights=volume[rows])
    found = compute(make("vwap", window=window), columns)
    np.testing.assert_allclose(found["vwap"][:, 0], expected, rtol=1e-13)
    np.testing.assert_allclose(found["distance"][:, 0], close / expected - 1, atol=1e-13)


@pytest.mark.parametrize("window", [1, 3, 20])
def test_obv_change_adds_signed_volume(window: int) -> None:
    columns = market(200, symbols=1, seed=3)
    columns["close"][50] = columns["close"][49]
    close, volume = _one(columns, "close"), _one(columns, "volume")
    signed = np.sign(np.diff(close)) * volume[1:]
    found = compute(make("obv", window=window), columns)
    for end, part in _windows(signed, window):
        traded = volume[end + 2 - window : end + 2].sum()
        assert found["change"][end + 1, 0] == pytest.approx(part.sum(), rel=1e-12, abs=1e-9)
        assert found["ratio"][end + 1, 0] == pytest.approx(part.sum() / traded, abs=1e-13)
    assert np.isnan(found["change"][:window]).all()
    assert np.nanmax(np.abs(found["ratio"])) <= 1.0


def test_volume_ratio_is_volume_over_its_mean() -> None:
    columns = market(100, symbols=1, seed=4)
    volume = _one(columns, "volume")
    expected = np.full(100, np.nan)
    for end, part in _windows(volume, 7):
        expected[end] = part[-1] / part.mean()
    np.testing.assert_allclose(only(make("volume_ratio", window=7), columns), expected, rtol=1e-13)


def test_bollinger_position_runs_from_band_to_band() -> None:
    columns = market(200, symbols=1, seed=5)
    close = _one(columns, "close")
    expected = np.full(200, np.nan)
    for end, part in _windows(close, 20):
        lower, upper = part.mean() - 2 * part.std(), part.mean() + 2 * part.std()
        expected[end] = (close[end] - lower) / (upper - lower)
    found = compute(make("bollinger"), columns)["position"][:, 0]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("price", [1e-12, 1e-8, 1.0, 1e5, 1e12])
@pytest.mark.parametrize("width", [1e-9, 1e-5, 1e-2])
def test_bollinger_keeps_its_digits_where_the_band_is_narrow(price: float, width: float) -> None:
    random = np.random.default_rng(6)
    close = np.asarray(price * (1.0 + width * random.uniform(-1.0, 1.0, 60)), dtype=np.float64)
    columns = flat(60)
    columns["close"] = close[:, None]
    found = compute(make("bollinger", window=20, deviations=1.0), columns)
    deviation = (found["upper"] - found["lower"])[:, 0] / 2
    exact, position = np.full(60, np.nan), np.full(60, np.nan)
    for end, part in _windows(close, 20):
        mean = sum(map(Fraction, part)) / 20
        exact[end] = math.sqrt(sum((Fraction(x) - mean) ** 2 for x in part) / 20)
        position[end] = 0.5 + float(Fraction(part[-1]) - mean) / (2 * exact[end])
    # The bands themselves carry sixteen digits of the price, and no more.
    np.testing.assert_allclose(deviation, exact, rtol=1e-11, atol=4e-16 * price)
    np.testing.assert_allclose(found["position"][:, 0], position, rtol=1e-11, atol=1e-15 / width)


def test_ema_cross_marks_the_candle_where_the_sides_change() -> None:
    columns = market(900, symbols=1, seed=8)
    fast = only(make("ema", window=9), columns)
    slow = only(make("ema", window=21), columns)
    found = compute(make("ema_cross"), columns)
    spread, crossed, since = (found[n][:, 0] for n in ("spread", "crossed", "candles_since"))
    np.testing.assert_array_equal(spread, fast / slow - 1)
    side = np.sign(fast - slow)
    expected = np.where(side[1:] != side[:-1], side[1:], 0.0)
    expected[:20] = np.nan
    np.testing.assert_array_equal(crossed[1:], expected)
    latest = None
    for row in range(900):
        latest = row if crossed[row] in {1.0, -1.0} else latest
        if latest is None:
            assert np.isnan(since[row])
        else:
            assert since[row] == row - latest
    assert {-1.0, 1.0} <= set(crossed[21:])


def test_ema_cross_forgets_after_five_hundred_candles() -> None:
    columns = flat(1200)
    columns["close"] = np.exp(0.001 * np.arange(1200.0))[:, None]
    since = compute(make("ema_cross"), columns)["candles_since"][:, 0]
    assert np.isnan(since[:520]).all()
    assert (since[520:] == 500).all()
    columns["close"][600:] *= 0.5
    since = compute(make("ema_cross"), columns)["candles_since"][:, 0]
    assert since[600] == 0
    assert since[630] <= 30


def test_ema_cross_sees_no_crossing_in_rounding_errors() -> None:
    columns = flat(800, price=0.1)
    columns["close"][:100] *= np.exp(np.linspace(0.1, 0, 100))[:, None]
    crossed = compute(make("ema_cross"), columns)["crossed"][:, 0]
    assert not crossed[22:].any()


def test_a_spike_that_left_the_window_leaves_nothing_behind() -> None:
    quiet = market(200, symbols=1, seed=9)
    loud = {name: values.copy() for name, values in quiet.items()}
    for name in ("open", "high", "low", "close"):
        loud[name][50] *= 1e6
    loud["volume"][50] *= 1e8
    for name in ("sma", "bollinger", "volatility", "vwap", "obv", "volume_ratio"):
        feature = make(name, window=20)
        before, after = compute(feature, quiet), compute(feature, loud)
        for output in feature.outputs:
            np.testing.assert_allclose(
                after[output][75:], before[output][75:], rtol=1e-14, atol=1e-15
            )


def test_what_a_window_says_depends_on_the_window_alone() -> None:
    columns = market(600, symbols=2, seed=10)
    for name in ("sma", "bollinger", "volatility", "vwap", "obv", "volume_ratio"):
        feature = make(name, window=20)
        whole = compute(feature, columns)
        part = compute(feature, cut(columns, 600 - feature.warmup))
        for output in feature.outputs:
            np.testing.assert_array_equal(part[output][-1], whole[output][-1])
