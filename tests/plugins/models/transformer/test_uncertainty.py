"""Uncertainty of the transformer on processes with a known law."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.signal import lfilter

from tests.plugins.models.transformer.cases import fit, market
from weft.components.model import Forecast
from weft.components.outcomes import forward_returns
from weft.domain.instruments import describe
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.times import Interval
from weft.market.view import View
from weft.testing.history import History
from weft_plugins.models.transformer.model import Transformer
from weft_plugins.models.transformer.windows import Cells, Windows

SMALL = Transformer.Config(
    window=8,
    width=16,
    layers=2,
    heads=4,
    feed_forward=16,
    passes=20,
    noise="gaussian",
    epochs=5,
    windows_per_epoch=3000,
    batch_size=96,
    learning_rate=8e-3,
    threads=1,
    device="cpu",
)
HORIZON = 1


@dataclass(frozen=True)
class Told:
    """A forecast of rows after the training rows, and their outcomes."""

    view: View
    forecast: Forecast
    outcome: FloatPanel

    @property
    def known(self) -> BoolPanel:
        return ~np.isnan(self.outcome) & ~np.isnan(self.forecast.mean)


def reports(history: History, trained: int, config: Transformer.Config = SMALL) -> Told:
    """Train on the first rows, and forecast the later ones."""
    model = Transformer(config)
    artifact = fit(history.cut(trained), config, horizon=HORIZON)
    view = history.view(
        model.needs, steps=history.rows - trained - HORIZON, learned=model.load(artifact)
    )
    outcome = forward_returns(view.candles().close, HORIZON)[-view.steps :]
    return Told(view, model.predict(view), outcome)


def correlation(output: Told) -> float:
    return float(
        np.corrcoef(output.forecast.mean[output.known], output.outcome[output.known])[0, 1]
    )


@cache
def reverting() -> Told:
    """Each return reverts half of the previous one."""
    rng = np.random.default_rng(11)
    returns = lfilter([1.0], [1.0, 0.5], rng.normal(0.0, 0.01, (1800, 4)), axis=0)
    return reports(market(returns), 1400)


@cache
def announced() -> Told:
    """Noise is twice as wide after a candle of high volume."""
    rng = np.random.default_rng(12)
    wide = rng.random((2400, 4)) < 0.5
    scale = np.vstack([np.ones((1, 4)), np.where(wide[:-1], 2.0, 1.0)])
    returns = 0.005 * scale * rng.normal(size=wide.shape)
    return reports(market(returns, np.where(wide, 4.0, 1.0)), 1800)


def test_planted_edge_has_skill_out_of_sample() -> None:
    output = reverting()
    # The best forecast has a correlation of 0.5; 1,600 outcomes have a standard error of 0.025.
    assert 0.38 < correlation(output) < 0.6
    up = output.forecast.probability_up[output.known]
    rose = output.outcome[output.known] > 0.0
    loss = -np.where(rose, np.log(up), np.log1p(-up)).mean()
    # A perfect forecast of this process has a log loss of 0.60.
    assert loss < np.log(2.0) - 0.05


def test_attribution_names_the_planted_edge() -> None:
    output = reverting()
    parts = Transformer(SMALL).contributions(output.view)
    last = np.diff(np.log(output.view.candles().close), axis=0)[-output.view.steps :]
    # Three inputs contain the last return's direction; volume is constant.
    told_by = parts["return"] + parts["close_location"] + parts["path"]
    assert np.corrcoef(told_by[output.known], last[output.known])[0, 1] < -0.8
    assert np.abs(parts["volume"][output.known]).max() < 1e-4
    assert np.abs(parts["range"][output.known]).mean() < 0.3 * np.abs(told_by[output.known]).mean()


def test_white_noise_has_no_skill() -> None:
    rng = np.random.default_rng(13)
    output = reports(market(rng.normal(0.0, 0.01, (1800, 4))), 1400)
    count = int(output.known.sum())
    assert count > 1500
    assert abs(correlation(output)) < 3.0 / np.sqrt(count)


def test_epistemic_deviation_grows_away_from_training_data() -> None:
    output = reverting()
    panel = output.view.candles()
    windows = Windows.of(panel, SMALL.window)
    rows = np.arange(len(panel) - 200, len(panel))
    inputs, _ = windows.inputs(Cells(rows, np.zeros_like(rows)))
    forecaster = output.view.learned
    spread = [float(np.median(forecaster.forecast(inputs * away)[:, 2])) for away in (1, 3, 10, 30)]
    assert spread[1] > 1.5 * spread[0]
    assert spread[2] > 2.0 * spread[1]
    assert spread[3] > 2.0 * spread[2]


def test_aleatoric_deviation_learns_predictable_noise() -> None:
    output = announced()
    volume = output.view.candles().volume[-output.view.steps :]
    aleatoric = output.forecast.evidence["aleatoric"]
    loud, quiet = (
        float(np.median(aleatoric[output.known & chosen]))
        for chosen in (volume > 2.0, volume < 2.0)
    )
    assert loud == pytest.approx(0.010, rel=0.15)
    assert quiet == pytest.approx(0.005, rel=0.15)


@pytest.mark.parametrize("loud", [True, False])
def test_intervals_cover_their_level_for_each_noise(loud: bool) -> None:
    output = announced()
    volume = output.view.candles().volume[-output.view.steps :]
    chosen = output.known & ((volume > 2.0) == loud)
    outcome = output.outcome[chosen]
    for low, high, promised in ((0.05, 0.95, 0.90), (0.25, 0.75, 0.50)):
        inside = (outcome > output.forecast.quantiles[low][chosen]) & (
            outcome < output.forecast.quantiles[high][chosen]
        )
        # About 1,200 outcomes: a standard error of 0.009 and 0.014.
        assert inside.mean() == pytest.approx(promised, abs=0.05)


def test_variance_is_epistemic_plus_aleatoric() -> None:
    forecast = reverting().forecast
    known = ~np.isnan(forecast.mean)
    up, median = forecast.probability_up[known], forecast.quantiles[0.5][known]
    assert ((up > 0.5) == (median > 0.0)).all()
    full = np.sqrt(
        forecast.evidence["epistemic"][known] ** 2 + forecast.evidence["aleatoric"][known] ** 2
    )
    width = forecast.quantiles[0.95][known] - forecast.quantiles[0.05][known]
    # The mixture of normals is near a normal with the sum of both variances.
    np.testing.assert_allclose(width / (2 * 1.6449 * full), 1.0, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_white_noise_has_no_skill_for_many_seeds(seed: int) -> None:
    rng = np.random.default_rng([14, seed])
    heavy = rng.standard_t(4, (2600, 6)) * 0.008
    output = reports(market(heavy), 1800, SMALL.model_copy(update={"noise": "student"}))
    count = int(output.known.sum())
    assert abs(correlation(output)) < 3.5 / np.sqrt(count)


@pytest.mark.slow
def test_real_history_is_calibrated_without_false_skill(
    real_data: Path,
) -> None:
    names = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "ADAUSDT", "LINKUSDT")
    frames = [
        pl.read_parquet(real_data / "crypto_perp_1h" / f"{name}.parquet")
        .sort("open_time")
        .tail(6000)
        for name in names
    ]
    assert len({tuple(frame["open_time"].to_list()) for frame in frames}) == 1
    fields = ("open", "high", "low", "close", "volume")
    candles = {f: np.column_stack([frame[f].to_numpy() for frame in frames]) for f in fields}
    history = History(Interval.parse("1h"), tuple(map(describe, names)), candles, {})
    config = SMALL.model_copy(update={"window": 48, "noise": "student", "learning_rate": 2e-3})
    output = reports(history, 4500, config)
    outcome, up = output.outcome[output.known], output.forecast.probability_up[output.known]
    for low, high, promised in ((0.05, 0.95, 0.90), (0.25, 0.75, 0.50)):
        inside = (outcome > output.forecast.quantiles[low][output.known]) & (
            outcome < output.forecast.quantiles[high][output.known]
        )
        assert inside.mean() == pytest.approx(promised, abs=0.06)
    loss = -np.where(outcome > 0.0, np.log(up), np.log1p(-up)).mean()
    assert loss < np.log(2.0) + 0.01
