"""Made-up inputs of components: scores, fusions, levels, sizes, news, regimes and forecasts.

Scores, fusions, levels and sizes follow from the instant and the symbol of each cell, so that one
row, many rows, and symbols in another order get the same values.
"""

from collections.abc import Mapping
from dataclasses import replace
from zlib import crc32

import numpy as np

from weft.components.ensemble import Fusion
from weft.components.layer import Scores
from weft.components.model import Forecast, RegimeState, TrustedForecast
from weft.components.risk import Levels
from weft.components.trained import ComposedDecisions
from weft.foundation.arrays import FloatPanel, read_only
from weft.foundation.times import HOUR
from weft.market.news import News
from weft.market.view import View
from weft.testing.history import History

WEIGHTS: Mapping[str, float] = {"first": 0.5, "second": 0.3, "third": 0.2}
"""The base weights of the made-up layers."""

_ACT_ABOVE = 15.0
_STATES = ("bull", "bear", "sideways", "volatile")
_WORDS = ("surges", "plunges", "is adopted", "was hacked", "wins approval", "faces a lawsuit")


def scores_of(view: View) -> dict[str, Scores]:
    """Return scores of three layers on the decision rows of a view, with gaps."""
    scores = {}
    for name in WEIGHTS:
        wave = _wave(view, name)
        score = np.where(_wave(view, f"{name} gaps") > 0.9, np.nan, 100.0 * wave)
        confidence = np.where(np.isnan(score), np.nan, 0.5 + 0.5 * _wave(view, f"{name} trust"))
        scores[name] = Scores(read_only(score), read_only(confidence))
    return scores


def fusion_of(view: View) -> Fusion:
    """Return a fusion on the decision rows of a view: long, short and neutral."""
    score = 100.0 * _wave(view, "fused")
    direction = np.where(np.abs(score) < _ACT_ABOVE, 0.0, np.sign(score)).astype(np.int8)
    return Fusion(
        score=read_only(score),
        confidence=read_only(np.abs(score) / 100.0),
        direction=read_only(direction),
        weights={"first": read_only(np.ones(score.shape))},
        calibrated=False,
    )


def levels_of(view: View, fusion: Fusion) -> Levels:
    """Return levels on the side of a fusion, with gaps; NaN where its direction is neutral."""
    gaps = _wave(view, "no entry") > 0.9
    entry = np.where(gaps, np.nan, 100.0 + 50.0 * _wave(view, "price"))
    return _levels_at(entry, fusion)


def sizes_of(view: View, fusion: Fusion) -> FloatPanel:
    """Return fractions of the equity from 0 to 0.2; 0 where the direction is neutral."""
    fraction = 0.1 + 0.1 * _wave(view, "size")
    sizes: FloatPanel = read_only(np.where(fusion.direction == 0, 0.0, fraction))
    return sizes


def decisions_of(view: View, history: History) -> ComposedDecisions:
    """Return a fusion, and levels at the closes of a history, for components that trade on them."""
    fusion = fusion_of(view)
    return ComposedDecisions(fusion, _levels_at(history.candles["close"][-view.steps :], fusion))


def with_regime(history: History, seed: int = 0) -> History:
    """Return a history with a random probability of each state of the market at each row."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(len(_STATES)), history.rows)
    transition = np.full((len(_STATES), len(_STATES)), 0.02) + 0.92 * np.eye(len(_STATES))
    multipliers = np.array([1.0, 0.8, 0.6, 0.3])
    return replace(history, regime=RegimeState(_STATES, probability, transition, multipliers))


def with_forecasts(history: History, seed: int = 0) -> History:
    """Return a history with random forecasts of two models wherever there is a candle."""
    rng = np.random.default_rng(seed)
    close = history.candles["close"]
    forecasts = {}
    for name, trust in (("first", 0.8), ("second", 0.2)):
        mean = np.where(np.isnan(close), np.nan, rng.normal(0.0, 0.01, close.shape))
        quantiles = {0.05: mean - 0.03, 0.5: mean, 0.95: mean + 0.03}
        chance = 1.0 / (1.0 + np.exp(-mean / 0.01))
        forecasts[name] = TrustedForecast(Forecast(mean, chance, quantiles), trust, artifact="00")
    return replace(history, forecasts=forecasts)


def with_news(history: History, seed: int = 0) -> History:
    """Return a history with a headline on one of its coins every four rows, on average."""
    rng = np.random.default_rng(seed)
    count = history.rows // 4
    length = history.rows * history.interval.micros
    known = np.sort(history.first_close + rng.integers(0, length, count))
    bases = [instrument.base for instrument in history.instruments]
    assets = [bases[i] for i in rng.integers(0, len(bases), count)]
    words = [_WORDS[i] for i in rng.integers(0, len(_WORDS), count)]
    news = News(
        known_at=known,
        event_time=known - rng.integers(0, history.interval.micros, count),
        sources=("rss",) * count,
        ids=tuple(map(str, range(count))),
        titles=tuple(f"{asset} {word}" for asset, word in zip(assets, words, strict=True)),
        summaries=("",) * count,
        feeds=tuple(f"feed{i}" for i in rng.integers(0, 5, count)),
        urls=("",) * count,
        assets=tuple((asset,) for asset in assets),
        credibility=rng.uniform(0.3, 1.0, count),
    )
    return replace(history, news=news)


def _levels_at(entry: FloatPanel, fusion: Fusion) -> Levels:
    side = np.where(fusion.direction == 0, np.nan, fusion.direction)
    stop, target = entry * (1.0 - 0.02 * side), entry * (1.0 + 0.03 * side)
    return Levels(read_only(entry), read_only(stop), read_only(target))


def _wave(view: View, name: str) -> FloatPanel:
    """Return numbers from -1 to 1, with a period and a phase that depend on the symbol."""
    hours = (view.times // HOUR).astype(np.float64)[:, None]
    seeds = np.array([crc32(f"{name} {symbol}".encode()) % 10_007 for symbol in view.symbols])
    wave: FloatPanel = np.sin(hours * (0.05 + seeds / 40_000.0) + seeds)
    return wave
