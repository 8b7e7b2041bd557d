"""Facts in memory: every version of the observations that views ask for."""

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
    """Whose facts are meant, and who says so."""

    source: str
    scope: str
    entity: str


@dataclass(frozen=True, slots=True)
class FactSeries:
    """Versions of one source's facts about one entity, in the order they became known.

    Attributes:
        event_time: when each was true, microseconds since 1970 (n,).
        known_at: when each became known, ascending (n,).
        value: the facts (n,).
    """

    event_time: Times
    known_at: Times
    value: Floats

    def joined(self, other: "FactSeries") -> "FactSeries":
        """Return the facts of both."""
        return _in_order(
            np.concatenate([self.event_time, other.event_time]),
            np.concatenate([self.known_at, other.known_at]),
            np.concatenate([self.value, other.value]),
        )

    def over_span(self, micros: int) -> "FactSeries":
        """Return paid rates as what would be paid over a span (see `weft.market.rates`)."""
        return replace(self, value=over_span(self.event_time, self.known_at, self.value, micros))


class Facts:
    """Keeps of each metric what is asked for, and what comes after it.

    Facts are kept as their sources tell them. Of rates paid over one interval or another, what is
    given out is scaled to one span (see `weft.domain.vocabulary.PAID_OVER`); all of their history
    is kept, for a rate can be scaled only beside the payment before it.

    Args:
        store: where the facts are.
        sources: names of the sources to read.
    """

    def __init__(self, store: Store, sources: Sequence[str]) -> None:
        self._store = store
        self._sources = tuple(sources)
        self._since: dict[str, int] = {}
        self._held: dict[str, dict[Subject, FactSeries]] = {}
        self._scaled: dict[str, dict[Subject, FactSeries]] = {}
        # Between reading the store and holding what was read, nothing may be taken in.
        self._lock = threading.Lock()

    def of(self, metric: str, since: int) -> Mapping[Subject, FactSeries]:
        """Return the facts about a metric that tell what was known at an instant, and after it.

        Args:
            metric: which one.
            since: the instant, microseconds since 1970; what was known before it may be missing.
        """
        with self._lock:
            is_rate = metric in PAID_OVER
            if metric not in self._held or (since < self._since[metric] and not is_rate):
                first = None if is_rate else since
                rows = self._store.observations(metric, self._sources, since=first)
                self._held[metric], self._since[metric] = _split(rows), since
                self._scale(metric, self._held[metric])
            return self._scaled[metric] if is_rate else self._held[metric]

    def take_in(self, rows: pl.DataFrame) -> None:
        """Add observations that were just stored.

        Args:
            rows: as the store added them.
        """
        for (metric,), part in rows.partition_by("metric", as_dict=True).items():
            with self._lock:
                held = self._held.get(str(metric))
                if held is None:
                    continue
                # A new mapping, so that whoever reads the old one meanwhile is not disturbed.
                added = {
                    subject: held[subject].joined(series) if subject in held else series
                    for subject, series in _split(part).items()
                }
                self._held[str(metric)] = {**held, **added}
                self._scale(str(metric), added)

    def _scale(self, metric: str, changed: Mapping[Subject, FactSeries]) -> None:
        """Scale the series that changed, of a metric whose facts are paid rates."""
        if metric in PAID_OVER:
            span = Interval.parse(PAID_OVER[metric]).micros
            scaled = {subject: one.over_span(span) for subject, one in changed.items()}
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
