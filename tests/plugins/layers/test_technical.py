"""The technical layer: what moves its score, and which way."""

import numpy as np
import pytest
from pydantic import ValidationError

from weft.components.layer import Scores
from weft.foundation.arrays import FloatPanel
from weft.testing import History, random_history
from weft_plugins.layers.technical import PARTS, Technical


def score(history: History, **weights: float) -> Scores:
    layer = Technical(Technical.Config(**weights))
    return layer.score(history.view(layer.needs, steps=5))


def drifting(a_candle: float) -> History:
    """Return a market that goes one way, with just enough noise to have a range."""
    history = random_history(seed=1, rows=1500, flaws=False)
    drift = np.exp(a_candle * np.arange(history.rows))[:, None]
    prices = {n: p * drift for n, p in history.candles.items() if n != "volume"}
    return History(
        history.interval,
        history.instruments,
        {**prices, "volume": history.candles["volume"]},
        {},
    )


def coins(panel: FloatPanel) -> FloatPanel:
    return panel[:, :-1]


def test_a_rising_market_scores_high_and_a_falling_one_low() -> None:
    assert (coins(score(drifting(0.02)).score) > 40).all()
    assert (coins(score(drifting(-0.02)).score) < -40).all()


def test_points_of_the_parts_add_up_to_the_score() -> None:
    said = score(random_history(seed=2, rows=1500))
    total = sum(np.nan_to_num(said.evidence[part]) for part in PARTS)
    known = ~np.isnan(said.score)
    np.testing.assert_allclose(np.asarray(total)[known], said.score[known])


@pytest.mark.parametrize("part", PARTS)
def test_a_part_alone_makes_up_the_whole_score(part: str) -> None:
    said = score(random_history(seed=2, rows=1500), **{p: float(p == part) for p in PARTS})
    known = ~np.isnan(said.score)
    np.testing.assert_allclose(said.evidence[part][known], said.score[known])


def test_confidence_is_the_share_of_the_weight_that_is_known() -> None:
    short = random_history(seed=2, rows=12, flaws=False)
    said = score(short)
    assert np.isnan(coins(said.score)).all()
    assert (coins(said.confidence) < 0.5).all()
    full = score(random_history(seed=2, rows=1500, flaws=False))
    assert (coins(full.confidence) == 1.0).all()


def test_on_a_random_walk_it_leans_neither_way() -> None:
    """The mean over many independent walks is nothing beside its own standard error."""
    layer = Technical()
    means = []
    for seed in range(6):
        history = random_history(seed=100 + seed, symbols=12, rows=1500, flaws=False)
        said = layer.score(history.view(layer.needs, steps=200))
        means.append(np.nanmean(coins(said.score), axis=0))
    walks = np.concatenate(means)
    assert abs(walks.mean()) < 4 * walks.std(ddof=1) / np.sqrt(len(walks))


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(ValidationError, match="at least one"):
        Technical.Config(**dict.fromkeys(PARTS, 0.0))


@pytest.mark.parametrize("moving", [0, 1200])
def test_of_a_price_that_stands_still_there_is_nothing_to_say(moving: int) -> None:
    history = random_history(seed=2, rows=1500, flaws=False)
    candles = {name: panel.copy() for name, panel in history.candles.items()}
    last = candles["close"][max(moving - 1, 0)].copy()
    for name, panel in candles.items():
        panel[moving:] = 0.0 if name == "volume" else last
    said = score(History(history.interval, history.instruments, candles, {}))
    assert np.isnan(coins(said.score)).all()
    assert (coins(said.confidence) < 0.5).all()
