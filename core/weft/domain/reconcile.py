"""Reconciling: several sources of one metric become one panel, and their disagreement shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from weft.domain.vocabulary import METRICS
from weft.foundation.arrays import FloatPanel, IntPanel
from weft.foundation.times import SECOND, Interval

_PATIENCE = 3.0
"""A source is passed over where its value is so many times as old as the freshest one."""


_INTERVALS_OLD = 4
"""So many usual intervals after its time, a value says nothing of now."""


class Rule(StrEnum):
    """Which value counts where several sources give one.

    A source whose value is more than three times as old as the freshest one, counted from a
    decision interval on, is passed over in each of them: it has stopped.
    """

    PRIORITY = "priority"
    """That of the source that stands first in config.yaml."""
    FRESHEST = "freshest"
    """The one whose event is newest; of equals the preferred source's."""
    MEDIAN = "median"
    """The middle of all, which one source that is far off does not move."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """How the sources of each metric are reconciled.

    Attributes:
        rule: for all metrics that have none of their own.
        metrics: rules of single metrics, by name.
        max_age: age from which on a value of a metric is unknown, by name, where it is not what
            the vocabulary lets expect.
    """

    rule: Rule = Rule.PRIORITY
    metrics: Mapping[str, Rule] = field(default_factory=dict)
    max_age: Mapping[str, Interval] = field(default_factory=dict)

    def rule_of(self, metric: str) -> Rule:
        """Return the rule that holds for a metric."""
        return self.metrics.get(metric, self.rule)

    def oldest_seconds(self, metric: str, interval: Interval) -> float:
        """Return up to which age a value of a metric counts; infinite where nothing says so.

        That is `max_age`, or a few of the metric's usual intervals (`weft.domain.vocabulary`),
        counted from a decision interval on.

        Args:
            metric: its name.
            interval: the decision interval.
        """
        if metric in self.max_age:
            return self.max_age[metric].micros / SECOND
        known = METRICS.get(metric)
        if known is None:
            return np.inf
        return _INTERVALS_OLD * max(known.every.micros, interval.micros) / SECOND


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What several sources say together; panels are (time, symbol).

    Attributes:
        values: what counts; NaN where no source knows anything.
        ages: seconds since it was true.
        sources: how many gave a value that is fresh enough.
        spread: largest less smallest of these; NaN where there are fewer than two.
    """

    values: FloatPanel
    ages: FloatPanel
    sources: IntPanel
    spread: FloatPanel


def reconcile(
    rule: Rule, values: NDArray[np.float64], ages: NDArray[np.float64], interval_seconds: float
) -> Reconciled:
    """Return what sources say together. Each row follows from that row alone.

    Args:
        rule: which value counts.
        values: one panel a source, the preferred one first (source, time, symbol).
        ages: seconds since each value was true (source, time, symbol).
        interval_seconds: length of the decision interval.
    """
    if not len(values):
        unknown = np.full(values.shape[1:], np.nan)
        return Reconciled(unknown, unknown, np.zeros(unknown.shape, dtype=np.int8), unknown)
    known = ~np.isnan(values)
    age = np.where(known, ages, np.inf)
    limit = _PATIENCE * np.maximum(age.min(axis=0, initial=np.inf), interval_seconds)
    fresh = known & (age <= limit)
    count = fresh.sum(axis=0).astype(np.int8)
    high = np.where(fresh, values, -np.inf).max(axis=0, initial=-np.inf)
    low = np.where(fresh, values, np.inf).min(axis=0, initial=np.inf)
    spread = np.subtract(high, low, out=np.full(high.shape, np.nan), where=count > 1)
    if rule is Rule.MEDIAN:
        found, its_age = _median(np.where(fresh, values, np.nan), np.where(fresh, ages, np.nan))
    else:
        # Of equals the first counts: that is the preferred one.
        rank = age if rule is Rule.FRESHEST else np.broadcast_to(0.0, age.shape)
        chosen = np.where(fresh, rank, np.inf).argmin(axis=0)[None]
        found = np.take_along_axis(values, chosen, axis=0)[0]
        its_age = np.take_along_axis(ages, chosen, axis=0)[0]
    nothing = count == 0
    return Reconciled(
        np.where(nothing, np.nan, found), np.where(nothing, np.nan, its_age), count, spread
    )


def _median(
    values: NDArray[np.float64], ages: NDArray[np.float64]
) -> tuple[FloatPanel, FloatPanel]:
    """Return the middle value, and the greatest age of those it is made of."""
    order = np.argsort(values, axis=0)  # NaN comes last
    count = (~np.isnan(values)).sum(axis=0)
    low, high = (np.maximum(count - 1, 0) // 2)[None], (count // 2)[None]
    high = np.minimum(high, len(values) - 1)
    picked = [np.take_along_axis(order, at, axis=0) for at in (low, high)]
    pair = [np.take_along_axis(values, at, axis=0)[0] for at in picked]
    old = [np.take_along_axis(ages, at, axis=0)[0] for at in picked]
    return (pair[0] + pair[1]) / 2, np.fmax(*old)
