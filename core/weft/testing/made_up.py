"""Made-up news, regimes and forecasts for components that look at them."""

from dataclasses import replace

import numpy as np

from weft.components.model import Forecast, RegimeState, TrustedForecast
from weft.market.news import News
from weft.testing.history import History

_NAMES = ("bull", "bear", "sideways", "volatile")
_WORDS = ("surges", "plunges", "is adopted", "was hacked", "wins approval", "faces a lawsuit")


def with_regime(history: History, seed: int = 0) -> History:
    """Return a history whose market stands, at each row, in some state with some chance."""
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet(np.ones(len(_NAMES)), history.rows)
    transition = np.full((len(_NAMES), len(_NAMES)), 0.02) + 0.92 * np.eye(len(_NAMES))
    multipliers = np.array([1.0, 0.8, 0.6, 0.3])
    return replace(history, regime=RegimeState(_NAMES, probability, transition, multipliers))


def with_forecasts(history: History, seed: int = 0) -> History:
    """Return a history for which two models forecast something wherever there is a candle."""
    rng = np.random.default_rng(seed)
    close = history.candles["close"]
    outlooks = {}
    for name, trust in (("first", 0.8), ("second", 0.2)):
        mean = np.where(np.isnan(close), np.nan, rng.normal(0.0, 0.01, close.shape))
        quantiles = {0.05: mean - 0.03, 0.5: mean, 0.95: mean + 0.03}
        chance = 1.0 / (1.0 + np.exp(-mean / 0.01))
        outlooks[name] = TrustedForecast(Forecast(mean, chance, quantiles), trust, artifact="00")
    return replace(history, outlooks=outlooks)


def with_news(history: History, seed: int = 0) -> History:
    """Return a history with a headline about one of its coins every few rows."""
    rng = np.random.default_rng(seed)
    count = history.rows // 4
    span = history.rows * history.interval.micros
    known = np.sort(history.first_close + rng.integers(0, span, count))
    bases = [instrument.base for instrument in history.instruments]
    about = [bases[i] for i in rng.integers(0, len(bases), count)]
    said = [_WORDS[i] for i in rng.integers(0, len(_WORDS), count)]
    news = News(
        known_at=known,
        event_time=known - rng.integers(0, history.interval.micros, count),
        sources=("rss",) * count,
        ids=tuple(map(str, range(count))),
        titles=tuple(f"{base} {what}" for base, what in zip(about, said, strict=True)),
        summaries=("",) * count,
        feeds=tuple(f"feed{i}" for i in rng.integers(0, 5, count)),
        urls=("",) * count,
        assets=tuple((base,) for base in about),
        credibility=rng.uniform(0.3, 1.0, count),
    )
    return replace(history, news=news)
