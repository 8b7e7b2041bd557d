"""The risk model as a component: pure, the same row by row, and right where closed forms exist."""

from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError
from scipy.stats import norm

from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.domain.instruments import describe
from weft.foundation.arrays import FloatPanel
from weft.foundation.times import Interval, parse_time
from weft.market.view import View
from weft.testing.history import History, random_history
from weft_plugins.risks.atr_levels import AtrLevels
from weft_plugins.risks.monte_carlo.merton import Merton
from weft_plugins.risks.monte_carlo.paths import simulate
from weft_plugins.risks.monte_carlo.risk import MonteCarlo
from weft_plugins.risks.monte_carlo.shocks import SHOCKS, Shock
from weft_plugins.risks.monte_carlo.tails import expected_shortfall, value_at_risk

SMALL = MonteCarlo(
    MonteCarlo.Config(
        paths=2000,
        window=200,
        volatility_window=24,
        long_volatility_window=100,
        uncertainty_window=300,
    )
)
CHANCES = ("stop_first", "target_first", "neither")


def panels(levels: Levels) -> dict[str, FloatPanel]:
    prices = {"stop": levels.stop_loss, "target": levels.take_profit, "entry": levels.entry}
    return {**prices, **levels.figures}


def pointing(view: View, directions: tuple[int, ...]) -> Fusion:
    """A fusion whose columns point these ways."""
    nothing = np.zeros((view.steps, len(view.symbols)))
    direction = np.broadcast_to(np.array(directions, dtype=np.int8), nothing.shape)
    return Fusion(nothing, nothing, direction, {}, calibrated=False)


def asked(
    history: History,
    steps: int = 3,
    directions: tuple[int, ...] = (1, -1, 1, -1),
    risk: MonteCarlo = SMALL,
    horizon: int = 12,
) -> dict[str, FloatPanel]:
    view = history.view(risk.needs, steps=steps, horizon=horizon)
    return panels(risk.levels(view, pointing(view, directions)))


def expect_same(one: dict[str, FloatPanel], other: dict[str, FloatPanel]) -> None:
    assert one.keys() == other.keys()
    for name, panel in one.items():
        np.testing.assert_array_equal(panel, other[name], err_msg=name)


def test_one_row_and_many_agree_to_the_last_bit() -> None:
    history = random_history(seed=3, rows=900)
    whole = asked(history, steps=60)
    for back in (0, 1, 13, 24, 59):
        alone = asked(history.cut(history.rows - back), steps=1)
        expect_same(alone, {n: p[59 - back : 60 - back] for n, p in whole.items()})


def test_the_future_changes_no_bit() -> None:
    history = random_history(seed=4, rows=900)
    clean = asked(history, steps=40)
    for value in (1e9, np.nan):
        poisoned = asked(history.after(880, partial(np.full_like, fill_value=value)), steps=40)
        expect_same({n: p[:20] for n, p in poisoned.items()}, {n: p[:20] for n, p in clean.items()})


def test_the_same_view_gives_the_same_bits_and_another_seed_others() -> None:
    history = random_history(seed=5, rows=900)
    first = asked(history)
    np.random.seed(1)  # noqa: NPY002  # the global state is what must not matter
    expect_same(asked(history), first)
    reseeded = MonteCarlo(SMALL.config.model_copy(update={"seed": 9}))
    other = asked(history, risk=reseeded)
    assert not np.array_equal(other["cvar_99"], first["cvar_99"], equal_nan=True)
    np.testing.assert_allclose(other["cvar_95"], first["cvar_95"], rtol=0.1)


def test_columns_in_another_order_get_the_same_answers() -> None:
    history = random_history(seed=6, rows=900)
    order = np.array([2, 0, 3, 1])
    straight = asked(history)
    turned = asked(history.columns(order), directions=(1, 1, -1, -1))
    expect_same(turned, {n: p[:, order] for n, p in straight.items()})


def test_where_nothing_is_known_nothing_is_said() -> None:
    history = random_history(seed=7, rows=900, flaws=False)
    unknown = history.after(0, lambda p: np.where(np.arange(p.shape[1]) == 1, np.nan, p))
    for name, panel in asked(unknown).items():
        assert np.isnan(panel[:, 1]).all(), name
    closed = asked(history.cut(history.rows - (history.rows - 1) % 24 + 2))
    assert np.isnan(closed["var_99"][-1, 3])


def test_a_young_listing_has_the_levels_of_its_ranges_and_no_figures() -> None:
    history = random_history(seed=8, rows=900, flaws=False)
    young = history.after(0, lambda p: np.where(np.arange(len(p))[:, None] < 860, np.nan, p))
    found = asked(young)
    assert np.isnan(found["var_99"]).all()
    assert np.isnan(found["stop_first"]).all()
    view = young.view(SMALL.needs, steps=3)
    ranges = AtrLevels().levels(view, pointing(view, (1, -1, 1, -1)))
    np.testing.assert_array_equal(found["stop"], ranges.stop_loss)
    np.testing.assert_array_equal(found["target"], ranges.take_profit)
    assert np.isfinite(found["stop"][:, :3]).all()


def test_losses_without_jumps_are_those_of_the_lognormal() -> None:
    found = asked(random_history(seed=9, rows=900, flaws=False))
    wide = found["volatility"] * 12**0.5
    side = np.array([1.0, -1.0, 1.0, -1.0])
    for percent in (95, 99):
        quantile = norm.ppf(percent / 100)
        expected = side * (1.0 - np.exp(-side * quantile * wide))
        np.testing.assert_allclose(found[f"gbm_var_{percent}"], expected, rtol=0.02)
    level = 0.95
    far = norm.ppf(level)
    tail = np.where(
        side > 0,
        1 - np.exp(wide**2 / 2) * norm.cdf(-far - wide) / (1 - level),
        np.exp(wide**2 / 2) * norm.cdf(wide - far) / (1 - level) - 1,
    )
    np.testing.assert_allclose(found["gbm_cvar_95"], tail, rtol=0.02)


def test_figures_are_in_the_order_they_must_be_in() -> None:
    found = asked(random_history(seed=10, rows=900, flaws=False), steps=50)
    for low, high in (
        ("var_95", "var_99"),
        ("var_95", "cvar_95"),
        ("var_99", "cvar_99"),
        ("var_99", "stress_2x_var_99"),
        ("stress_2x_var_99", "stress_3x_var_99"),
        ("stress_3x_var_99", "stress_5x_var_99"),
        ("drawdown_median", "drawdown_95"),
    ):
        known = ~np.isnan(found[low])
        assert known.any()
        assert (found[low] < found[high])[known].all(), (low, high)
    for name in CHANCES:
        known = ~np.isnan(found[name])
        assert ((found[name] >= 0) & (found[name] <= 1))[known].all()
    np.testing.assert_allclose(np.nansum([found[n] for n in CHANCES], axis=0)[:, :3], 1.0)


def test_stress_is_the_loss_at_a_multiple_of_the_volatility() -> None:
    found = asked(random_history(seed=10, rows=900, flaws=False), directions=(1, 1, 1, 1))
    depth = -np.log1p(-found["var_99"])
    for times in (2, 3, 5):
        stressed = found[f"stress_{times}x_var_99"]
        # Between lattice points losses are mixed, not depths.
        np.testing.assert_allclose(stressed, 1.0 - np.exp(-times * depth), rtol=0.03)


@pytest.mark.parametrize("most", [0.05, 0.3, 0.5, 1.0])
def test_levels_move_away_only_as_far_as_needed(most: float) -> None:
    config = SMALL.config.model_copy(update={"most_stopped": most})
    history = random_history(seed=11, rows=900, flaws=False)
    found = asked(history, steps=60, risk=MonteCarlo(config))
    view = history.view(SMALL.needs, steps=60)
    close, reach = found["entry"], view.feature("atr", window=14)
    factor, coins = found["widened"], slice(0, 3)
    side = np.array([1, -1, 1, -1])
    np.testing.assert_allclose(
        (close - side * 2.0 * factor * reach)[:, coins], found["stop"][:, coins]
    )
    np.testing.assert_allclose(
        (close + side * 3.0 * factor * reach)[:, coins], found["target"][:, coins]
    )
    widest = np.isclose(factor, 2.0)[:, coins]
    assert ((found["stop_first"][:, coins] <= most) | widest).all()
    if most == 1.0:
        assert (factor[:, coins] == 1.0).all()
    if most == 0.05:
        assert widest.all()
    if most == 0.3:
        # One factor less would not have been enough.
        less = MonteCarlo(config.model_copy(update={"stop_atr": 2.0, "widest": 1.0}))
        tight = asked(history, steps=60, risk=less)["stop_first"]
        moved = factor > 1.0
        assert moved.any()
        assert (tight[moved] > most).all()


def test_neutral_has_no_levels_and_the_losses_of_a_long() -> None:
    history = random_history(seed=12, rows=900, flaws=False)
    neutral = asked(history, directions=(0, 0, 0, 0))
    long = asked(history, directions=(1, 1, 1, 1))
    for name in ("stop", "target", "widened", *CHANCES):
        assert np.isnan(neutral[name]).all(), name
    np.testing.assert_array_equal(neutral["var_99"], long["var_99"])


def test_levels_stay_positive_and_figures_finite_however_wild_the_market() -> None:
    history = random_history(seed=13, rows=900, flaws=False)
    for world in (
        history.after(880, lambda p: p * 1e6),
        history.after(0, lambda p: p * 1e-9),
        history.after(0, np.ones_like),
    ):
        for name, panel in asked(world, steps=40).items():
            assert not np.isinf(panel).any(), name
            if name in {"stop", "target"}:
                assert (panel[~np.isnan(panel)] > 0).all()


def test_planted_jumps_are_found() -> None:
    rng = np.random.default_rng(14)
    rows = 1500
    jumped = rng.random((rows, 2)) < [0.03, 0.0]
    returns = rng.normal(0, 0.01, (rows, 2)) + jumped * rng.normal(-0.06, 0.03, (rows, 2))
    close = 100 * np.exp(np.cumsum(returns, axis=0))
    candles = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": close}
    names = (describe("AUSDT"), describe("BUSDT"))
    history = History(Interval.parse("1h"), names, candles, {})
    risk = MonteCarlo(MonteCarlo.Config(paths=2000, volatility_window=200, window=1000))
    found = asked(history, steps=1, directions=(1, 1), risk=risk)
    assert found["jump_intensity"][0, 0] == pytest.approx(0.03, abs=0.015)
    assert found["jump_mean"][0, 0] == pytest.approx(-0.06, abs=0.02)
    assert found["jump_intensity"][0, 1] == 0.0
    assert np.isnan(found["jump_mean"][0, 1])
    wider = found["cvar_99"][0] / found["gbm_cvar_99"][0]
    assert wider[0] > 1.15
    assert 1.0 <= wider[1] < 1.06


@pytest.mark.parametrize("side", [1, -1])
def test_shared_paths_come_close_to_those_of_the_fit_itself(side: int) -> None:
    rng = np.random.default_rng(16)
    returns = rng.normal(0, 0.01, 1500) + (rng.random(1500) < 0.02) * rng.normal(-0.03, 0.06, 1500)
    close = 100 * np.exp(np.cumsum(returns))[:, None]
    candles = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": close}
    history = History(Interval.parse("1h"), (describe("AUSDT"),), candles, {})
    risk = MonteCarlo(MonteCarlo.Config(volatility_window=96))
    found = asked(history, steps=1, directions=(side,), risk=risk, horizon=24)
    one = {name: float(panel[0, 0]) for name, panel in found.items()}
    rate, mean, deviation = one["jump_intensity"], one["jump_mean"], one["jump_deviation"]
    plain = (one["volatility"] ** 2 - rate * (mean**2 + deviation**2)) ** 0.5
    own = simulate(
        Merton(-rate * mean, plain, rate, mean, deviation), 24, 40_000, np.random.default_rng(1)
    )
    unsure = one["volatility_uncertainty"]
    turned_out = np.exp(unsure * np.random.default_rng(3).normal(size=40_000) - unsure**2)
    losses = side * (1.0 - np.exp(own.terminal * turned_out))
    assert rate > 0.01
    assert one["var_95"] == pytest.approx(value_at_risk(losses, 0.95), rel=0.05)
    assert one["var_99"] == pytest.approx(value_at_risk(losses, 0.99), rel=0.1)
    assert one["cvar_99"] == pytest.approx(expected_shortfall(losses, 0.99), rel=0.1)
    # Falls reach between the closes, and so do those of many smaller steps.
    finer = Merton(-rate * mean / 30, plain / 30**0.5, rate / 30, mean, deviation)
    fine = simulate(finer, 24 * 30, 5000, np.random.default_rng(2))
    depth = (fine.fall if side > 0 else fine.rise) * turned_out[:5000]
    for name, level in (("drawdown_median", 0.5), ("drawdown_95", 0.95)):
        expected = abs(np.expm1(-side * np.quantile(depth, level)))
        assert one[name] == pytest.approx(expected, rel=0.08)


def test_shocks_fall_on_the_side_of_the_signal() -> None:
    history = random_history(seed=15, rows=900, flaws=False)
    renamed = History(
        history.interval,
        (describe("BTCUSDT"), *history.instruments[1:]),
        history.candles,
        {},
    )
    found = asked(renamed, directions=(1, 1, -1, 0))
    for shock in SHOCKS:
        fall = found[f"shock_{shock.name}"][-1]
        np.testing.assert_allclose(fall[:3], [-shock.bitcoin, -shock.others, shock.others])


@pytest.mark.parametrize("shock", SHOCKS, ids=[s.name for s in SHOCKS])
def test_shocks_are_what_hourly_closes_show(shock: Shock, real_data: Path) -> None:
    first = parse_time(f"{shock.first_day}T00:00:00Z") // 1000
    last = parse_time(f"{shock.last_day}T23:00:00Z") // 1000
    opened = pl.col("open_time").dt.epoch("ms")
    closes = (
        pl.scan_parquet(real_data / "crypto_spot_1h" / "*.parquet")
        .filter(opened.is_between(first, last))
        .select("symbol", "open_time", "close")
        .sort("symbol", "open_time")
        .group_by("symbol")
        .agg(fall=(pl.col("close") / pl.col("close").cum_max()).min() - 1.0, rows=pl.len())
        .filter(pl.col("rows") >= 0.95 * ((last - first) / 3_600_000 + 1))
        .collect()
    )
    bitcoin = closes.filter(pl.col("symbol") == "BTCUSDT")["fall"].item()
    stable = r"^(BTCU|USDC|TUSD|BUSD|FDUSD|DAI|PAX|UST)"
    others = closes.filter(~pl.col("symbol").str.contains(stable))["fall"]
    assert bitcoin == pytest.approx(shock.bitcoin, abs=5e-4)
    assert others.median() == pytest.approx(shock.others, abs=5e-4)
    assert len(others) == shock.counted


@pytest.mark.parametrize(
    "options",
    [
        {"paths": 10},
        {"most_stopped": 0.0},
        {"most_stopped": 1.5},
        {"widest": 0.5},
        {"window": 5},
        {"stop_atr": 0},
        {"drift": 1},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        MonteCarlo.Config.model_validate(options)
