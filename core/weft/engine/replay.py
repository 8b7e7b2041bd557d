"""Replay: composes recorded signals again, from the rows stored when they were composed.

Under the arithmetic that recorded a signal (`weft.foundation.arithmetic`), a replay gives the same
signal to the last byte. Under another processor or version of a library it nearly always does,
because figures are rounded before they are sealed; a figure on the edge between two roundings
agrees within `TOLERANCE`. A threshold or a branch of a tree may decide otherwise for a figure on
its edge: then the signal differs, and the replay names the fields.
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
"""Largest relative difference of two figures that count as equal.

The difference is relative to the larger figure, or to `SMALLEST` if that is larger still and the
figure is no price.
"""

SMALLEST: Final = 1e-3
_PRICES: Final = frozenset({"entry", "stop_loss", "take_profit"})


class Outcome(StrEnum):
    """Result of comparing a signal composed again with the recorded signal."""

    IDENTICAL = "identical"
    """To the last byte."""
    EQUAL = "equal within the tolerance"
    """Computed under another arithmetic, with every figure within `TOLERANCE`."""
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field that differs.

    Attributes:
        path: of the field, such as ``layers.technical.score``.
        recorded: its value in the ledger.
        composed: its value now.
        gap: relative difference of two figures, as in `TOLERANCE`; None for other values.
    """

    path: str
    recorded: object
    composed: object
    gap: float | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded signal, and the same signal composed again.

    Attributes:
        entry: the recorded signal.
        signal: the signal composed again; None where the symbol gets no signal now.
        fields: that differ.
        recorded_under: arithmetic noted in the ledger for the entry; empty without a note.
    """

    entry: Entry
    signal: Signal | None
    fields: tuple[Difference, ...]
    recorded_under: Mapping[str, str]

    @property
    def same(self) -> bool:
        """Whether the signals are equal to the last byte."""
        return self.signal is not None and self.signal.id == self.entry.key

    @property
    def outcome(self) -> Outcome:
        """Result of the comparison; only another arithmetic is granted the tolerance."""
        if self.same:
            return Outcome.IDENTICAL
        if self.signal is None or not self.fields or self.recorded_under == own_arithmetic():
            return Outcome.DIFFERENT
        within = all(d.gap is not None and d.gap <= TOLERANCE for d in self.fields)
        return Outcome.EQUAL if within else Outcome.DIFFERENT

    @property
    def differences(self) -> tuple[str, ...]:
        """Paths of the fields that differ, such as ``data.provider``."""
        return tuple(difference.path for difference in self.fields)

    @property
    def largest(self) -> Difference | None:
        """The difference with the largest gap; None where no figure differs."""
        figures = [d for d in self.fields if d.gap is not None]
        return max(figures, key=lambda d: d.gap or 0.0, default=None)


def replay(engine: Engine, entries: Iterable[Entry]) -> Iterator[Replayed]:
    """Compose recorded signals again, and yield each comparison.

    Every instant is composed from the rows stored when the signal was composed, without rows that
    were fetched or corrected later. A layer or model that gave no answer then is skipped.

    Args:
        engine: of the configuration that recorded the signals; under another configuration they
            differ, among others in ``versions.config``.
        entries: of the ledger.
    """
    notes = engine.ledger.notes("arithmetic")
    by_instant = sorted(entries, key=_instant)
    for (as_of, known_by, lost), group in groupby(by_instant, key=_instant):
        try:
            view = engine.view(parse_time(as_of), recorded_by=known_by)
        except NoDataError:
            signals = {}
        else:
            composed_again = engine.compose_again(view, _lost_then(engine, view, dict(lost)))
            signals = {s.symbol: s for s in engine.report(composed_again).signals}
        for entry in group:
            signal = signals.get(entry.symbol)
            composed = {} if signal is None else orjson.loads(to_json(signal))
            differing = tuple(_differences(entry.body, composed))
            yield Replayed(entry, signal, differing, _arithmetic_of(entry, notes))


def _instant(entry: Entry) -> tuple[str, int, tuple[tuple[str, str], ...]]:
    """Return the row, the latest known data and the lost components of a composition."""
    layers = {f"layers.{name}": why for name, why in entry.body.get("missing_layers", {}).items()}
    lost = {**entry.body.get("missing_models", {}), **layers}
    return entry.as_of, entry.known_by, tuple(sorted(lost.items()))


def _lost_then(engine: Engine, view: View, missing: Mapping[str, str]) -> dict[str, str]:
    """Return the components that a recorded composition called without an answer, and why.

    A model that is missing for the same reason today, such as not being trained, was not called.
    """
    composition, active = engine.composition, engine.active_artifacts(view)
    today = {**composition.missing_models, **active.problems}
    callable_then = {key for key in active.learned if key.startswith(("models.", "regime"))}
    return {
        key: why
        for key, why in missing.items()
        if key.startswith("layers.") or (key in callable_then and today.get(key) != why)
    }


def _arithmetic_of(entry: Entry, notes: Sequence[Entry]) -> Mapping[str, str]:
    """Return the arithmetic of the last note before an entry."""
    place = bisect(notes, entry.seq, key=lambda note: note.seq)
    return notes[place - 1].body if place else {}


def _differences(recorded: object, composed: object, path: str = "") -> Iterator[Difference]:
    """Yield the fields in which two plain values differ, without the id, a digest of the rest."""
    recorded, composed = _by_name(recorded), _by_name(composed)
    if isinstance(recorded, Mapping) and isinstance(composed, Mapping):
        for key in sorted({*recorded, *composed}):
            if path or key != "id":
                inner: tuple[Any, Any] = (recorded.get(key), composed.get(key))
                yield from _differences(*inner, f"{path}.{key}" if path else key)
    elif recorded != composed:
        yield Difference(path, recorded, composed, _gap(recorded, composed, path))


def _by_name(value: object) -> object:
    """Return a list of layers or forecasts as a mapping by name, other values unchanged."""
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
