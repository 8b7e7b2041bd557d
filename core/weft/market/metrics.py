"""Metric panels: facts that are not candles, aligned to rows by the instant they became known."""

from dataclasses import dataclass

import numpy as np

from weft.arrays import FloatPanel, Times
from weft.times import SECOND


@dataclass(frozen=True, slots=True)
class MetricPanel:
    """One metric on the rows of a view.

    Attributes:
        name: canonical metric name.
        times: rows, microseconds since 1970 (time,).
        values: what was known of the metric at each row (time, symbol); NaN where nothing was.
        age_seconds: seconds from the fact's own time to the row (time, symbol).
    """

    name: str
    times: Times
    values: FloatPanel
    age_seconds: FloatPanel


def latest_known(
    event_time: Times, known_at: Times, value: FloatPanel, rows: Times
) -> tuple[FloatPanel, FloatPanel]:
    """Return for each row the newest event known by then, and its age in seconds.

    A correction of the newest event replaces it from the correction's own `known_at` on; a
    correction of an older event, arriving late, never hides the newer one.

    Args:
        event_time: when each fact was true, microseconds (n,).
        known_at: when each fact became known, microseconds (n,).
        value: the facts (n,).
        rows: instants to answer for, ascending (time,).
    """
    if not len(known_at):
        return np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    order = np.lexsort((event_time, known_at))
    event_time, known_at, value = event_time[order], known_at[order], value[order]
    newest = event_time >= np.maximum.accumulate(event_time)
    event_time, known_at, value = event_time[newest], known_at[newest], value[newest]
    at = np.searchsorted(known_at, rows, side="right") - 1
    known = at >= 0
    return (
        np.where(known, value[at], np.nan),
        np.where(known, (rows - event_time[at]) / SECOND, np.nan),
    )
