"""What holds for every built-in feature, whatever it computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.plugins.features.panels import (
    BLOCK_START,
    FEATURES,
    Columns,
    compute,
    cut,
    flat,
    make,
    market,
    panel,
    scaled,
)
from weft.components.feature import StepFeature
from weft.domain import calendar as blocks
from weft.domain.candles import FIELDS
from weft.features.engine import BLOCK, FeatureEngine

SMALL: dict[str, dict[str, float]] = {
    "adx": {"window": 3},
    "atr": {"window": 3},
    "bollinger": {"window": 5},
    "ema": {"window": 4},
    "ema_cross": {"fast": 2, "slow": 5},
    "fair_value_gap": {"max_age": 10},
    "macd": {"fast": 3, "slow": 6, "signal": 2},
    "obv": {"window": 4},
    "order_block": {"swing": 2, "max_age": 12},
    "rsi": {"window": 3},
    "rsi_divergence": {"window": 2, "slow_candles": 3},
    "sma": {"window": 5},
    "volatility": {"window": 5},
    "volume_ratio": {"window": 4},
    "vwap": {"window": 5},
}

every = pytest.mark.parametrize("name", sorted(FEATURES))
every_default_and_small = pytest.mark.parametrize(
    "feature",
    [*(make(n) for n in sorted(FEATURES)), *(make(n, **SMALL[n]) for n in sorted(FEATURES))],
    ids=lambda f: f"{f.name}-{f.config.model_dump()}",
)


@contextmanager
def _blocks_of(rows: int) -> Iterator[None]:
    with patch.object(blocks, "BLOCK", rows):
        yield


def _with_holes(columns: Columns, seed: int, share: float) -> Columns:
    random = np.random.default_rng(seed)
    absent = random.random(columns["close"].shape) < share
    return {name: np.where(absent, np.nan, values) for name, values in columns.items()}


def _equal(found: dict[str, object] | object, expected: object) -> None:
    assert isinstance(found, dict)
    assert isinstance(expected, dict)
    assert found.keys() == expected.keys()
    for output, values in found.items():
        np.testing.assert_array_equal(values, expected[output], err_msg=output)


def test_every_feature_has_small_options() -> None:
    assert set(SMALL) == set(FEATURES)


# Live and history


@every
@settings(max_examples=6, deadline=None)  # the first example may compile
@given(
    seed=st.integers(0, 10_000),
    share=st.sampled_from([0.0, 0.02, 0.3]),
    sessions=st.booleans(),
    rows=st.integers(1, 4),
    forgets=st.booleans(),
)
def test_live_steps_give_what_history_gives(
    name: str, seed: int, share: float, sessions: bool, rows: int, forgets: bool
) -> None:
    # Live sees panels that end one candle later each time, and reach back as far as is needed.
    feature = make(name, **SMALL[name])
    columns = _with_holes(market(320, symbols=3, seed=seed), seed, share)
    with _blocks_of(64):
        whole = panel(columns, sessions=sessions, start=64 * 1000 - 250)
        history = compute(feature, whole, 70)
        live = FeatureEngine(1)
        for end in range(251, 321):
            newest = replace(whole.slice(0, end), generation=1)
            if forgets and end % 17 == 0:
                live.forget()
            found = live.panels(feature, newest, rows)
            for output, values in found.items():
                first = max(0, end - 250 - rows)
                np.testing.assert_array_equal(
                    values[rows - (end - 250 - first) :],
                    history[output][first : end - 250],
                    err_msg=f"{output} at {end}",
                )


@every_default_and_small
def test_the_past_does_not_change_when_the_future_comes(feature: StepFeature) -> None:
    columns = market(700, seed=11)
    whole = compute(feature, columns)
    for rows in (1, 2, 30, 333, 699):
        _equal(
            dict(compute(feature, cut(columns, 0, rows))), {k: v[:rows] for k, v in whole.items()}
        )


@every_default_and_small
def test_the_future_may_be_anything(feature: StepFeature) -> None:
    columns = market(500, seed=12)
    other = market(500, seed=13, price=3.0)
    mixed = {n: np.vstack([columns[n][:400], other[n][400:]]) for n in FIELDS}
    before, after = compute(feature, columns), compute(feature, mixed)
    _equal({k: v[:400] for k, v in after.items()}, {k: v[:400] for k, v in before.items()})


# Where history begins


@every_default_and_small
def test_nothing_before_the_warm_up_shows_to_the_last_bit(feature: StepFeature) -> None:
    # Panels that reach the start of the block less the warm-up agree, however much longer one is.
    extra = 300
    columns = market(extra + feature.warmup + 200, symbols=2, seed=14)
    long = panel(columns, BLOCK_START - feature.warmup - extra)
    short = panel(cut(columns, extra), BLOCK_START - feature.warmup)
    _equal(dict(compute(feature, short, 200)), dict(compute(feature, long, 200)))


@every_default_and_small
def test_the_warm_up_is_as_long_as_it_says(feature: StepFeature) -> None:
    # Within one block a state keeps running, so these two differ by their starts alone.
    begin = 60
    rows = min(BLOCK, begin + feature.warmup + 40)
    worst = 0.0
    for seed in range(5):
        columns = market(rows, symbols=4, seed=15 + seed)
        late = compute(feature, panel(cut(columns, begin), BLOCK_START + begin))
        early = compute(feature, panel(columns))
        for output in feature.outputs:
            a, b = early[output][begin + feature.warmup :], late[output][feature.warmup :]
            np.testing.assert_array_equal(np.isnan(a), np.isnan(b))
            scale = np.nanmax(np.abs(early[output]))
            worst = max(worst, float(np.nanmax(np.abs(a - b), initial=0.0)) / scale)
    assert worst <= 1e-13


# Holes and closed markets


@every_default_and_small
def test_after_a_hole_everything_starts_afresh(feature: StepFeature) -> None:
    columns = market(600, symbols=2, seed=16)
    for values in columns.values():
        values[250] = np.nan
        values[290:293] = np.nan
    found = compute(feature, columns)
    alone = compute(feature, panel(cut(columns, 293), BLOCK_START + 293))
    for output in feature.outputs:
        assert np.isnan(found[output][[250, 290, 291, 292]]).all()
        np.testing.assert_array_equal(found[output][293:], alone[output])


# RSI divergence joins candles by the clock; its own tests cover closed markets.
@pytest.mark.parametrize("name", sorted(set(FEATURES) - {"rsi_divergence"}))
def test_a_closed_market_is_skipped(name: str) -> None:
    feature = make(name)
    columns = market(1200, symbols=1, seed=17)
    traded = np.arange(1200) % 24 < 9
    for values in columns.values():
        values[~traded] = np.nan
    found = compute(feature, panel(columns, sessions=True))
    joined = {n: values[traded] for n, values in columns.items()}
    expected = compute(feature, joined)
    for output in feature.outputs:
        assert np.isnan(found[output][~traded]).all()
        np.testing.assert_array_equal(found[output][traded], expected[output])


@every
def test_a_symbol_is_not_moved_by_its_neighbours(name: str) -> None:
    # Symbols that trade, sleep, die and are born side by side, in every order of columns.
    feature = make(name, **SMALL[name])
    columns = _with_holes(market(200, symbols=300, seed=18), 18, 0.05)
    columns["close"][:150, 40:60] = np.nan
    columns["close"][90:, 250:270] = np.nan
    whole = compute(feature, columns)
    order = np.random.default_rng(0).permutation(300)
    shuffled = compute(feature, {n: v[:, order] for n, v in columns.items()})
    for symbol in (0, 41, 255, 256, 299):
        alone = compute(feature, {n: v[:, [symbol]] for n, v in columns.items()})
        for output in feature.outputs:
            np.testing.assert_array_equal(alone[output][:, 0], whole[output][:, symbol])
    for output in feature.outputs:
        np.testing.assert_array_equal(shuffled[output], whole[output][:, order])


@every
def test_a_symbol_without_candles_says_nothing(name: str) -> None:
    columns = market(300, symbols=2, seed=19)
    for values in columns.values():
        values[:, 1] = np.nan
    found = compute(make(name), columns)
    for values in found.values():
        assert np.isnan(values[:, 1]).all()


# Units


@every_default_and_small
@pytest.mark.parametrize("price", [2.0**-40, 2.0**40])
def test_units_of_price_and_volume_do_not_matter(feature: StepFeature, price: float) -> None:
    # Powers of two, so that scaling itself rounds nothing.
    volume = 2.0**20
    columns = market(700, seed=20)
    found = compute(feature, scaled(columns, price, volume))
    expected = compute(feature, columns)
    in_price = {"ema", "macd", "signal", "histogram", "sma", "atr", "upper", "middle", "lower"}
    for output in feature.outputs:
        unit = price if output in {*in_price, "vwap"} else 1.0
        unit = volume if output == "change" else unit
        np.testing.assert_allclose(found[output], expected[output] * unit, rtol=1e-13, atol=1e-300)


@every
@pytest.mark.parametrize("price", [1e-12, 1e-8, 0.1, 100.0, 1e12])
def test_a_price_that_never_moves(name: str, price: float) -> None:
    found = compute(make(name), flat(900, price=price))
    in_price = {"ema", "sma", "vwap", "upper", "middle", "lower", "macd", "signal", "histogram"}
    still = {
        "rsi": 0.0,
        "spread": 0.0,
        "fast": 0.0,
        "slow": 0.0,
        "crossed": 0.0,
        "candles_since": 500.0,
        "ema": price,
        "sma": price,
        "vwap": price,
        "upper": price,
        "middle": price,
        "lower": price,
        "position": 0.5,
        "ratio": 1.0 if name == "volume_ratio" else 0.0,
    }
    absent = {"bullish_distance", "bearish_distance"}
    for output, values in found.items():
        if output in absent:
            assert np.isnan(values).all()
            continue
        tolerance = 1e-14 * price if output in in_price else 1e-14
        np.testing.assert_allclose(
            values[-1, 0], still.get(output, 0.0), rtol=1e-14, atol=tolerance, err_msg=output
        )
    if name == "bollinger":
        np.testing.assert_array_equal(found["upper"], found["lower"])
        assert found["position"][-1, 0] == 0.5
    if name == "volatility":
        assert found["volatility"][-1, 0] == 0.0


@pytest.mark.parametrize("name", ["obv", "volume_ratio", "vwap"])
def test_where_nothing_traded_ratios_say_nothing(name: str) -> None:
    columns = market(100, symbols=1, seed=21)
    columns["volume"][40:80] = 0.0
    feature = make(name, window=10)
    found = compute(feature, columns)
    silent = (np.arange(100) >= 49) & (np.arange(100) < 80)
    for output, values in found.items():
        if output == "change":
            assert (values[silent] == 0.0).all()
        else:
            np.testing.assert_array_equal(np.isnan(values[11:, 0]), silent[11:])


@pytest.mark.parametrize("name", ["obv", "volume_ratio", "vwap"])
@pytest.mark.parametrize("unknown", [np.nan, np.inf])
def test_an_unknown_volume_is_forgotten_with_its_window(name: str, unknown: float) -> None:
    columns = market(100, symbols=1, seed=22)
    feature = make(name, window=10)
    known = compute(feature, columns)
    columns["volume"][40] = unknown
    found = compute(feature, columns)
    for output in feature.outputs:
        assert np.isnan(found[output][40:50]).all()
        np.testing.assert_array_equal(found[output][:40], known[output][:40])
        np.testing.assert_allclose(found[output][50:], known[output][50:], rtol=1e-14)


# Shapes


@every
@pytest.mark.parametrize(("rows", "symbols"), [(1, 1), (1, 5), (2, 1), (40, 257), (3, 600)])
def test_any_shape_of_panel(name: str, rows: int, symbols: int) -> None:
    feature = make(name)
    found = compute(feature, market(rows, symbols=symbols))
    assert tuple(found) == feature.outputs
    for values in found.values():
        assert values.shape == (rows, symbols)
        assert values.dtype == np.float64
        assert not values.flags.writeable


@every
def test_inputs_are_read_only_and_may_be_writable(name: str) -> None:
    columns = market(60)
    candles = panel(columns)
    assert not candles.close.flags.writeable
    writable = replace(candles, **{field: getattr(candles, field).copy() for field in FIELDS})
    _equal(dict(compute(make(name), writable)), dict(compute(make(name), candles)))
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(writable, field), columns[field])


@every
def test_contract(name: str) -> None:
    feature = make(name)
    assert feature.name == name
    assert feature.outputs
    assert len(set(feature.outputs)) == len(feature.outputs)
    assert feature.warmup >= 1
    assert feature.state_size >= 1
    assert all(np.isfinite(feature.params))
    with pytest.raises(ValidationError):
        make(name, no_such_option=1)
    for documented in (type(feature), type(feature).advance.py_func):
        assert documented.__doc__
    assert all(output in (type(feature).__doc__ or "") for output in feature.outputs)


@pytest.mark.parametrize("name", ["macd", "ema_cross"])
def test_the_fast_average_must_be_faster(name: str) -> None:
    with pytest.raises(ValidationError, match=r"fast \(9\) must be less than slow \(9\)"):
        make(name, fast=9, slow=9)
