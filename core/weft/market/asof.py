"""As-of join: the newest fact known at each row, in one pass over rows and facts."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, Floats, Times


@njit(cache=True, nogil=True)
def latest_known(
    event_time: Times,
    known_at: Times,
    value: Floats,
    begins: Times,
    subjects: NDArray[np.int64],
    rows: Times,
    values: FloatPanel,
    ages: FloatPanel,
) -> None:
    """Fill panels with the newest event known at each row, and its age in seconds.

    A correction of the newest event replaces it from the `known_at` of the correction; a late
    correction of an older event does not hide the newer event. Unknown cells are NaN.

    Args:
        event_time: time of each fact, microseconds, grouped by subject (n,).
        known_at: when each fact became known, ascending within a subject, microseconds (n,).
        value: the facts (n,).
        begins: index of the first fact of each subject, and the end of the last (subject + 1,).
        subjects: subjects that apply to each column, highest priority first; -1 for none
            (column, rank).
        rows: times of the rows, ascending (time,).
        values: output (time, column).
        ages: output (time, column).
    """
    count = len(begins) - 1
    at = begins[:count].copy()
    newest = np.full(count, np.int64(-(2**63)))
    current = np.full(count, np.nan)
    for row in range(len(rows)):
        now = rows[row]
        for subject in range(count):
            k = at[subject]
            while k < begins[subject + 1] and known_at[k] <= now:
                if event_time[k] >= newest[subject]:
                    newest[subject], current[subject] = event_time[k], value[k]
                k += 1
            at[subject] = k
        for column in range(values.shape[1]):
            newest_value, age = np.nan, np.nan
            for rank in range(subjects.shape[1]):
                subject = subjects[column, rank]
                if subject >= 0 and not np.isnan(current[subject]):
                    newest_value, age = current[subject], (now - newest[subject]) / 1e6
                    break
            values[row, column] = newest_value
            ages[row, column] = age
