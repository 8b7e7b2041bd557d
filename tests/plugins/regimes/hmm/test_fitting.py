"""Fits recover planted states, keep their names, and never collapse."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from tests.plugins.regimes.hmm.planted import (
    FEATURES,
    MEANS,
    NAMES,
    PLAIN,
    TRANSITION,
    observations,
    training,
    truth,
)
from weft.components.trained import Training
from weft.foundation.errors import TrainingError
from weft_plugins.regimes.hmm.detector import HiddenMarkov
from weft_plugins.regimes.hmm.filter import ForwardFilter
from weft_plugins.regimes.hmm.fitting import Effort, _fit, _Monitor, _seeds, fit_restarts
from weft_plugins.regimes.hmm.naming import (
    false_name,
    match,
    named_by_statistics,
    reordered,
    state_names,
)
from weft_plugins.regimes.hmm.parameters import FILE, Parameters, stationary
from weft_plugins.regimes.hmm.training import train

QUICK = HiddenMarkov.Config(observed=FEATURES, restarts=2, iterations=30)
EFFORT = Effort(3, 40, 1e-5, 1e-3, 0.005)


def filtered(parameters: Parameters, observed: np.ndarray) -> np.ndarray:
    model = ForwardFilter.of(
        stationary(parameters.transition),
        parameters.transition,
        parameters.means,
        parameters.covariances,
    )
    return model.run(parameters.standardised(observed))[0]


def test_fit_recovers_four_planted_states_by_name() -> None:
    observed, _ = observations(4000, seed=1)
    result, card = train(observed, QUICK, training())
    assert result.names == NAMES
    np.testing.assert_allclose(result.transition, TRANSITION, atol=0.02)
    deviation = observed.std(axis=0)
    np.testing.assert_allclose(result.raw_means / deviation, MEANS / deviation, atol=0.1)
    fresh, truly = observations(3000, seed=2)
    assert (filtered(result, fresh).argmax(axis=1) == truly).mean() > 0.92
    assert card["rows"] == 4000
    assert card["states"]["bull_trend"]["mean_rsi"] == pytest.approx(65, abs=1)
    assert card["states"]["high_volatility"]["expected_duration_candles"] == pytest.approx(
        17, abs=4
    )


def test_order_of_initial_states_does_not_change_the_model() -> None:
    observed, _ = observations(1200, seed=3)
    rows = (observed - observed.mean(axis=0)) / observed.std(axis=0)
    seeds = _seeds(rows, 4, np.random.default_rng(0))
    models = []
    for order in list(permutations(range(4)))[::7]:
        fit = _fit(rows, [len(rows)], seeds[list(order)], "full", EFFORT)
        raw = Parameters(
            features=FEATURES,
            center=np.zeros(4),
            scale=np.ones(4),
            names=tuple("0123"),
            transition=fit.transition,
            means=fit.means,
            covariances=fit.covariances,
            stateless=PLAIN,
        )
        models.append(named_by_statistics(raw))
    for model in models[1:]:
        np.testing.assert_allclose(model.means, models[0].means, atol=1e-8)
        np.testing.assert_allclose(filtered(model, rows), filtered(models[0], rows), atol=1e-7)


def test_names_follow_from_deviation_then_mean() -> None:
    for order in permutations(range(4)):
        named = named_by_statistics(reordered(truth(), np.array(order)))
        assert named.names == NAMES
        np.testing.assert_array_equal(named.means, MEANS)
        np.testing.assert_array_equal(named.transition, TRANSITION)


@pytest.mark.parametrize("count", range(2, 9))
def test_states_of_any_number_have_distinct_names(count: int) -> None:
    names = state_names(count)
    assert len(set(names)) == count
    assert names[-1] == "high_volatility"


def test_refits_on_overlapping_windows_keep_their_names() -> None:
    observed, _ = observations(3000, seed=5)
    previous: dict[str, bytes] | None = None
    before = None
    for window in range(3):
        rows = observed[window * 250 : window * 250 + 2500]
        result, card = train(rows, QUICK, training(seed=window, previous=previous))
        states = filtered(result, observed).argmax(axis=1)
        if before is not None:
            assert (states == before).mean() > 0.94
            assert card["match"]["previous"] == "used"
            assert card["match"]["alarm"] is None
            assert card["match"]["cost"] < 0.2
            assert card["match"]["mapping"] == dict(zip(NAMES, NAMES, strict=True))
        before, previous = states, {FILE: result.to_json()}


def test_sideways_state_keeps_its_name_under_noise() -> None:
    # Sideways and bear swap the order of their means, and nothing else.
    before = truth()
    means = MEANS.copy()
    means[1, 0], means[2, 0] = -0.0001, -0.0002
    now = replace(before, means=means)
    assert named_by_statistics(now).means[2, 1] == MEANS[1, 1]
    result = match(before, reordered(now, np.array([2, 0, 3, 1])))
    np.testing.assert_array_equal(result.order, [1, 3, 0, 2])


def test_jump_raises_an_alarm_and_renames_by_statistics() -> None:
    observed, _ = observations(1500, seed=6)
    elsewhere = truth()
    moved = replace(elsewhere, means=MEANS[[3, 2, 1, 0]] + np.array([0.0, 9.0, 0.0, 0.0]))
    result, card = train(observed, QUICK, training(previous={FILE: moved.to_json()}))
    assert "nats" in card["match"]["alarm"]
    assert card["match"]["previous"].startswith("set aside")
    np.testing.assert_allclose(result.raw_means[:, 3], MEANS[:, 3], atol=1.0)


def test_cost_far_above_the_previous_one_is_a_jump() -> None:
    observed, _ = observations(1500, seed=6)
    shifted = replace(truth(), means=MEANS + np.array([0.0, 0.45, 0.0, 0.0]))
    _, calm = train(observed, QUICK, training(previous={FILE: shifted.to_json()}))
    assert calm["match"]["alarm"] is None
    assert calm["match"]["cost"] > 0.6
    steady = replace(shifted, match_cost=0.01)
    _, card = train(observed, QUICK, training(previous={FILE: steady.to_json()}))
    assert card["match"]["alarm"] is not None


def test_false_name_is_not_reused() -> None:
    swapped = replace(truth(), means=MEANS[[1, 0, 2, 3]])
    assert "lower mean return" in false_name(swapped)
    assert "vary less" in false_name(
        replace(truth(), covariances=truth().covariances[[0, 1, 3, 2]])
    )
    assert not false_name(truth())
    observed, _ = observations(1500, seed=6)
    result, card = train(observed, QUICK, training(previous={FILE: swapped.to_json()}))
    assert card["match"]["alarm"] is not None
    assert result.raw_means[0, 0] > result.raw_means[1, 0]


def test_divergence_of_two_normals_has_its_closed_form() -> None:
    def normal(mean: float, deviation: float) -> Parameters:
        item = np.ones((1, 1))
        return Parameters(
            features=("x",),
            center=np.zeros(1),
            scale=np.ones(1),
            names=("a",),
            transition=item,
            means=item * mean,
            covariances=item[None] * deviation**2,
            stateless=PLAIN,
        )

    # KL(N(0,1) | N(1,2)) = ln 2 + (1 + 1) / 8 - 1/2; the other way -ln 2 + (4 + 1) / 2 - 1/2.
    expected = 0.5 * ((2 / 8 - 0.5) + (5 / 2 - 0.5))
    assert match(normal(0, 1), normal(1, 2)).cost == pytest.approx(expected)
    raw = replace(normal(0, 1), center=np.array([5.0]), scale=np.array([3.0]))
    same = replace(normal(5, 3))
    assert match(raw, same).cost == pytest.approx(0.0, abs=1e-12)


def test_restarts_are_ranked_and_their_spread_is_on_the_card() -> None:
    observed, _ = observations(800, seed=7)
    rows = (observed - observed.mean(axis=0)) / observed.std(axis=0)
    losses: list[float] = []
    effort = replace(EFFORT, restarts=10, iterations=15)
    fits = fit_restarts(rows, 4, "full", effort, np.random.default_rng(0), losses.append)
    ranked = [f.log_likelihood for f in fits if not f.degenerate]
    assert ranked == sorted(ranked, reverse=True)
    assert sorted(losses) == sorted(-f.log_likelihood for f in fits)
    assert len(set(np.round(losses, 3))) > 1
    _, card = train(observed, QUICK.model_copy(update={"restarts": 3}), training())
    reports = card["restarts"]["log_likelihood_per_row"]
    assert len(reports) == 3
    assert card["restarts"]["spread"] == pytest.approx(max(reports) - min(reports))


def test_variances_stay_above_the_floor() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(600, 4))
    # Two features are equal in a third of the rows.
    rows[::3, 1] = rows[::3, 0]
    for kind in ("full", "diag"):
        for fit in fit_restarts(rows, 3, kind, EFFORT, np.random.default_rng(1), lambda _: None):
            assert np.linalg.eigvalsh(fit.covariances).min() >= 1e-3 * (1 - 1e-9)


def test_state_of_identical_rows_is_refused() -> None:
    observed = MEANS[np.random.default_rng(0).integers(2, size=600)] * [1, 1, 1, 1]
    observed[:, 1:3] += observed[:, 3:]
    with pytest.raises(TrainingError, match="collapsed to a point"):
        train(observed, QUICK.model_copy(update={"states": (2,)}), training())


def test_jumps_reduce_the_number_of_states_and_the_card_notes_it() -> None:
    rng = np.random.default_rng(0)
    returns = np.where(rng.random(2000) < 0.5, 0.002, 0.01)[:, None] * rng.normal(size=(2000, 1))
    returns[[300, 900]] = 0.1
    result, card = train(returns, HiddenMarkov.Config(restarts=2, iterations=30), training())
    assert len(result.names) < 4
    assert card["restarts"]["instead_of"][0].startswith("4 states: a state has 0.")
    plain, output = train(returns[1000:], HiddenMarkov.Config(restarts=3), training())
    assert len(plain.names) == 4
    assert output["restarts"]["instead_of"] == []


def test_rarely_visited_state_is_refused() -> None:
    observed, _ = observations(600, seed=9)
    with pytest.raises(TrainingError, match="of the rows, below 60"):
        train(observed, QUICK.model_copy(update={"least_share": 0.6}), training())


def test_fallback_to_diagonal_covariances_is_on_the_card() -> None:
    rng = np.random.default_rng(0)
    # Along a line, with a few rows beside it: a full covariance is the line, and leaves the few to
    # the other state; diagonal ones have to share the line between them.
    rows = rng.normal(size=(800, 1)) + 0.1 * rng.normal(size=(800, 4))
    rows[::40] = 2.0 * rng.normal(size=(20, 4))
    config = QUICK.model_copy(update={"states": (2,), "least_share": 0.1})
    result, card = train(rows, config, training())
    assert card["restarts"]["covariance"] == "diag"
    assert "full covariances: a state has" in card["restarts"]["fallback"]
    np.testing.assert_array_equal(
        result.covariances, [np.diag(np.diag(c)) for c in result.covariances]
    )


def test_number_of_states_is_chosen_on_held_out_rows() -> None:
    observed, _ = observations(1500, seed=10)
    result, card = train(observed, QUICK.model_copy(update={"states": (2, 4)}), training())
    reports = card["held_out_log_likelihood"]
    assert reports["4"] > reports["2"] + 0.1
    assert len(result.names) == 4
    alike = np.random.default_rng(0).normal(size=(1000, 4)) + np.array([0.0, -5.0, 0.0, 50.0])
    config = QUICK.model_copy(update={"states": (2, 5), "least_share": 0.0})
    assert len(train(alike, config, training())[0].names) == 2


def test_gaps_split_the_training_rows() -> None:
    observed, _ = observations(2500, seed=11)
    observed[500:520] = np.nan
    observed[1200, 1] = np.nan
    result, card = train(observed, QUICK, training())
    assert card["rows"] == 2500 - 21
    np.testing.assert_allclose(result.transition, TRANSITION, atol=0.03)


@pytest.mark.parametrize(
    ("spoil", "output"),
    [
        (lambda rows: rows[:150], "150 of 150 rows are known"),
        (lambda rows: np.full_like(rows, np.nan), "0 of 3,000 rows are known"),
        (lambda rows: rows * [1, 1, 0, 1], "log_volume_ratio is constant"),
    ],
)
def test_unusable_training_rows_are_refused(spoil: object, output: str) -> None:
    observed, _ = observations(3000, seed=12)
    with pytest.raises(TrainingError, match=output):
        train(spoil(observed), QUICK, training())  # type: ignore[operator]  # a lambda


def test_likelihood_that_is_not_finite_ends_the_training() -> None:
    monitor = _Monitor(1e-3, 10)
    monitor.report(-5.0)
    with pytest.raises(TrainingError, match="diverged"):
        monitor.report(float("nan"))


def test_stopped_fit_restarts_with_the_same_result() -> None:
    observed, _ = observations(600, seed=13)
    reports: list[tuple[float, float]] = []

    class StoppedError(Exception):
        pass

    def stop(done: float, total: float, **figures: float) -> None:
        assert np.isfinite(figures["loss"])
        reports.append((done, total))
        raise StoppedError

    with pytest.raises(StoppedError):
        train(observed, QUICK, Training(np.random.default_rng(1), 12, progress=stop))
    assert reports == [(1, 2)]
    again, _ = train(observed, QUICK, training())
    assert again.to_json() == train(observed, QUICK, training())[0].to_json()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 0}'])
def test_damaged_previous_fit_is_ignored_with_a_note(content: bytes) -> None:
    observed, _ = observations(600, seed=14)
    result, card = train(observed, QUICK, training(previous={FILE: content}))
    assert card["match"]["previous"].startswith("unusable")
    assert result.names == NAMES
