"""Where a value stands in its own history, as that was known then."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel


def sample_rows(first_index: int, rows: int, spacing: int) -> NDArray[np.int64]:
    """Return the rows of a panel that serve as history: those the calendar says, ascending.

    Args:
        first_index: grid index of the panel's first row (`Interval.index` of its time).
        rows: number of rows.
        spacing: rows from one sample to the next.
    """
    return np.arange(-first_index % spacing, rows, spacing, dtype=np.int64)


def stand(
    values: FloatPanel,
    history: FloatPanel,
    at: NDArray[np.int64],
    sampled: NDArray[np.int64],
    *,
    window: int,
    least: int,
) -> FloatPanel:
    """Return where each value stands among the samples before it, from -1 to +1.

    It is 2 * u - 1, where u is the mid-rank of the value among the samples of the last `window`
    rows and itself, over their number: the share that is less, and half of what is equal. 0 is
    the middle of the history, whatever its distribution; an outlier in it counts as one sample.

    Args:
        values: asked about (asked, symbol).
        history: the samples (sample, symbol); NaN where unknown.
        at: the row of each value (asked,), ascending.
        sampled: the row of each sample (sample,), ascending. Only those before a value's own row
            count for it.
        window: rows looked back over.
        least: samples that must be known.

    Returns:
        (asked, symbol); NaN where the value is unknown, where too few samples are known, and where
        value and samples are all equal: what never moved says nothing.
    """
    first = np.searchsorted(sampled, at - window)
    last = np.searchsorted(sampled, at)
    out = np.empty_like(values)
    _stand(np.ascontiguousarray(values), np.ascontiguousarray(history), first, last, least, out)
    return out


@njit(cache=True, nogil=True, error_model="numpy")
def _stand(
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
            says = (known[k] >= least) & (below[k] + above[k] > 0.0)
            says &= values[row, k] - values[row, k] == 0.0
            out[row, k] = (below[k] - above[k]) / (known[k] + 1.0) if says else np.nan
