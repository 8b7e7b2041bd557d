"""From stored rows to panels: each row holds the candle as it stood when the row was current."""

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
"""Columns of stored candles that a panel is made of."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where stored candles go on a grid of rows: one entry for each cell that gets one.

    Attributes:
        row: rows (n,); those before row 0 are negative.
        column: columns (n,).
        source: which rows of the frame they come from (n,).
    """

    row: Times
    column: Times
    source: Times

    def only(self, chosen: NDArray[Any]) -> "Placement":
        """Return some of the entries: a mask, or their numbers."""
        return Placement(self.row[chosen], self.column[chosen], self.source[chosen])


def place(
    frame: pl.DataFrame,
    interval: Interval,
    columns: dict[str, int],
    first_close: int,
    delay: int = 0,
) -> Placement:
    """Return which cell each stored candle belongs to.

    A candle goes to the first row at or after its close, in the version last known when that
    row's decision is taken; one that became known only later was not known then, and never
    enters. A stock's bar that closes at half past reaches an hourly row half an hour later. Of
    two bars that reach one row, the later one holds it.

    Args:
        frame: versions of candles: symbol, open_time and known_at are read.
        interval: of the candles and of the rows.
        columns: column of each symbol; others are passed over.
        first_close: close of row 0, microseconds since 1970.
        delay: how long after its close a row's decision is taken, microseconds.
    """
    opened = frame["open_time"].to_physical().to_numpy()
    known = frame["known_at"].to_physical().to_numpy()
    column = frame["symbol"].replace_strict(
        list(columns), list(columns.values()), default=-1, return_dtype=pl.Int64
    )
    # Upside-down floor division rounds up: the first grid row at or after the close.
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
    """Return the numbers of entries by open time, then by when they became known."""
    later = np.diff(opened)
    if ((later > 0) | ((later == 0) & (np.diff(known) >= 0))).all():  # as the store gives them
        return np.arange(len(opened))
    return np.lexsort((known, opened))


def latest_traded(
    interval: Interval, first_close: int, delay: int = 0
) -> Callable[[pl.LazyFrame], pl.LazyFrame]:
    """Return a query for the candle of each symbol that `rows_before` would find.

    Args:
        interval: of the candles and of the rows.
        first_close: close of any row.
        delay: how long after its close a row's decision is taken, microseconds.
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
        since: rows since it just before row 0 (symbol,).
        close: its close, NaN where there is none (symbol,).
    """

    since: RowCounts
    close: Floats

    @classmethod
    def nothing(cls, symbols: int) -> "Before":
        """Return that no symbol had a candle."""
        return cls(np.full(symbols, NEVER, dtype=np.int32), np.full(symbols, np.nan))

    def joined(self, placed: Placement, frame: pl.DataFrame) -> "Before":
        """Return it with the candles that were placed before row 0 (see `place`)."""
        close = self.close.copy()
        earlier = placed.only(placed.row < 0)
        earlier = earlier.only(np.argsort(earlier.row, kind="stable"))
        newer = -1 - earlier.row <= self.since[earlier.column]
        earlier = earlier.only(newer)
        close[earlier.column] = frame["close"].to_numpy()[earlier.source]
        return Before(rows_before(placed, self.since), close)


def rows_before(placed: Placement, before: RowCounts) -> RowCounts:
    """Return rows since traded just before row 0 (symbol,), given what was placed there.

    Args:
        placed: see `place`.
        before: what is known of it already (symbol,).
    """
    earlier = placed.only(placed.row < 0)
    found = before.copy()
    np.minimum.at(found, earlier.column, (-1 - earlier.row).astype(np.int32))
    return found


def blank(rows: int, symbols: int) -> dict[str, FloatPanel]:
    """Return panels in which nothing is known yet."""
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

    Candles that do not count (`weft.domain.breaks`) are left out; the first `lead` rows are there
    to tell which.

    Args:
        pieces: versions of candles, all that reach one row in one piece; those before the first
            row only tell since when a symbol has not traded (see `remembered_rows`).
        interval: of the candles and of the rows.
        instruments: one per column.
        first_close: close of row 0, microseconds since 1970.
        rows: number of rows; those without a candle are NaN.
        delay: how long after its close a row's decision is taken, microseconds.
    """
    before, panels = Before.nothing(len(instruments)), blank(rows, len(instruments))
    for piece in pieces:
        placed = place(piece, interval, _columns(instruments), first_close, delay)
        before = before.joined(placed, piece)
        placed = placed.only((placed.row >= 0) & (placed.row < rows))
        for name in FIELDS:
            panels[name][placed.row, placed.column] = piece[name].to_numpy()[placed.source]
    times = first_close + np.arange(rows, dtype=np.int64) * interval.micros
    rules = break_rules(interval, closable_rows(instruments, interval))
    aside = judge(panels, rules, before.close, -1 - before.since)
    return candles_from_arrays(interval, times, instruments, panels, before.since, aside)


class HotPanel:
    """The recent candles of all symbols in memory: what live composition reads.

    Rows given out are never written to again. A late row makes a copy, under a new generation,
    so that whoever remembers the old rows knows to forget. Safe to use from several threads.

    Args:
        interval: of the candles and of the rows.
        instruments: one per column.
        first_close: close of the first row, microseconds since 1970.
        depth: rows to keep at least.
        delay: how long after its close a row's decision is taken, microseconds.
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
        self._before = Before.nothing(len(instruments))
        self._first_close = first_close
        self._rows = 0
        self._given_out = 0
        # Copying the kept rows once in a quarter of their number costs little.
        self._capacity = depth + depth // 4 + 1
        self._panels = _unwritten(self._capacity, len(instruments))
        self._presence = np.zeros((self._capacity, len(instruments)), dtype=np.int8)
        self._since = np.zeros((self._capacity, len(instruments)), dtype=np.int32)
        self._aside = np.zeros((self._capacity, len(instruments)), dtype=np.int8)
        # All candles as they came, of the columns in which some do not count.
        self._whole: dict[int, dict[str, Floats]] = {}
        self._lock = threading.Lock()

    @property
    def first_close(self) -> int:
        """Close of the earliest row held."""
        return self._first_close

    @property
    def last_close(self) -> int:
        """Close of the latest row held; before `first_close` while there is none."""
        return self._first_close + (self._rows - 1) * self.interval.micros

    def extend(self, frame: pl.DataFrame, last_close: int) -> bool:
        """Take in stored candles, and hold rows up to `last_close` and the latest candle.

        Args:
            frame: versions of candles; symbols without a column are passed over, and those
                before the first row only tell since when a symbol has not traded.
            last_close: close of the latest row wanted; later ones held already stay.

        Returns:
            False where a cell got another value than it holds: which of the two counts, only
            all versions together tell. The panel is of no more use then; build a new one.
        """
        with self._lock:
            placed = place(frame, self.interval, self._columns, self._first_close, self._delay)
            wanted = (last_close - self._first_close) // self.interval.micros + 1
            rows = max(wanted, self._rows, int(placed.row.max(initial=-1)) + 1)
            if dropped := self._make_room(rows):
                rows -= dropped
                placed = Placement(placed.row - dropped, placed.column, placed.source)
            before = self._before.joined(placed, frame)
            placed = placed.only(placed.row >= 0)
            for name, panel in self._panels.items():
                panel[self._rows : rows] = np.nan
                for whole in self._whole.values():
                    whole[name][self._rows : rows] = np.nan
            values = {name: frame[name].to_numpy()[placed.source] for name in FIELDS}
            held = {name: self._as_came(name, placed) for name in FIELDS}
            new = np.isnan(held["close"])
            if any((held[name] != values[name])[~new].any() for name in FIELDS):
                return False
            touched = min(int(placed.row[new].min()) if new.any() else rows, self._rows)
            if self._rows and self._changes_first_row(before):
                touched = 0
            if touched < self._given_out:
                self._panels = {name: panel.copy() for name, panel in self._panels.items()}
                self._presence, self._since = self._presence.copy(), self._since.copy()
                self._aside = self._aside.copy()
                self.generation = new_generation()
                self._given_out = 0
            self._before, self._rows = before, rows
            self._show_all(touched)
            for name in FIELDS:
                self._panels[name][placed.row[new], placed.column[new]] = values[name][new]
            self._find_presence(touched)
            return True

    def candles(self, last_close: int, rows: int) -> Candles | None:
        """Return the `rows` rows up to `last_close`, or None where they are not all held."""
        with self._lock:
            stop = (last_close - self._first_close) // self.interval.micros + 1
            start = stop - rows
            if start < 0 or stop > self._rows:
                return None
            self._given_out = max(self._given_out, stop)
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
        absent = self._as_came_before(0, 1)["close"]
        if (since != self._since[0])[np.isnan(absent[0])].any():
            return True
        if np.array_equal(before.close, self._before.close, equal_nan=True):
            return False
        rows = min(self._rows, int(self._rules.reach.max(initial=1)))
        panels = self._as_came_before(0, rows)
        found = judge(panels, self._rules, before.close, -1 - before.since)
        return not np.array_equal(found, self._aside[:rows])

    def _make_room(self, rows: int) -> int:
        """Where `rows` are too many, drop the oldest; return how many rows were dropped."""
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
            for whole in self._whole.values():
                whole[name][:keep] = whole[name][dropped : dropped + keep].copy()
        self._presence[:keep] = old[1][dropped : dropped + keep]
        self._since[:keep] = old[2][dropped : dropped + keep]
        self._aside[:keep] = old[3][dropped : dropped + keep]
        self._first_close += dropped * self.interval.micros
        self._rows = keep
        self._given_out = max(0, self._given_out - dropped)
        return dropped

    def _before_row(self, row: int) -> Before:
        """Return the latest candle of each symbol before a row, which may be beyond the last."""
        stop = min(row, self._rows)
        since = self._since[stop - 1] if stop else self._before.since
        since = since + (row - stop)
        since = np.where(since > self._remembered, NEVER, since).astype(np.int32)
        close = self._panels["close"][:stop]
        if self._whole:
            close = close.copy()
            for column, whole in self._whole.items():
                close[:, column] = whole["close"][:stop]
        index = np.arange(stop)[:, None]
        latest = np.where(np.isnan(close), -1, index).max(axis=0, initial=-1)
        columns = np.arange(len(self.instruments))
        last = close[latest, columns] if stop else self._before.close
        return Before(since, np.where(latest >= 0, last, self._before.close))

    def _as_came(self, name: str, placed: Placement) -> Floats:
        """Return a field of some cells, those included that do not count."""
        held: Floats = self._panels[name][placed.row, placed.column]
        for column, whole in self._whole.items():
            ours = placed.column == column
            held[ours] = whole[name][placed.row[ours]]
        return held

    def _as_came_before(self, start: int, stop: int) -> dict[str, FloatPanel]:
        """Return rows as they came, those candles included that do not count."""
        panels = {name: panel[start:stop].copy() for name, panel in self._panels.items()}
        for column, whole in self._whole.items():
            for name in FIELDS:
                panels[name][:, column] = whole[name][start:stop]
        return panels

    def _show_all(self, first: int) -> None:
        """Write into the panels what does not count, from a row on."""
        for column, whole in self._whole.items():
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
        """Find which candles from a row on do not count, and leave these out of the panels."""
        # Far enough back for whatever a judgement depends on.
        start = max(0, first - max(self._rules.lead, int(self._rules.reach.max(initial=1))))
        before = self._before_row(start)
        panels = self._as_came_before(start, first)
        panels = {
            n: np.concatenate([panels[n], p[first : self._rows]]) for n, p in self._panels.items()
        }
        aside = judge(panels, self._rules, before.close, -1 - before.since)[first - start :]
        self._aside[first : self._rows] = aside
        for column in self._whole.keys() | set(np.flatnonzero(aside.any(axis=0)).tolist()):
            if column not in self._whole:
                self._whole[column] = {n: p[:, column].copy() for n, p in self._panels.items()}
            for name in FIELDS:
                panel = self._panels[name][first : self._rows, column]
                self._whole[column][name][first : self._rows] = panel
                panel[aside[:, column] != Aside.COUNTS] = np.nan


def _unwritten(rows: int, symbols: int) -> dict[str, FloatPanel]:
    """Return panels that take no memory until their rows are written."""
    return {name: np.empty((rows, symbols)) for name in FIELDS}


def _columns(instruments: Sequence[Instrument]) -> dict[str, int]:
    return {instrument.symbol: column for column, instrument in enumerate(instruments)}
