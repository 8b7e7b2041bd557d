"""Several sources of one metric, against rules written out for one cell at a time."""

import math
from statistics import median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from weft.domain.reconcile import Reconciliation, Rule, reconcile

HOUR = 3600.0
Cell = list[tuple[float, float]]
"""What each source says of one cell: value and age."""

said = st.one_of(
    st.just((math.nan, math.nan)),
    st.tuples(st.integers(-9, 9).map(float), st.sampled_from([0.0, 60.0, HOUR, 5 * HOUR, 1e6])),
)
cells = st.integers(1, 5).flatmap(lambda n: st.lists(said, min_size=n, max_size=n))


def of_one_cell(rule: Rule, cell: Cell) -> tuple[float, float, int, float]:
    known = [(value, age) for value, age in cell if not math.isnan(value)]
    if not known:
        return math.nan, math.nan, 0, math.nan
    limit = 3 * max(HOUR, min(age for _, age in known))
    fresh = [(value, age) for value, age in known if age <= limit]
    values = sorted(value for value, _ in fresh)
    spread = values[-1] - values[0] if len(values) > 1 else math.nan
    match rule:
        case Rule.PRIORITY:
            value, age = fresh[0]
        case Rule.FRESHEST:
            value, age = min(fresh, key=lambda one: one[1])
        case Rule.MEDIAN:
            value, age = median(values), math.nan
    return value, age, len(fresh), spread


@pytest.mark.parametrize("rule", Rule)
@given(cell=cells)
def test_a_cell_follows_the_rule(rule: Rule, cell: Cell) -> None:
    values, ages = (np.array([[[one[k]]] for one in cell]) for k in (0, 1))
    found = reconcile(rule, values, ages, HOUR)
    value, age, count, spread = of_one_cell(rule, cell)
    assert_array_equal(found.values, [[value]])
    assert_array_equal(found.sources, [[count]])
    assert_array_equal(found.spread, [[spread]])
    if rule is Rule.MEDIAN:
        known = {a for v, a in cell if not math.isnan(v)}
        assert not count or float(found.ages[0, 0]) in known
    else:
        assert_array_equal(found.ages, [[age]])


@given(st.lists(st.lists(said, min_size=3, max_size=3), min_size=2, max_size=6))
def test_each_cell_follows_from_itself_alone(many: list[Cell]) -> None:
    values, ages = (np.array([[[c[s][k] for c in many]] for s in range(3)]) for k in (0, 1))
    for rule in Rule:
        whole = reconcile(rule, values, ages, HOUR)
        for column in range(len(many)):
            one = slice(column, column + 1)
            alone = reconcile(rule, values[:, :, one], ages[:, :, one], HOUR)
            assert_array_equal(whole.values[:, one], alone.values)
            assert_array_equal(whole.ages[:, one], alone.ages)


def test_one_source_that_is_far_off_does_not_move_the_middle() -> None:
    values = np.array([1.0, 1e9, 1.1]).reshape(3, 1, 1)
    found = reconcile(Rule.MEDIAN, values, np.zeros((3, 1, 1)), HOUR)
    assert found.values.item() == 1.1
    assert found.spread.item() == 1e9 - 1.0


def test_a_metric_may_have_a_rule_of_its_own() -> None:
    chosen = Reconciliation(Rule.FRESHEST, {"mvrv": Rule.MEDIAN})
    assert (chosen.rule_of("mvrv"), chosen.rule_of("nupl")) == (Rule.MEDIAN, Rule.FRESHEST)


def test_no_source_at_all_is_nothing_known() -> None:
    found = reconcile(Rule.PRIORITY, np.empty((0, 2, 3)), np.empty((0, 2, 3)), HOUR)
    assert np.isnan(found.values).all()
    assert found.values.shape == (2, 3)
