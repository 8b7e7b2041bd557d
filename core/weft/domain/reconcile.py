"""Reconciles several sources of one metric into one panel, with their disagreement."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from weft.domain.vocabulary import METRICS
from weft.foundation.arrays import FloatPanel, IntPanel
from weft.foundation.times import SECOND, Interval

_PATIENCE = 3.0
"""A source is ignored where its value is more than so many times as old as the freshest."""

_INTERVALS_OLD = 4
"""Number of usual intervals after which a value counts as unknown."""


class Rule(StrEnum):
    """Rule that chooses one value where several sources have one.

    Under every rule, a source is ignored whose value is more than three times as old as the
    freshest (or as one decision interval, if that is longer): the source has stopped.
    """

    PRIORITY = "priority"
    """The value of the source that comes first in config.yaml."""
    FRESHEST = "freshest"
    """The value with the newest event time; among equals, the first source in config.yaml."""
    MEDIAN = "median"
    """The median, which one outlying source does not move."""


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """How the sources of each metric are reconciled.

    Attributes:
        rule: rule of all metrics that are not in `metrics`.
        metrics: rules of single metrics, by name.
        max_age: age from which a value of a metric counts as unknown, by name; overrides the
            limit that follows from the vocabulary.
    """

    rule: Rule = Rule.PRIORITY
    metrics: Mapping[str, Rule] = field(default_factory=dict)
    max_age: Mapping[str, Interval] = field(default_factory=dict)

    def rule_of(self, metric: str) -> Rule:
        """Return the rule of a metric."""
        return self.metrics.get(metric, self.rule)

    def oldest_seconds(self, metric: str, interval: Interval) -> float:
        """Return the greatest age at which a value of a metric counts; infinite without a limit.

        This is `max_age`, or else four of the metric's usual intervals (`weft.domain.vocabulary`),
        at least four decision intervals.

        Args:
            metric: name of the metric.
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
    """One metric after reconciling its sources; panels are (time, symbol).

    Attributes:
        values: chosen values; NaN where no source has one.
        ages: seconds since each value's event time.
        sources: number of sources with a fresh value.
        spread: largest fresh value less the smallest; NaN where there are fewer than two.
    """

    values: FloatPanel
    ages: FloatPanel
    sources: IntPanel
    spread: FloatPanel


def reconcile(
    rule: Rule, values: NDArray[np.float64], ages: NDArray[np.float64], interval_seconds: float
) -> Reconciled:
    """Return one value per cell from several sources. Each row uses that row only.

    Args:
        rule: how to choose.
        values: one panel a source, the preferred one first (source, time, symbol).
        ages: seconds since each value's event time (source, time, symbol).
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
        chosen, chosen_age = _median(np.where(fresh, values, np.nan), np.where(fresh, ages, np.nan))
    else:
        # argmin takes the first of equals, which is the preferred source.
        rank = age if rule is Rule.FRESHEST else np.broadcast_to(0.0, age.shape)
        source = np.where(fresh, rank, np.inf).argmin(axis=0)[None]
        chosen = np.take_along_axis(values, source, axis=0)[0]
        chosen_age = np.take_along_axis(ages, source, axis=0)[0]
    nothing = count == 0
    return Reconciled(
        np.where(nothing, np.nan, chosen), np.where(nothing, np.nan, chosen_age), count, spread
    )


def _median(
    values: NDArray[np.float64], ages: NDArray[np.float64]
) -> tuple[FloatPanel, FloatPanel]:
    """Return the median, and the greatest age of the one or two values behind it."""
    order = np.argsort(values, axis=0)  # NaN comes last
    count = (~np.isnan(values)).sum(axis=0)
    low, high = (np.maximum(count - 1, 0) // 2)[None], (count // 2)[None]
    high = np.minimum(high, len(values) - 1)
    picked = [np.take_along_axis(order, at, axis=0) for at in (low, high)]
    pair = [np.take_along_axis(values, at, axis=0)[0] for at in picked]
    old = [np.take_along_axis(ages, at, axis=0)[0] for at in picked]
    return (pair[0] + pair[1]) / 2, np.fmax(*old)
