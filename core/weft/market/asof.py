"""The as-of join: for each row the newest fact known by then, in one pass over both."""

from typing import Any

import numpy as np
from numba import njit

from weft.arrays import Floats, Times


@njit(cache=True, nogil=True)
def latest_known(event_time: Times, known_at: Times, value: Floats, rows: Times) -> Any:  # noqa: ANN401 - what a numba dispatcher returns
    """Return for each row the newest event known by then, and when it was true.

    A correction of the newest event replaces it from the correction's own `known_at` on; a
    correction of an older event, arriving late, never hides the newer one.

    Args:
        event_time: when each fact was true, microseconds (n,).
        known_at: when each fact became known, ascending, microseconds (n,).
        value: the facts (n,).
        rows: instants to answer for, ascending (time,).

    Returns:
        The values (time,), NaN where nothing was known; and their event times (time,).
    """
    values = np.empty(len(rows))
    events = np.empty(len(rows), dtype=np.int64)
    newest, held, at = np.int64(-(2**63)), np.nan, 0
    for row in range(len(rows)):
        while at < len(known_at) and known_at[at] <= rows[row]:
            if event_time[at] >= newest:
                newest, held = event_time[at], value[at]
            at += 1
        values[row], events[row] = held, newest
    return values, events
