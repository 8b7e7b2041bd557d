"""Losses are exceeded as often as stated, out of sample: on planted markets and on real hours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom, norm

from weft.components.ensemble import Fusion
from weft.components.risk import Levels
from weft.domain.instruments import describe
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.times import Interval
from weft.testing.history import History
from weft_plugins.risks.monte_carlo.risk import MonteCarlo

HORIZON = 24
WARMUP = 4400
PERPETUALS = ("BTC", "ETH", "ADA", "BCH", "BNB", "DOGE", "DOT", "LINK", "LTC", "NEAR", "SOL", "XRP")
"""All with at least two years of hours after the warm-up; twelve of them."""


def market(candles: dict[str, FloatPanel], names: list[str]) -> History:
    return History(Interval.parse("1h"), tuple(describe(n) for n in names), candles, {})


def planted(log_returns: FloatPanel) -> History:
    close = 100.0 * np.exp(np.cumsum(log_returns, axis=0))
    candles = dict.fromkeys(("open", "high", "low", "close"), close) | {"volume": close}
    return market(candles, [f"{letter}USDT" for letter in "ABCDEF"[: close.shape[1]]])


def asked(history: History, side: int, risk: MonteCarlo) -> Levels:
    view = history.view(risk.needs, steps=history.rows - WARMUP, horizon=HORIZON)
    nothing = np.zeros((view.steps, len(view.symbols)))
    direction = np.full(nothing.shape, side, dtype=np.int8)
    return risk.levels(view, Fusion(nothing, nothing, direction, {}, calibrated=False))


def exceeded(entry: FloatPanel, stated: FloatPanel, side: int) -> BoolPanel:
    """Whether the loss over the horizon is more than stated, for each row that has ended."""
    lost = side * (1.0 - entry[HORIZON:] / entry[:-HORIZON])
    beyond: BoolPanel = lost > stated[:-HORIZON]
    return beyond


def band(rows: int, share: float, confidence: float = 0.95) -> tuple[float, float]:
    """Where the rate of that many rows lies by chance, of which one in a horizon is independent."""
    horizons = rows // HORIZON
    low, high = binom.interval(confidence, horizons, share)
    return low / horizons, high / horizons


def clustered(rows: int, symbols: int) -> FloatPanel:
    """Log returns whose volatility wanders (Taylor 1982), with a half-life of 35 candles."""
    rng = np.random.default_rng(1)
    log_volatility, returns = np.zeros(symbols), np.empty((rows, symbols))
    for row in range(rows):
        log_volatility = 0.98 * log_volatility + 0.13 * rng.normal(size=symbols)
        returns[row] = 0.006 * np.exp(log_volatility) * rng.normal(size=symbols)
    return returns


def garch(rows: int, symbols: int) -> FloatPanel:
    """Log returns of GARCH(1, 1) (Bollerslev 1986)."""
    rng = np.random.default_rng(2)
    variance, returns = np.full(symbols, 1e-4), np.empty((rows, symbols))
    for row in range(rows):
        returns[row] = np.sqrt(variance) * rng.normal(size=symbols)
        variance = 1e-6 + 0.12 * returns[row] ** 2 + 0.87 * variance
    return returns


@pytest.mark.parametrize("make", [clustered, garch])
def test_where_volatility_wanders_losses_are_exceeded_as_often_as_stated(
    make: Callable[[int, int], FloatPanel],
) -> None:
    returns = make(WARMUP + 9000, 6)
    found = asked(planted(returns), 1, MonteCarlo(MonteCarlo.Config(paths=4000)))
    entry = found.entry
    rows = (entry.shape[0] - HORIZON) * entry.shape[1]
    # The volatility of the last four days, taken to stay.
    windows = np.lib.stride_tricks.sliding_window_view(returns, 96, axis=0)
    plain = windows.std(axis=-1)[-len(entry) :] * HORIZON**0.5
    for percent in (95, 99):
        share = 1.0 - percent / 100.0
        low, high = band(rows, share)
        assert low < exceeded(entry, found.figures[f"var_{percent}"], 1).mean() < high
    # The last high is that of 99 %.
    assert exceeded(entry, 1.0 - np.exp(-norm.ppf(0.99) * plain), 1).mean() > high


def test_where_volatility_stays_losses_are_hardly_stated_wider() -> None:
    returns = 0.01 * np.random.default_rng(3).normal(size=(WARMUP + 9000, 6))
    found = asked(planted(returns), 1, MonteCarlo(MonteCarlo.Config(paths=4000)))
    rows = (len(found.entry) - HORIZON) * 6
    for percent in (95, 99):
        true = 1.0 - np.exp(-norm.ppf(percent / 100.0) * 0.01 * HORIZON**0.5)
        assert found.figures[f"var_{percent}"].mean() == pytest.approx(true, rel=0.04)
        low, high = band(rows, 1.0 - percent / 100.0)
        assert low < exceeded(found.entry, found.figures[f"var_{percent}"], 1).mean() < high
    assert found.figures["volatility_uncertainty"].mean() < 0.2


def test_levels_are_reached_under_the_same_uncertainty_as_losses() -> None:
    risk = MonteCarlo(MonteCarlo.Config(paths=4000, target_atr=1000.0, most_stopped=1.0))
    found = asked(planted(clustered(WARMUP + 300, 6)), 1, risk)
    figures = found.figures
    smooth = figures["jump_intensity"] == 0.0
    assert smooth.sum() > 50
    wide = figures["volatility"][smooth] * HORIZON**0.5
    distance = np.log(found.entry / found.stop_loss)[smooth] / wide
    unsure = figures["volatility_uncertainty"][smooth]
    # The reflection principle, in the mean over the volatility.
    nodes, weights = np.polynomial.hermite_e.hermegauss(41)
    scales = np.exp(np.multiply.outer(unsure, nodes) - unsure[:, None] ** 2)
    expected = 2.0 * norm.cdf(-distance[:, None] / scales) @ (weights / weights.sum())
    np.testing.assert_allclose(figures["stop_first"][smooth], expected, atol=0.02)
    assert np.abs(2.0 * norm.cdf(-distance) - expected).mean() > 0.04


@pytest.mark.slow
def test_on_real_hours_losses_are_exceeded_as_often_as_stated(real_data: Path) -> None:
    risk = MonteCarlo()
    within: dict[tuple[int, int], list[bool]] = {}
    rates: dict[tuple[int, int], list[float]] = {}
    short_of: dict[int, list[float]] = {1: [], -1: []}
    for name in PERPETUALS:
        frame = pl.read_parquet(real_data / "crypto_perp_1h" / f"{name}USDT.parquet")
        frame = frame.sort("open_time").tail(24_000)
        columns = ("open", "high", "low", "close", "volume")
        candles = {c: frame[c].to_numpy()[:, None].copy() for c in columns}
        for side in (1, -1):
            found = asked(market(candles, [f"{name}USDT"]), side, risk)
            lost = side * (1.0 - found.entry[HORIZON:] / found.entry[:-HORIZON])
            for percent in (95, 99):
                beyond = exceeded(found.entry, found.figures[f"var_{percent}"], side)
                low, high = band(len(beyond), 1.0 - percent / 100.0)
                within.setdefault((side, percent), []).append(low <= beyond.mean() <= high)
                rates.setdefault((side, percent), []).append(float(beyond.mean()))
            stated = found.figures["cvar_99"][:-HORIZON][beyond].mean()
            short_of[side].append(float(lost[beyond].mean() / stated))
    print({k: f"{np.mean(r):.4f}" for k, r in rates.items()}, short_of)  # noqa: T201  # the figures themselves
    for (side, percent), inside in within.items():
        share = 1.0 - percent / 100.0
        assert sum(inside) >= len(PERPETUALS) - 2, (side, percent)
        # They all move together, so that the twelve of them tell hardly more than one does.
        low, high = band(24_000 - WARMUP, share)
        assert low <= np.mean(rates[side, percent]) <= high, (side, percent)
    for side, ratios in short_of.items():
        assert 0.85 < np.mean(ratios) < 1.15, side
