"""Builds candle panels from stored rows: each row holds the version known at its decision."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from weft.domain.breaks import Aside, break_rules, judge
from weft.domain.candles import (
    FIELDS,
    NEVER,
    Candles,
    candles_from_arrays,
    closable_rows,
    find_presence,
    mark_aside,
    new_generation,
    remembered_rows,
)
from weft.domain.instruments import Instrument
from weft.foundation.arrays import FloatPanel, Floats, RowCounts, Times, read_only
from weft.foundation.times import Interval

PLACED: Final = ("symbol", "open_time", "known_at", *FIELDS)
"""Columns of stored candles that a panel needs."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Cells of a panel that stored candles fill, one entry per cell.

    Attributes:
        row: row of each cell (n,); negative before row 0.
        column: column of each cell (n,).
        source: row of the frame that fills each cell (n,).
    """

    row: Times
    column: Times
    source: Times

    def only(self, chosen: NDArray[Any]) -> "Placement":
        """Return some of the entries, by mask or by index."""
        return Placement(self.row[chosen], self.column[chosen], self.source[chosen])


def place(
    frame: pl.DataFrame,
    interval: Interval,
    columns: dict[str, int],
    first_close: int,
    delay: int = 0,
) -> Placement:
    """Return the cell of each stored candle.

    A candle belongs to the first row at or after its close, in the version last known at the
    decision of that row; a candle that became known later is left out. An hourly stock candle that
    closes at half past belongs to the next full hour. Where two candles belong to one row, the
    later one counts.

    Args:
        frame: versions of candles with symbol, open_time and known_at.
        interval: length of the candles, and distance of the rows.
        columns: column of each symbol; other symbols are ignored.
        first_close: close of row 0, microseconds since 1970.
        delay: time from the close of a row to its decision, microseconds.
    """
    opened = frame["open_time"].to_physical().to_numpy()
    known = frame["known_at"].to_physical().to_numpy()
    column = frame["symbol"].replace_strict(
        list(columns), list(columns.values()), default=-1, return_dtype=pl.Int64
    )
    # Negated floor division rounds up to the first row at or after the close.
    row = -((first_close - (opened + interval.micros)) // interval.micros)
    placed = Placement(row, column.to_numpy(), np.arange(len(frame)))
    decided = first_close + row * interval.micros + delay
    placed = placed.only((placed.column >= 0) & (known <= decided))
    placed = placed.only(_in_order(opened[placed.source], known[placed.source]))
    # The last entry of a cell counts.
    cell = placed.row * max(len(columns), 1) + placed.column
    _, last = np.unique(cell[::-1], return_index=True)
    return placed.only(len(cell) - 1 - last)


def _in_order(opened: Times, known: Times) -> NDArray[Any]:
    """Return the order of entries by open time, then by the time they became known."""
    later = np.diff(opened)
    if ((later > 0) | ((later == 0) & (np.diff(known) >= 0))).all():  # as the store gives them
        return np.arange(len(opened))
    return np.lexsort((known, opened))


def latest_traded(
    interval: Interval, first_close: int, delay: int = 0
) -> Callable[[pl.LazyFrame], pl.LazyFrame]:
    """Return a query for the latest candle of each symbol, as `rows_before` counts from it.

    Args:
        interval: length of the candles, and distance of the rows.
        first_close: close of any row.
        delay: time from the close of a row to its decision, microseconds.
    """
    close = pl.col("open_time").to_physical() + interval.micros
    # As in `place`.
    row = -((first_close - close) // interval.micros)
    decided = first_close + row * interval.micros + delay
    current = pl.col("known_at").to_physical() <= decided
    return lambda rows: rows.filter(current).filter(
        pl.col("open_time") == pl.col("open_time").max().over("symbol")
    )


@dataclass(frozen=True, slots=True)
class Before:
    """The latest candle of each symbol before a panel.

    Attributes:
        since: rows from that candle to row -1 (symbol,).
        close: close of that candle, NaN where there is none (symbol,).
    """

    since: RowCounts
    close: Floats

    @classmethod
    def empty(cls, symbols: int) -> "Before":
        """Return the state in which no symbol had a candle."""
        return cls(np.full(symbols, NEVER, dtype=np.int32), np.full(symbols, np.nan))

    def updated(self, placed: Placement, frame: pl.DataFrame) -> "Before":
        """Return the state after more candles before row 0 (see `place`)."""
        close = self.close.copy()
        earlier = placed.only(placed.row < 0)
        earlier = earlier.only(np.argsort(earlier.row, kind="stable"))
        newer = -1 - earlier.row <= self.since[earlier.column]
        earlier = earlier.only(newer)
        close[earlier.column] = frame["close"].to_numpy()[earlier.source]
        return Before(rows_before(placed, self.since), close)


def rows_before(placed: Placement, before: RowCounts) -> RowCounts:
    """Return rows since the last trade at row -1, after more candles (symbol,).

    Args:
        placed: see `place`.
        before: rows since the last trade as known so far (symbol,).
    """
    earlier = placed.only(placed.row < 0)
    since = before.copy()
    np.minimum.at(since, earlier.column, (-1 - earlier.row).astype(np.int32))
    return since


def blank(rows: int, symbols: int) -> dict[str, FloatPanel]:
    """Return panels of NaN."""
    return {name: np.full((rows, symbols), np.nan) for name in FIELDS}


def panel_of(
    pieces: Iterable[pl.DataFrame],
    interval: Interval,
    instruments: Sequence[Instrument],
    first_close: int,
    rows: int,
    delay: int = 0,
) -> Candles:
    """Return stored candles as a panel of `rows` rows from `first_close` on.

    Candles to ignore (`weft.domain.breaks`) are left out; judging them needs the first `lead` rows.

    Args:
        pieces: versions of candles, all versions of one row in one piece; candles before the first
            row only define `rows_since_traded` (see `remembered_rows`).
        interval: length of the candles, and distance of the rows.
        instruments: one per column.
        first_close: close of row 0, microseconds since 1970.
        rows: number of rows; rows without a candle are NaN.
        delay: time from the close of a row to its decision, microseconds.
    """
    before, panels = Before.empty(len(instruments)), blank(rows, len(instruments))
    for piece in pieces:
        placed = place(piece, interval, _columns(instruments), first_close, delay)
        before = before.updated(placed, piece)
        placed = placed.only((placed.row >= 0) & (placed.row < rows))
        for name in FIELDS:
            panels[name][placed.row, placed.column] = piece[name].to_numpy()[placed.source]
    times = first_close + np.arange(rows, dtype=np.int64) * interval.micros
    rules = break_rules(interval, closable_rows(instruments, interval))
    aside = judge(panels, rules, before.close, -1 - before.since)
    return candles_from_arrays(interval, times, instruments, panels, before.since, aside)


class HotPanel:
    """Recent candles of all symbols in memory, for live composition. Thread-safe.

    Rows that were handed out are never written to again. A late row makes a copy with a new
    generation, so that caches of the old rows are dropped.

    Args:
        interval: length of the candles, and distance of the rows.
        instruments: one per column.
        first_close: close of the first row, microseconds since 1970.
        depth: smallest number of rows to keep.
        delay: time from the close of a row to its decision, microseconds.
    """

    def __init__(
        self,
        interval: Interval,
        instruments: Sequence[Instrument],
        first_close: int,
        depth: int,
        delay: int = 0,
    ) -> None:
        self.interval = interval
        self._delay = delay
        self.instruments = tuple(instruments)
        self.depth = depth
        self.generation = new_generation()
        self._columns = _columns(instruments)
        self._symbols = tuple(self._columns)
        self._closable = read_only(closable_rows(instruments, interval))
        self._remembered = remembered_rows(interval)
        self._rules = break_rules(interval, self._closable)
        self._before = Before.empty(len(instruments))
        self._first_close = first_close
        self._rows = 0
        self._shared_rows = 0
        # Spare rows: the kept rows are copied once in depth / 4 rows.
        self._capacity = depth + depth // 4 + 1
        self._panels = _unwritten(self._capacity, len(instruments))
        self._presence = np.zeros((self._capacity, len(instruments)), dtype=np.int8)
        self._since = np.zeros((self._capacity, len(instruments)), dtype=np.int32)
        self._aside = np.zeros((self._capacity, len(instruments)), dtype=np.int8)
        # All candles, ignored ones included, of the columns that have ignored candles.
        self._unfiltered: dict[int, dict[str, Floats]] = {}
        self._lock = threading.Lock()

    @property
    def first_close(self) -> int:
        """Close of the earliest row."""
        return self._first_close

    @property
    def last_close(self) -> int:
        """Close of the latest row; before `first_close` while there is none."""
        return self._first_close + (self._rows - 1) * self.interval.micros

    def extend(self, frame: pl.DataFrame, last_close: int) -> bool:
        """Add stored candles, extending the panel to `last_close` or the latest candle.

        Args:
            frame: versions of candles; symbols without a column are ignored, and candles before
                the first row only define `rows_since_traded`.
            last_close: close of the last row; later rows stay.

        Returns:
            False where a cell already has another value: choosing a version needs all of them.
            The panel is then invalid; build a new one.
        """
        with self._lock:
            placed = place(frame, self.interval, self._columns, self._first_close, self._delay)
            wanted = (last_close - self._first_close) // self.interval.micros + 1
            rows = max(wanted, self._rows, int(placed.row.max(initial=-1)) + 1)
            if dropped := self._make_room(rows):
                rows -= dropped
                placed = Placement(placed.row - dropped, placed.column, placed.source)
            before = self._before.updated(placed, frame)
            placed = placed.only(placed.row >= 0)
            for name, panel in self._panels.items():
                panel[self._rows : rows] = np.nan
                for whole in self._unfiltered.values():
                    whole[name][self._rows : rows] = np.nan
            values = {name: frame[name].to_numpy()[placed.source] for name in FIELDS}
            present = {name: self._raw(name, placed) for name in FIELDS}
            new = np.isnan(present["close"])
            if any((present[name] != values[name])[~new].any() for name in FIELDS):
                return False
            touched = min(int(placed.row[new].min()) if new.any() else rows, self._rows)
            if self._rows and self._changes_first_row(before):
                touched = 0
            if touched < self._shared_rows:
                self._panels = {name: panel.copy() for name, panel in self._panels.items()}
                self._presence, self._since = self._presence.copy(), self._since.copy()
                self._aside = self._aside.copy()
                self.generation = new_generation()
                self._shared_rows = 0
            self._before, self._rows = before, rows
            self._restore_ignored(touched)
            for name in FIELDS:
                self._panels[name][placed.row[new], placed.column[new]] = values[name][new]
            self._find_presence(touched)
            return True

    def candles(self, last_close: int, rows: int) -> Candles | None:
        """Return the `rows` rows up to `last_close`, or None where some are not in memory."""
        with self._lock:
            stop = (last_close - self._first_close) // self.interval.micros + 1
            start = stop - rows
            if start < 0 or stop > self._rows:
                return None
            self._shared_rows = max(self._shared_rows, stop)
            first = self._first_close + start * self.interval.micros
            return Candles(
                interval=self.interval,
                times=read_only(first + np.arange(rows, dtype=np.int64) * self.interval.micros),
                symbols=self._symbols,
                **{name: read_only(panel[start:stop]) for name, panel in self._panels.items()},
                presence=read_only(self._presence[start:stop]),
                rows_since_traded=read_only(self._since[start:stop]),
                aside=read_only(self._aside[start:stop]),
                closable=self._closable,
                generation=self.generation,
            )

    def _changes_first_row(self, before: Before) -> bool:
        since = np.where(before.since >= self._remembered, NEVER, before.since + 1)
        absent = self._raw_rows(0, 1)["close"]
        if (since != self._since[0])[np.isnan(absent[0])].any():
            return True
        if np.array_equal(before.close, self._before.close, equal_nan=True):
            return False
        rows = min(self._rows, int(self._rules.reach.max(initial=1)))
        panels = self._raw_rows(0, rows)
        found = judge(panels, self._rules, before.close, -1 - before.since)
        return not np.array_equal(found, self._aside[:rows])

    def _make_room(self, rows: int) -> int:
        """Drop the oldest rows beyond the capacity; return the number of dropped rows."""
        if rows <= self._capacity:
            return 0
        dropped = rows - self.depth
        keep = max(0, self._rows - dropped)
        self._before = self._before_row(dropped)
        old = (self._panels, self._presence, self._since, self._aside)
        self._panels = _unwritten(self._capacity, len(self.instruments))
        self._presence, self._since = np.zeros_like(old[1]), np.zeros_like(old[2])
        self._aside = np.zeros_like(old[3])
        for name in FIELDS:
            self._panels[name][:keep] = old[0][name][dropped : dropped + keep]
            for whole in self._unfiltered.values():
                whole[name][:keep] = whole[name][dropped : dropped + keep].copy()
        self._presence[:keep] = old[1][dropped : dropped + keep]
        self._since[:keep] = old[2][dropped : dropped + keep]
        self._aside[:keep] = old[3][dropped : dropped + keep]
        self._first_close += dropped * self.interval.micros
        self._rows = keep
        self._shared_rows = max(0, self._shared_rows - dropped)
        return dropped

    def _before_row(self, row: int) -> Before:
        """Return the latest candle of each symbol before a row, possibly after the last row."""
        stop = min(row, self._rows)
        since = self._since[stop - 1] if stop else self._before.since
        since = since + (row - stop)
        since = np.where(since > self._remembered, NEVER, since).astype(np.int32)
        close = self._panels["close"][:stop]
        if self._unfiltered:
            close = close.copy()
            for column, whole in self._unfiltered.items():
                close[:, column] = whole["close"][:stop]
        index = np.arange(stop)[:, None]
        latest = np.where(np.isnan(close), -1, index).max(axis=0, initial=-1)
        columns = np.arange(len(self.instruments))
        last = close[latest, columns] if stop else self._before.close
        return Before(since, np.where(latest >= 0, last, self._before.close))

    def _raw(self, name: str, placed: Placement) -> Floats:
        """Return a field of some cells, ignored candles included."""
        values: Floats = self._panels[name][placed.row, placed.column]
        for column, whole in self._unfiltered.items():
            ours = placed.column == column
            values[ours] = whole[name][placed.row[ours]]
        return values

    def _raw_rows(self, start: int, stop: int) -> dict[str, FloatPanel]:
        """Return rows with ignored candles included."""
        panels = {name: panel[start:stop].copy() for name, panel in self._panels.items()}
        for column, whole in self._unfiltered.items():
            for name in FIELDS:
                panels[name][:, column] = whole[name][start:stop]
        return panels

    def _restore_ignored(self, first: int) -> None:
        """Write ignored candles back into the panels, from a row on."""
        for column, whole in self._unfiltered.items():
            for name in FIELDS:
                self._panels[name][first : self._rows, column] = whole[name][first : self._rows]

    def _find_presence(self, first: int) -> None:
        before = self._since[first - 1] if first else self._before.since
        rows = slice(first, self._rows)
        found = find_presence(self._panels["close"][rows], self._closable, self._remembered, before)
        self._presence[rows], self._since[rows] = found
        self._judge(first)
        mark_aside(self._presence[rows], self._aside[rows], self._closable)

    def _judge(self, first: int) -> None:
        """Judge the candles from a row on, and remove ignored ones from the panels."""
        # A judgement uses earlier rows.
        start = max(0, first - max(self._rules.lead, int(self._rules.reach.max(initial=1))))
        before = self._before_row(start)
        panels = self._raw_rows(start, first)
        panels = {
            n: np.concatenate([panels[n], p[first : self._rows]]) for n, p in self._panels.items()
        }
        aside = judge(panels, self._rules, before.close, -1 - before.since)[first - start :]
        self._aside[first : self._rows] = aside
        for column in self._unfiltered.keys() | set(np.flatnonzero(aside.any(axis=0)).tolist()):
            if column not in self._unfiltered:
                self._unfiltered[column] = {n: p[:, column].copy() for n, p in self._panels.items()}
            for name in FIELDS:
                panel = self._panels[name][first : self._rows, column]
                self._unfiltered[column][name][first : self._rows] = panel
                panel[aside[:, column] != Aside.COUNTS] = np.nan


def _unwritten(rows: int, symbols: int) -> dict[str, FloatPanel]:
    """Return panels that take no memory until their rows are written."""
    return {name: np.empty((rows, symbols)) for name in FIELDS}


def _columns(instruments: Sequence[Instrument]) -> dict[str, int]:
    return {instrument.symbol: column for column, instrument in enumerate(instruments)}
