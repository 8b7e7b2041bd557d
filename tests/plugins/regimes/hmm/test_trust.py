"""Trust in a regime: none on noise or for volatility only, and some where there are states.

Every market has one symbol, whose volume is noise; a regime is fitted to its first part, and judged
on the 1,200 hours after it, as a training does.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.plugins.regimes.hmm.planted import DEVIATIONS as SPREADS
from tests.plugins.regimes.hmm.planted import FEATURES, MEANS, TRANSITION, chain, training
from weft.components.model import RegimeState
from weft.domain.instruments import describe
from weft.foundation.arrays import Floats
from weft.foundation.times import Interval
from weft.learning.judging import skill_of, trust_in
from weft.testing.history import START, History
from weft_plugins.regimes.hmm.detector import HiddenMarkov

_HORIZON = 12
_JUDGED = 1200
_WARMUP = 64
_BEFORE = 600  # rows of the filter's first block and its warm-up, at most

QUICK = HiddenMarkov.Config(restarts=2, iterations=40, warmup=_WARMUP)
SLOW = HiddenMarkov.Config(observed=FEATURES, restarts=2, iterations=40, warmup=_WARMUP)

Market = Callable[[int, np.random.Generator], Floats]


def normal(rows: int, rng: np.random.Generator) -> Floats:
    return rng.normal(0.0, 0.004, rows)


def student(rows: int, rng: np.random.Generator) -> Floats:
    result: Floats = 0.004 / np.sqrt(2.0) * rng.standard_t(4, rows)
    return result


def skewed(rows: int, rng: np.random.Generator) -> Floats:
    """Independent returns that follow neither a normal nor a Student's t."""
    falls = rng.random(rows) < 0.05
    return np.where(falls, rng.normal(-0.01, 0.004, rows), rng.normal(0.0005, 0.002, rows))


def garch(rows: int, rng: np.random.Generator) -> Floats:
    """Clustered volatility without states."""
    drawn = rng.normal(size=rows)
    variance, result = 1.0, np.empty(rows)
    for row in range(rows):
        result[row] = np.sqrt(variance) * drawn[row]
        variance = 0.02 + 0.08 * result[row] ** 2 + 0.9 * variance
    return 0.004 * result


def switching(rows: int, rng: np.random.Generator) -> Floats:
    """A calm and a volatile state of 50 hours each on average."""
    moving = np.array([[0.98, 0.02], [0.02, 0.98]])
    result: Floats = np.array([0.002, 0.008])[chain(rows, rng, moving)] * rng.normal(size=rows)
    return result


def trending(rows: int, rng: np.random.Generator) -> Floats:
    """Rising, falling, sideways and volatile states."""
    states = chain(rows, rng, TRANSITION)
    result: Floats = MEANS[states, 0] + SPREADS[states, 0] * rng.normal(size=rows)
    return result


def history_of(returns: Floats, seed: int) -> History:
    rng = np.random.default_rng([seed, 1])
    close = 100.0 * np.exp(np.cumsum(returns))[:, None]
    opened = np.vstack([close[:1], close[:-1]])
    candles = {
        "open": opened,
        "high": np.maximum(opened, close),
        "low": np.minimum(opened, close),
        "close": close,
        "volume": 100.0 * np.exp(0.3 * rng.normal(size=close.shape)),
    }
    instruments = (describe("BTCUSDT"),)
    return History(Interval.parse("1h"), instruments, candles, {}, first_close=START)


def shrunk_by(
    history: History, config: HiddenMarkov.Config, trained: int, seed: int = 1
) -> tuple[float, RegimeState]:
    """Return the trust in a regime, and its evaluation of the judging rows."""
    regime = HiddenMarkov(config)
    before = history.cut(history.rows - _JUDGED)
    artifact = regime.fit(before.view(regime.needs, steps=trained), training(seed))
    view = history.view(regime.needs, steps=_JUDGED, learned=regime.load(artifact))
    trust = trust_in(skill_of(regime.evaluate(view, training()), _HORIZON))
    return trust, regime.detect(view).shrunk_by(trust)


def trust_on(
    market: Market, seed: int, config: HiddenMarkov.Config = QUICK, trained: int = 2400
) -> float:
    returns = market(_BEFORE + trained + _JUDGED, np.random.default_rng(seed))
    return shrunk_by(history_of(returns, seed), config, trained)[0]


@pytest.mark.parametrize("market", [normal, student, skewed, garch])
@pytest.mark.parametrize("seed", [1, 2])
def test_market_without_states_earns_no_trust(market: Market, seed: int) -> None:
    assert trust_on(market, seed) == 0.0


def test_overlapping_windows_of_noise_earn_no_trust() -> None:
    assert trust_on(normal, 3, SLOW) == 0.0


@pytest.mark.parametrize("seed", [1, 2])
def test_planted_states_earn_trust(seed: int) -> None:
    assert trust_on(switching, seed) > 0.9


def test_noise_row_has_the_same_loss_in_each_training() -> None:
    returns = normal(_BEFORE + 2400 + _JUDGED + 12, np.random.default_rng(12))
    history = history_of(returns, 12)
    for part in (history, history.cut(history.rows - 12)):
        trust, state = shrunk_by(part, SLOW, 2400)
        assert trust == 0.0
        np.testing.assert_array_equal(state.probability, np.full((_JUDGED, 4), 0.25))
        np.testing.assert_array_equal(state.position_multiplier, np.ones(_JUDGED))


@pytest.mark.slow
@pytest.mark.parametrize("market", [normal, student, skewed, garch])
def test_at_most_one_of_forty_markets_without_states_earns_trust(market: Market) -> None:
    trusts = np.array([trust_on(market, seed, trained=4000) for seed in range(100, 140)])
    assert np.count_nonzero(trusts) <= 1, trusts


@pytest.mark.slow
def test_switching_markets_earn_trust_and_most_of_them_full_trust() -> None:
    trusts = np.array([trust_on(switching, seed, trained=4000) for seed in range(100, 120)])
    assert (trusts > 0.0).all(), trusts
    assert np.count_nonzero(trusts == 1.0) >= 14, trusts


@pytest.mark.slow
def test_half_of_twenty_trending_markets_earn_trust() -> None:
    # Expectation-maximisation does not always find drifts that small beside the volatility.
    trusts = np.array([trust_on(trending, seed, trained=4000) for seed in range(100, 120)])
    assert np.count_nonzero(trusts > 0.5) >= 8, trusts


@pytest.mark.parametrize("first", [2_000, 20_000])
def test_states_of_real_hours_gain_nothing_over_volatility(real_data: Path, first: int) -> None:
    frame = pl.read_parquet(real_data / "crypto_perp_1h" / "BTCUSDT.parquet").sort("open_time")
    close = frame["close"].to_numpy()[first : first + 6600]
    history = history_of(np.diff(np.log(close)), seed=1)
    assert shrunk_by(history, QUICK, 4600)[0] == 0.0
