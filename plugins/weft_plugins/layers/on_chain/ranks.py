"""Mid-ranks of values among their history, as it was known then."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel


def sample_rows(first_index: int, rows: int, spacing: int) -> NDArray[np.int64]:
    """Return the rows of a panel that are sampled as history, at fixed calendar indices, ascending.

    Args:
        first_index: grid index of the panel's first row (`Interval.index` of its time).
        rows: number of rows.
        spacing: rows from one sample to the next.
    """
    return np.arange(-first_index % spacing, rows, spacing, dtype=np.int64)


def rank_in_history(
    values: FloatPanel,
    history: FloatPanel,
    at: NDArray[np.int64],
    sampled: NDArray[np.int64],
    *,
    window: int,
    least: int,
) -> FloatPanel:
    """Return the rank of each value among the samples before it, from -1 to +1.

    It is 2 * u - 1, where u is the mid-rank (Kendall 1945, The treatment of ties in ranking
    problems) of the value among the samples of the last `window` rows and itself, over their
    number. 0 is the median of the history, whatever its distribution; an outlier counts as one
    sample.

    Args:
        values: to be ranked (value, symbol).
        history: the samples (sample, symbol); NaN where unknown.
        at: the row of each value (value,), ascending.
        sampled: the row of each sample (sample,), ascending. A value is ranked among samples of
            earlier rows.
        window: length of the history, rows.
        least: samples that must be known.

    Returns:
        Ranks (value, symbol); NaN where the value is unknown, where too few samples are known, and
        where value and samples are all equal.
    """
    first = np.searchsorted(sampled, at - window)
    last = np.searchsorted(sampled, at)
    out = np.empty_like(values)
    _fill_ranks(
        np.ascontiguousarray(values), np.ascontiguousarray(history), first, last, least, out
    )
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_ranks(
    values: FloatPanel,
    history: FloatPanel,
    first: NDArray[np.int64],
    last: NDArray[np.int64],
    least: int,
    out: FloatPanel,
) -> None:
    columns = values.shape[1]
    below, above, known = np.zeros(columns), np.zeros(columns), np.zeros(columns)
    for row in range(len(values)):
        below[:] = 0.0
        above[:] = 0.0
        known[:] = 0.0
        for sample in range(first[row], last[row]):
            for k in range(columns):
                value, past = values[row, k], history[sample, k]
                # A comparison with NaN is false.
                below[k] += 1.0 if past < value else 0.0
                above[k] += 1.0 if past > value else 0.0
                known[k] += 1.0 if past - past == 0.0 else 0.0
        for k in range(columns):
            is_ranked = (known[k] >= least) & (below[k] + above[k] > 0.0)
            is_ranked &= values[row, k] - values[row, k] == 0.0
            out[row, k] = (below[k] - above[k]) / (known[k] + 1.0) if is_ranked else np.nan
