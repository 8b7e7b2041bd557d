"""The weighted mean of layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.components.ensemble import Fusion
from weft.components.layer import Scores
from weft.foundation.arrays import FloatPanel
from weft.testing import random_history
from weft_plugins.ensembles.weighted import Weighted

VIEW = random_history(rows=10, symbols=2).view([], steps=1)


def fuse(scores: dict[str, float], weights: dict[str, float], confidence: float = 1.0) -> Fusion:
    def panel(value: float) -> FloatPanel:
        return np.full((1, 2), value)

    said = {name: Scores(panel(score), panel(confidence)) for name, score in scores.items()}
    return Weighted().fuse(VIEW, said, weights)


def test_the_score_is_the_weighted_mean_and_the_confidence_falls_with_disagreement() -> None:
    agreed = fuse({"a": 60.0, "b": 30.0}, {"a": 2.0, "b": 1.0})
    assert agreed.score[0, 0] == pytest.approx(50.0)
    assert agreed.confidence[0, 0] == pytest.approx(0.5)
    split = fuse({"a": 60.0, "b": -30.0}, {"a": 2.0, "b": 1.0})
    assert split.score[0, 0] == pytest.approx(30.0)
    assert split.confidence[0, 0] == pytest.approx(0.3 * (120 - 30) / (120 + 30))
    assert split.weights["a"][0, 0] == pytest.approx(2 / 3)


def test_a_layer_without_an_opinion_leaves_the_score_and_lowers_the_confidence() -> None:
    partly = fuse({"a": 60.0, "b": np.nan}, {"a": 1.0, "b": 3.0})
    assert partly.score[0, 0] == pytest.approx(60.0)
    assert partly.confidence[0, 0] == pytest.approx(0.15)
    assert partly.weights["b"][0, 0] == 0.0


def test_a_layer_that_is_half_sure_covers_half_of_its_weight() -> None:
    half = fuse({"a": 60.0, "b": 60.0}, {"a": 1.0, "b": 3.0}, confidence=0.5)
    assert half.score[0, 0] == pytest.approx(60.0)
    assert half.confidence[0, 0] == pytest.approx(0.3)


@given(
    st.floats(-100, 100),
    st.floats(-100, 100),
    st.floats(0, 1),
    st.floats(0, 5),
)
def test_a_layer_of_no_confidence_counts_as_one_without_an_opinion(
    score: float, unsure_score: float, confidence: float, weight: float
) -> None:
    sure = Scores(np.full((1, 2), score), np.full((1, 2), confidence))
    weights = {"sure": 1.0, "unsure": weight}

    def fused(unsure: Scores) -> Fusion:
        return Weighted().fuse(VIEW, {"sure": sure, "unsure": unsure}, weights)

    without_confidence = fused(Scores(np.full((1, 2), unsure_score), np.zeros((1, 2))))
    without_opinion = fused(Scores(np.full((1, 2), np.nan), np.full((1, 2), 0.7)))
    alone = Weighted().fuse(VIEW, {"sure": sure}, {"sure": 1.0})
    np.testing.assert_array_equal(without_confidence.score, without_opinion.score)
    np.testing.assert_array_equal(without_confidence.confidence, without_opinion.confidence)
    np.testing.assert_array_equal(without_confidence.direction, without_opinion.direction)
    assert (without_confidence.confidence <= alone.confidence).all()


def test_silence_is_neutral() -> None:
    silent = fuse({"a": np.nan}, {"a": 1.0})
    assert silent.score[0, 0] == silent.confidence[0, 0] == silent.direction[0, 0] == 0.0
    assert fuse({}, {"missing": 1.0}).direction[0, 0] == 0


@pytest.mark.parametrize(("score", "direction"), [(15.0, 1), (14.9, 0), (-15.0, -1), (-14.9, 0)])
def test_thresholds_set_the_direction(score: float, direction: int) -> None:
    assert fuse({"a": score}, {"a": 1.0}).direction[0, 0] == direction


def test_it_does_not_claim_to_be_calibrated() -> None:
    assert not fuse({"a": 90.0}, {"a": 1.0}).calibrated


@given(
    st.lists(
        st.tuples(st.floats(-100, 100) | st.just(float("nan")), st.floats(0, 5), st.floats(0, 1)),
        max_size=6,
    )
)
def test_whatever_layers_say_the_result_keeps_to_its_range(
    layers: list[tuple[float, float, float]],
) -> None:
    said = {
        f"layer{n}": Scores(np.full((1, 2), score), np.full((1, 2), trust))
        for n, (score, _, trust) in enumerate(layers)
    }
    weights = {f"layer{n}": weight for n, (_, weight, _) in enumerate(layers)}
    fusion = Weighted().fuse(VIEW, said, weights)
    assert (np.abs(fusion.score) <= 100 + 1e-9).all()
    assert ((fusion.confidence >= 0) & (fusion.confidence <= 1.0)).all()
    assert set(np.unique(fusion.direction)) <= {-1, 0, 1}
    total = sum((panel[0, 0] for panel in fusion.weights.values()), 0.0)
    assert total == pytest.approx(1.0) or total == 0.0
