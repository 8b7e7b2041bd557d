"""Metric panels: facts that are not candles, aligned to rows by the instant they became known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weft.arrays import FloatPanel, IntPanel, Times, read_only
from weft.market.facts import FactSeries, Subject
from weft.market.instruments import Instrument, Scope
from weft.market.plan import Plan
from weft.market.reconcile import Rule, reconcile
from weft.times import SECOND


@dataclass(frozen=True, slots=True)
class MetricPanel:
    """One metric on the rows of a view.

    Attributes:
        name: canonical metric name.
        times: rows, microseconds since 1970 (time,).
        values: what was known of the metric at each row (time, symbol); NaN where nothing was.
        age_seconds: seconds from the fact's own time to the row's decision (time, symbol).
        sources: how many sources gave a value that is fresh enough (time, symbol).
        spread: the largest of these less the smallest, in the metric's unit (time, symbol); NaN
            where fewer than two gave one.
    """

    name: str
    times: Times
    values: FloatPanel
    age_seconds: FloatPanel
    sources: IntPanel
    spread: FloatPanel

    def last(self, rows: int) -> "MetricPanel":
        """Return the last `rows` rows, to be read only."""
        kept = slice(max(0, len(self.times) - rows), None)
        panels = (self.values, self.age_seconds, self.sources, self.spread)
        values, ages, sources, spread = (read_only(panel[kept]) for panel in panels)
        return MetricPanel(self.name, self.times[kept], values, ages, sources, spread)


def metric_panel(
    name: str,
    facts: Mapping[Subject, FactSeries],
    sources: Sequence[str],
    instruments: Sequence[Instrument],
    rows: Times,
    rule: Rule,
    plan: Plan,
) -> MetricPanel:
    """Return a metric on rows: what each source knew by then, reconciled.

    A fact about an instrument hides one about its asset, and that one about the whole market,
    where one source gives several.

    Args:
        name: of the metric.
        facts: every version of every fact.
        sources: names of the sources, the preferred one first.
        instruments: one per column.
        rows: closes, microseconds since 1970, ascending (time,).
        rule: how sources are reconciled.
        plan: says how long the decision interval is, and when its decision is taken.
    """
    columns = _columns(instruments)
    telling = [s for s in sources if any(subject.source == s for subject in facts)]
    shape = (len(telling), len(rows), len(instruments))
    values, ages = np.full(shape, np.nan), np.full(shape, np.nan)
    decided = rows + plan.delay
    for place, source in enumerate(telling):
        mine = (subject for subject in facts if subject.source == source)
        for subject in sorted(mine, key=_how_particular):
            reached = columns.get((subject.scope, subject.entity), [])
            if not reached:
                continue
            value, event = _known(facts[subject], decided)
            known = ~np.isnan(value)
            cells = np.ix_(known, np.array(reached, dtype=np.intp))
            values[place][cells] = value[known, None]
            ages[place][cells] = ((decided - event) / SECOND)[known, None]
    found = reconcile(rule, values, ages, plan.interval.micros / SECOND)
    return MetricPanel(name, rows, found.values, found.ages, found.sources, found.spread)


def _known(series: FactSeries, rows: Times) -> tuple[FloatPanel, Times]:
    from weft.market.asof import latest_known  # noqa: PLC0415 - numba takes long to import

    found: tuple[FloatPanel, Times] = latest_known(
        series.event_time, series.known_at, series.value, rows
    )
    return found


def _columns(instruments: Sequence[Instrument]) -> dict[tuple[str, str], list[int]]:
    """Return the columns that a fact reaches, by scope and entity."""
    reached: dict[tuple[str, str], list[int]] = {
        (Scope.MARKET.value, ""): list(range(len(instruments)))
    }
    for column, instrument in enumerate(instruments):
        reached.setdefault((Scope.ASSET.value, instrument.base), []).append(column)
        reached.setdefault((Scope.INSTRUMENT.value, instrument.symbol), []).append(column)
    return reached


def _how_particular(subject: Subject) -> tuple[int, str]:
    """Return a key that sorts the market's facts first, and an instrument's own last."""
    return list(Scope)[::-1].index(Scope(subject.scope)), subject.entity
