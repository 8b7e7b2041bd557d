"""Splits share no time between training and test: by definition, and like purgedcv."""

from itertools import pairwise
from typing import TypeAlias

import numpy as np
import pandas as pd
import purgedcv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from weft.learning.splits import Split, purge, purged_folds, walk_forward

Rows: TypeAlias = NDArray[np.int64]
Samples: TypeAlias = tuple[Rows, Rows]


@st.composite
def samples(draw: st.DrawFn, least_starts: int = 1) -> Samples:
    """Return starts and ends in any order: several symbols, duplicates, gaps, any horizons."""
    distinct = draw(st.lists(st.integers(0, 300), min_size=least_starts, max_size=40, unique=True))
    more = draw(st.lists(st.sampled_from(distinct), max_size=40))
    starts = np.array(draw(st.permutations(distinct + more)), dtype=np.int64)
    lengths = draw(
        st.one_of(
            st.integers(0, 30).map(lambda item: [item] * len(starts)),
            st.lists(st.integers(0, 60), min_size=len(starts), max_size=len(starts)),
        )
    )
    return starts, starts + np.array(lengths, dtype=np.int64)


def meets(item: tuple[int, int], other: tuple[int, int], embargo: int) -> bool:
    """Return whether a sample shares a row with a test sample, or starts in its embargo."""
    return item[0] <= other[1] + embargo and item[1] >= other[0]


def spans(drawn: Samples) -> list[tuple[int, int]]:
    return [(int(s), int(e)) for s, e in zip(*drawn, strict=True)]


def expect_clean(split: Split, drawn: Samples, embargo: int) -> None:
    each = spans(drawn)
    for i in split.train:
        assert not any(meets(each[i], each[j], embargo) for j in split.test)


@given(drawn=samples(), embargo=st.integers(0, 40), data=st.data())
def test_purge_keeps_exactly_the_samples_without_overlap(
    drawn: Samples, embargo: int, data: st.DataObject
) -> None:
    """The purge removes exactly the overlapping samples."""
    count = len(drawn[0])
    test = np.array(
        sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=count))), dtype=np.int64
    )
    each = spans(drawn)
    expected = [
        i
        for i in range(count)
        if i not in test and not any(meets(each[i], each[j], embargo) for j in test)
    ]
    np.testing.assert_array_equal(purge(*drawn, test, embargo), expected)


@settings(max_examples=60)
@given(drawn=samples(least_starts=4), embargo=st.integers(0, 40), data=st.data())
def test_purge_equals_purgedcv(drawn: Samples, embargo: int, data: st.DataObject) -> None:
    order = np.argsort(drawn[0], kind="stable")
    starts, ends = drawn[0][order], drawn[1][order]
    first = data.draw(st.integers(0, len(starts) - 1))
    test = np.arange(first, data.draw(st.integers(first, len(starts) - 1)) + 1)
    rest = np.setdiff1d(np.arange(len(starts)), test)
    begins = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(starts, "D"))
    known = pd.Series(pd.Timestamp("2024-01-01") + pd.to_timedelta(ends, "D"))
    # Its spans are half open: the row at which an outcome is known is not in them.
    saved = purgedcv.purge(rest, test, begins, known + pd.Timedelta(days=1))
    saved = purgedcv.apply_embargo(saved, test, begins, known, embargo=pd.Timedelta(days=embargo))
    np.testing.assert_array_equal(purge(starts, ends, test, embargo), saved)


@given(drawn=samples(least_starts=9), folds=st.integers(2, 8), embargo=st.integers(0, 40))
def test_folds_test_each_sample_once_and_share_no_time(
    drawn: Samples, folds: int, embargo: int
) -> None:
    splits = list(purged_folds(*drawn, folds, embargo))
    assert len(splits) == folds
    tested = np.concatenate([split.test for split in splits])
    np.testing.assert_array_equal(np.sort(tested), np.arange(len(drawn[0])))
    for split in splits:
        expect_clean(split, drawn, embargo)


@given(drawn=samples(least_starts=9), folds=st.integers(2, 8), embargo=st.integers(0, 40))
def test_walk_forward_trains_on_the_past_only(drawn: Samples, folds: int, embargo: int) -> None:
    starts, ends = drawn
    splits = list(walk_forward(starts, ends, folds, embargo))
    assert len(splits) == folds
    for split in splits:
        expect_clean(split, drawn, embargo)
        first = starts[split.test].min()
        # All samples that ended in time, and no others.
        np.testing.assert_array_equal(split.train, np.flatnonzero(ends + embargo < first))
    for earlier, later in pairwise(splits):
        assert starts[earlier.test].max() < starts[later.test].min()
        assert set(earlier.train) <= set(later.train)
    untested = np.setdiff1d(np.arange(len(starts)), np.concatenate([s.test for s in splits]))
    assert starts[untested].max() < starts[splits[0].test].min()


@given(drawn=samples(least_starts=9), folds=st.integers(2, 8), data=st.data())
def test_order_of_samples_does_not_matter(drawn: Samples, folds: int, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(drawn[0])))))
    straight = list(purged_folds(*drawn, folds, 5))
    turned = list(purged_folds(drawn[0][order], drawn[1][order], folds, 5))
    for item, other in zip(straight, turned, strict=True):
        assert set(item.train) == set(order[other.train])
        assert set(item.test) == set(order[other.test])


def test_samples_of_one_row_stay_together() -> None:
    """Samples of two symbols at one time are correlated, so they stay on one side."""
    starts = np.tile(np.arange(50), 3)
    for split in purged_folds(starts, starts + 5, 4):
        assert not set(starts[split.test]) & set(starts[split.train])
        assert len(split.test) % 3 == 0


def test_long_outcome_from_an_early_row_is_purged() -> None:
    """A check of the nearest test sample only would miss the overlap."""
    starts = np.array([0, 5, 6, 20, 40])
    ends = np.array([30, 7, 8, 21, 41])
    np.testing.assert_array_equal(purge(starts, ends, np.array([0])), [4])
    np.testing.assert_array_equal(purge(starts, ends, np.array([3])), [1, 2, 4])


def test_walk_forward_matches_its_example() -> None:
    """Ten rows, four folds: two rows each; outcomes of two rows, so the last two cannot train."""
    starts = np.arange(10)
    splits = list(walk_forward(starts, starts + 2, 4))
    assert [list(split.test) for split in splits] == [[2, 3], [4, 5], [6, 7], [8, 9]]
    assert [list(split.train) for split in splits] == [
        [], [0, 1], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5]
    ]  # fmt: skip
    embargoed = [list(s.train) for s in walk_forward(starts, starts + 2, 4, embargo=1)]
    assert embargoed == [[], [0], [0, 1, 2], [0, 1, 2, 3, 4]]


@pytest.mark.parametrize("folds", [0, 1, 7])
def test_too_few_distinct_starts_are_refused(folds: int) -> None:
    starts = np.array([3, 3, 4, 5, 5, 6])
    with pytest.raises(ValueError, match=r"4 distinct starts cannot be cut"):
        list(purged_folds(starts, starts + 1, folds))


def test_purge_without_test_samples_keeps_everything() -> None:
    starts = np.arange(5)
    nothing = np.array([], dtype=np.int64)
    np.testing.assert_array_equal(purge(starts, starts + 2, nothing), starts)
