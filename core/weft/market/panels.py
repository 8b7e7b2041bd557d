"""From stored rows to panels: each row holds the candle as it stood when the row was current."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from weft.arrays import FloatPanel, RowCounts, Times, read_only
from weft.market.candles import (
    FIELDS,
    Candles,
    candles_from_arrays,
    closable_rows,
    find_presence,
    new_generation,
)
from weft.market.instruments import Instrument
from weft.times import Interval


def scatter(
    frame: pl.DataFrame,
    interval: Interval,
    columns: dict[str, int],
    first_close: int,
    panels: dict[str, FloatPanel],
) -> Times:
    """Write stored candles into panels, and return the rows they went to.

    A candle goes to the first row at or after its close, in the version last known by that row;
    one that became known only later was not known then, and never enters. A stock's bar that
    closes at half past reaches an hourly row half an hour later.

    Args:
        frame: versions of candles, earliest known first.
        interval: of the candles and of the rows.
        columns: column of each symbol.
        first_close: close of row 0, microseconds since 1970.
        panels: open, high, low, close and volume (time, symbol), written in place.
    """
    rows = len(panels["close"])
    opened = frame["open_time"].to_physical().to_numpy()
    known = frame["known_at"].to_physical().to_numpy()
    column = frame["symbol"].replace_strict(columns, default=-1, return_dtype=pl.Int64).to_numpy()
    # Upside-down floor division rounds up: the first grid row at or after the close.
    row = -((first_close - (opened + interval.micros)) // interval.micros)
    fits = (row >= 0) & (row < rows) & (column >= 0)
    fits &= known <= first_close + row * interval.micros
    row, column = row[fits], column[fits]
    for name in FIELDS:
        # Where two versions fit, the later known one comes later and stays.
        panels[name][row, column] = frame[name].to_numpy()[fits]
    return row


def blank(rows: int, symbols: int) -> dict[str, FloatPanel]:
    """Return panels in which nothing is known yet."""
    return {name: np.full((rows, symbols), np.nan) for name in FIELDS}


def panel_of(
    frame: pl.DataFrame,
    interval: Interval,
    instruments: Sequence[Instrument],
    first_close: int,
    rows: int,
) -> Candles:
    """Return stored candles as a panel of `rows` rows from `first_close` on.

    Args:
        frame: versions of candles, earliest known first.
        interval: of the candles and of the rows.
        instruments: one per column.
        first_close: close of row 0, microseconds since 1970.
        rows: number of rows; those without a candle are NaN.
    """
    panels = blank(rows, len(instruments))
    scatter(frame, interval, _columns(instruments), first_close, panels)
    times = first_close + np.arange(rows, dtype=np.int64) * interval.micros
    return candles_from_arrays(interval, times, instruments, panels)


class HotPanel:
    """The recent candles of all symbols in memory: what live composition reads.

    Rows given out are never written to again. A late or corrected row makes a copy, under a new
    generation, so that whoever remembers the old rows knows to forget.

    Args:
        interval: of the candles and of the rows.
        instruments: one per column.
        first_close: close of the first row, microseconds since 1970.
        depth: rows to keep at least.
    """

    def __init__(
        self,
        interval: Interval,
        instruments: Sequence[Instrument],
        first_close: int,
        depth: int,
    ) -> None:
        self.interval = interval
        self.instruments = tuple(instruments)
        self.depth = depth
        self.generation = new_generation()
        self._columns = _columns(instruments)
        self._symbols = tuple(self._columns)
        self._closable = closable_rows(instruments, interval)
        self._first_close = first_close
        self._rows = 0
        self._given_out = 0
        self._panels = blank(2 * depth, len(instruments))
        self._presence = np.zeros(self._panels["close"].shape, dtype=np.int8)
        self._since = np.zeros(self._panels["close"].shape, dtype=np.int32)

    @property
    def first_close(self) -> int:
        """Close of the earliest row held."""
        return self._first_close

    @property
    def last_close(self) -> int:
        """Close of the latest row held; before `first_close` while there is none."""
        return self._first_close + (self._rows - 1) * self.interval.micros

    def extend(self, frame: pl.DataFrame, last_close: int) -> None:
        """Take in stored candles, and hold rows up to `last_close`.

        Args:
            frame: versions of candles, earliest known first; symbols without a column are
                passed over.
            last_close: close of the latest row wanted.
        """
        self._make_room((last_close - self.last_close) // self.interval.micros)
        closes = frame["open_time"].to_physical().to_numpy() + self.interval.micros
        sealed = self._first_close + (self._given_out - 1) * self.interval.micros
        if len(closes) and self._given_out and int(closes.min()) <= sealed:
            self._panels = {name: panel.copy() for name, panel in self._panels.items()}
            self._presence, self._since = self._presence.copy(), self._since.copy()
            self.generation = new_generation()
            self._given_out = 0
        before = self._rows
        self._rows = (last_close - self._first_close) // self.interval.micros + 1
        held = {name: panel[: self._rows] for name, panel in self._panels.items()}
        touched = scatter(frame, self.interval, self._columns, self._first_close, held)
        self._find_presence(min(before, int(touched.min()) if len(touched) else before))

    def candles(self, last_close: int, rows: int) -> Candles | None:
        """Return the `rows` rows up to `last_close`, or None where they are not all held."""
        stop = (last_close - self._first_close) // self.interval.micros + 1
        start = stop - rows
        if start < 0 or stop > self._rows:
            return None
        self._given_out = max(self._given_out, stop)
        times = self._first_close + np.arange(start, stop, dtype=np.int64) * self.interval.micros
        return Candles(
            interval=self.interval,
            times=read_only(times),
            symbols=self._symbols,
            **{name: read_only(panel[start:stop]) for name, panel in self._panels.items()},
            presence=read_only(self._presence[start:stop]),
            rows_since_traded=read_only(self._since[start:stop]),
            closable=self._closable,
            generation=self.generation,
        )

    def _make_room(self, more: int) -> None:
        """Drop the oldest rows into a fresh allocation when the present one is full."""
        capacity = len(self._presence)
        if self._rows + more <= capacity:
            return
        keep = min(self._rows, self.depth)
        size = max(capacity, keep + 2 * more)
        dropped = self._rows - keep
        fresh = blank(size, len(self.instruments))
        presence = np.zeros((size, len(self.instruments)), dtype=np.int8)
        since = np.zeros((size, len(self.instruments)), dtype=np.int32)
        for name, panel in self._panels.items():
            fresh[name][:keep] = panel[dropped : self._rows]
        presence[:keep] = self._presence[dropped : self._rows]
        since[:keep] = self._since[dropped : self._rows]
        self._panels, self._presence, self._since = fresh, presence, since
        self._first_close += dropped * self.interval.micros
        self._rows = keep
        self._given_out = max(0, self._given_out - dropped)

    def _find_presence(self, first: int) -> None:
        before: RowCounts | None = self._since[first - 1] if first else None
        rows = slice(first, self._rows)
        found = find_presence(self._panels["close"][rows], self._closable, before)
        self._presence[rows], self._since[rows] = found


def _columns(instruments: Sequence[Instrument]) -> dict[str, int]:
    return {instrument.symbol: column for column, instrument in enumerate(instruments)}
