"""Facts as known at each row, against a model that asks every fact for every row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from weft.components.needs import metric
from weft.domain.instruments import Instrument, describe
from weft.domain.reconcile import Reconciliation, Rule
from weft.foundation.times import HOUR, SECOND, Interval
from weft.market.asof import latest_known
from weft.market.facts import FactSeries, Subject
from weft.market.metrics import MetricPanel, metric_panel
from weft.market.plan import Plan

Fact = tuple[int, int, float]
"""Event time, known at, value."""


@st.composite
def facts(draw: st.DrawFn) -> list[Fact]:
    """Histories with restatements and late old events; no two versions known at one instant."""
    events = draw(st.lists(st.integers(0, 12), max_size=25))
    versions = [(event, event + draw(st.integers(0, 12))) for event in events]
    known_once = dict.fromkeys(versions)
    return draw(st.permutations([(e, k, float(n)) for n, (e, k) in enumerate(known_once)]))


def by_asking_everything(history: list[Fact], rows: list[int]) -> list[tuple[float, float]]:
    """The newest event known by each row, in the version known last by then."""
    answers = []
    for row in rows:
        known = [(event, at, value) for event, at, value in history if at <= row]
        event, _, value = max(known, default=(0, 0, float("nan")))
        answers.append((value, (row - event) / SECOND if known else float("nan")))
    return answers


def ask(history: list[Fact], rows: list[int]) -> list[tuple[float, float]]:
    in_order = sorted(history, key=lambda fact: (fact[1], fact[0]))
    values, ages = np.empty((len(rows), 1)), np.empty((len(rows), 1))
    latest_known(
        np.array([event for event, _, _ in in_order], dtype=np.int64),
        np.array([at for _, at, _ in in_order], dtype=np.int64),
        np.array([value for _, _, value in in_order], dtype=np.float64),
        np.array([0, len(history)]),
        np.array([[0]]),
        np.array(rows, dtype=np.int64),
        values,
        ages,
    )
    return list(zip(values[:, 0].tolist(), ages[:, 0].tolist(), strict=True))


rows_asked = st.lists(st.integers(-2, 30), max_size=12).map(sorted)


@given(facts(), rows_asked)
def test_each_row_holds_what_asking_every_fact_finds(history: list[Fact], rows: list[int]) -> None:
    assert_array_equal(ask(history, rows), by_asking_everything(history, rows))


@given(facts(), rows_asked, st.data())
def test_what_becomes_known_later_changes_no_earlier_row(
    history: list[Fact], rows: list[int], data: st.DataObject
) -> None:
    now = data.draw(st.integers(-2, 30))
    earlier = [row for row in rows if row <= now]
    later = [(event, max(at, now + 1), value + 100) for event, at, value in history]
    assert_array_equal(ask(history + later, earlier), ask(history, earlier))


def test_a_correction_counts_from_when_it_became_known() -> None:
    history = [(10, 12, 1.0), (10, 15, 2.0)]
    answers = ask(history, [11, 12, 14, 15, 99])
    assert_array_equal([value for value, _ in answers], [np.nan, 1.0, 1.0, 2.0, 2.0])


def test_a_late_correction_of_an_old_event_hides_no_newer_one() -> None:
    history = [(10, 11, 1.0), (20, 21, 2.0), (10, 30, 9.0)]
    assert ask(history, [29, 30]) == [(2.0, 9 / SECOND), (2.0, 10 / SECOND)]


def test_nothing_known_is_nan_in_every_row() -> None:
    assert_array_equal(ask([], [1, 2]), np.full((2, 2), np.nan))
    assert_array_equal(ask([(5, 5, 1.0)], []), [])


H1 = Interval.parse("1h")
COINS = (describe("BTCUSDT"), Instrument(symbol="BTC-PERP", base="BTC", quote="USD"))


def panel(rule: Rule, **said: dict[tuple[str, str], float]) -> MetricPanel:
    """One row, an hour after each source said what it says of scopes and entities."""
    one, known = np.array([0]), np.array([HOUR])
    facts = {
        Subject(source, *subject): FactSeries(one, known, np.array([value]))
        for source, subjects in said.items()
        for subject, value in subjects.items()
    }
    plan = Plan(H1, H1, (metric("m"),), {})
    return metric_panel("m", facts, tuple(said), COINS, Reconciliation(rule), plan, known)


def test_the_more_particular_fact_counts_within_a_source() -> None:
    facts = {("market", ""): 1.0, ("asset", "BTC"): 2.0, ("instrument", "BTC-PERP"): 3.0}
    found = panel(Rule.PRIORITY, a=facts)
    assert found.values.tolist() == [[2.0, 3.0]]
    assert found.sources.tolist() == [[1, 1]]
    assert np.isnan(found.spread).all()
    assert found.age_seconds.tolist() == [[3600.0, 3600.0]]


def test_two_sources_are_reconciled_and_their_disagreement_shows() -> None:
    first, second = {("asset", "BTC"): 2.0}, {("market", ""): 5.0}
    found = panel(Rule.MEDIAN, a=first, b=second)
    assert found.values.tolist() == [[3.5, 3.5]]
    assert found.sources.tolist() == [[2, 2]]
    assert found.spread.tolist() == [[3.0, 3.0]]
    assert panel(Rule.PRIORITY, b=second, a=first).values.tolist() == [[5.0, 5.0]]


def test_what_reaches_no_column_leaves_it_unknown() -> None:
    found = panel(Rule.PRIORITY, a={("asset", "ETH"): 1.0})
    assert np.isnan(found.values).all()
    assert found.sources.tolist() == [[0, 0]]
    assert panel(Rule.PRIORITY).values.shape == (1, 2)


def as_of_hours(name: str, hours: list[int], limits: Reconciliation | None = None) -> MetricPanel:
    """A metric of which two sources said something once, at hours 0 and 2."""
    facts = {
        Subject(source, "market", ""): FactSeries(at, at, np.array([value]))
        for source, at, value in (("a", np.array([0]), 1.0), ("b", np.array([2 * HOUR]), 2.0))
    }
    plan = Plan(H1, H1, (metric(name),), {})
    rows = np.array(hours) * HOUR
    return metric_panel(name, facts, ("a", "b"), COINS, limits or Reconciliation(), plan, rows)


def test_a_value_older_than_a_few_of_its_intervals_is_unknown_and_its_age_is_known() -> None:
    found = as_of_hours("funding_rate", [1, 3, 32, 33, 34, 35, 9000])
    counted = [1.0, 1.0, 1.0, 2.0, 2.0, np.nan, np.nan]
    assert_array_equal(found.values[:, 0], counted)
    assert found.sources[:, 0].tolist() == [1, 2, 2, 1, 1, 0, 0]
    assert found.age_seconds[-2:, 0].tolist() == [33 * 3600.0, 8998 * 3600.0]


def test_a_weekly_value_counts_for_weeks() -> None:
    found = as_of_hours("dev_commits", [7 * 24, 28 * 24, 28 * 24 + 3])
    assert_array_equal(np.isnan(found.values[:, 0]), [False, False, True])


def test_config_says_how_old_a_value_may_be() -> None:
    limits = Reconciliation(max_age={"mine": Interval.parse("3h")})
    assert_array_equal(as_of_hours("mine", [5, 6], limits).values[:, 0], [2.0, np.nan])
    assert_array_equal(as_of_hours("mine", [5, 6]).values[:, 0], [1.0, 1.0])


def test_a_value_counts_for_a_few_decision_intervals_at_least() -> None:
    day = Interval.parse("1d")
    assert Reconciliation().oldest_seconds("funding_rate", day) == 4 * 24 * 3600.0
    assert Reconciliation().oldest_seconds("funding_rate", H1) == 4 * 8 * 3600.0
