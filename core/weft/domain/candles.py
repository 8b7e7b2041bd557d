"""Candle panels: open, high, low, close and volume of many symbols on one time grid."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import count

import numpy as np

from weft.domain.breaks import Aside
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel, IntPanel, RowCounts, Times, read_only
from weft.foundation.times import DAY, MINUTE, SECOND, Interval

FIELDS = ("open", "high", "low", "close", "volume")
_PER_ROW = ("times", *FIELDS, "presence", "rows_since_traded", "aside")

NEVER = 1 << 30
"""Value of `rows_since_traded` for a symbol that never traded, or too long ago to count."""

LONGEST_CLOSURE = 12 * DAY
"""Longest regular closure of a stock market; a series restarts after a longer one."""

_FEWEST_REMEMBERED = 12

_QUIET = 10 * MINUTE
"""Longest time without a candle that counts as time without a trade, between other candles."""

_generations = count(1)


class Presence(IntEnum):
    """Content of one cell of a candle panel, and what an indicator does there."""

    TRADED = 0
    """A candle: the indicator advances."""
    CLOSED = 1
    """The market was closed: the indicator keeps its state and returns NaN."""
    HOLE = 2
    """A candle is missing: the indicator restarts after it."""


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Candles of many symbols, one row per close. Build it with `candles_from_arrays`.

    Attributes:
        interval: length of a candle.
        times: close of each row, microseconds since 1970, a grid without gaps (time,).
        symbols: one name per column.
        open: first price, quote currency (time, symbol); NaN where there is no candle.
        high: highest price.
        low: lowest price.
        close: last price.
        volume: traded quantity in base units.
        presence: content of each cell, as values of `Presence` (time, symbol).
        rows_since_traded: rows from the latest candle to each row, 0 where the row has a candle;
            `NEVER` beyond `remembered_rows`, so that the value does not depend on where a panel
            begins (time, symbol).
        aside: why a candle is ignored, as values of `Aside`; its prices are NaN (time, symbol).
        closable: rows without a candle after which a series counts as broken (symbol,);
            0 for a market that never closes.
        generation: a number that changes whenever rows of earlier panels change; None where no
            later panel continues this one, so that caches release it.
    """

    interval: Interval
    times: Times
    symbols: tuple[str, ...]
    open: FloatPanel
    high: FloatPanel
    low: FloatPanel
    close: FloatPanel
    volume: FloatPanel
    presence: IntPanel
    rows_since_traded: RowCounts
    aside: IntPanel
    closable: RowCounts
    generation: int | None = None

    @property
    def age_seconds(self) -> FloatPanel:
        """Seconds from the latest trade to each row (time, symbol); NaN where `NEVER`."""
        age = self.rows_since_traded * (self.interval.micros / SECOND)
        return np.where(self.rows_since_traded >= NEVER, np.nan, age)

    def marked_close(self) -> FloatPanel:
        """Return the price at which to value a holding on each row, quote currency (time, symbol).

        This is the close; where the market is closed, the last close before. NaN where a candle
        is missing, and where the panel begins after that close.
        """
        if not self.closable.any():
            return self.close
        index = np.arange(len(self), dtype=np.int64)[:, None]
        rows = np.maximum.accumulate(np.where(np.isnan(self.close), -1, index), axis=0)
        last = np.take_along_axis(self.close, np.maximum(rows, 0), axis=0)
        known = (self.presence != Presence.HOLE) & (rows >= 0)
        return np.where(known, last, np.nan)

    def leapt_within(self, rows: int) -> BoolPanel:
        """Return whether the price jumped on a row or the `rows` - 1 rows before (time, symbol).

        A return over `rows` rows is meaningless there.
        """
        leaps = np.cumsum(self.aside == Aside.LEAP, axis=0, dtype=np.int32)
        before = np.zeros_like(leaps)
        before[rows:] = leaps[: max(0, len(leaps) - rows)]
        jumped: BoolPanel = leaps > before
        return jumped

    def tail(self, rows: int) -> "Candles":
        """Return the last rows, with the same generation: later panels continue them too."""
        return replace(self.slice(len(self) - rows, len(self)), generation=self.generation)

    def slice(self, start: int, stop: int) -> "Candles":
        """Return rows `start` to `stop` as a panel that shares memory with this one."""
        rows = {name: getattr(self, name)[start:stop] for name in _PER_ROW}
        return replace(self, generation=None, **rows)

    def __len__(self) -> int:
        return len(self.times)


def new_generation() -> int:
    """Return a generation number that is new in this process."""
    return next(_generations)


def remembered_rows(interval: Interval) -> int:
    """Return the number of rows after which an earlier trade no longer counts: at least 12 days."""
    return max(LONGEST_CLOSURE // interval.micros, _FEWEST_REMEMBERED)


def closable_rows(instruments: Sequence[Instrument], interval: Interval) -> RowCounts:
    """Return the number of rows that each instrument's market may stay closed (symbol,)."""
    rows = LONGEST_CLOSURE // interval.micros
    return np.array([0 if i.always_open else rows for i in instruments], dtype=np.int32)


def find_presence(
    close: FloatPanel, closable: RowCounts, remembered: int, before: RowCounts | None = None
) -> tuple[IntPanel, RowCounts]:
    """Return presence and rows since traded of a close panel, both (time, symbol).

    Args:
        close: closing prices (time, symbol), NaN where there is no candle.
        closable: rows each symbol's market may stay closed (symbol,).
        remembered: rows after which an earlier trade no longer counts.
        before: rows since the last trade before the panel (symbol,); None where there was none.
    """
    traded = ~np.isnan(close)
    row = np.arange(len(close), dtype=np.int32)[:, None]
    # Row of the latest trade; those before the panel count down from -1.
    latest = np.where(traded, row, np.int32(-1) - (np.int32(NEVER) if before is None else before))
    since = row - np.maximum.accumulate(latest, axis=0)
    since[since > remembered] = NEVER
    return _presence(traded, since, closable), since


def mark_aside(presence: IntPanel, aside: IntPanel, closable: RowCounts) -> None:
    """Write into presences what candles that do not count are to indicators (time, symbol).

    A series restarts after a jump. A halt counts as a closure in a market with sessions; the
    series of a market that never closes restarts when it trades again.
    """
    idle = (aside == Aside.IDLE) & (closable > 0)
    presence[aside != Aside.COUNTS] = Presence.HOLE
    presence[idle] = Presence.CLOSED


def _presence(traded: BoolPanel, since: RowCounts, closable: RowCounts) -> IntPanel:
    presence = np.full(traded.shape, Presence.HOLE, dtype=np.int8)
    presence[since <= closable] = Presence.CLOSED
    presence[traded] = Presence.TRADED
    return presence


def candles_from_arrays(
    interval: Interval,
    times: Times,
    instruments: Sequence[Instrument],
    columns: dict[str, FloatPanel],
    before: RowCounts | None = None,
    aside: IntPanel | None = None,
) -> Candles:
    """Build a read-only panel from arrays.

    Args:
        interval: length of a candle.
        times: close of each row, microseconds since 1970 (time,).
        instruments: one per column.
        columns: open, high, low, close and volume, each (time, symbol), C-contiguous float64.
        before: rows since the last trade of each symbol before the panel (symbol,); None where
            none traded.
        aside: why candles are ignored, as values of `Aside` (time, symbol); their prices in
            `columns` are set to NaN. None where none is ignored.
    """
    closable = closable_rows(instruments, interval)
    symbols = tuple(i.symbol for i in instruments)
    presence, since = find_presence(columns["close"], closable, remembered_rows(interval), before)
    if aside is None:
        aside = np.zeros(presence.shape, dtype=np.int8)
    else:
        mark_aside(presence, aside, closable)
        for panel in columns.values():
            panel[aside != Aside.COUNTS] = np.nan
    return _assemble(interval, times, symbols, columns, closable, (presence, since, aside))


def _assemble(
    interval: Interval,
    times: Times,
    symbols: tuple[str, ...],
    columns: Mapping[str, FloatPanel],
    closable: RowCounts,
    states: tuple[IntPanel, RowCounts, IntPanel],
) -> Candles:
    presence, since, aside = states
    panels = {name: read_only(columns[name]) for name in FIELDS}
    return Candles(
        interval=interval,
        times=read_only(times),
        symbols=symbols,
        **panels,
        presence=read_only(presence),
        rows_since_traded=read_only(since),
        aside=read_only(aside),
        closable=read_only(closable),
        generation=None,
    )


def aggregate(fine: Candles, interval: Interval) -> Candles:
    """Return `fine` candles aggregated into longer ones, each known at its own close.

    In a market that never closes, a long candle needs all of its parts, except for short quiet
    spells (see `_is_complete`); otherwise it is NaN. In a market with sessions, the parts that
    traded make up the long candle. A long candle in which the price jumped is NaN.

    Raises:
        ValueError: the longer interval is no multiple of the shorter.
    """
    if not interval.holds(fine.interval):
        raise ValueError(f"{interval} candles cannot be made of {fine.interval} ones")
    ratio = interval.micros // fine.interval.micros
    opens = int(fine.times[0]) - fine.interval.micros if len(fine) else 0
    first_open = interval.ceil(opens)
    skip = (first_open - opens) // fine.interval.micros
    rows = max(0, (len(fine) - skip) // ratio)
    shape = (rows, ratio, len(fine.symbols))
    parts = {n: getattr(fine, n)[skip : skip + rows * ratio].reshape(shape) for n in FIELDS}
    traded = ~np.isnan(parts["close"])
    asides = fine.aside[skip : skip + rows * ratio].reshape(shape)
    leapt, idle = (asides == Aside.LEAP).any(axis=1), asides == Aside.IDLE
    present = traded | idle
    complete = _is_complete(present, _QUIET // fine.interval.micros)
    whole = traded.any(axis=1) & ~leapt & (complete | (fine.closable > 0))
    first_traded = traded.argmax(axis=1)[:, None]
    last_traded = (ratio - 1 - traded[:, ::-1].argmax(axis=1))[:, None]
    volume = np.zeros((rows, len(fine.symbols)))
    for part in range(ratio):
        # np.sum adds in an order that depends on the number of columns.
        volume += np.where(traded[:, part], parts["volume"][:, part], 0.0)
    joined = {
        "open": np.take_along_axis(parts["open"], first_traded, axis=1)[:, 0],
        "high": np.where(traded, parts["high"], -np.inf).max(axis=1, initial=-np.inf),
        "low": np.where(traded, parts["low"], np.inf).min(axis=1, initial=np.inf),
        "close": np.take_along_axis(parts["close"], last_traded, axis=1)[:, 0],
        "volume": volume,
    }
    since = fine.rows_since_traded[skip + ratio - 1 : skip + rows * ratio : ratio]
    since = np.where(since == NEVER, NEVER, since // ratio)
    since = np.where(whole, 0, np.maximum(since, 1)).astype(np.int32)
    closable = (-(-fine.closable // ratio)).astype(np.int32)
    aside = np.where(leapt, Aside.LEAP, np.where(~whole & idle.any(axis=1), Aside.IDLE, 0))
    aside = aside.astype(np.int8)
    presence = _presence(whole, since, closable)
    mark_aside(presence, aside, closable)
    return _assemble(
        interval,
        first_open + np.arange(1, rows + 1, dtype=np.int64) * interval.micros,
        fine.symbols,
        {name: np.where(whole, panel, np.nan) for name, panel in joined.items()},
        closable,
        (presence, since, aside),
    )


def _is_complete(present: BoolPanel, quiet: int) -> BoolPanel:
    """Return which long candles are complete (long, symbol).

    Sources of one-minute candles leave out minutes without a trade. Missing parts count as minutes
    without a trade where at most `quiet` in a row, and at most half of all, are missing; more
    could be an outage of the source.

    Args:
        present: which parts there are (long, part, symbol).
        quiet: number of parts in a row that may be missing.
    """
    if quiet < 1:
        return np.asarray(present.all(axis=1))
    missing = np.zeros((len(present), present.shape[2]), dtype=np.int64)
    longest = missing.copy()
    for part in range(present.shape[1]):
        missing = np.where(present[:, part], 0, missing + 1)
        np.maximum(longest, missing, out=longest)
    complete: BoolPanel = (longest <= quiet) & (2 * present.sum(axis=1) >= present.shape[1])
    return complete


def align_rows(values: FloatPanel, candles: Candles, times: Times) -> FloatPanel:
    """Return the value of the last candle closed by each of `times`, NaN where there is none."""
    if not len(values):
        return np.full((len(times), len(candles.symbols)), np.nan)
    at = np.searchsorted(candles.times[len(candles) - len(values) :], times, side="right") - 1
    return np.where((at >= 0)[:, None], values[at], np.nan)
