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
"""Rows since traded of a symbol that has not traded for longer than is remembered, or never."""

LONGEST_CLOSURE = 12 * DAY
"""Longer than any regular closure of a stock market; beyond it a series starts afresh."""

_FEWEST_REMEMBERED = 12

_QUIET = 10 * MINUTE
"""Time without a candle that passes for time without a trade, where there are candles around it."""

_generations = count(1)


class Presence(IntEnum):
    """What a cell of a candle panel holds, and what an indicator does with it."""

    TRADED = 0
    """A candle: take a step."""
    CLOSED = 1
    """The market was closed: keep the state, say nothing."""
    HOLE = 2
    """A candle is missing where there should be one: start afresh after it."""


@dataclass(frozen=True, slots=True, eq=False)
class Candles:
    """Candles of many symbols, one row per close. Build it with `candles_from_arrays`.

    Attributes:
        interval: length of a candle.
        times: close of each row, microseconds since 1970, a whole grid without omissions (time,).
        symbols: one name per column.
        open: first price, quote currency (time, symbol); NaN where nothing is known.
        high: highest price.
        low: lowest price.
        close: last price.
        volume: traded quantity in base units.
        presence: what each cell holds, as values of `Presence` (time, symbol).
        rows_since_traded: rows from the latest candle to each row, 0 where there is one;
            `NEVER` beyond `remembered_rows`, so that it does not depend on where a panel begins
            (time, symbol).
        aside: why a candle that came does not count, as values of `Aside`; its prices are NaN
            (time, symbol).
        closable: rows a symbol may be absent before its series counts as broken (symbol,);
            0 for a market that never closes.
        generation: changes whenever rows already given out change; None where no later panel
            will continue this one, so that caches do not hold on to it.
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
        """Seconds from the latest trade to each row (time, symbol); NaN where long forgotten."""
        age = self.rows_since_traded * (self.interval.micros / SECOND)
        return np.where(self.rows_since_traded >= NEVER, np.nan, age)

    def marked_close(self) -> FloatPanel:
        """Return what a holding is worth on each row, quote currency (time, symbol).

        That is the close, and on rows on which the market is closed the last one before. NaN where
        a candle is missing, and where the panel begins later than that close.
        """
        if not self.closable.any():
            return self.close
        index = np.arange(len(self), dtype=np.int64)[:, None]
        rows = np.maximum.accumulate(np.where(np.isnan(self.close), -1, index), axis=0)
        last = np.take_along_axis(self.close, np.maximum(rows, 0), axis=0)
        known = (self.presence != Presence.HOLE) & (rows >= 0)
        return np.where(known, last, np.nan)

    def leapt_within(self, rows: int) -> BoolPanel:
        """Return where the series starts afresh on a row or the `rows` - 1 before (time, symbol).

        What is computed from prices `rows` apart means nothing there.
        """
        leaps = np.cumsum(self.aside == Aside.LEAP, axis=0, dtype=np.int32)
        before = np.zeros_like(leaps)
        before[rows:] = leaps[: max(0, len(leaps) - rows)]
        found: BoolPanel = leaps > before
        return found

    def tail(self, rows: int) -> "Candles":
        """Return the last rows, of the same generation: they will be continued alike."""
        return replace(self.slice(len(self) - rows, len(self)), generation=self.generation)

    def slice(self, start: int, stop: int) -> "Candles":
        """Return rows `start` to `stop` as a panel that shares this one's memory."""
        rows = {name: getattr(self, name)[start:stop] for name in _PER_ROW}
        return replace(self, generation=None, **rows)

    def __len__(self) -> int:
        return len(self.times)


def new_generation() -> int:
    """Return a number no panel of this process has carried yet."""
    return next(_generations)


def remembered_rows(interval: Interval) -> int:
    """Return for how many rows it is remembered that a symbol traded: at least twelve days."""
    return max(LONGEST_CLOSURE // interval.micros, _FEWEST_REMEMBERED)


def closable_rows(instruments: Sequence[Instrument], interval: Interval) -> RowCounts:
    """Return for each instrument how many rows its market may stay closed (symbol,)."""
    rows = LONGEST_CLOSURE // interval.micros
    return np.array([0 if i.always_open else rows for i in instruments], dtype=np.int32)


def find_presence(
    close: FloatPanel, closable: RowCounts, remembered: int, before: RowCounts | None = None
) -> tuple[IntPanel, RowCounts]:
    """Return presence and rows since traded of a close panel, both (time, symbol).

    Args:
        close: closing prices (time, symbol), NaN where there is no candle.
        closable: rows each symbol's market may stay closed (symbol,).
        remembered: rows after which a trade is forgotten.
        before: rows since traded just before the panel (symbol,); None where it never was.
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

    A series starts afresh after a leap. A halt is to a market with sessions as if it were closed;
    one that never closes starts afresh when it trades again.
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
    """Build a panel from arrays, and make it refuse to be written to.

    Args:
        interval: length of a candle.
        times: close of each row, microseconds since 1970 (time,).
        instruments: one per column.
        columns: open, high, low, close and volume, each (time, symbol), C-contiguous float64.
        before: rows since each symbol traded just before the panel (symbol,); None where none
            ever did.
        aside: which candles do not count, as values of `Aside` (time, symbol); their prices are
            made NaN in `columns`. None where all count.
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
    found: tuple[IntPanel, RowCounts, IntPanel],
) -> Candles:
    presence, since, aside = found
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
    """Return `fine` candles joined into longer ones, known at the longer ones' closes.

    A long candle of a market that never closes needs its parts, but for a few minutes without
    one here and there (see `_is_whole`): otherwise it is NaN, and at least a row since the market
    traded. Where the market has sessions, the parts that traded make it up. A long candle in which
    the price leapt is none.

    Raises:
        ValueError: they do not fit into each other.
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
    there = traded | idle
    always = _is_whole(there, _QUIET // fine.interval.micros)
    whole = traded.any(axis=1) & ~leapt & (always | (fine.closable > 0))
    first_traded = traded.argmax(axis=1)[:, None]
    last_traded = (ratio - 1 - traded[:, ::-1].argmax(axis=1))[:, None]
    volume = np.zeros((rows, len(fine.symbols)))
    for part in range(ratio):
        # NumPy's own sum adds in an order that depends on the number of columns.
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


def _is_whole(there: BoolPanel, quiet: int) -> BoolPanel:
    """Return which long candles have their parts (long, symbol).

    Sources of minutes leave out those without a trade. A part that is missing among others means
    that nothing was traded, as the source was there: no more than `quiet` in a row, and no more
    than half of all. Without such sources every missing part could be an outage.

    Args:
        there: which parts there are (long, part, symbol).
        quiet: parts in a row that may be missing.
    """
    if quiet < 1:
        return np.asarray(there.all(axis=1))
    missing = np.zeros((len(there), there.shape[2]), dtype=np.int64)
    longest = missing.copy()
    for part in range(there.shape[1]):
        missing = np.where(there[:, part], 0, missing + 1)
        np.maximum(longest, missing, out=longest)
    found: BoolPanel = (longest <= quiet) & (2 * there.sum(axis=1) >= there.shape[1])
    return found


def align_rows(values: FloatPanel, candles: Candles, times: Times) -> FloatPanel:
    """Return for each of `times` the value of the last candle closed by then, or NaN."""
    if not len(values):
        return np.full((len(times), len(candles.symbols)), np.nan)
    at = np.searchsorted(candles.times[len(candles) - len(values) :], times, side="right") - 1
    return np.where((at >= 0)[:, None], values[at], np.nan)
