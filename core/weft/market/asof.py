"""The as-of join: for each row the newest fact known by then, in one pass over rows and facts."""

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

    A correction of the newest event replaces it from the correction's own `known_at` on; a
    correction of an older event, arriving late, never hides the newer one. Cells of which nothing
    was known become NaN.

    Args:
        event_time: when each fact was true, microseconds, one subject's after the other's (n,).
        known_at: when each fact became known, ascending within a subject, microseconds (n,).
        value: the facts (n,).
        begins: where the facts of each subject begin, and the end of the last (subject + 1,).
        subjects: for each column the subjects whose facts reach it, the one that counts most
            first; -1 for none (column, rank).
        rows: instants to answer for, ascending (time,).
        values: filled (time, column).
        ages: filled (time, column).
    """
    count = len(begins) - 1
    at = begins[:count].copy()
    newest = np.full(count, np.int64(-(2**63)))
    held = np.full(count, np.nan)
    for row in range(len(rows)):
        now = rows[row]
        for subject in range(count):
            k = at[subject]
            while k < begins[subject + 1] and known_at[k] <= now:
                if event_time[k] >= newest[subject]:
                    newest[subject], held[subject] = event_time[k], value[k]
                k += 1
            at[subject] = k
        for column in range(values.shape[1]):
            found, age = np.nan, np.nan
            for rank in range(subjects.shape[1]):
                subject = subjects[column, rank]
                if subject >= 0 and not np.isnan(held[subject]):
                    found, age = held[subject], (now - newest[subject]) / 1e6
                    break
            values[row, column] = found
            ages[row, column] = age
