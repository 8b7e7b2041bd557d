"""Liquidation levels: what is conserved, and a book kept position by position."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.plugins.features.liquidation_markets import FOREVER, LEVERAGES, last, market
from tests.plugins.features.planted_pairs import compute
from weft.foundation.arrays import Floats
from weft.testing import History
from weft_plugins.features.liquidation_levels import LiquidationLevels


@settings(max_examples=40, deadline=None)
@given(interest=arrays(np.float64, 40, elements=st.floats(1.0, 1e6)))
def test_no_position_is_lost_or_made_while_the_price_rests(interest: Floats) -> None:
    known = 0.0
    for before, now in pairwise(interest):
        known = known + now - before if now > before else known * now / before
    options = LiquidationLevels.Config(window=64, half_life=FOREVER, reach=0.25)
    said = last(LiquidationLevels(options), market(np.full(40, 3.0), {"open_interest": interest}))
    assert said["tracked"] * interest[-1] == pytest.approx(known, rel=1e-9)
    closeness = sum(
        share * (1 - (1 / leverage - 0.005) / 0.25)
        for share, leverage in zip(options.shares, LEVERAGES, strict=True)
    )
    both = said["above"] + said["below"]
    assert both * interest[-1] == pytest.approx(known * closeness, rel=1e-9)


def random_market(seed: int, rows: int = 300, deviation: float = 0.02) -> History:
    """Return two coins with holes, of one of which coins and USD open are told by turns."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0, deviation, (rows, 2)), axis=0))
    reach = np.exp(np.abs(rng.normal(0, deviation / 2, (2, rows, 2))))
    coins = 1e4 * np.exp(np.cumsum(rng.normal(0, 0.05, (rows, 2)), axis=0))
    usd = coins * close * 1.5
    usd[rng.random(usd.shape) < 0.05] = np.nan
    ratio = rng.lognormal(0, 0.5, (rows, 2))
    ratio[rng.random(ratio.shape) < 0.2] = np.nan
    coins[rng.random(coins.shape) < [0.2, 1.0]] = np.nan
    hole = rng.random(close.shape) < 0.02
    high, low, close = (
        np.where(hole, np.nan, p) for p in (close * reach[0], close / reach[1], close)
    )
    metrics = {"open_interest": coins, "open_interest_usd": usd, "long_short_ratio": ratio}
    return market(close, metrics, high=high, low=low)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), deviation=st.floats(0.001, 0.2))
def test_shares_are_shares(seed: int, deviation: float) -> None:
    feature = LiquidationLevels(LiquidationLevels.Config(window=60, half_life=30.0))
    said = compute(feature, random_market(seed, 150, deviation), 100)
    known = ~np.isnan(said["tracked"])
    assert known.any()
    above, below, tracked = (said[n][known] for n in ("above", "below", "tracked"))
    assert (above >= 0).all()
    assert (below >= 0).all()
    assert (above + below <= tracked + 1e-12).all()
    assert (tracked <= 1 + 1e-9).all()
    some = above + below > 0
    balance = said["balance"][known]
    wanted = (above - below)[some] / (above + below)[some]
    np.testing.assert_allclose(balance[some], wanted, atol=1e-9)
    assert np.isnan(balance[~some]).all()
    for name, mass in (("nearest_above", above), ("nearest_below", below)):
        distance = said[name][known]
        np.testing.assert_array_equal(np.isnan(distance), mass == 0)
        assert (distance[mass > 0] > 0).all()
        assert (distance[mass > 0] < 0.1).all()


def test_neither_the_currency_nor_the_size_of_a_coin_matters() -> None:
    history = random_market(5)
    scaled = replace(
        history,
        candles={n: p if n == "volume" else p * 1024.0 for n, p in history.candles.items()},
        metrics={
            n: p * {"open_interest": 2**-7, "open_interest_usd": 8.0, "long_short_ratio": 1.0}[n]
            for n, p in history.metrics.items()
        },
    )
    feature = LiquidationLevels(LiquidationLevels.Config(window=80))
    one, other = (compute(feature, h, 100) for h in (history, scaled))
    for name, panel in one.items():
        np.testing.assert_allclose(panel, other[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("window", [4, 41, 120])
def test_a_row_says_the_same_to_the_bit_whoever_asks(window: int) -> None:
    feature = LiquidationLevels(LiquidationLevels.Config(window=window))
    history = random_market(6)
    many = compute(feature, history, 200)
    for row in range(-200, 0, 7):
        one = compute(feature, history.cut(history.rows + row + 1), 1)
        for name, panel in many.items():
            np.testing.assert_array_equal(one[name][0], panel[row])


# A book kept position by position


@dataclass
class Position:
    """What was opened at one price with one leverage."""

    sign: int
    level: float
    mass: float

    def touched(self, high: float, low: float) -> bool:
        """Return whether a candle closes it by force."""
        return low <= self.level if self.sign < 0 else high >= self.level


def kept_by_hand(
    history: History, column: int, row: int, options: LiquidationLevels.Config
) -> dict[str, float]:
    """Return the outputs of one row from a list of positions."""
    cells = {n: p[:, column] for n, p in {**history.candles, **history.metrics}.items()}
    index = history.interval.index(history.first_close) + row
    start = row - index % (options.window // 4) - options.window
    book: list[Position] = []
    expected, unit = math.nan, ""
    for at in range(max(0, start), row + 1):
        high, low, close = (float(cells[n][at]) for n in ("high", "low", "close"))
        if math.isnan(close):
            continue
        for position in book:
            position.mass *= 0.5 ** (1 / options.half_life)
        hit = [p for p in book if p.touched(high, low)]
        book = [p for p in book if not p.touched(high, low)]
        expected -= sum(p.mass for p in hit)
        coins, usd = float(cells["open_interest"][at]), float(cells["open_interest_usd"][at])
        now, by = (coins, "coins") if not math.isnan(coins) else (usd / close, "usd")
        if math.isnan(now):
            continue
        if by == unit and now > expected:
            ratio = float(cells["long_short_ratio"][at])
            long = 0.5 if math.isnan(ratio) else ratio / (1 + ratio)
            book += opened(now - expected, (high + low + close) / 3, long, options)
        elif unit:
            for position in book:
                position.mass *= now / expected
        expected, unit = now, by
    if math.isnan(close) or math.isnan(now):
        return dict.fromkeys(LiquidationLevels.outputs, math.nan)
    return measured(book, now, close, options)


def opened(
    coins: float, price: float, long: float, options: LiquidationLevels.Config
) -> list[Position]:
    """Return the positions of one candle."""
    book = []
    for share, leverage in zip(options.shares, LEVERAGES, strict=True):
        mass = coins * share / sum(options.shares)
        margin = 1 / leverage - options.maintenance_margin
        book.append(Position(-1, price * (1 - margin), mass * long))
        book.append(Position(1, price * (1 + margin), mass * (1 - long)))
    return book


def measured(
    book: list[Position], now: float, close: float, options: LiquidationLevels.Config
) -> dict[str, float]:
    """Return what a book comes to."""
    said = {"tracked": sum(p.mass for p in book) / now}
    for sign, name in ((1, "above"), (-1, "below")):
        near = [(sign * (p.level / close - 1), p.mass) for p in book if p.sign == sign]
        near = [(d, mass) for d, mass in near if 0 < d < options.reach]
        said[name] = sum(mass * (1 - d / options.reach) for d, mass in near) / now
        clusters: dict[int, list[tuple[float, float]]] = {}
        for d, mass in near:
            clusters.setdefault(int(d / options.cluster), []).append((d, mass))
        heaviest = max(clusters.values(), key=lambda c: sum(m for _, m in c), default=[])
        mass = sum(m for _, m in heaviest)
        said[f"nearest_{name}"] = sum(d * m for d, m in heaviest) / mass if heaviest else math.nan
    both = said["above"] + said["below"]
    said["balance"] = (said["above"] - said["below"]) / both if both else math.nan
    return said


@pytest.mark.parametrize("half_life", [0.25, 20.0, 1000.0])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_book_kept_position_by_position_says_the_same(seed: int, half_life: float) -> None:
    # A half-life of 0.25 candles makes the common factor smaller than 1e-100 within 84.
    options = LiquidationLevels.Config(
        window=120, half_life=half_life, reach=0.15, cluster=0.011, share_5x=3.0
    )
    history = random_market(seed, 250, 0.01)
    said = compute(LiquidationLevels(options), history, 90)
    for row in range(-90, 0, 8):
        for column in range(2):
            wanted = kept_by_hand(history, column, history.rows + row, options)
            found = {name: panel[row, column] for name, panel in said.items()}
            assert found == pytest.approx(wanted, rel=1e-8, abs=1e-12, nan_ok=True)
