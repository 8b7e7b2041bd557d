"""Sums whose order is fixed."""

from functools import reduce
from operator import add

import numpy as np
import pytest

from weft.foundation.arrays import Floats, ordered_sum

VALUES = np.random.default_rng(3).normal(size=(40, 37)) * 10.0 ** np.arange(-18, 19)


def one_by_one(row: Floats) -> float:
    """The sum by Python's own additions."""
    total: float = reduce(add, row.tolist())
    return total


@pytest.mark.parametrize("rows", [1, 2, 40])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_row_is_added_one_by_one_whatever_the_shape_and_layout(rows: int, order: str) -> None:
    panel = np.array(VALUES[:rows], order="F" if order == "F" else "C")
    assert ordered_sum(panel, axis=1).tolist() == [one_by_one(row) for row in VALUES[:rows]]
    assert ordered_sum(panel.T, axis=0).tolist() == [one_by_one(row) for row in VALUES[:rows]]


def test_a_zero_in_between_changes_nothing() -> None:
    wider = np.insert(VALUES, 5, 0.0, axis=1)
    assert (ordered_sum(wider, axis=1) == ordered_sum(VALUES, axis=1)).all()


def test_the_sum_of_nothing_is_zero() -> None:
    assert ordered_sum(np.empty((3, 0)), axis=1).tolist() == [0.0, 0.0, 0.0]
