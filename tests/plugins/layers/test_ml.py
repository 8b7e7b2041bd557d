"""The layer that weighs the models' forecasts."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from weft.components.model import Forecast, RegimeState, TrustedForecast
from weft.testing import parametrize_with_checks, random_history
from weft.testing.history import History
from weft_plugins.layers.ml import Ml


@parametrize_with_checks([Ml()])
def test_conformance(check: Callable[[], None]) -> None:
    check()


def market(*models: tuple[float, float], bear: float | None = None) -> History:
    """A history for which models with (chance of a rise, trust) speak, in some trend."""
    history = random_history(3, rows=40, flaws=False)
    shape = history.candles["close"].shape
    forecasts = {}
    for number, (chance, trust) in enumerate(models):
        panel = np.full(shape, chance)
        forecast = Forecast(np.zeros(shape), panel, {})
        forecasts[f"model{number}"] = TrustedForecast(forecast, trust, "00")
    state = None
    if bear is not None:
        probability = np.tile([1.0 - bear, bear], (len(panel), 1))
        state = RegimeState(("bull", "bear"), probability, np.eye(2), np.array([1.0, 0.5]))
    return replace(history, forecasts=forecasts, regime=state)


def said(history: History, **options: float) -> tuple[float, float]:
    layer = Ml(Ml.Config(**options))
    scores = layer.score(history.view(layer.needs, steps=3))
    return float(scores.score[-1, 0]), float(scores.confidence[-1, 0])


def test_a_sure_rise_scores_high_and_an_even_chance_nothing() -> None:
    assert said(market((0.9, 1.0)))[0] > 95.0
    assert said(market((0.5, 1.0)))[0] == 0.0
    assert said(market((0.1, 1.0)))[0] == pytest.approx(-said(market((0.9, 1.0)))[0])


def test_a_model_without_skill_changes_nothing_beside_one_that_has_some() -> None:
    alone = said(market((0.6, 0.7)))
    assert said(market((0.6, 0.7), (0.05, 0.0))) == pytest.approx(alone)


def test_without_any_skill_there_is_no_confidence() -> None:
    score, confidence = said(market((0.9, 0.0), (0.8, 0.0)))
    assert score > 0.0
    assert confidence == 0.0


def test_models_that_contradict_each_other_take_the_confidence_away() -> None:
    score, confidence = said(market((0.7, 0.5), (0.3, 0.5)))
    assert score == pytest.approx(0.0)
    assert confidence == pytest.approx(0.0)


def test_a_say_against_the_trend_is_damped_and_one_with_it_is_not() -> None:
    free = said(market((0.6, 1.0)))[0]
    assert said(market((0.6, 1.0), bear=1.0), against_trend=0.5)[0] == pytest.approx(0.5 * free)
    assert said(market((0.4, 1.0), bear=1.0), against_trend=0.5)[0] == pytest.approx(-free)


def test_a_market_that_halves_positions_halves_the_confidence() -> None:
    assert said(market((0.6, 0.8), bear=1.0))[1] == pytest.approx(0.4)


def test_no_model_no_opinion() -> None:
    assert np.isnan(said(market())[0])


def test_where_only_models_without_skill_speak_they_still_say_something() -> None:
    """One model speaks of the first coin alone, and has earned trust; the other has none."""
    history = market((0.7, 0.9), (0.6, 0.0))
    outlook = history.forecasts["model0"]
    elsewhere = outlook.forecast.probability_up.copy()
    elsewhere[:, 1:] = np.nan
    forecast = replace(outlook.forecast, probability_up=elsewhere)
    forecasts = {**history.forecasts, "model0": replace(outlook, forecast=forecast)}
    layer = Ml()
    scores = layer.score(replace(history, forecasts=forecasts).view(layer.needs))
    assert scores.confidence[-1, 0] == pytest.approx(0.9)
    assert scores.confidence[-1, 1] == 0.0
    assert scores.score[-1, 1] == pytest.approx(said(market((0.6, 1.0)))[0])
