"""Judging: differences of losses over spans that do not overlap."""

import numpy as np
import pytest
from scipy import stats

from weft.components.trained import Evaluation
from weft.learning.judging import compare, skill_of, trust_in


def test_gain_and_error_are_those_of_a_t_test_over_spans() -> None:
    rng = np.random.default_rng(0)
    better, worse = rng.normal(0.0, 1.0, 600), rng.normal(0.1, 1.0, 600)
    spans = (worse - better).reshape(50, 12).mean(axis=1)
    expected = stats.ttest_1samp(spans, 0.0)
    actual = compare(better, worse, 12)
    # Neighbouring spans share outcomes: 1.5 times the variance.
    assert actual.t == pytest.approx(expected.statistic / np.sqrt(1.5))
    assert actual.gain == pytest.approx(spans.mean())
    assert actual.blocks == 50


def test_rows_without_an_outcome_are_left_out() -> None:
    better, worse = np.zeros(24), np.ones(24)
    better[:12] = np.nan
    worse[13:] = np.nan
    assert compare(better, worse, 12).blocks == 1
    assert compare(better, worse, 12).gain == 1.0


@pytest.mark.parametrize("spans", [12, 20, 120])
def test_sureness_has_the_p_value_of_the_t_test(spans: int) -> None:
    rng = np.random.default_rng(spans)
    for shift in (-0.5, -0.1, 0.1, 0.5):
        actual = compare(np.zeros(12 * spans), rng.normal(shift, 1.0, 12 * spans), 12)
        expected = stats.norm.isf(stats.t.sf(abs(actual.t), spans - 1))
        assert actual.sureness == pytest.approx(np.copysign(expected, actual.t), rel=1e-6)


def test_noise_earns_trust_equally_rarely_with_few_spans() -> None:
    trusted = 0
    for seed in range(1000):
        noise = np.random.default_rng(seed).normal(0.0, 1.0, 12 * 12)
        trusted += trust_in(compare(np.zeros(144), noise, 12)) > 0.5
    # Two standard deviations: one in forty-four, and less where spans share nothing.
    assert trusted / 1000 < 0.0228


def test_few_spans_earn_no_trust() -> None:
    few = compare(np.zeros(11 * 12), np.random.default_rng(0).normal(9.0, 0.1, 11 * 12), 12)
    assert few.t > 100.0
    assert few.sureness == trust_in(few) == 0.0


@pytest.mark.parametrize("rows", [0, 5, 12])
def test_too_few_rows_have_no_gain(rows: int) -> None:
    actual = compare(np.zeros(rows), np.ones(rows), 12)
    assert actual.t == 0.0
    assert trust_in(actual) == 0.0


def test_overlapping_outcomes_of_noise_rarely_earn_trust() -> None:
    """Each loss moves with the next eleven; counting rows as independent would find much skill."""
    trusted = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        noise = np.convolve(rng.normal(0.0, 1.0, 731), np.ones(12), "valid")
        trusted += trust_in(compare(np.zeros(720), noise, 12)) > 0.5
    # Half of full trust is two standard errors: one in forty-four, give or take three errors.
    assert trusted / 400 == pytest.approx(0.0228, abs=0.022)


@pytest.mark.parametrize("spans", [12, 30, 120])
def test_constant_forecast_earns_trust_by_chance_only(spans: int) -> None:
    """Log losses of a constant probability against one half, on noise."""
    rng, output, trusted, fully = np.random.default_rng(5), 0.55, 0, 0
    runs = 1500
    for _ in range(runs):
        path = np.concatenate([[0.0], np.cumsum(rng.normal(size=12 * spans + 11))])
        rose = path[12:] > path[:-12]
        loss = np.where(rose, -np.log(output), -np.log(1.0 - output))
        # The mean loss of a fair coin, so any gain is luck.
        fair = np.full(len(loss), -0.5 * (np.log(output) + np.log(1.0 - output)))
        skill = compare(loss, fair, 12)
        trusted += skill.sureness > 2.0
        fully += trust_in(skill) == 1.0
    assert trusted / runs < 0.035
    assert fully / runs < 0.006


def test_clear_gain_earns_full_trust() -> None:
    rng = np.random.default_rng(1)
    loss = rng.normal(0.0, 1.0, 6000)
    evaluation = Evaluation(loss, loss + rng.normal(0.2, 1.0, 6000))
    assert trust_in(skill_of(evaluation, 12)) == 1.0
    assert trust_in(skill_of(Evaluation(evaluation.baseline, evaluation.loss), 12)) == 0.0
