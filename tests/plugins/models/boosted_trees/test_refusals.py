"""Boosted trees refuse unusable history, artifacts and options."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.plugins.models.boosted_trees.cases import MemoryCheckpoints, fitted, market, walk
from weft.components.trained import Artifact, Training
from weft.foundation.errors import (
    ArtifactError,
    MissingDependencyError,
    NotTrainedError,
    TrainingError,
)
from weft.learning.cards import check_files
from weft.testing import History
from weft_plugins.checkpoints import sealed
from weft_plugins.models.boosted_trees.boosting import Growth, Samples, Stages, grow
from weft_plugins.models.boosted_trees.model import XGBoost


def model(**options: Any) -> XGBoost:
    tiny = {"trees": 4, "depth": 2, "hold_out": False, "threads": 1, "features": ("base",)}
    return XGBoost(XGBoost.Config(**{**tiny, **options}))


def history(sigma: float = 0.01) -> History:
    return market(walk(1700, 2, seed=4, sigma=sigma))


@cache
def artifact() -> Artifact:
    return fitted(model(), history().view(model().needs, steps=1200))


# Training


def test_too_few_rows_are_refused_with_the_missing_number() -> None:
    view = history().view(model().needs, steps=400)
    with pytest.raises(TrainingError, match=r"776 rows .* 1,000 are required: 224 are missing"):
        fitted(model(), view)


def test_group_without_symbols_is_refused_by_name() -> None:
    component = model(group="majors")
    with pytest.raises(TrainingError, match="0 rows of the majors"):
        fitted(component, history().view(component.needs, steps=1200))


def test_history_without_candles_is_refused() -> None:
    silent = history().after(0, lambda panel: np.full(panel.shape, np.nan))
    with pytest.raises(TrainingError, match="1,000 are missing"):
        fitted(model(), silent.view(model().needs, steps=1200))


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (0.9, "no row has the class down or up among 0 down, 2376 flat, 0 up"),
        (1e-12, "no row has the class flat"),
    ],
)
def test_absent_class_is_refused_with_all_counts(threshold: float, message: str) -> None:
    component = model(threshold=threshold)
    with pytest.raises(TrainingError, match=message):
        fitted(component, history().view(component.needs, steps=1200))


def test_constant_features_are_refused() -> None:
    """All metrics of this group are missing."""
    component = model(features=("sentiment",))
    with pytest.raises(TrainingError, match="none of its features varies"):
        fitted(component, history().view(component.needs, steps=1200))


def test_some_constant_features_are_listed_on_the_card() -> None:
    still = history()
    still = replace(still, candles={**still.candles, "volume": np.ones((1700, 2))})
    component = model(features=("base", "volume"))
    trained_artifact = fitted(component, still.view(component.needs, steps=1200))
    assert "volume_ratio_20" in trained_artifact.card["idle_features"]
    assert "return_6" not in trained_artifact.card["idle_features"]


@pytest.mark.parametrize("weight", [1e38, np.nan, -1.0])
def test_diverging_training_is_refused(weight: float) -> None:
    rng = np.random.default_rng(0)
    samples = Samples(
        rng.normal(size=(300, 2)).astype(np.float32),
        ("a", "b"),
        rng.integers(0, 3, 300),
        np.full(300, weight),
        np.arange(300),
    )
    growth = Growth(5, model().config.for_xgboost(1), "model xgboost")
    stages = Stages(Training(rng, 12), 5, 1, 5)
    with pytest.raises(TrainingError, match=r"became (nan|inf)|XGBoost failed"):
        grow(samples, growth, stages)


def test_killed_training_leaves_a_checkpoint_to_continue_from() -> None:
    class Killed(MemoryCheckpoints):
        def save(self, files: Mapping[str, bytes]) -> None:
            super().save(files)
            if len(self.saved) == 2:
                raise KeyboardInterrupt

    component = model(trees=6, checkpoint_rounds=2)
    view = history().view(component.needs, steps=1200)
    stored = Killed()
    with pytest.raises(KeyboardInterrupt):
        fitted(component, view, checkpoints=stored)
    assert fitted(component, view, checkpoints=MemoryCheckpoints(stored.saved)) == fitted(
        component, view
    )


def test_missing_xgboost_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained_artifact, view = artifact(), history().view(model().needs, steps=1200)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'weft\[ml\]'"):
        model().load(trained_artifact)
    with pytest.raises(MissingDependencyError, match=r"pip install 'weft\[ml\]'"):
        fitted(model(), view)


def test_history_without_volatility_is_refused() -> None:
    """Every hundredth candle is missing, so every week has a gap."""
    torn = history()
    holes = {name: panel.copy() for name, panel in torn.candles.items()}
    for panel in holes.values():
        panel[::100] = np.nan
    view = replace(torn, candles=holes).view(model().needs, steps=1200)
    with pytest.raises(TrainingError, match=r"0 of \d+ rows have a volatility"):
        fitted(model(), view)


# Use


def test_model_without_artifact_is_not_trained() -> None:
    with pytest.raises(NotTrainedError):
        model().predict(history().view(model().needs, steps=1))


def changed(**card: Any) -> Artifact:
    return replace(artifact(), card={**artifact().card, **card})


def test_artifact_is_in_safe_formats_and_loads() -> None:
    check_files(artifact(), "model")
    assert model().load(artifact()).booster.num_boosted_rounds() == 4


@pytest.mark.parametrize("left", [0, 1, 10, 1000, 10_000, -1])
def test_truncated_trees_are_refused_before_parsing(left: int) -> None:
    """XGBoost's parser allocates all memory for a truncated file."""
    trees = artifact().files["model.ubj"]
    assert len(trees[:left]) < len(trees)
    with pytest.raises(ArtifactError, match="truncated or changed"):
        model().load(replace(artifact(), files={"model.ubj": trees[:left]}))


def test_trees_with_one_bit_changed_are_refused() -> None:
    trees = bytearray(artifact().files["model.ubj"])
    trees[len(trees) // 2] ^= 1
    with pytest.raises(ArtifactError, match="truncated or changed"):
        model().load(replace(artifact(), files={"model.ubj": bytes(trees)}))


def test_trees_of_an_incompatible_xgboost_are_refused_with_its_version() -> None:
    strange = b'{"learner": 1}'
    with pytest.raises(ArtifactError, match=r"cannot load trees of XGBoost 9\.0\.0"):
        model().load(sealed({"model.ubj": strange}, {**artifact().card, "xgboost": "9.0.0"}))


def test_missing_file_is_named() -> None:
    with pytest.raises(ArtifactError, match=r"model\.ubj is missing"):
        model().load(replace(artifact(), files={}))


def test_features_in_another_order_are_refused() -> None:
    turned = list(reversed(artifact().card["features"]))
    with pytest.raises(ArtifactError, match="in another order"):
        model().load(changed(features=turned))


def test_differing_features_are_named() -> None:
    with pytest.raises(ArtifactError, match=r"without .*rsi_14"):
        model(features=("base", "momentum")).load(artifact())
    more = [*artifact().card["features"], "moon_phase"]
    with pytest.raises(ArtifactError, match="and also moon_phase"):
        model().load(changed(features=more))


def test_trees_of_other_columns_than_the_card_are_refused() -> None:
    other = model(features=("volume",))
    trained_artifact = fitted(other, history().view(other.needs, steps=1200))
    with pytest.raises(ArtifactError, match="use other features"):
        model().load(sealed(trained_artifact.files, artifact().card))


@pytest.mark.parametrize(
    "card",
    [
        {"format": 1},
        {"format": 99},
        {"format": None},
        {"group": "memes"},
        {"threshold": 0.02},
        {"features": None},
        {"features": 3},
        {"returns": None},
        {"returns": {}},
        {"returns": {"falls": [0.0], "means": [0.0], "rose": [0.0]}},
    ],
)
def test_artifact_of_other_options_is_refused(card: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError):
        model().load(changed(**card))


@pytest.mark.parametrize(("key", "value"), [("means", float("nan")), ("rose", 1.5), ("falls", 9.0)])
def test_invalid_table_on_the_card_is_refused(key: str, value: float) -> None:
    table = {name: np.array(values) for name, values in artifact().card["returns"].items()}
    table[key].ravel()[0] = value
    with pytest.raises(ArtifactError, match="the card's returns are damaged"):
        model().load(changed(returns={name: v.tolist() for name, v in table.items()}))


@pytest.mark.parametrize(
    "options", [{"threshold": 0.0}, {"trees": 0}, {"rate": 2.0}, {"group": "gems"}, {"tree": 5}]
)
def test_invalid_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        model(**options)
