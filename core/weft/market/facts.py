"""Observations in memory: every version of the facts that views use."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import polars as pl

from weft.domain.vocabulary import PAID_OVER
from weft.foundation.arrays import Floats, Times
from weft.foundation.times import Interval
from weft.market.rates import over_span
from weft.store.store import Store


class Subject(NamedTuple):
    """Source and entity of a series of facts."""

    source: str
    scope: str
    entity: str


@dataclass(frozen=True, slots=True)
class FactSeries:
    """Versions of one source's facts about one entity, in the order they became known.

    Attributes:
        event_time: time of each fact, microseconds since 1970 (n,).
        known_at: when each fact became known, ascending (n,).
        value: the facts (n,).
    """

    event_time: Times
    known_at: Times
    value: Floats

    def merged(self, other: "FactSeries") -> "FactSeries":
        """Return the facts of both series in order."""
        return _in_order(
            np.concatenate([self.event_time, other.event_time]),
            np.concatenate([self.known_at, other.known_at]),
            np.concatenate([self.value, other.value]),
        )

    def over_span(self, micros: int) -> "FactSeries":
        """Return paid rates scaled to a span (see `weft.market.rates`)."""
        return replace(self, value=over_span(self.event_time, self.known_at, self.value, micros))


class Facts:
    """Cache of facts by metric, from the earliest requested time on.

    Facts are stored as their sources state them. Rates that are paid at varying intervals are
    returned scaled to one span (see `weft.domain.vocabulary.PAID_OVER`); their whole history stays
    in memory, since scaling a payment needs the previous one.

    Args:
        store: where the facts are.
        sources: names of the sources to read.
    """

    def __init__(self, store: Store, sources: Sequence[str]) -> None:
        self._store = store
        self._sources = tuple(sources)
        self._since: dict[str, int] = {}
        self._cached: dict[str, dict[Subject, FactSeries]] = {}
        self._scaled: dict[str, dict[Subject, FactSeries]] = {}
        # New facts must not arrive between reading the store and caching the result.
        self._lock = threading.Lock()

    def of(self, metric: str, since: int) -> Mapping[Subject, FactSeries]:
        """Return the facts of a metric that were current at a time, and all later ones.

        Args:
            metric: name of the metric.
            since: the time, microseconds since 1970; facts known earlier may be missing.
        """
        with self._lock:
            is_rate = metric in PAID_OVER
            if metric not in self._cached or (since < self._since[metric] and not is_rate):
                first = None if is_rate else since
                rows = self._store.observations(metric, self._sources, since=first)
                self._cached[metric], self._since[metric] = _split(rows), since
                self._scale(metric, self._cached[metric])
            return self._scaled[metric] if is_rate else self._cached[metric]

    def absorb(self, rows: pl.DataFrame) -> None:
        """Add observations that were just stored.

        Args:
            rows: rows that the store added.
        """
        for (metric,), part in rows.partition_by("metric", as_dict=True).items():
            with self._lock:
                cached = self._cached.get(str(metric))
                if cached is None:
                    continue
                # A new mapping: another thread may be reading the old one.
                added = {
                    subject: cached[subject].merged(series) if subject in cached else series
                    for subject, series in _split(part).items()
                }
                self._cached[str(metric)] = {**cached, **added}
                self._scale(str(metric), added)

    def _scale(self, metric: str, changed: Mapping[Subject, FactSeries]) -> None:
        """Scale changed series of a metric whose facts are paid rates."""
        if metric in PAID_OVER:
            span = Interval.parse(PAID_OVER[metric]).micros
            scaled = {subject: series.over_span(span) for subject, series in changed.items()}
            self._scaled[metric] = {**self._scaled.get(metric, {}), **scaled}


def _split(rows: pl.DataFrame) -> dict[Subject, FactSeries]:
    parts = rows.partition_by("source", "scope", "entity", as_dict=True)
    return {
        Subject(*map(str, key)): _in_order(
            part["event_time"].to_physical().to_numpy(),
            part["known_at"].to_physical().to_numpy(),
            part["value"].to_numpy(),
        )
        for key, part in parts.items()
    }


def _in_order(event_time: Times, known_at: Times, value: Floats) -> FactSeries:
    order = np.lexsort((event_time, known_at))
    return FactSeries(event_time[order], known_at[order], value[order])
