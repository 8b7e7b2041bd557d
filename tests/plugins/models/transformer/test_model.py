"""The transformer as a model: contract, inputs, forecasts, and refused artifacts."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import load, save
from scipy import stats

from tests.plugins.models.transformer.cases import HORIZON, TINY, fit, noise
from weft.components.model import Model
from weft.components.trained import Artifact, Training
from weft.foundation.errors import ArtifactError, NotTrainedError
from weft.market.view import View
from weft.testing import parametrize_with_checks
from weft.testing.history import History
from weft_plugins.checkpoints import sealed
from weft_plugins.models.transformer.model import Transformer
from weft_plugins.models.transformer.windows import INPUTS, Cells, Windows

WEIGHTS = "weights.safetensors"


@parametrize_with_checks([Transformer(TINY)])
def test_transformer_conforms_to_the_model_contract(check: Callable[[], None]) -> None:
    check()


@cache
def trained() -> Artifact:
    return fit(noise())


def view_of(history: History, steps: int) -> View:
    model = Transformer(TINY)
    return history.view(model.needs, steps=steps, learned=model.load(trained()))


# Windows


def test_inputs_match_their_definitions() -> None:
    history = noise(60, 2)
    panel = history.view(Transformer(TINY).needs, steps=10).candles()
    windows = Windows.of(panel, TINY.window)
    row, column = len(panel) - 1, 1
    inputs, volatility = windows.inputs(Cells(np.array([row]), np.array([column])))
    close = panel.close[row - 16 :, column]
    change = np.diff(np.log(close))
    unit = np.sqrt(np.mean(change**2))
    high, low = panel.high[row - 15 :, column], panel.low[row - 15 :, column]
    volume = panel.volume[row - 15 :, column]
    expected = {
        "return": np.arcsinh(change / unit),
        "range": np.arcsinh(np.log(high / low) / unit),
        "close_location": 2.0 * (close[1:] - low) / (high - low) - 1.0,
        "volume": np.log1p(volume / volume.mean()),
        "path": np.arcsinh(np.log(close[1:] / close[-1]) / (unit * 4.0)),
    }
    assert volatility == pytest.approx(unit)
    assert tuple(expected) == INPUTS
    np.testing.assert_allclose(inputs[0], np.stack(list(expected.values()), axis=1), atol=1e-9)


def test_inputs_do_not_depend_on_units_of_price_and_volume() -> None:
    history = noise(60, 2)
    scaled = replace(history, candles={name: p * 1e6 for name, p in history.candles.items()})
    model = Transformer(TINY)
    plain, large = (model.predict(view_of(item, 5)) for item in (history, scaled))
    np.testing.assert_allclose(plain.mean, large.mean, rtol=1e-7)
    np.testing.assert_allclose(plain.quantiles[0.05], large.quantiles[0.05], rtol=1e-7)


def test_targets_are_the_path_in_units_of_volatility() -> None:
    history = noise(60, 1)
    panel = history.view(Transformer(TINY).needs, steps=40).candles()
    windows = Windows.of(panel, TINY.window)
    result = windows.targets(Cells(np.array([30]), np.array([0])), np.array([0.01]), 3)
    close = panel.close[:, 0]
    ahead = [np.log(close[30 + k] / close[30]) / (0.01 * np.sqrt(k)) for k in (1, 2, 3)]
    np.testing.assert_allclose(result[0], ahead)
    known = windows.labelled(3)
    assert known[: len(panel) - 3].all()
    assert not known[len(panel) - 3 :].any()


def test_gap_removes_the_forecasts_of_one_window() -> None:
    history = noise(200, 2)
    candles = {name: panel.copy() for name, panel in history.candles.items()}
    for panel in candles.values():
        panel[150, 1] = np.nan
    forecast = Transformer(TINY).predict(view_of(replace(history, candles=candles), 100))
    unknown = np.isnan(forecast.mean)
    # The gap at row 150 is row 50 of the view; windows have 16 candles and the close before.
    assert np.flatnonzero(unknown[:, 1]).tolist() == list(range(50, 67))
    assert not unknown[:, 0].any()
    for panel in (forecast.probability_up, *forecast.quantiles.values()):
        assert (np.isnan(panel) == unknown).all()


def test_constant_close_has_no_forecast() -> None:
    history = noise(200, 2)
    candles = {name: panel.copy() for name, panel in history.candles.items()}
    for name in ("open", "high", "low", "close"):
        candles[name][150:, 1] = candles["close"][149, 1]
    forecast = Transformer(TINY).predict(view_of(replace(history, candles=candles), 60))
    assert np.isnan(forecast.mean[-30:, 1]).all()
    assert not np.isnan(forecast.mean[:, 0]).any()


# The artifact


def test_card_describes_the_network() -> None:
    card = trained().card
    assert card["inputs"] == list(INPUTS)
    assert card["architecture"]["horizon"] == HORIZON
    assert card["architecture"]["window"] == TINY.window
    assert card["training"]["epochs"] == len(card["training"]["loss"]) == 2
    assert card["torch"]


def test_transformer_without_artifact_is_not_trained() -> None:
    model = Transformer(TINY)
    with pytest.raises(NotTrainedError):
        model.predict(noise(60).view(model.needs))


def with_card(**changes: object) -> Artifact:
    return Artifact(trained().files, dict(trained().card) | changes)


def with_tensors(change: Callable[[dict[str, np.ndarray]], None]) -> Artifact:
    tensors = load(trained().files[WEIGHTS])
    change(tensors)
    return sealed({WEIGHTS: save(tensors)}, trained().card)


def turn(tensors: dict[str, np.ndarray], name: str) -> None:
    tensors[name] = np.ascontiguousarray(tensors[name].T)


def poison(tensors: dict[str, np.ndarray], name: str) -> None:
    tensors[name] = np.full_like(tensors[name], np.nan)


DAMAGED: dict[str, tuple[Callable[[], Artifact], str]] = {
    "another version": (lambda: with_card(version=0), "version 0, expected 3"),
    "no card": (lambda: Artifact(trained().files, {}), "horizon None"),
    "a horizon that is none": (
        lambda: with_card(architecture=dict(trained().card["architecture"]) | {"horizon": -1}),
        "horizon -1",
    ),
    "inputs in another order": (
        lambda: with_card(inputs=list(INPUTS[::-1])),
        "trained with inputs",
    ),
    "an input missing": (lambda: with_card(inputs=list(INPUTS[1:])), "trained with inputs"),
    "another width": (
        lambda: with_card(architecture=dict(trained().card["architecture"]) | {"width": 1 << 40}),
        "trained with architecture",
    ),
    "no means": (lambda: with_card(input_means=None), "input_means None"),
    "a mean missing": (lambda: with_card(input_means={"return": 0.0}), "a number for each of"),
    "a mean that is no number": (
        lambda: with_card(input_means=dict.fromkeys(INPUTS, float("nan"))),
        "a number for each of",
    ),
    "another noise": (lambda: with_card(noise="gaussian"), "trained with noise"),
    "no weights": (lambda: Artifact({}, trained().card), "weights.safetensors is missing"),
    "cut off": (
        lambda: Artifact({WEIGHTS: trained().files[WEIGHTS][:-10]}, trained().card),
        "truncated or changed",
    ),
    "no safetensors": (
        lambda: sealed({WEIGHTS: b"\x80\x04K\x01."}, trained().card),
        "cannot be loaded",
    ),
    "a wrong shape": (
        lambda: with_tensors(lambda t: turn(t, "weights.straight.weight")),
        "tensor weights.straight.weight has shape",
    ),
    "a tensor missing": (
        lambda: with_tensors(lambda t: t.__delitem__("masks.head")),
        "tensor masks.head has shape None",
    ),
    "weights that are no numbers": (
        lambda: with_tensors(lambda t: poison(t, "weights.head.weight")),
        "not finite",
    ),
}


@pytest.mark.parametrize(("make", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_artifact_is_refused(make: Callable[[], Artifact], message: str) -> None:
    with pytest.raises(ArtifactError, match=message) as raised:
        Transformer(TINY).load(make())
    assert "weft train" in str(raised.value)


def test_artifact_of_other_architecture_is_refused() -> None:
    other = Transformer(Transformer.Config(**(TINY.model_dump() | {"passes": 9})))
    with pytest.raises(ArtifactError, match="trained with architecture"):
        other.load(trained())


def test_masks_come_from_the_artifact() -> None:
    model = Transformer(TINY)
    view = noise(60).view(model.needs, steps=3, learned=model.load(trained()))
    again = noise(60).view(model.needs, steps=3, learned=model.load(trained()))
    first, second = model.predict(view), model.predict(again)
    assert np.array_equal(first.evidence["epistemic"], second.evidence["epistemic"])
    assert (first.evidence["epistemic"] > 0.0).all()


def test_forecast_is_the_mixture_of_passes_at_the_horizon() -> None:
    model = Transformer(TINY)
    view = noise(60, 2).view(model.needs, steps=1, learned=model.load(trained()))
    panel = view.candles()
    windows = Windows.of(panel, TINY.window)
    inputs, volatility = windows.inputs(Cells(np.array([len(panel) - 1]), np.array([1])))
    output = view.learned.passes(inputs)
    mean, scale = (part[0, :, -1].numpy() for part in output)
    assert output.mean.shape == (1, TINY.passes, HORIZON)
    unit = volatility[0] * np.sqrt(HORIZON)
    forecast = model.predict(view)
    assert forecast.mean[0, 1] == pytest.approx(mean.mean() * unit)
    assert forecast.evidence["epistemic"][0, 1] == pytest.approx(mean.std() * unit)
    # Student's t with 4 degrees of freedom has the variance 2.
    noisy = np.sqrt(2.0 * np.mean(scale**2)) * unit
    assert forecast.evidence["aleatoric"][0, 1] == pytest.approx(noisy)
    oracle = stats.t(4, loc=mean * unit, scale=scale * unit)
    assert forecast.probability_up[0, 1] == pytest.approx(oracle.sf(0.0).mean())
    for level, quantile in forecast.quantiles.items():
        assert oracle.cdf(quantile[0, 1]).mean() == pytest.approx(level, abs=1e-9)


def test_evaluation_uses_the_outcomes_after_each_row() -> None:
    model = Transformer(TINY)
    history = noise(200)
    view = history.view(model.needs, steps=50, learned=model.load(trained()))
    scored = model.evaluate(view, Training(np.random.default_rng(0), HORIZON))
    assert np.isfinite(scored.loss[:-HORIZON]).all()
    assert np.isnan(scored.loss[-HORIZON:]).all()


def test_evaluation_judges_four_rows_of_a_horizon() -> None:
    """Four rows of each horizon, at fixed places of the calendar, with unchanged losses."""
    model = Transformer(TINY)
    history, long = noise(200), Training(np.random.default_rng(0), 3 * HORIZON)
    ready = model.load(trained())
    view = history.view(model.needs, steps=60, learned=ready)
    scored, every = model.evaluate(view, long), Model.evaluate(model, view, long)
    judged = view.times // view.interval.micros % 3 == 0
    np.testing.assert_array_equal(scored.loss[judged], every.loss[judged])
    assert np.isnan(scored.loss[~judged]).all()
    later = history.view(model.needs, steps=59, learned=ready)
    np.testing.assert_array_equal(model.evaluate(later, long).loss, scored.loss[1:])


# Options and packages


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValidationError, match=r"heads \(3\) must divide width \(64\)"):
        Transformer.Config(heads=3)


@pytest.mark.parametrize("package", ["torch", "safetensors"])
def test_missing_torch_is_named_with_its_extra(package: str) -> None:
    code = f"""
import sys
sys.modules[{package!r}] = None
from weft.components.trained import Artifact
from weft.foundation.errors import MissingDependencyError
from weft_plugins.checkpoints import sealed
from weft_plugins.models.transformer.model import Transformer
try:
    Transformer().load(Artifact({{}}, {{}}))
except MissingDependencyError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'weft[ml]'" in done.stdout
    assert package in done.stdout
