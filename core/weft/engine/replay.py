"""Replay: composes recorded signals again, from what the store held when they were made.

What it promises: under the arithmetic that recorded a signal (`weft.foundation.arithmetic`), the
same signal to the last byte. Under another one, another processor or another version of a library,
the same signal to the last byte nearly always, because figures are rounded before they are sealed;
where a figure lies on the edge between two roundings, one that agrees within `TOLERANCE`. What
chooses by a figure, a threshold or a branch of a tree, may choose otherwise where the figure lies
on its edge: such a signal differs, and the fields that differ are named.
"""

from bisect import bisect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any, Final

import orjson

from weft.domain.signal import Signal, to_json
from weft.engine.engine import Engine
from weft.foundation.arithmetic import own_arithmetic
from weft.foundation.errors import NoDataError
from weft.foundation.times import parse_time
from weft.ledger.ledger import Entry
from weft.market.view import View

TOLERANCE: Final = 1e-6
"""How far two figures may be apart that count as equal, as a share of the larger one.

A price may be as small as it likes; any other figure below `SMALLEST` counts as that large.
"""

SMALLEST: Final = 1e-3
_PRICES: Final = frozenset({"entry", "stop_loss", "take_profit"})


class Outcome(StrEnum):
    """How a signal that was composed again compares with the recorded one."""

    IDENTICAL = "identical"
    """To the last byte."""
    EQUAL = "equal within the tolerance"
    """Computed under another arithmetic, and no figure is further off than `TOLERANCE`."""
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs.

    Attributes:
        path: of the field, such as ``layers.technical.score``.
        recorded: its value in the ledger.
        composed: its value now.
        gap: how far two figures are apart, as `TOLERANCE` counts; None where one is no figure.
    """

    path: str
    recorded: object
    composed: object
    gap: float | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded signal, and what composing again gave.

    Attributes:
        entry: as it was recorded.
        signal: what is composed now; None where the symbol gets no signal.
        found: fields that differ; empty where all are alike.
        recorded_under: arithmetic that the ledger notes for the entry; empty where it notes none.
    """

    entry: Entry
    signal: Signal | None
    found: tuple[Difference, ...]
    recorded_under: Mapping[str, str]

    @property
    def same(self) -> bool:
        """Whether the signal was made again, to the last byte."""
        return self.signal is not None and self.signal.id == self.entry.key

    @property
    def outcome(self) -> Outcome:
        """How the two compare. The tolerance is granted to another arithmetic alone."""
        if self.same:
            return Outcome.IDENTICAL
        if self.signal is None or not self.found or self.recorded_under == own_arithmetic():
            return Outcome.DIFFERENT
        within = all(d.gap is not None and d.gap <= TOLERANCE for d in self.found)
        return Outcome.EQUAL if within else Outcome.DIFFERENT

    @property
    def differences(self) -> tuple[str, ...]:
        """Paths of the fields that differ, such as ``data.provider``."""
        return tuple(difference.path for difference in self.found)

    @property
    def largest(self) -> Difference | None:
        """The figure that is furthest off; None where all figures are alike."""
        figures = [d for d in self.found if d.gap is not None]
        return max(figures, key=lambda d: d.gap or 0.0, default=None)


def replay(engine: Engine, entries: Iterable[Entry]) -> Iterator[Replayed]:
    """Compose recorded signals again, and yield how each compares.

    Every instant is composed from the rows that the store held when the signal was made: what
    was fetched or corrected later does not count. A layer or model that gave no answer then is
    skipped, for the same reason.

    Args:
        engine: of the configuration that made them; with another one they differ, and
            ``versions.config`` among the differences says so.
        entries: of the ledger.
    """
    notes = engine.ledger.notes("arithmetic")
    by_instant = sorted(entries, key=_instant)
    for (as_of, known_by, lost), group in groupby(by_instant, key=_instant):
        try:
            view = engine.view(parse_time(as_of), recorded_by=known_by)
        except NoDataError:
            made = {}
        else:
            composed_again = engine.compose_again(view, _lost_then(engine, view, dict(lost)))
            made = {s.symbol: s for s in engine.report(composed_again).signals}
        for entry in group:
            signal = made.get(entry.symbol)
            composed = {} if signal is None else orjson.loads(to_json(signal))
            found = tuple(_differences(entry.body, composed))
            yield Replayed(entry, signal, found, _arithmetic_of(entry, notes))


def _instant(entry: Entry) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    """Return what the signals of one composition have in common."""
    layers = {f"layers.{name}": why for name, why in entry.body.get("missing_layers", {}).items()}
    lost = {**entry.body.get("missing_models", {}), **layers}
    return entry.as_of, entry.known_by, tuple(sorted(lost.items()))


def _lost_then(engine: Engine, view: View, missing: Mapping[str, str]) -> dict[str, str]:
    """Return the components that were called for a recorded signal and gave no answer.

    A model that is missing for the same reason as today, such as not being trained, was not called.
    """
    composition, in_use = engine.composition, engine.in_use(view)
    today = {**composition.silent, **in_use.problems}
    callable_then = {key for key in in_use.learned if key.startswith(("models.", "regime"))}
    return {
        key: why
        for key, why in missing.items()
        if key.startswith("layers.") or (key in callable_then and today.get(key) != why)
    }


def _arithmetic_of(entry: Entry, notes: Sequence[Entry]) -> Mapping[str, str]:
    """Return what the last note before an entry says."""
    place = bisect(notes, entry.seq, key=lambda note: note.seq)
    return notes[place - 1].body if place else {}


def _differences(recorded: object, composed: object, path: str = "") -> Iterator[Difference]:
    """Yield where two plain values differ, but for the id, which follows from the rest."""
    recorded, composed = _by_name(recorded), _by_name(composed)
    if isinstance(recorded, Mapping) and isinstance(composed, Mapping):
        for key in sorted({*recorded, *composed}):
            if path or key != "id":
                inner: tuple[Any, Any] = (recorded.get(key), composed.get(key))
                yield from _differences(*inner, f"{path}.{key}" if path else key)
    elif recorded != composed:
        yield Difference(path, recorded, composed, _gap(recorded, composed, path))


def _by_name(value: object) -> object:
    """Return a list of layers or forecasts as a mapping by name, anything else as it is."""
    if not isinstance(value, list):
        return value
    names = [
        inner.get("name") or inner.get("model") if isinstance(inner, Mapping) else None
        for inner in value
    ]
    return dict(zip(names, value, strict=True)) if all(names) else value


def _gap(recorded: object, composed: object, path: str) -> float | None:
    pair = (recorded, composed)
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in pair):
        return None
    before, after = float(recorded), float(composed)  # type: ignore[arg-type]  # both are numbers
    least = 0.0 if path in _PRICES else SMALLEST
    return abs(before - after) / max(abs(before), abs(after), least)
