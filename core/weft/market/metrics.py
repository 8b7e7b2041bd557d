"""Metric panels: observations aligned to rows by the time they became known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weft.domain.instruments import Instrument, Scope
from weft.domain.reconcile import Reconciliation, reconcile
from weft.foundation.arrays import FloatPanel, IntPanel, Times, read_only
from weft.foundation.times import SECOND
from weft.market.facts import FactSeries, Subject
from weft.market.plan import Plan


@dataclass(frozen=True, slots=True)
class MetricPanel:
    """One metric on the rows of a view, read-only.

    Attributes:
        name: canonical metric name.
        times: rows, microseconds since 1970 (time,).
        values: value known at each row (time, symbol); NaN where unknown, and where the newest
            fact is too old to count.
        age_seconds: seconds from the event time of the newest fact to the decision of the row,
            also where the fact is too old (time, symbol).
        sources: number of sources with a fresh value (time, symbol).
        spread: largest fresh value less the smallest, in the metric's unit (time, symbol); NaN
            with fewer than two.
    """

    name: str
    times: Times
    values: FloatPanel
    age_seconds: FloatPanel
    sources: IntPanel
    spread: FloatPanel

    def __post_init__(self) -> None:
        for name in ("values", "age_seconds", "sources", "spread"):
            object.__setattr__(self, name, read_only(getattr(self, name)))

    def last(self, rows: int) -> "MetricPanel":
        """Return the last `rows` rows."""
        kept = slice(max(0, len(self.times) - rows), None)
        return MetricPanel(
            self.name,
            self.times[kept],
            self.values[kept],
            self.age_seconds[kept],
            self.sources[kept],
            self.spread[kept],
        )


def metric_panel(
    name: str,
    facts: Mapping[Subject, FactSeries],
    sources: Sequence[str],
    instruments: Sequence[Instrument],
    reconciliation: Reconciliation,
    plan: Plan,
    rows: Times,
) -> MetricPanel:
    """Return a metric on rows, as known at each row and reconciled over its sources.

    Within one source, facts about an instrument take precedence over facts about its asset, and
    those over facts about the whole market.

    Args:
        name: name of the metric.
        facts: every version of every fact.
        sources: names of the sources, the preferred one first.
        instruments: one per column.
        reconciliation: how sources are reconciled, and how old a value may be.
        plan: decision interval and decision delay.
        rows: closes, microseconds since 1970, ascending (time,).
    """
    present = [s for s in sources if any(subject.source == s for subject in facts)]
    panels = [
        _of_one_source(
            {subject: series for subject, series in facts.items() if subject.source == source},
            instruments,
            rows + plan.delay,
        )
        for source in present
    ]
    oldest = reconciliation.oldest_seconds(name, plan.interval)
    for values, ages in panels:
        values[ages > oldest] = np.nan
    if len(panels) == 1:
        # Most metrics have a single source, which needs no reconciling.
        (values, ages), unknown = panels[0], np.broadcast_to(np.nan, panels[0][0].shape)
        return MetricPanel(name, rows, values, ages, (~np.isnan(values)).view(np.int8), unknown)
    shape = (len(panels), len(rows), len(instruments))
    stacked = np.empty((2, *shape))
    for place, panel in enumerate(panels):
        stacked[0, place], stacked[1, place] = panel
    rule = reconciliation.rule_of(name)
    reconciled = reconcile(rule, stacked[0], stacked[1], plan.interval.micros / SECOND)
    # Where no value counts, the age is that of the newest fact.
    newest = np.fmin.reduce(stacked[1], axis=0, initial=np.nan)
    ages = np.where(reconciled.sources == 0, newest, reconciled.ages)
    return MetricPanel(name, rows, reconciled.values, ages, reconciled.sources, reconciled.spread)


def _of_one_source(
    facts: Mapping[Subject, FactSeries], instruments: Sequence[Instrument], decided: Times
) -> tuple[FloatPanel, FloatPanel]:
    """Return values and ages (time, symbol) that one source had at each time."""
    from weft.market.asof import latest_known  # noqa: PLC0415  # importing numba is slow

    numbers = {(subject.scope, subject.entity): n for n, subject in enumerate(facts)}
    # Facts about the instrument come first, facts about the market last.
    reaching = np.array(
        [
            [
                numbers.get((Scope.INSTRUMENT.value, instrument.symbol), -1),
                numbers.get((Scope.ASSET.value, instrument.base), -1),
                numbers.get((Scope.MARKET.value, ""), -1),
            ]
            for instrument in instruments
        ],
        dtype=np.int64,
    ).reshape(-1, len(Scope))
    series = list(facts.values())
    lengths = [len(one.value) for one in series]
    values, ages = (np.empty((len(decided), len(instruments))) for _ in range(2))
    latest_known(
        np.concatenate([one.event_time for one in series]),
        np.concatenate([one.known_at for one in series]),
        np.concatenate([one.value for one in series]),
        np.cumsum([0, *lengths]),
        reaching,
        decided,
        values,
        ages,
    )
    return values, ages
