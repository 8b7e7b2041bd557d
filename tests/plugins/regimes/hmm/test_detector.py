"""The regime as a component: inputs, artifacts, and no look-ahead."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hmmlearn.hmm import GaussianHMM  # type: ignore[import-untyped]  # hmmlearn ships no types
from pydantic import ValidationError
from scipy.stats import norm

from tests.plugins.regimes.hmm.planted import (
    FEATURES,
    NAMES,
    PLAIN,
    candle_history,
    chain,
    training,
    truth,
)
from weft.components.model import RegimeState
from weft.components.trained import Artifact
from weft.domain.calendar import BLOCK
from weft.foundation.errors import ArtifactError, NotTrainedError, TrainingError
from weft.market.view import View
from weft.testing import parametrize_with_checks
from weft.testing.conformance import prefix_invariance
from weft.testing.history import History, random_history
from weft.testing.subjects import subject_of
from weft_plugins.checkpoints import sealed
from weft_plugins.regimes.hmm.detector import HiddenMarkov, Ready, ready
from weft_plugins.regimes.hmm.parameters import FILE, stationary

TINY = HiddenMarkov.Config(
    observed=FEATURES, restarts=2, iterations=25, warmup=64, volatility_window=12, rsi_window=10
)
RETURNS = HiddenMarkov.Config(restarts=2, iterations=25, warmup=64)


@parametrize_with_checks([HiddenMarkov(TINY), HiddenMarkov(RETURNS)])
def test_hmm_conforms_to_the_regime_contract(check: Callable[[], None]) -> None:
    check()


class Smoothed(HiddenMarkov):
    """A leak for the test to catch: the posteriors of hmmlearn, which use later rows."""

    def detect(self, view: View) -> RegimeState:
        state = super().detect(view)
        learned: Ready = view.learned
        seen = self._observations(view)
        observed = learned.parameters.standardised(seen.series(0, len(seen.values)))
        model = GaussianHMM(4, covariance_type="full")
        model.startprob_, model.transmat_ = learned.model.start, learned.parameters.transition
        model.means_, model.covars_ = learned.parameters.means, learned.parameters.covariances
        smoothed = model.predict_proba(observed[-view.steps :])
        return RegimeState(state.names, smoothed, state.transition, state.multipliers)


def test_conformance_catches_a_smoothed_detector() -> None:
    prefix_invariance(subject_of(HiddenMarkov(TINY)))
    with pytest.raises(AssertionError, match="rows were cut off"):
        prefix_invariance(subject_of(Smoothed(TINY)))


def component(regime: HiddenMarkov, history: History, steps: int, learned: object = None) -> View:
    return history.view(regime.needs, steps=steps, learned=learned)


def fitted(config: HiddenMarkov.Config, history: History, steps: int) -> Ready:
    regime = HiddenMarkov(config)
    return regime.load(regime.fit(component(regime, history, steps), training()))


def test_single_rows_equal_many_rows_across_a_calendar_block() -> None:
    regime = HiddenMarkov(TINY)
    history = random_history(seed=5, rows=2000)
    learned = fitted(TINY, history.cut(1500), 1300)
    first_index = history.interval.index(history.first_close)
    boundary = BLOCK - first_index % BLOCK
    assert 1600 < boundary < 1950
    complete = history.cut(boundary + 40)
    many = regime.detect(component(regime, complete, 80, learned)).probability
    for back in (0, 1, 38, 39, 40, 41, 79):
        item = component(regime, complete.cut(complete.rows - back), 1, learned)
        np.testing.assert_array_equal(regime.detect(item).probability[0], many[79 - back])


def test_planted_states_are_detected_from_candles() -> None:
    history = candle_history(3000, seed=1)
    regime = HiddenMarkov(TINY)
    learned = fitted(TINY, history.cut(2400), 2300)
    state = regime.detect(component(regime, history, 600, learned))
    rng = np.random.default_rng(1)
    truly = chain(3000, rng)[-600:]
    assert state.names == NAMES
    volatile = state.probability[:, 3]
    assert volatile[truly == 3].mean() > 0.6
    assert volatile[truly == 2].mean() < 0.2
    bull, bear = state.probability[:, 0], state.probability[:, 1]
    assert (bull - bear)[truly == 0].mean() > (bull - bear)[truly == 1].mean() + 0.1
    multiplier = state.position_multiplier
    np.testing.assert_allclose(multiplier, state.probability @ [1.0, 0.6, 0.8, 0.3])
    leaving = 1.0 - np.diag(state.transition)
    np.testing.assert_allclose(state.change_probability, state.probability @ leaving)
    np.testing.assert_allclose(state.expected_duration, 1.0 / leaving)


def disturbed(history: History, column: int) -> History:
    """A history in which one symbol moves differently."""
    rng = np.random.default_rng(9)
    noise = np.exp(np.cumsum(rng.normal(0, 0.02, history.rows)))
    changed = {
        name: np.where(
            (np.arange(panel.shape[1]) == column) & (name != "volume"),
            panel * noise[:, None],
            panel,
        )
        for name, panel in history.candles.items()
    }
    return History(history.interval, history.instruments, changed, {})


def reports(config: HiddenMarkov.Config, history: History) -> np.ndarray:
    regime = HiddenMarkov(config)
    learned = fitted(config, random_history(seed=5, rows=1000), 700)
    return regime.detect(component(regime, history, 50, learned)).probability


def test_reference_asset_represents_the_market() -> None:
    config = TINY.model_copy(update={"reference": "COIN2"})
    history = random_history(seed=5, rows=1200, flaws=False)
    np.testing.assert_array_equal(reports(config, disturbed(history, 0)), reports(config, history))
    assert not np.array_equal(reports(config, disturbed(history, 2)), reports(config, history))


def test_median_of_open_markets_replaces_a_missing_reference() -> None:
    history = random_history(seed=5, rows=1200, flaws=False)
    np.testing.assert_array_equal(reports(TINY, disturbed(history, 3)), reports(TINY, history))
    assert not np.array_equal(reports(TINY, disturbed(history, 1)), reports(TINY, history))


def test_gap_in_the_reference_is_not_filled() -> None:
    config = TINY.model_copy(update={"reference": "COIN2", "states": (2,)})
    history = random_history(seed=5, rows=1200, flaws=False)
    holed = {name: panel.copy() for name, panel in history.candles.items()}
    for panel in holed.values():
        panel[-20:, 2] = np.nan
    gapped = History(history.interval, history.instruments, holed, {})
    regime = HiddenMarkov(config)
    learned = fitted(config, history, 700)
    result = regime.detect(component(regime, gapped, 40, learned)).probability
    for row in range(20, 40):
        np.testing.assert_allclose(result[row], result[row - 1] @ learned.parameters.transition)
    assert not np.isnan(result).any()


def test_market_without_candles_has_no_state() -> None:
    silent = random_history(seed=5, rows=1200).after(0, lambda panel: np.full(panel.shape, np.nan))
    assert np.isnan(reports(TINY, silent)).all()


def test_losses_match_hmmlearn_and_a_mixture_at_trailing_volatility() -> None:
    regime = HiddenMarkov(RETURNS)
    history = random_history(seed=6, rows=1700, flaws=False)
    learned = fitted(RETURNS, history.cut(1300), 1200)
    moving = replace(learned.parameters.stateless, half_life=12.0, weight=0.6)
    learned = ready(replace(learned.parameters, stateless=moving))
    view = component(regime, history, 60, learned)
    losses = regime.evaluate(view, training())
    seen = regime._observations(view)
    rows = len(seen.values)
    last = history.interval.index(view.as_of)
    start = last // BLOCK * BLOCK - RETURNS.warmup
    returns = seen.series(rows - 1 - (last - start), rows)
    returns = returns[np.isfinite(returns[:, 0])]
    observed = learned.parameters.standardised(returns)
    model = GaussianHMM(4, covariance_type="full")
    model.startprob_ = stationary(learned.parameters.transition)
    model.transmat_ = learned.parameters.transition
    model.means_, model.covars_ = learned.parameters.means, learned.parameters.covariances
    unit, price = np.log(learned.parameters.scale).sum(), np.log(100.0) / 60
    squares = pl.Series(np.concatenate([[moving.usual_variance], returns[:, 0] ** 2]))
    recent = squares.ewm_mean(half_life=12.0, adjust=False).to_numpy()
    deviation = np.sqrt(0.4 + 0.6 * recent / moving.usual_variance)
    for back in (0, 30):
        end = len(observed) - back
        gain = model.score(observed[:end]) - model.score(observed[: end - 1])
        assert losses.loss[59 - back] == pytest.approx(unit - gain + price, rel=1e-6)
        row = end - 1
        normals = norm(moving.means * deviation[row], np.sqrt(moving.variances) * deviation[row])
        expected = -np.log(moving.shares @ normals.pdf(returns[row, 0]))
        assert losses.baseline[59 - back] == pytest.approx(expected, rel=1e-9)


def test_losses_do_not_depend_on_standardisation() -> None:
    regime = HiddenMarkov(TINY)
    history = random_history(seed=6, rows=1700, flaws=False)
    learned = fitted(TINY, history.cut(1300), 1200)
    item = learned.parameters
    wider = np.array([1.05, 2.0, 0.5, 1.1])
    other = replace(
        item,
        scale=item.scale * wider,
        means=item.means / wider,
        covariances=item.covariances / np.outer(wider, wider),
    )
    reports, same = (
        regime.evaluate(component(regime, history, 60, ready(parameters)), training())
        for parameters in (item, other)
    )
    np.testing.assert_allclose(same.loss, reports.loss, rtol=1e-9)
    np.testing.assert_allclose(same.baseline, reports.baseline, rtol=1e-9)


def test_short_history_is_refused() -> None:
    regime = HiddenMarkov(TINY)
    with pytest.raises(TrainingError, match="150 of 150 rows are known; 200 are required"):
        regime.fit(component(regime, random_history(seed=1, rows=300), 150), training())


def test_constant_market_is_refused() -> None:
    still = random_history(seed=1, rows=900, flaws=False).after(0, np.ones_like)
    regime = HiddenMarkov(TINY)
    with pytest.raises(TrainingError, match="rows are known"):
        regime.fit(component(regime, still, 600), training())


def test_detector_without_artifact_is_not_trained() -> None:
    regime = HiddenMarkov(TINY)
    with pytest.raises(NotTrainedError):
        regime.detect(component(regime, random_history(seed=1, rows=300), 1))


def document(**changes: Any) -> bytes:
    """A valid file with some entries changed."""
    return json.dumps(json.loads(truth().to_json()) | changes).encode()


def without_states(**changes: Any) -> bytes:
    """A valid file with some entries of the stateless model changed."""
    return document(stateless=PLAIN.to_document() | changes)


def test_parameters_survive_json() -> None:
    written = truth()
    read = HiddenMarkov(TINY).load(sealed({FILE: written.to_json()}, {})).parameters
    for name in ("center", "scale", "transition", "means", "covariances"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.stateless.to_document() == written.stateless.to_document()
    assert read.to_json() == written.to_json()


@pytest.mark.parametrize(
    ("content", "output"),
    [
        (truth().to_json()[:-40], "is not JSON"),
        (b"\x80\x04\x95", "is not JSON"),
        (b"[1]", "holds a list"),
        (document(version=1), "version 1, expected 2"),
        (
            document(features=["rsi", "log_return", "log_volatility", "log_volume_ratio"]),
            "was trained on rsi",
        ),
        (document(features=["log_return", "log_volatility", "rsi"]), "center has shape"),
        (document(names=["a", "b", "c", "d"]), "states a, b, c, d"),
        (document(names=["a", "a", "c", "d"]), "distinct"),
        (document(names=None), "expected names"),
        (document(transition=(np.eye(4) * 0.9).tolist()), "add up to 1"),
        (document(transition=(2 * np.eye(4) - 0.25).tolist()), "add up to"),
        (document(transition=None), "transition"),
        (document(means=[[float("nan")] * 4] * 4), "finite"),
        (document(means="many"), "not numeric"),
        (document(scale=[1.0, 1.0, 0.0, 1.0]), "0 or less"),
        (document(covariances=(-truth().covariances).tolist()), "positive definite"),
        (document(covariances=[np.triu(np.ones((4, 4))).tolist()] * 4), "symmetric"),
        (document(stateless=None), "expected an object"),
        (document(stateless={"shares": [1.0]}), "cannot be parsed"),
        (without_states(shares=[0.5]), "not a distribution"),
        (without_states(variances=[0.0]), "not a distribution"),
        (without_states(means=[[0.0]]), "not a distribution"),
        (without_states(weight=1.5), "not a distribution"),
        (without_states(half_life=0.0), "not a distribution"),
        (without_states(usual_variance=float("inf")), "not a distribution"),
        (document(match_cost="much"), "match_cost"),
    ],
)
def test_invalid_parameters_are_refused(content: bytes, output: str) -> None:
    with pytest.raises(ArtifactError, match=output):
        HiddenMarkov(TINY).load(sealed({FILE: content}, {}))


def test_artifact_whose_file_was_changed_is_refused() -> None:
    artifact = sealed({FILE: truth().to_json()}, {})
    changed = replace(artifact, files={FILE: artifact.files[FILE].replace(b"0.9", b"0.8", 1)})
    assert changed != artifact
    with pytest.raises(ArtifactError, match=r"hmm\.json was truncated or changed"):
        HiddenMarkov(TINY).load(changed)


def test_artifact_without_its_file_is_refused() -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        HiddenMarkov().load(Artifact({"model.pkl": b""}, {}))


def test_missing_hmmlearn_is_named_and_detection_works_without_it() -> None:
    code = (
        "import sys; sys.modules['hmmlearn'] = None; sys.modules['sklearn'] = None\n"
        "from tests.plugins.regimes.hmm.bare import check; check()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("observed", "output"),
    [(["rsi", "log_return"], "begins with rsi"), (["log_return"] * 2, "an observation twice")],
)
def test_observed_must_begin_with_the_log_return(observed: list[str], output: str) -> None:
    with pytest.raises(ValidationError, match=output):
        HiddenMarkov.Config.model_validate({"observed": observed})


def test_artifact_of_other_observations_is_refused() -> None:
    with pytest.raises(ArtifactError, match="expected log_return"):
        HiddenMarkov().load(sealed({FILE: truth().to_json()}, {}))


def test_loaded_filter_starts_from_the_stationary_distribution() -> None:
    built = ready(truth())
    np.testing.assert_allclose(built.model.start @ built.parameters.transition, built.model.start)
