"""Facts as known at each row, against a model that asks every fact for every row."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from weft.market.asof import latest_known
from weft.times import SECOND

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
    instants = np.array(rows, dtype=np.int64)
    value, event = latest_known(
        np.array([event for event, _, _ in in_order], dtype=np.int64),
        np.array([at for _, at, _ in in_order], dtype=np.int64),
        np.array([value for _, _, value in in_order], dtype=np.float64),
        instants,
    )
    age = np.where(np.isnan(value), np.nan, (instants - event) / SECOND)
    return list(zip(value.tolist(), age.tolist(), strict=True))


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
