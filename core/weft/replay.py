"""Replay: composes recorded signals again, from what the store held when they were made."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

from weft.engine import Engine
from weft.errors import NoDataError
from weft.ledger.ledger import Entry
from weft.signal import Signal, to_json
from weft.times import parse_time


@dataclass(frozen=True, slots=True)
class Replayed:
    """A recorded signal, and what composing again gave.

    Attributes:
        entry: as it was recorded.
        signal: what is composed now; None where the symbol gets no signal.
        differences: fields that differ, such as ``data.provider``; empty where all are alike.
    """

    entry: Entry
    signal: Signal | None
    differences: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the signal was made again, to the last byte."""
        return self.signal is not None and self.signal.id == self.entry.key


def replay(engine: Engine, entries: Iterable[Entry]) -> Iterator[Replayed]:
    """Compose recorded signals again, and yield how each compares.

    Every instant is composed from the rows that the store held when the signal was made: what
    was fetched or corrected later does not count.

    Args:
        engine: of the configuration that made them; with another one they differ, and
            ``versions.config`` among the differences says so.
        entries: of the ledger.
    """
    by_instant = sorted(entries, key=_instant)
    for (as_of, known_by), group in groupby(by_instant, key=_instant):
        try:
            view = engine.view(parse_time(as_of), recorded_by=known_by)
        except NoDataError:
            made = {}
        else:
            made = {s.symbol: s for s in engine.report(engine.compose(view)).signals}
        for entry in group:
            signal = made.get(entry.symbol)
            told = {} if signal is None else orjson.loads(to_json(signal))
            yield Replayed(entry, signal, tuple(_differences(entry.body, told)))


def _instant(entry: Entry) -> tuple[str, int]:
    return entry.as_of, entry.known_by


def _differences(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths at which two plain values differ, but for the id, which follows them."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in sorted({*before, *after}):
            if path or key != "id":
                inner: tuple[Any, Any] = (before.get(key), after.get(key))
                yield from _differences(*inner, f"{path}.{key}" if path else key)
    elif before != after:
        yield path
