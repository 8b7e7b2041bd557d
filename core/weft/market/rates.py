"""Scales rates that are paid every 8, 4 or 1 hours to one span, so that they compare."""

from bisect import bisect_left, insort

import numpy as np

from weft.foundation.arrays import Floats, Times
from weft.foundation.times import HOUR

_LEAST = HOUR // 2
"""Facts closer together are samples of a rate, not payments."""


def over_span(event_time: Times, known_at: Times, value: Floats, span: int) -> Floats:
    """Return paid rates scaled to `span`, each by what was known at its `known_at`.

    A rate pays for the time since the previous payment: 0.01125 % after one hour is 0.09 % over 8
    hours. A rate stays unscaled where that time is longer than `span` (a gap in the history),
    shorter than half an hour (a sample between payments), or unknown.

    Args:
        event_time: time of each payment, microseconds since 1970 (n,).
        known_at: when each became known, ascending; among equals the earlier payment first (n,).
        value: rates as paid (n,).
        span: microseconds.
    """
    gaps = event_time - _paid_before(event_time, known_at)
    hours = np.rint(gaps / HOUR)
    is_interval = (gaps >= _LEAST) & (hours * HOUR <= span)
    return np.where(is_interval, value * span / (np.maximum(hours, 1.0) * HOUR), value)


def _paid_before(event_time: Times, known_at: Times) -> Times:
    """Return the time of the previous payment, as known then; far in the past for none."""
    never = np.iinfo(np.int64).min // 2
    if (np.diff(event_time) > 0).all():
        return np.concatenate([[never], event_time[:-1]])[: len(event_time)]
    before, paid = np.empty_like(event_time), list[int]()
    start = 0
    while start < len(event_time):
        # Payments that became known at the same time are known to each other.
        end = int(np.searchsorted(known_at, known_at[start], side="right"))
        for at in event_time[start:end].tolist():
            insort(paid, at)
        for row in range(start, end):
            place = bisect_left(paid, int(event_time[row]))
            before[row] = paid[place - 1] if place else never
        start = end
    return before
