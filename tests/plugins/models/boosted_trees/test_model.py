"""Boosted trees: contract, forecasts, checkpoints and reproducibility."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import xgboost

from tests.plugins.models.boosted_trees.cases import (
    HORIZON,
    MemoryCheckpoints,
    fitted,
    market,
    walk,
)
from weft.components.outcomes import forward_returns
from weft.components.trained import Artifact, Training
from weft.market.view import View
from weft.testing import History, parametrize_with_checks
from weft_plugins.checkpoints import STATE, Checkpoint, pack_tensors
from weft_plugins.models.boosted_trees.model import XGBoost
from weft_plugins.models.boosted_trees.outcome_table import VOLATILITY

TINY: dict[str, Any] = {
    "trees": 8,
    "depth": 3,
    "rate": 0.3,
    "least_leaf": 1.0,
    "checkpoint_rounds": 3,
    "threads": 1,
    "hold_out": False,
}
EVERYTHING = ("base", "momentum", "volume", "sentiment", "derivatives")


def model(**options: Any) -> XGBoost:
    return XGBoost(XGBoost.Config(**{**TINY, **options}))


MEMES = model(group="memes", wild=0.01, features=EVERYTHING, threshold=0.015)
ALTS = model(group="alts", wild=50.0, features=("base",))


@parametrize_with_checks([model()])
def test_trees_conform_to_the_model_contract(check: Callable[[], None]) -> None:
    check()


@pytest.mark.slow
@parametrize_with_checks([ALTS, MEMES])
def test_specialists_conform_to_the_model_contract(check: Callable[[], None]) -> None:
    check()


@cache
def history() -> History:
    return market(walk(2200, 3, seed=5))


@cache
def rows_to_train_on() -> View:
    """One view for all trainings, so that features are computed once."""
    return history().view(model(features=EVERYTHING).needs, steps=1800)


@cache
def artifact() -> Artifact:
    return fitted(model(), rows_to_train_on())


@cache
def artifact_with_figures() -> Artifact:
    return fitted(model(hold_out=True), rows_to_train_on())


def used(steps: int = 40, of: XGBoost | None = None) -> View:
    component = of or model()
    return history().view(component.needs, steps=steps, learned=component.load(artifact()))


def test_forecast_follows_from_the_class_probabilities() -> None:
    output = model().predict(used())
    chance = {name: output.evidence[f"probability_{name}"] for name in ("down", "flat", "up")}
    np.testing.assert_allclose(sum(chance.values()), 1.0, atol=1e-12)
    view = rows_to_train_on()
    outcome = forward_returns(view.candles().close[-1800:], HORIZON)
    flat = outcome[np.abs(outcome) < 0.005]
    # Uniqueness weights are nearly equal inside a series without gaps.
    rose = (flat > 0.0).mean()
    expected = chance["up"] + chance["flat"] * rose
    np.testing.assert_allclose(output.probability_up, expected, atol=2e-3)
    # Falls and rises are in units of the volatility of their row.
    unit = view.feature(VOLATILITY)[-1800:]
    falls, rises = ((outcome / unit)[side].mean() for side in (outcome <= 0.0, outcome > 0.0))
    up, now = output.probability_up, used().feature(VOLATILITY)
    np.testing.assert_allclose(output.mean, now * (up * rises + (1 - up) * falls), atol=1e-4)
    assert list(output.quantiles) == [0.05, 0.25, 0.5, 0.75, 0.95]


def test_quantiles_are_negative_up_to_the_probability_of_a_fall() -> None:
    output = model().predict(used(200))
    for level, quantile in output.quantiles.items():
        falling = level < 1.0 - output.probability_up
        assert np.where(falling, quantile <= 0.0, quantile >= 0.0).all()


def test_contributions_add_up_to_the_log_odds_of_up_over_down() -> None:
    view = used()
    parts = model().contributions(view)
    output = model().predict(view).evidence
    odds = np.log(output["probability_up"] / output["probability_down"])
    np.testing.assert_allclose(sum(parts.values()), odds, atol=2e-5)
    assert list(parts)[-1] == "baseline"
    assert tuple(parts)[:-1] == tuple(artifact().card["features"])


def test_thread_count_changes_no_bit() -> None:
    options = {"threads": 2, "row_share": 0.6, "column_share": 0.6}
    view = rows_to_train_on()
    alone = fitted(model(**{**options, "threads": 1}), view)
    assert fitted(model(**options), view) == alone


def test_another_seed_gives_other_trees() -> None:
    view = rows_to_train_on()
    assert fitted(model(), view, seed=2).files != artifact().files


@pytest.mark.parametrize("saves", [1, 4, 7, 20, 22])
def test_stopped_training_gives_the_same_artifact(saves: int) -> None:
    """Checkpoints lie within a held-out fifth, after it, and in the last stage."""
    component, stored = model(hold_out=True), MemoryCheckpoints()
    full = fitted(component, rows_to_train_on(), checkpoints=stored)
    assert full == artifact_with_figures()
    assert len(stored.saved) == 5 * 4 + 3
    resumed = MemoryCheckpoints(stored.saved[:saves])
    assert fitted(component, rows_to_train_on(), checkpoints=resumed) == full
    assert len(resumed.saved) == len(stored.saved)


@pytest.mark.parametrize("damage", ["trees truncated", "state truncated", "missing", "other rows"])
def test_unusable_checkpoint_is_ignored(damage: str) -> None:
    stored = MemoryCheckpoints()
    fitted(model(), rows_to_train_on(), checkpoints=stored)
    last = dict(stored.saved[-2])
    other = {"unseen.safetensors": pack_tensors({"up": np.zeros(3, np.float32)})}
    spoilt = {
        "trees truncated": {**last, "trees.ubj": last["trees.ubj"][:-100]},
        "state truncated": {**last, STATE: last[STATE][:-1]},
        "missing": {name: last[name] for name in last if name != "trees.ubj"},
        "other rows": Checkpoint({"stage": 1, "figures": None}, other).to_files(),
    }[damage]
    assert (
        fitted(model(), rows_to_train_on(), checkpoints=MemoryCheckpoints([spoilt])) == artifact()
    )


def test_progress_is_reported_every_round_and_the_loss_falls() -> None:
    reports: list[tuple[float, float, float]] = []

    def progress(done: float, total: float, **figures: float) -> None:
        reports.append((done, total, figures["loss"]))

    training = Training(np.random.default_rng(1), HORIZON, progress)
    model(hold_out=True).fit(rows_to_train_on(), training)
    assert [done for done, _, _ in reports] == list(range(1, 49))
    assert {total for _, total, _ in reports} == {48}
    losses = np.array([loss for _, _, loss in reports]).reshape(6, 8)
    assert (np.diff(losses, axis=1) < 0).all()


def test_card_describes_the_model() -> None:
    card = artifact().card
    view = rows_to_train_on()
    outcome = forward_returns(view.candles().close[-1800:], HORIZON)
    known = outcome[~np.isnan(outcome)]
    assert card["classes"] == {
        "down": int((known < -0.005).sum()),
        "flat": int((np.abs(known) <= 0.005).sum()),
        "up": int((known > 0.005).sum()),
    }
    # The outcomes of each symbol cover 1,799 rows; at most 12 outcomes span a row.
    assert card["effective_samples"] == pytest.approx(3 * 1799 / HORIZON, rel=0.02)
    assert card["xgboost"] == xgboost.__version__
    assert card["horizon"] == HORIZON
    assert card["idle_features"] == []


def test_held_out_loss_of_noise_is_not_below_the_base_rate() -> None:
    figures = artifact_with_figures().card["hold_out"]
    assert figures["in_sample"] < figures["base_rate"]
    assert figures["out_of_sample"] > figures["base_rate"]


def test_folds_are_more_than_a_horizon_apart() -> None:
    """The last fifth of 1,788 rows with an outcome is held out: the rows from 1,431 on."""
    figures = artifact_with_figures().card["hold_out"]
    assert figures["samples_later"] == 3 * 357
    assert figures["samples_known"] == 3 * (1431 - 2 * HORIZON)


def test_fold_without_a_class_in_training_has_no_figures() -> None:
    closes = walk(2200, 3, seed=5)
    closes[:1900] = 100.0 * np.exp(np.linspace(0.0, 20.0, 1900))[:, None]
    component = model(hold_out=True)
    view = market(closes).view(component.needs, steps=1800)
    assert fitted(component, view).card["hold_out"] is None


def test_every_outcome_is_forecast_out_of_fold_once() -> None:
    card = artifact_with_figures().card
    assert card["unseen_outcomes"] == sum(card["classes"].values())
    assert artifact().card["unseen_outcomes"] == 0
    assert artifact().card["returns"]["places"] == [0.05, 0.25, 0.5, 0.75, 0.95]


def test_levels_stay_uncorrected_with_too_few_rows_for_folds() -> None:
    component = model(hold_out=True, least_leaf=0.0)
    many = market(walk(800, 300, seed=3)).view(component.needs, steps=HORIZON + 4)
    trained_artifact = fitted(component, many)
    assert trained_artifact.card["unseen_outcomes"] == 0
    assert trained_artifact.card["hold_out"] is None


def test_rounds_draw_different_rows_and_columns() -> None:
    """With a tiny learning rate, trees differ only by their rows and columns."""
    component = model(trees=6, rate=1e-6, row_share=0.5, column_share=0.3, checkpoint_rounds=2)
    trained_artifact = component.load(fitted(component, rows_to_train_on()))
    trees = trained_artifact.booster.get_dump()[::3]
    roots = {tree.split("]")[0] for tree in trees}
    assert len(trees) == len(roots) == 6


def test_rows_outside_the_universe_are_not_trained_on_or_forecast() -> None:
    component = model()
    view = rows_to_train_on()
    chosen = np.ones((1800, 3), dtype=np.bool_)
    chosen[:, 1] = False
    trained_artifact = fitted(component, view.with_universe(chosen))
    assert sum(trained_artifact.card["classes"].values()) == 2 * (1800 - HORIZON)
    two = history().columns(np.array([0, 2])).view(component.needs, steps=1800)
    assert fitted(component, two) == trained_artifact
    seen = history().view(component.needs, steps=1800, learned=component.load(trained_artifact))
    output = component.predict(seen.with_universe(chosen))
    assert np.isnan(output.mean[:, 1]).all()
    assert not np.isnan(output.mean[:, [0, 2]]).any()


def test_surplus_samples_are_thinned_evenly_and_weigh_more() -> None:
    component = model(most_samples=1000)
    trained_artifact = fitted(component, rows_to_train_on())
    assert sum(trained_artifact.card["classes"].values()) == pytest.approx(3 * 1788 / 6, abs=3)
    assert trained_artifact.card["effective_samples"] == pytest.approx(3 * 1799 / HORIZON, rel=0.05)


def test_view_without_members_has_no_forecast() -> None:
    component = model()
    nobody = used(of=component).with_universe(np.zeros((40, 3), dtype=np.bool_))
    assert np.isnan(component.predict(nobody).mean).all()
    assert np.isnan(component.contributions(nobody)["rsi_14"]).all()


def test_missing_metrics_are_ignored() -> None:
    component = model(features=EVERYTHING)
    trained_artifact = fitted(component, rows_to_train_on())
    assert set(trained_artifact.card["idle_features"]) >= {
        "social_sentiment",
        "funding_rate",
        "liquidated",
    }
    output = component.predict(
        history().view(component.needs, steps=5, learned=component.load(trained_artifact))
    )
    assert not np.isnan(output.mean).any()


def test_predictive_metric_is_used() -> None:
    """The funding rate predicts the outcome; no other column does."""
    base = history()
    outcome = forward_returns(base.candles["close"], HORIZON)
    foretold = np.sign(np.nan_to_num(outcome)) * 1e-4
    knowing = replace(base, metrics={"funding_rate": foretold})
    component = model(features=("base", "derivatives"), trees=20)
    trained_artifact = fitted(component, knowing.view(component.needs, steps=1800))
    parts = component.contributions(
        knowing.view(component.needs, steps=50, learned=component.load(trained_artifact))
    )
    size = {name: np.abs(panel).mean() for name, panel in parts.items() if name != "baseline"}
    assert size["funding_rate"] > 0.7 * sum(size.values())
