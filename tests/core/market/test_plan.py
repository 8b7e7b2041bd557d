"""How far back a view reaches: far enough for every need, and no further."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.components.feature import Feature, PanelFeature, StepFeature
from weft.components.needs import CandleNeed, FeatureNeed, MetricNeed, Need, PanelNeed
from weft.features.engine import BLOCK, first_row_needed
from weft.foundation.arrays import FloatPanel
from weft.foundation.errors import ConfigError
from weft.foundation.times import DAY, HOUR, WEEK, Interval, parse_time
from weft.market.plan import Plan, make_plan
from weft.market.view import View

M30, H1, H4, D1, W1 = (Interval.parse(name) for name in ("30m", "1h", "4h", "1d", "1w"))
START = parse_time("2023-11-01T00:00:00Z")


class Step(StepFeature):
    """A step feature that only says how long it runs up."""

    name = "step"
    outputs = ("step",)
    state_size = 1

    @property
    def warmup(self) -> int:
        return int(dict(self.config.options)["warmup"])

    class Config(StepFeature.Config):
        options: tuple[tuple[str, int], ...] = ()


class Panel(PanelFeature):
    """A panel feature that asks for more, and only says so."""

    name = "panel"
    outputs = ("panel",)

    @property
    def needs(self) -> Sequence[Need]:
        return NESTED

    def compute(self, view: View) -> Mapping[str, FloatPanel]:
        raise NotImplementedError


NESTED: tuple[PanelNeed, ...] = (
    CandleNeed(None, 5),
    CandleNeed(H4, 2),
    CandleNeed(M30, 3),
    MetricNeed("funding_rate", 4),
    FeatureNeed("step", (("warmup", 9),), None, 1),
)


def make_feature(need: FeatureNeed) -> Feature:
    if need.name == "panel":
        return Panel(Panel.Config())
    return Step(Step.Config(options=tuple((k, int(v)) for k, v in need.params)))


def plan_of(*needs: Need, interval: Interval = H1, base: Interval = M30) -> Plan:
    return make_plan(interval, base, needs, make_feature)


coarse = st.sampled_from([None, M30, H1, H4, D1, W1])
needs_asked = st.lists(
    st.one_of(
        st.builds(CandleNeed, coarse, st.integers(0, 300)),
        st.builds(MetricNeed, st.sampled_from(["a", "b"]), st.integers(0, 300)),
        st.builds(
            FeatureNeed,
            st.just("step"),
            st.integers(0, 500).map(lambda warmup: (("warmup", warmup),)),
            coarse,
            st.integers(0, 50),
        ),
        st.builds(FeatureNeed, st.just("panel"), st.just(()), st.none(), st.integers(0, 50)),
    ),
    max_size=4,
)


def rows_required(need: PanelNeed, decision: Interval, first: int, *, sessions: bool) -> list[int]:
    """Opens of the earliest candles a need reaches, found by stepping back from the first row."""
    own = (decision if isinstance(need, MetricNeed) else need.interval) or decision
    if isinstance(need, FeatureNeed) and need.name == "panel":
        earlier = first - need.lookback * decision.micros
        return [o for n in NESTED for o in rows_required(n, decision, earlier, sessions=sessions)]
    if not isinstance(need, FeatureNeed):
        return [own.floor(first) - (need.warmup + 1) * own.micros]
    close = own.floor(first - need.lookback * decision.micros)
    block = close
    while own.index(block) % BLOCK:
        block -= own.micros
    warmup = dict(need.params)["warmup"]
    # How many rows a market with sessions needs more is the feature engine's own rule.
    more = own.index(close) // BLOCK * BLOCK - first_row_needed(
        own.index(close), int(warmup), own if sessions else None
    )
    return [block - (more + 1) * own.micros]


@given(
    needs_asked,
    st.sampled_from([H1, H4, D1]),
    st.integers(0, 400 * DAY // HOUR),
    st.integers(1, 40),
    st.booleans(),
)
def test_a_view_reaches_back_as_far_as_its_neediest_need_and_no_further(
    needs: list[Need], interval: Interval, at: int, steps: int, sessions: bool
) -> None:
    plan = plan_of(*needs, interval=interval)
    last = interval.floor(START + at * HOUR)
    first = last - (steps - 1) * interval.micros
    required = [interval.floor(first) - interval.micros]
    for need in needs:
        assert isinstance(need, PanelNeed)
        required += rows_required(need, interval, first, sessions=sessions)
    opened = last - plan.base_rows(first, last, sessions=sessions) * M30.micros
    assert opened == min(required)
    # Joined as the market joins them, every panel has the rows that are asked of it.
    for wanted in plan.intervals:
        start = plan.first_open(wanted, first, sessions=sessions)
        assert opened <= start
        assert wanted.floor(start) == start


def row_of(panel_opened: int, interval: Interval, instant: int) -> int:
    """Row of the last candle closed by an instant, in a panel that begins at `panel_opened`."""
    return (interval.floor(instant) - panel_opened) // interval.micros - 1


@given(needs_asked, st.integers(0, 400 * 24), st.integers(1, 40))
def test_every_row_of_a_need_is_loaded(needs: list[Need], at: int, steps: int) -> None:
    plan, last = plan_of(*needs), START + at * HOUR
    first = last - (steps - 1) * HOUR
    for need in plan.needs:
        assert isinstance(need, PanelNeed)
        own = (H1 if isinstance(need, MetricNeed) else need.interval) or H1
        opened = plan.first_open(own, first, sessions=False)
        if isinstance(need, FeatureNeed):
            assert row_of(opened, own, first - need.lookback * HOUR) >= 0
        else:
            assert row_of(opened, own, first) >= need.warmup


@given(needs_asked, st.integers(0, 400 * 24))
def test_markets_with_sessions_never_need_fewer_rows(needs: list[Need], at: int) -> None:
    plan, last = plan_of(*needs), START + at * HOUR
    assert plan.base_rows(last, last, sessions=True) >= plan.base_rows(last, last, sessions=False)


def test_without_needs_a_view_holds_its_decision_rows() -> None:
    plan = plan_of()
    assert plan.intervals == (H1,)
    assert plan.base_rows(START, START, sessions=False) == 2
    assert plan.base_rows(START, START + 9 * HOUR, sessions=False) == 20


def test_a_decision_row_before_1970_is_a_row_like_any_other() -> None:
    plan = plan_of(CandleNeed(W1, 1))
    assert plan.first_open(W1, -HOUR, sessions=False) == W1.floor(-HOUR) - 2 * WEEK


def test_features_that_features_ask_for_are_planned_with_their_lookback() -> None:
    asked = FeatureNeed("panel", (), None, 7)
    plan = plan_of(asked)
    assert set(plan.needs) == {
        asked,
        CandleNeed(None, 12),
        CandleNeed(H4, 4),  # seven hours reach into two more candles of four hours
        CandleNeed(M30, 17),
        MetricNeed("funding_rate", 11),
        FeatureNeed("step", (("warmup", 9),), None, 8),
    }
    assert plan.metrics == {"funding_rate": 11}
    assert plan.intervals == (M30, H1, H4)
    assert set(plan.features()) == {n for n in plan.needs if isinstance(n, FeatureNeed)}


def test_the_longest_warmup_of_a_metric_counts() -> None:
    assert plan_of(MetricNeed("a", 3), MetricNeed("a", 8), MetricNeed("a", 5)).metrics == {"a": 8}


@pytest.mark.parametrize(
    ("interval", "base", "need"),
    [("1h", "4h", None), ("1h", "1h", "90m"), ("3w", "3d", None), ("1h", "1h", "30m")],
)
def test_candles_that_cannot_be_aggregated_from_the_base_are_refused(
    interval: str, base: str, need: str | None
) -> None:
    needs = [CandleNeed(Interval.parse(need), 1)] if need else []
    with pytest.raises(ConfigError, match=r"base_interval.*cannot be aggregated"):
        make_plan(Interval.parse(interval), Interval.parse(base), needs, make_feature)


def test_a_panel_feature_on_other_candles_than_the_decision_rows_is_refused() -> None:
    plan_of(FeatureNeed("panel", (), H1, 0))
    with pytest.raises(ConfigError, match="computed on the decision rows"):
        plan_of(FeatureNeed("panel", (), H4, 0))


def test_equal_needs_are_planned_once() -> None:
    need = FeatureNeed("step", (("warmup", 9),), None, 1)
    plan = plan_of(need, replace(need), need)
    assert (plan.needs, plan.warmups) == ((need,), {need: 9})
