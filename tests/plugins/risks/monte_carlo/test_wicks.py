"""Levels that wicks reach: planted ones are measured, and stated chances come true with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
import pytest
from scipy.stats import binom

from tests.plugins.risks.monte_carlo.test_coverage import HORIZON, WARMUP, asked, market
from weft.components.risk import Levels
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft_plugins.risks.monte_carlo.barriers import NO_JUMPS, shape_table
from weft_plugins.risks.monte_carlo.cells import first_passage
from weft_plugins.risks.monte_carlo.risk import MonteCarlo
from weft_plugins.risks.monte_carlo.wicks import continuity_shift, wicks_of

RNG = np.random.default_rng
FINE = 400
DISCRETE = 1.0 - 0.5826 * sqrt(np.pi / 2.0 / FINE)
"""How far the highest of so many prices goes, over that of all of them (Broadie, Glasserman and Kou
1997, A continuity correction for discrete barrier options)."""


def brownian(rows: int, symbols: int, seed: int, wander: float = 0.0) -> dict[str, FloatPanel]:
    """Candles of finely stepped Brownian motion, of a volatility that may change each hour."""
    rng = RNG(seed)
    candles = {name: np.empty((rows, symbols)) for name in ("open", "high", "low", "close")}
    for symbol in range(symbols):
        steps = rng.standard_normal((rows, FINE), dtype=np.float32).cumsum(axis=1)
        hourly = 0.006 * np.exp(wander * rng.normal(size=(rows, 1)))
        steps = steps.astype(np.float64) * hourly / sqrt(FINE)
        start = np.concatenate([[0.0], np.cumsum(steps[:, -1])[:-1]])
        candles["open"][:, symbol] = start
        candles["high"][:, symbol] = start + np.maximum(steps.max(axis=1), 0.0)
        candles["low"][:, symbol] = start + np.minimum(steps.min(axis=1), 0.0)
        candles["close"][:, symbol] = start + steps[:, -1]
    prices = {name: 100.0 * np.exp(panel) for name, panel in candles.items()}
    return prices | {"volume": np.ones((rows, symbols))}


def wicked(candles: Mapping[str, FloatPanel], seed: int, size: float) -> dict[str, FloatPanel]:
    """The same closes; now and then prices reach out to either side and come back."""
    rng = RNG(seed)
    out = size * 0.006 * np.abs(rng.normal(size=(2, *candles["close"].shape)))
    return {
        **candles,
        "high": candles["high"] * np.exp(out[0]),
        "low": candles["low"] * np.exp(-out[1]),
    }


@pytest.mark.parametrize("wander", [0.0, 0.7])
def test_candles_of_brownian_motion_go_as_far_as_they_end_up(wander: float) -> None:
    candles = brownian(4000, 2, 1, wander)
    found = wicks_of(candles["high"], candles["low"], candles["close"], 4000, 24, 1000)
    for side in (found.above, found.below):
        # Of 4,000 candles the standard error is 1.1 %, and 1.6 % where their volatility wanders.
        np.testing.assert_allclose(side[-1], DISCRETE, rtol=0.04)


def test_planted_wicks_are_measured_side_by_side() -> None:
    rng = RNG(2)
    close = 50.0 * np.exp(np.cumsum(0.01 * rng.normal(size=(400, 1)), axis=0))
    before = np.vstack([close[:1], close[:-1]])
    # Levels are told from the close before, even where the candle opened elsewhere.
    moved = np.abs(np.log(close / before))
    found = wicks_of(before * np.exp(1.5 * moved), before * np.exp(-2.5 * moved), close, 399, 10, 9)
    np.testing.assert_allclose(found.above[20:], 1.5)
    np.testing.assert_allclose(found.below[20:], 2.5)


def test_the_gap_before_a_candle_counts_as_a_way_that_prices_went() -> None:
    close = np.array([[100.0], [110.0], [100.0]])
    high, low = np.array([[100.0], [111.0], [101.0]]), np.array([[99.0], [109.0], [99.0]])
    found = wicks_of(high, low, close, 2, 1, 2)
    moved = 2.0 * np.log(1.1)
    assert found.above[-1, 0] == pytest.approx(np.log(1.11) / moved)
    assert found.below[-1, 0] == pytest.approx(np.log(110.0 / 99.0) / moved)


def test_candles_that_tell_nothing_count_for_nothing() -> None:
    candles = brownian(300, 1, 3)
    plain = wicks_of(candles["high"], candles["low"], candles["close"], 300, 1, 1000)
    torn = {name: panel.copy() for name, panel in candles.items()}
    torn["high"][50], torn["low"][60], torn["close"][70] = np.nan, np.nan, np.nan
    torn["high"][80] = torn["low"][80] = torn["close"][80]
    found = wicks_of(torn["high"], torn["low"], torn["close"], 300, 1, 1000)
    assert np.isfinite(found.above[2:]).all()
    kept = np.ones(299, dtype=np.bool_)
    # The candle after a hole has no close before it.
    kept[[49, 59, 69, 70, 79]] = False
    high, before = np.log(candles["high"][1:, 0]), np.log(candles["close"][:-1, 0])
    # What a lone candle without a range leaves behind, the next starts from.
    moved = np.abs(np.log(candles["close"][1:, 0]) - before)
    expected = (high - before)[kept].sum() / moved[kept].sum()
    assert found.above[-1, 0] == pytest.approx(expected)
    assert found.above[-1, 0] != plain.above[-1, 0]


def test_where_no_candle_has_a_range_nothing_is_known_and_levels_stay() -> None:
    close = 100.0 * np.exp(np.cumsum(0.01 * RNG(4).normal(size=(200, 1)), axis=0))
    for high, low, end in (
        (close, close, close),
        (close * np.nan, close, close),
        (np.ones_like(close), np.ones_like(close), np.ones_like(close)),
        (2.0 * np.ones_like(close), np.ones_like(close), np.ones_like(close)),
    ):
        found = wicks_of(high, low, end, 200, 10, 5)
        assert np.isnan(found.above).all()
        assert np.isnan(found.below).all()
    distance, wicks = np.array([3.0, 3.0, 3.0, 0.1]), np.array([np.nan, 1.5, 0.5, 9.0])
    assert continuity_shift(distance, wicks, 1.0) == pytest.approx(
        [3.0, 3.0 - 0.5826, 3.0 + 0.5826, 0.01]
    )


def test_wicks_at_a_row_depend_on_no_other_rows_and_no_later_ones() -> None:
    candles = brownian(600, 2, 5)
    high, low, close = (candles[name] for name in ("high", "low", "close"))
    whole = wicks_of(high, low, close, 2000, 10, 6)
    fewer = wicks_of(high[200:500], low[200:500], close[200:500], 1900, 10, 6)
    for panel in (high, low, close):
        panel[500:] *= RNG(11).uniform(0.5, 2.0, (100, 1))
    later = wicks_of(high, low, close, 2000, 10, 6)
    for name in ("above", "below"):
        found = getattr(whole, name)
        np.testing.assert_array_equal(getattr(fewer, name)[70:], found[270:499])
        np.testing.assert_array_equal(getattr(later, name)[:499], found[:499])
        assert (getattr(later, name)[530:] != found[530:]).all()
        assert np.unique(found[270:, 0]).size > 5


@pytest.mark.parametrize("shape", [NO_JUMPS, (4, 5, 2), (7, 9, 0)])
def test_paths_tell_how_far_their_own_steps_go(shape: tuple[int, int, int]) -> None:
    table = shape_table(shape, 24, 4000, 3)
    if shape == NO_JUMPS:
        assert table.wick_above == pytest.approx(1.0, abs=0.01)
        assert table.wick_below == pytest.approx(1.0, abs=0.01)
    else:
        # A jump to one side is no way to the other, and no more than the move itself.
        assert 0.5 < table.wick_above < 0.97
        assert 0.5 < table.wick_below < 0.97


@pytest.mark.parametrize("side", [1.0, -1.0])
def test_wicks_of_one_side_bring_the_levels_of_that_side_nearer(side: float) -> None:
    table = shape_table(NO_JUMPS, 24, 4000, 3)

    def chances(stop: float, target: float, above: float, below: float) -> list[float]:
        rest = (np.full(1, x) for x in (side, 0.01, 0.3, stop, target, above, below))
        return [float(chance[0]) for chance in first_passage(table, *rest)]

    more = 2.0 * 0.5826 * 0.01 * 0.5
    above, below = table.wick_above, table.wick_below
    stop, target = (0.03 - more, 0.04) if side < 0 else (0.03, 0.04 - more)
    nearer_by_hand = chances(stop, target, above, below)
    assert chances(0.03, 0.04, above + 0.5, below) == pytest.approx(nearer_by_hand)
    assert chances(0.03, 0.04, above, below + 0.5) != pytest.approx(nearer_by_hand, abs=0.01)


@dataclass(frozen=True)
class Outcome:
    """Chances, and what came of them; one row for each decision whose horizon has ended."""

    stop_first: FloatPanel
    target_first: FloatPanel
    stopped: BoolPanel
    reached: BoolPanel

    def within(self, confidence: float = 0.99) -> bool:
        """Whether both came as often as stated, by as many horizons as do not overlap."""
        horizons = self.stopped.size // HORIZON
        for stated, came in (
            (self.stop_first, self.stopped),
            (self.target_first, self.reached),
        ):
            low, high = binom.interval(confidence, horizons, stated.mean())
            if not low <= came.mean() * horizons <= high:
                return False
        return True


def outcome(candles: Mapping[str, FloatPanel], levels: Levels, side: int) -> Outcome:
    """Follow each decision candle by candle; within one candle the stop comes first."""
    rows = len(levels.entry) - HORIZON
    stop, target = side * levels.stop_loss[:rows], side * levels.take_profit[:rows]
    good, bad = ("high", "low") if side > 0 else ("low", "high")
    stopped = np.zeros(stop.shape, dtype=np.bool_)
    reached = stopped.copy()
    for ahead in range(1, HORIZON + 1):
        first = len(candles["close"]) - len(levels.entry) + ahead
        best, worst = (side * candles[name][first : first + rows] for name in (good, bad))
        open_ = ~(stopped | reached)
        stopped |= open_ & (worst <= stop)
        reached |= open_ & ~stopped & (best >= target)
    figures = levels.figures
    return Outcome(figures["stop_first"][:rows], figures["target_first"][:rows], stopped, reached)


def without_wicks(levels: Levels, side: int, outcome_: Outcome) -> Outcome:
    """The same decisions, with the chances of paths that know nothing of wicks."""
    figures, rows = levels.figures, len(outcome_.stopped)
    entry = levels.entry[:rows].ravel()
    unknown = np.full(entry.size, np.nan)
    stopped, reached = first_passage(
        shape_table(NO_JUMPS, HORIZON, 4000, 0),
        np.full(entry.size, float(side)),
        figures["volatility"][:rows].ravel(),
        figures["volatility_uncertainty"][:rows].ravel(),
        np.abs(np.log(levels.stop_loss[:rows].ravel() / entry)),
        np.abs(np.log(levels.take_profit[:rows].ravel() / entry)),
        unknown,
        unknown,
    )
    return Outcome(stopped, reached, outcome_.stopped, outcome_.reached)


NAMES = ["AUSDT", "BUSDT", "CUSDT", "DUSDT"]


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("size", [0.5, 1.0])
def test_where_wicks_reach_out_levels_are_reached_as_often_as_stated(
    size: float, side: int
) -> None:
    candles = wicked(brownian(WARMUP + 4000, 4, 6), 7, size)
    for stop_atr, target_atr in ((2.0, 3.0), (3.0, 2.0)):
        risk = MonteCarlo(
            MonteCarlo.Config(
                paths=4000, most_stopped=1.0, stop_atr=stop_atr, target_atr=target_atr
            )
        )
        levels = asked(market(candles, NAMES), side, risk)
        found = outcome(candles, levels, side)
        assert found.within()
        assert not without_wicks(levels, side, found).within()


@pytest.mark.parametrize("side", [1, -1])
def test_where_candles_are_brownian_chances_are_as_without_wicks(side: int) -> None:
    candles = brownian(WARMUP + 2000, 4, 8)
    risk = MonteCarlo(MonteCarlo.Config(paths=4000, most_stopped=1.0))
    levels = asked(market(candles, NAMES), side, risk)
    found = outcome(candles, levels, side)
    plain = without_wicks(levels, side, found)
    assert found.within()
    assert plain.within()
    assert found.stop_first.mean() == pytest.approx(plain.stop_first.mean(), abs=0.02)
    assert found.target_first.mean() == pytest.approx(plain.target_first.mean(), abs=0.02)


def test_wicks_change_chances_and_nothing_that_can_be_lost() -> None:
    candles = brownian(WARMUP + 50, 2, 9)
    risk = MonteCarlo(MonteCarlo.Config(paths=1000, most_stopped=1.0))
    plain = asked(market(candles, NAMES[:2]), 1, risk).figures
    wild = asked(market(wicked(candles, 10, 1.0), NAMES[:2]), 1, risk).figures
    told = {"wicks_above", "wicks_below", "stop_first", "target_first", "neither"}
    for name, panel in plain.items():
        same = np.array_equal(panel, wild[name], equal_nan=True)
        assert same == (name not in told), name
