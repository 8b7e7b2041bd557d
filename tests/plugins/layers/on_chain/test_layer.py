"""The on-chain layer: where metrics stand in their own history, and what that says."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import percentileofscore

from tests.plugins.features.planted_pairs import from_returns
from weft.components.layer import Scores
from weft.domain.instruments import describe
from weft.domain.reconcile import Reconciliation
from weft.domain.vocabulary import METRICS
from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.times import DAY, HOUR, Interval, parse_time
from weft.market.facts import FactSeries, Subject
from weft.market.metrics import MetricPanel, metric_panel
from weft.market.plan import make_plan
from weft.market.view import View
from weft.testing import History, parametrize_with_checks
from weft.testing.history import installed_feature
from weft_plugins.layers.on_chain.layer import OnChain
from weft_plugins.layers.on_chain.metrics import GROUPS, LEVELS, LIQUIDATIONS, READINGS
from weft_plugins.layers.on_chain.ranks import rank_in_history, sample_rows

ROWS = 2600
COMPUTED = {LIQUIDATIONS, LEVELS}
ALONE: Mapping[str, int] = {LEVELS: 0}
BASES = ("BTC", "ETH")


@parametrize_with_checks([OnChain(), OnChain(OnChain.Config(sample_rows=7, history_rows=300))])
def test_conformance(check: Callable[[], None]) -> None:
    check()


def walk(seed: int = 0, rows: int = ROWS) -> FloatPanel:
    rng = np.random.default_rng(seed)
    return np.exp(np.cumsum(rng.normal(0, 0.01, (rows, len(BASES))), axis=0))


def market(**metrics: FloatPanel) -> History:
    rows = len(next(iter(metrics.values())))
    returns = np.random.default_rng(99).normal(0, 0.01, (rows, len(BASES)))
    return from_returns(returns, BASES, metrics)


def score(history: History, steps: int = 1, **options: Any) -> Scores:
    layer = OnChain(OnChain.Config.model_validate(options))
    return layer.score(history.view(layer.needs, steps=steps))


def changed(
    history: History,
    name: str,
    steps: int,
    change: Callable[[MetricPanel], MetricPanel],
    layer: OnChain | None = None,
) -> Scores:
    """Return the layer's answer where one metric's panel is another."""
    layer = layer or OnChain()
    view = history.view(layer.needs, steps=steps)
    own = view._data.metrics
    data = replace(view._data, metrics={**own, name: lambda rows: change(own[name](rows))})
    return layer.score(View(data, steps, layer.needs, "layer on_chain"))


# Normalisation


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), ties=st.booleans(), holes=st.floats(0, 0.6))
def test_a_stand_is_the_mid_rank_that_scipy_and_pandas_give(
    seed: int, ties: bool, holes: float
) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(60, 1))
    values = np.round(values) if ties else values
    values[rng.random(values.shape) < holes] = np.nan
    rows = np.arange(60)
    found = rank_in_history(values, values, rows, rows, window=20, least=5)[:, 0]
    for row in rows:
        past = values[max(0, row - 20) : row, 0]
        past = past[~np.isnan(past)]
        value = values[row, 0]
        if np.isnan(value) or len(past) < 5 or (past == value).all():
            assert np.isnan(found[row])
            continue
        own = [*past, value]
        share = percentileofscore(own, value, kind="mean") / 100
        assert found[row] == pytest.approx(2 * share - 1, abs=1e-12)
        rank = pd.Series(own).rolling(len(own)).rank(method="average").iloc[-1]
        assert found[row] == pytest.approx((2 * rank - 1) / len(own) - 1, abs=1e-12)


def test_samples_lie_where_the_calendar_says() -> None:
    for start in range(60):
        rows = sample_rows(1000 + start, 200, 25)
        assert ((1000 + start + rows) % 25 == 0).all()
        assert len(rows) == 8
        assert 0 <= rows[0] < 25


def test_a_metric_stands_among_its_own_samples_alone() -> None:
    values = walk(1)
    said = score(market(mvrv=values), 40)
    at = np.arange(ROWS - 40, ROWS)
    first = from_returns(np.zeros((1, 2)), BASES)
    index = first.interval.index(first.first_close)
    for row, found in zip(at, said.evidence["mvrv"], strict=True):
        past = [r for r in range(row - 2160, row) if (index + r) % 25 == 0]
        for column in range(2):
            share = percentileofscore(
                [*values[past, column], values[row, column]], values[row, column], kind="mean"
            )
            assert found[column] == pytest.approx(share / 50 - 1, abs=1e-12)


def test_a_change_is_ranked_among_changes() -> None:
    values = walk(2)
    said = score(market(exchange_reserve=values), 1, sample_rows=1).evidence["exchange_reserve"]
    change = np.log(values[168:] / values[:-168])
    wanted = [percentileofscore(change[-2161:, k], change[-1, k], kind="mean") for k in range(2)]
    np.testing.assert_allclose(said[0], np.array(wanted) / 50 - 1, atol=1e-12)


# What it says


def test_every_reading_is_of_a_canonical_metric_and_in_a_group() -> None:
    assert set(READINGS) - COMPUTED <= set(METRICS)
    assert {r.group for r in READINGS.values()} == set(GROUPS) <= set(OnChain.Config.model_fields)
    assert all(r.sign in {-1, 1} and r.weight > 0 and r.hours > 0 for r in READINGS.values())


@pytest.mark.parametrize("name", [n for n in READINGS if n not in COMPUTED])
def test_the_highest_value_of_its_history_speaks_as_its_sign_says(name: str) -> None:
    values = np.exp(np.random.default_rng(3).normal(0, 0.1, (ROWS, 2)))
    values[-1] = 100.0, 0.001
    said = score(market(**{name: values}), signs=ALONE)
    wanted = 100 * READINGS[name].sign * np.array([1.0, -1.0])
    np.testing.assert_allclose(said.score[0], wanted, atol=2.5)
    turned = score(market(**{name: values}), signs={**ALONE, name: -READINGS[name].sign})
    np.testing.assert_array_equal(turned.score, -said.score)
    silent = score(market(**{name: values}), signs={**ALONE, name: 0})
    assert np.isnan(silent.score).all()


def planted(seed: int) -> tuple[FloatPanel, Floats]:
    """Return a daily MVRV, and hourly returns that fall while it is high."""
    rng = np.random.default_rng(seed)
    days = 260
    level = np.zeros(days)
    for day in range(1, days):
        level[day] = 0.9 * level[day - 1] + rng.normal()
    daily = np.repeat(level, 24)
    returns = rng.normal(0, 0.004, (days * 24, 2))
    returns[1:, 0] -= 0.0006 * daily[:-1]
    return np.column_stack([daily, rng.normal(size=days).repeat(24)]), returns


def test_a_planted_edge_is_found_and_none_where_there_is_none() -> None:
    values, returns = planted(4)
    history = from_returns(returns, BASES, {"mvrv_zscore": values})
    said = score(history, 3500)
    ahead = np.lib.stride_tricks.sliding_window_view(returns[-3500:], 24, axis=0).sum(axis=-1)
    now = said.score[: len(ahead) - 1]
    edge, none = (np.corrcoef(now[:, k], ahead[1:, k])[0, 1] for k in range(2))
    assert edge > 0.35
    assert abs(none) < 0.15


def test_longs_forced_out_speak_for_a_rise_and_shorts_for_a_fall() -> None:
    rng = np.random.default_rng(5)
    longs, shorts = rng.lognormal(10, 0.1, (2, ROWS, 2))
    longs[-24:, 0] *= 20
    shorts[-24:, 1] *= 20
    forced = {"long_liquidations_usd": longs, "short_liquidations_usd": shorts}
    for base in ({}, {"open_interest_usd": np.full((ROWS, 2), 1e9)}):
        said = score(market(**forced, **base), signs=ALONE)
        np.testing.assert_allclose(said.score[0], [100, -100], atol=2.5)
        np.testing.assert_allclose(said.evidence["liquidations_points"], said.score)


def test_liquidations_are_measured_by_the_open_interest() -> None:
    rng = np.random.default_rng(6)
    longs = rng.lognormal(10, 0.1, (ROWS, 2))
    interest = np.full((ROWS, 2), 1e9)
    interest[-30:, 0] = 1e10  # a tenth as much of it was closed
    forced = {"long_liquidations_usd": longs, "short_liquidations_usd": np.ones((ROWS, 2))}
    said = score(market(**forced, open_interest_usd=interest), signs={"open_interest_usd": 0})
    assert said.evidence[LIQUIDATIONS][0, 0] < -0.9
    assert said.evidence[LIQUIDATIONS][0, 1] > -0.9


def opened_at_100(last: tuple[float, float], **more: FloatPanel) -> History:
    """Return coins whose open interest doubled at 100, where price stayed until the last rows."""
    close, interest = np.full((ROWS, 2), 100.0), np.full((ROWS, 2), 1000.0)
    interest[-60:] = 2000.0
    close[-5:] = last
    columns = {**dict.fromkeys(("open", "high", "low", "close"), close), "volume": close}
    metrics = {"open_interest": interest, **more}
    instruments = tuple(describe(f"{base}USDT") for base in BASES)
    return History(Interval.parse("1h"), instruments, columns, metrics)


LEVELS_ALONE: Mapping[str, int] = {"open_interest": 0, LIQUIDATIONS: 0}


def test_price_is_drawn_to_the_side_where_more_would_be_liquidated() -> None:
    # Of what was opened at 100, shorts at 10x are liquidated at 109.5 and longs at 90.5, so that
    # each is within reach on one side only. What the move forced out was opened anew on both.
    said = score(opened_at_100((103.0, 97.0)), signs=LEVELS_ALONE)
    assert said.evidence[LEVELS][0, 0] > 0.1
    assert said.evidence[LEVELS][0, 1] < -0.1
    np.testing.assert_allclose(said.score, 100 * said.evidence[LEVELS])
    np.testing.assert_allclose(said.evidence["liquidations_points"], said.score)
    turned = score(opened_at_100((103.0, 97.0)), signs={**LEVELS_ALONE, LEVELS: -1})
    np.testing.assert_array_equal(turned.score, -said.score)


def test_liquidation_levels_weigh_a_hundredth_of_the_layer() -> None:
    said = score(opened_at_100((103.0, 97.0)), signs=LEVELS_ALONE)
    total = sum(OnChain.Config.model_fields[group].default for group in GROUPS)
    # With the imbalance left out, the levels have all of their group's weight.
    np.testing.assert_allclose(said.confidence, 0.05 / total)
    both = score(opened_at_100((103.0, 97.0)), signs={"open_interest": 0})
    np.testing.assert_allclose(both.confidence, 0.01 / total)


def test_the_heaviest_clusters_are_told_as_prices() -> None:
    said = score(opened_at_100((103.0, 97.0))).evidence
    assert said["liquidation_level_above"][0, 0] == pytest.approx(109.5)
    assert said["liquidation_level_below"][0, 1] == pytest.approx(90.5)
    unknown = score(market(mvrv=walk(7))).evidence
    for side in ("above", "below"):
        assert np.isnan(unknown[f"liquidation_level_{side}"]).all()
    left_out = score(opened_at_100((103.0, 97.0)), signs={LEVELS: 0}).evidence
    assert not {LEVELS, "liquidation_level_above", "liquidation_level_below"} & set(left_out)


def test_points_of_the_groups_add_up_to_the_score() -> None:
    names = [n for n in READINGS if n not in COMPUTED]
    said = score(market(**{n: walk(k) for k, n in enumerate(names)}), 30)
    total = sum(said.evidence[f"{group}_points"] for group in GROUPS)
    np.testing.assert_allclose(total, said.score, atol=1e-9)


def test_missing_metrics_are_left_out_and_lower_the_confidence() -> None:
    one = score(market(mvrv=walk(7)))
    two = score(market(mvrv=walk(7), funding_rate=walk(8)))
    share = 0.2 * READINGS["mvrv"].weight
    share /= sum(r.weight for r in READINGS.values() if r.group == "valuation")
    np.testing.assert_allclose(one.confidence, share)
    assert (two.confidence > one.confidence).all()
    np.testing.assert_allclose(one.score, -100 * one.evidence["mvrv"])
    nothing = score(market(vix=walk(9)))
    assert np.isnan(nothing.score).all()
    assert (nothing.confidence == 0.0).all()


def test_a_constant_metric_and_a_short_history_say_nothing() -> None:
    assert np.isnan(score(market(mvrv=np.full((ROWS, 2), 2.0))).score).all()
    short = walk(10)
    short[: -18 * 25] = np.nan
    assert np.isnan(score(market(mvrv=short)).score).all()
    enough = walk(10)
    enough[: -22 * 25] = np.nan
    assert not np.isnan(score(market(mvrv=enough)).score).any()


def test_a_stale_value_counts_as_missing() -> None:
    history = market(mvrv=walk(11), funding_rate=walk(12))

    def aged(panel: MetricPanel) -> MetricPanel:
        age = panel.age_seconds.copy()
        age[-1, 0], age[-1, 1] = 25 * 3600.0, 23 * 3600.0
        return replace(panel, age_seconds=age)

    said = changed(history, "funding_rate", 1, aged)
    assert np.isnan(said.evidence["funding_rate"][0, 0])
    assert not np.isnan(said.evidence["funding_rate"][0, 1])
    assert said.confidence[0, 0] < said.confidence[0, 1]
    patient = changed(history, "mvrv", 1, aged)
    assert not np.isnan(patient.evidence["mvrv"]).any()


def test_no_row_asks_for_values_fresher_than_rows_are_long() -> None:
    layer = OnChain(OnChain.Config(history_rows=365, sample_rows=1, change_rows=7))
    values = np.random.default_rng(15).normal(size=(400, 2))
    history = from_returns(np.zeros((400, 2)), BASES, {"book_imbalance": values}, interval="1d")
    for days, known in ((2.9, True), (3.1, False)):

        def old(panel: MetricPanel, days: float = days) -> MetricPanel:
            return replace(panel, age_seconds=np.full(panel.values.shape, days * 86_400.0))

        said = changed(history, "book_imbalance", 1, old, layer)
        assert (~np.isnan(said.score)).all() == known


def test_sources_that_disagree_lower_the_confidence() -> None:
    values = np.random.default_rng(13).normal(size=(ROWS, 2))
    values[-1] = 0.0
    history = market(mvrv=values)

    def spread(panel: MetricPanel) -> MetricPanel:
        apart = np.full(panel.values.shape, np.nan)
        apart[-1] = 0.0, 2.0  # from one deviation below the middle to one above: 68 %
        return replace(panel, spread=apart)

    plain, said = score(history), changed(history, "mvrv", 1, spread)
    assert said.confidence[0, 0] == plain.confidence[0, 0]
    assert said.confidence[0, 1] == pytest.approx(0.32 * plain.confidence[0, 1], rel=0.3)
    np.testing.assert_allclose(said.score, plain.score)


def test_a_restatement_counts_from_when_it_was_known() -> None:
    layer = OnChain(OnChain.Config(history_rows=240, sample_rows=5))
    history = market(mvrv=walk(14, 400))
    times = history.first_close + np.arange(400) * history.interval.micros
    plan = make_plan(history.interval, history.interval, layer.needs, installed_feature)
    values = np.random.default_rng(14).normal(size=17)
    events = times[0] + np.arange(17, dtype=np.int64) * DAY - DAY
    facts = FactSeries(
        np.append(events, events[-1]), np.append(events + HOUR, times[-3]), np.append(values, 99.0)
    )
    subject = Subject("one", "asset", "BTC")

    def told(series: FactSeries) -> FloatPanel:
        facts = {subject: series}
        view = history.view(layer.needs, steps=6)
        panel = partial(
            metric_panel, "mvrv", facts, ["one"], history.instruments, Reconciliation(), plan
        )
        data = replace(view._data, metrics={**view._data.metrics, "mvrv": panel})
        return layer.score(View(data, 6, layer.needs, "layer on_chain")).score[:, 0]

    restated = told(facts)
    plain = told(FactSeries(facts.event_time[:-1], facts.known_at[:-1], facts.value[:-1]))
    np.testing.assert_array_equal(restated[:3], plain[:3])
    assert (restated[3:] < -90).all()
    assert (plain[3:] > -90).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict.fromkeys(GROUPS, 0.0), "at least one"),
        ({"signs": {"mvvr": 1}}, "mvrv"),
        ({"signs": {"mvrv": 2}}, "signs"),
        ({"history_rows": 100}, "fewer than least_samples"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        OnChain.Config.model_validate(options)


def test_real_bitcoin_was_dear_at_its_tops_and_cheap_at_its_bottoms(real_data: Path) -> None:
    frame = pl.read_parquet(real_data / "onchain" / "onchain_1d.parquet").filter(
        asset="btc", metric="CapMVRVCur"
    )
    frame = frame.sort("date")
    days = frame["date"].cast(pl.Datetime("us")).to_physical().to_numpy()
    # A day's figure is known some hours after the day has ended.
    facts = FactSeries(days + DAY, days + DAY + 6 * HOUR, frame["value"].to_numpy())
    close = frame["value"].to_numpy()[:, None]
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), close)
    day = Interval.parse("1d")
    history = History(day, (describe("BTCUSDT"),), columns, {}, first_close=int(days[0]))
    layer = OnChain(OnChain.Config(history_rows=365, sample_rows=1, change_rows=7))
    plan = make_plan(day, day, layer.needs, installed_feature)
    view = history.view(layer.needs, steps=4000)
    told = {Subject("one", "asset", "BTC"): facts}
    panel = partial(
        metric_panel, "mvrv", told, ["one"], history.instruments, Reconciliation(), plan
    )
    data = replace(view._data, metrics={**view._data.metrics, "mvrv": panel})
    said = layer.score(View(data, 4000, layer.needs, "layer on_chain"))
    assert not np.isnan(said.score).any()
    for date, sign in (
        ("2017-12-15", -1),
        ("2018-12-15", 1),
        ("2021-02-20", -1),
        ("2022-11-20", 1),
        ("2024-03-10", -1),
    ):
        at = int(np.searchsorted(days[-4000:], parse_time(f"{date}T00:00:00Z")))
        assert sign * said.evidence["valuation_points"][at, 0] > 60, date
