"""Correlation matrices are repaired by the nearest one, and refused where they are none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.foundation.errors import ComponentError
from weft_plugins.risks.portfolio.correlations import repaired_correlation

THREE = np.array([[1.0, 0.8, -0.3], [0.8, 1.0, 0.1], [-0.3, 0.1, 1.0]])


def test_highams_example() -> None:
    # Higham 2002, section 4: distance 0.5278, entries 0.7607 and 0.1573.
    broken = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    found = repaired_correlation(broken)
    assert found.was_repaired
    assert found.distance == pytest.approx(0.5278, abs=1e-4)
    expected = [[1.0, 0.7607, 0.1573], [0.7607, 1.0, 0.7607], [0.1573, 0.7607, 1.0]]
    np.testing.assert_allclose(found.matrix, expected, atol=1e-4)
    assert found.least_before < 0.0
    assert found.largest_change == pytest.approx(0.2393, abs=1e-4)


@given(seed=st.integers(0, 10_000), size=st.integers(2, 7))
def test_a_repaired_matrix_can_be_drawn_from_and_is_close(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    broken = rng.uniform(-1, 1, (size, size))
    broken = np.triu(broken, 1)
    broken += broken.T + np.eye(size)
    found = repaired_correlation(broken)
    np.testing.assert_array_equal(np.diag(found.matrix), 1.0)
    np.testing.assert_array_equal(found.matrix, found.matrix.T)
    assert found.least_after > 0.0
    np.linalg.cholesky(found.matrix)
    # Cutting eigenvalues off and scaling back to the diagonal is a correlation matrix too.
    values, vectors = np.linalg.eigh(broken)
    cut = (vectors * np.maximum(values, 1e-8)) @ vectors.T
    scale = np.sqrt(np.diag(cut))
    clipped = cut / np.outer(scale, scale)
    assert found.distance <= np.linalg.norm(clipped - broken) + 1e-5


def test_a_sound_matrix_is_left_alone() -> None:
    found = repaired_correlation(THREE)
    assert not found.was_repaired
    np.testing.assert_array_equal(found.matrix, THREE)


@pytest.mark.parametrize(
    "matrix",
    [
        np.ones((2, 3)),
        np.zeros((0, 0)),
        np.array([[1.0, 0.5], [0.4, 1.0]]),
        np.array([[1.0, 2.0], [2.0, 1.0]]),
        np.array([[0.5, 0.0], [0.0, 1.0]]),
        np.array([[1.0, np.nan], [np.nan, 1.0]]),
    ],
)
def test_what_are_no_correlations_is_refused(matrix: np.ndarray) -> None:
    with pytest.raises(ComponentError, match="correlations"):
        repaired_correlation(matrix)
