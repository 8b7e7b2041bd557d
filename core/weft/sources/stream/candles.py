"""Which candles have been handed on: each exactly once, in order, and none after a hole."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from weft.foundation.times import Interval
from weft.sources.stream.events import Candle

_MOST_HELD = 2_000


@dataclass(frozen=True, slots=True)
class Hole:
    """Candles that are missing: those that open from `first` to `last`, both included."""

    symbol: str
    first: int
    last: int


@dataclass(slots=True)
class _Line:
    """Where one symbol's candles have come to.

    Attributes:
        due: open time of the next candle to hand on.
        held: candles beyond it that wait for it, by open time.
        expected: the latest open time that has to be there by now.
        given_up: open times that were passed over, and are welcome if they come after all.
    """

    due: int
    held: dict[int, Candle] = field(default_factory=dict)
    expected: int = 0
    given_up: set[int] = field(default_factory=set)


class CandleLog:
    """Puts closed candles in order, whoever brings them and however often.

    A candle after a hole waits until the hole is filled or given up: were it stored first, a
    restart would resume behind the hole and never fill it.

    Args:
        interval: of the candles.

    Attributes:
        duplicates: candles that had come before.
    """

    def __init__(self, interval: Interval) -> None:
        self.duplicates = 0
        self._step = interval.micros
        self._interval = interval
        self._lines: dict[str, _Line] = {}

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._lines

    def begin(self, symbol: str, known: int) -> list[Candle]:
        """Follow a symbol from after a candle that is stored already, or move on to there.

        Args:
            symbol: whose candles.
            known: open time of its newest stored candle.

        Returns:
            Candles that waited and may be handed on now.
        """
        line = self._lines.setdefault(symbol, _Line(known + self._step))
        return self._move(line, known + self._step)

    def take(self, candle: Candle) -> list[Candle]:
        """Return the candles that may be handed on now that this one has come, in order.

        Nothing comes of candles that are unfinished, had come before, or wait behind a hole, nor of
        symbols that were not begun: their history is not there yet.

        Raises:
            ValueError: it does not open on the grid of the interval.
        """
        line = self._lines.get(candle.symbol)
        if not candle.closed or line is None:
            return []
        opened = candle.open_time
        if self._interval.floor(opened) != opened:
            raise ValueError(f"{candle.symbol}: no {self._interval} candle opens at {opened}")
        if opened in line.given_up:
            line.given_up.discard(opened)
            return [candle]
        if opened < line.due or opened in line.held:
            self.duplicates += 1
            return []
        line.held[opened] = candle
        ready = self._release(line)
        if len(line.held) > _MOST_HELD:
            ready += self.give_up(Hole(candle.symbol, line.due, min(line.held) - self._step))
        return ready

    def expect(self, closed_by: int, symbols: Iterable[str] | None = None) -> None:
        """Say that every candle closed by an instant should be here.

        Args:
            closed_by: microseconds since 1970.
            symbols: of which symbols; None for all.
        """
        last = self._interval.floor(closed_by) - self._step
        for symbol in self._lines if symbols is None else symbols:
            if symbol in self._lines:
                line = self._lines[symbol]
                line.expected = max(line.expected, last)

    def hole(self, symbol: str) -> Hole | None:
        """Return what a symbol misses first; None where it misses nothing that is known of."""
        line = self._lines[symbol]
        last = min(line.held) - self._step if line.held else line.expected
        return Hole(symbol, line.due, last) if last >= line.due else None

    def holes(self) -> list[Hole]:
        """Return the first hole of every symbol that has one."""
        return [hole for symbol in self._lines if (hole := self.hole(symbol)) is not None]

    def give_up(self, hole: Hole) -> list[Candle]:
        """Pass a hole over; return the candles that waited behind it."""
        line = self._lines[hole.symbol]
        passed = range(line.due, hole.last + 1, self._step)
        line.given_up |= set(passed[-_MOST_HELD:])
        while len(line.given_up) > _MOST_HELD:
            line.given_up.discard(min(line.given_up))
        return self._move(line, hole.last + self._step)

    def _move(self, line: _Line, due: int) -> list[Candle]:
        line.due = max(line.due, due)
        for opened in [opened for opened in line.held if opened < line.due]:
            del line.held[opened]
        return self._release(line)

    def _release(self, line: _Line) -> list[Candle]:
        ready = []
        while line.due in line.held:
            ready.append(line.held.pop(line.due))
            line.due += self._step
        return ready
