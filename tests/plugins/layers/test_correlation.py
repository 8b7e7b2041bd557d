"""The correlation layer: what moves its score, and which way."""

from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ValidationError

from tests.plugins.features.planted_pairs import from_returns
from weft.components.layer import Scores
from weft.foundation.arrays import FloatPanel
from weft.testing import History, parametrize_with_checks
from weft_plugins.layers.correlation import PARTS, Correlation

BASES = ("BTC", "ETH", "SOL", "ADA", "AVAX", "DOT")
ROWS = 1500


@parametrize_with_checks([Correlation()])
def test_conformance(check: Callable[[], None]) -> None:
    check()


def score(history: History, steps: int = 1, part: str | None = None) -> Scores:
    only = {} if part is None else {p: float(p == part) for p in PARTS}
    layer = Correlation(Correlation.Config.model_validate(only))
    return layer.score(history.view(layer.needs, steps=steps))


def tied(seed: int, rows: int = ROWS) -> FloatPanel:
    rng = np.random.default_rng(seed)
    btc = rng.normal(0, 0.008, (rows, 1))
    return np.hstack([btc, btc + rng.normal(0, 0.006, (rows, len(BASES) - 1))])


def following(said: Scores, returns: FloatPanel, column: int, horizon: int) -> float:
    """Return the correlation of a coin's score with what it did over the next candles."""
    steps = len(said.score)
    sums = np.lib.stride_tricks.sliding_window_view(returns[-steps:, column], horizon).sum(axis=1)
    now = said.score[:-horizon, column]
    return float(np.corrcoef(now, sums[1 : len(now) + 1])[0, 1])


def test_a_coin_that_ran_ahead_of_bitcoin_scores_low_and_one_behind_high() -> None:
    returns = tied(1)
    returns[-24:, 1] += 0.006
    returns[-24:, 2] -= 0.006
    for part in ("reversion", "sector"):
        said = score(from_returns(returns, BASES), part=part).score[0]
        assert said[1] < -50
        assert said[2] > 50


def test_a_coin_that_outperformed_for_long_has_momentum() -> None:
    returns = tied(2)
    returns[-300:-24, 1] += 0.002
    returns[-300:-24, 2] -= 0.002
    said = score(from_returns(returns, BASES), part="momentum").score[0]
    assert said[1] > 50
    assert said[2] < -50


def test_momentum_leaves_out_what_reversion_looks_at() -> None:
    returns = tied(12)
    before = score(from_returns(returns, BASES), part="momentum").evidence["trend_value"][0, 1]
    returns[-24:, 1] += 0.004
    after = score(from_returns(returns, BASES), part="momentum").evidence["trend_value"][0, 1]
    # Only alpha, fitted to the whole window, takes it in, and lowers what went before.
    through_alpha = -24 * 0.004 / 720 * 312 / (0.006 * np.sqrt(312))
    assert after - before == pytest.approx(through_alpha, abs=0.1)


def test_residuals_that_revert_are_found_by_reversion() -> None:
    rng = np.random.default_rng(33)
    rows, returns = 2500, tied(3, 2500)
    shock = rng.normal(0, 0.01, rows)
    off = np.zeros(rows)
    for row in range(1, rows):
        off[row] = 0.95 * off[row - 1] + shock[row]
    returns[:, 1] = returns[:, 0] + np.diff(off, prepend=0.0)
    said = score(from_returns(returns, BASES), 1500, part="reversion")
    beside = returns - returns[:, :1]
    assert following(said, beside, 1, 12) > 0.2
    assert abs(following(said, beside, 2, 12)) < 0.15


def test_residuals_that_trend_are_found_by_momentum() -> None:
    returns = tied(4, 4000)
    drift = np.where(np.arange(4000) // 700 % 2 == 0, 0.001, -0.001)
    returns[:, 1] += drift
    said = score(from_returns(returns, BASES), 3000, part="momentum")
    assert following(said, returns, 1, 24) > 0.2


def test_a_coin_that_follows_bitcoin_late_is_found_by_lead() -> None:
    returns = tied(5)
    returns[1:, 1] = 0.9 * returns[:-1, 0] + np.random.default_rng(55).normal(0, 0.006, ROWS - 1)
    said = score(from_returns(returns, BASES), 600, part="lead")
    assert following(said, returns, 1, 1) > 0.5
    assert np.abs(said.score[:, 2]).mean() < 3


def test_a_broken_tie_halves_what_it_says_about_falling_back() -> None:
    returns = tied(6)
    broken = returns.copy()
    broken[-72:, 1] = np.random.default_rng(66).normal(0, 0.01, 72)
    broken[-24:, 1] += 0.004
    said = score(from_returns(broken, BASES), part="reversion")
    plain = -100 * np.tanh(said.evidence["divergence_value"] / 2)
    assert said.evidence["decorrelation_value"][0, 1] > 3
    np.testing.assert_allclose(said.score[0, 1], 0.5 * plain[0, 1])
    assert plain[0, 1] < -20


def test_points_of_the_parts_add_up_to_the_score() -> None:
    said = score(from_returns(tied(7), BASES), 50)
    total = sum(np.nan_to_num(said.evidence[part]) for part in PARTS)
    np.testing.assert_allclose(total, said.score)


def test_bitcoin_is_scored_by_its_sector_and_its_own_last_move() -> None:
    said = score(from_returns(tied(8), BASES))
    assert np.isnan(said.evidence["reversion"][0, 0])
    assert np.isnan(said.evidence["momentum"][0, 0])
    assert not np.isnan(said.score[0, 0])
    tie = max(
        abs(said.evidence[f"{name}_value"][0, 0]) for name in ("correlation", "sector_correlation")
    )
    np.testing.assert_allclose(said.confidence[0, 0], 0.4 * tie)


def test_bitcoin_alone_has_nothing_to_be_held_against() -> None:
    said = score(from_returns(tied(8)[:, :1], BASES[:1]))
    assert not np.isnan(said.evidence["lead_value"]).any()
    assert np.isnan(said.score).all()
    assert (said.confidence == 0.0).all()


def test_where_nothing_moves_together_there_is_little_confidence() -> None:
    rng = np.random.default_rng(9)
    apart = score(from_returns(rng.normal(0, 0.01, (ROWS, 6)), BASES))
    together = score(from_returns(tied(9), BASES))
    assert apart.confidence[0, 1:].max() < 0.2
    assert together.confidence[0, 1:].min() > 0.6


def test_a_coin_listed_lately_has_no_opinion_yet() -> None:
    history = from_returns(tied(10), BASES)
    close = {n: p.copy() for n, p in history.candles.items()}
    for panel in close.values():
        panel[:-50, 1] = np.nan
    young = History(history.interval, history.instruments, close, {})
    said = score(young)
    assert np.isnan(said.score[0, 1])
    assert said.confidence[0, 1] == 0.0
    assert not np.isnan(said.score[0, 2])


def test_on_random_walks_it_leans_neither_way_and_knows_nothing_of_the_future() -> None:
    found = []
    for seed in range(4):
        returns = tied(100 + seed, 1700)
        said = score(from_returns(returns, BASES), 800)
        found += [following(said, returns, column, 12) for column in range(1, 6)]
    assert abs(np.mean(found)) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict.fromkeys(PARTS, 0.0), "at least one"),
        ({"momentum_candles": 24}, "must be more than"),
        ({"window": 200}, "not more than window"),
        ({"least": 721}, "least"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    options: dict[str, float], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Correlation.Config.model_validate(options)
