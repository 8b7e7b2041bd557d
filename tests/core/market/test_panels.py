"""Panels from stored rows, against a model that looks at every version for every cell."""

import threading
from dataclasses import dataclass

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from numpy.testing import assert_array_equal

from weft.domain.candles import FIELDS, NEVER, Candles, remembered_rows
from weft.domain.instruments import ALWAYS_OPEN, SESSIONS, Instrument
from weft.foundation.times import DAY, HOUR, Interval, parse_time
from weft.market.panels import HotPanel, latest_traded, panel_of
from weft.store.tables import CANDLES

D1 = Interval.parse("1d")
ROW_0 = parse_time("2024-01-02T00:00:00Z")
SYMBOLS = ("COIN", "STOCK")
INSTRUMENTS = (
    Instrument(symbol="COIN", base="COIN", quote="USDT", calendar=ALWAYS_OPEN),
    Instrument(symbol="STOCK", base="STOCK", quote="USD", calendar=SESSIONS),
)
COMPARED = (*FIELDS, "times", "presence", "rows_since_traded", "aside")


@dataclass(frozen=True, order=True)
class Version:
    """One version of a candle; times in quarters of a day from the close of row 0."""

    close: int
    known: int
    symbol: str
    price: float

    @property
    def row(self) -> int:
        return -(-self.close // 4)


def versions(rows: st.SearchStrategy[int]) -> st.SearchStrategy[Version]:
    """Candles that may close between rows, and may become known late."""
    return st.builds(
        lambda row, early, late, symbol, price: Version(
            4 * row - early, 4 * row - early + late, symbol, price
        ),
        rows,
        st.sampled_from([0, 0, 0, 1, 2]),
        st.sampled_from([0, 0, 0, 0, 1, 2, 4]),
        st.sampled_from([*SYMBOLS, "OTHER"]),
        st.sampled_from([1.0, 1.1, 2.0, 9.0]),
    )


def frame_of(rows: list[Version]) -> pl.DataFrame:
    at = [ROW_0 + v.close * DAY // 4 for v in rows]
    prices = [v.price for v in rows]
    return pl.DataFrame(
        {
            "source": ["test"] * len(rows),
            "interval": ["1d"] * len(rows),
            "symbol": [v.symbol for v in rows],
            "open_time": [t - DAY for t in at],
            "open": [p * 10 for p in prices],
            "high": [p * 10.1 for p in prices],
            "low": [p * 9.9 for p in prices],
            "close": [p * 10 for p in prices],
            "volume": [p * 100 for p in prices],
            "known_at": [ROW_0 + v.known * DAY // 4 for v in rows],
            "recorded_at": [0] * len(rows),
        },
        schema=CANDLES.schema,
    )


def cell(rows: list[Version], symbol: str, row: int) -> Version | None:
    """The candle a row holds: the newest it can know, in the version last known by then."""
    fits = [v for v in rows if v.symbol == symbol and v.row == row and v.known <= 4 * row]
    return max(fits, default=None)


def leaps(rows: list[Version], symbol: str, row: int) -> bool:
    """Whether a candle is too far off the one before it: 2 or 9 times, up to twelve days before."""
    ages = range(1, 2 if symbol == "COIN" else 14)
    earlier = (cell(rows, symbol, row - age) for age in ages)
    now, then = cell(rows, symbol, row), next((v for v in earlier if v is not None), None)
    if now is None or then is None:
        return False
    ratio = max(now.price / then.price, then.price / now.price)
    # 11 for 20 is no split of a stock.
    return ratio > 1.5 and (symbol == "COIN" or ratio == 2.0 or ratio > 2.5)


def by_looking_everywhere(rows: list[Version], first: int, count: int) -> Candles:
    """The panel that asking `cell` for every cell gives."""
    closes, since = np.full((count, 2), np.nan), np.full((count, 2), NEVER)
    columns = {name: closes.copy() for name in FIELDS}
    aside = np.zeros((count, 2), dtype=np.int8)
    for column, symbol in enumerate(SYMBOLS):
        for row in range(count):
            found = cell(rows, symbol, first + row)
            if found is not None:
                values = frame_of([found]).row(0, named=True)
                for name in FIELDS:
                    columns[name][row, column] = values[name]
            ages = [a for a in range(13) if cell(rows, symbol, first + row - a) is not None]
            since[row, column] = min(ages, default=NEVER)
            aside[row, column] = leaps(rows, symbol, first + row)
            if aside[row, column]:
                for name in FIELDS:
                    columns[name][row, column] = np.nan
    absent = since > 0
    closed = absent & (since <= [0, 12])
    return Candles(
        interval=D1,
        times=ROW_0 + (first + np.arange(count, dtype=np.int64)) * DAY,
        symbols=SYMBOLS,
        **columns,
        presence=np.where(closed, 1, np.where(absent | (aside > 0), 2, 0)).astype(np.int8),
        rows_since_traded=since.astype(np.int32),
        aside=aside,
        closable=np.array([0, 12], dtype=np.int32),
        generation=None,
    )


def built(rows: list[Version], first: int, count: int) -> Candles:
    return panel_of([frame_of(rows)], D1, INSTRUMENTS, ROW_0 + first * DAY, count)


def assert_same(found: Candles, expected: Candles) -> None:
    for name in COMPARED:
        assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    assert found.symbols == expected.symbols
    assert found.closable.tolist() == expected.closable.tolist()


unique_versions = st.lists(
    versions(st.integers(-15, 8)), max_size=40, unique_by=lambda v: (v.symbol, v.close, v.known)
)


@given(unique_versions, st.integers(-2, 3), st.integers(0, 6))
def test_a_panel_is_what_looking_everywhere_finds(
    rows: list[Version], first: int, count: int
) -> None:
    assert_same(built(rows, first, count), by_looking_everywhere(rows, first, count))


@given(unique_versions, st.randoms(use_true_random=False))
def test_the_order_of_stored_rows_does_not_matter(rows: list[Version], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined] # hypothesis hands out a random.Random
    assert_same(built(shuffled, 0, 6), built(rows, 0, 6))


@given(unique_versions, unique_versions, st.integers(-1, 6))
def test_what_becomes_known_after_a_row_never_changes_it(
    rows: list[Version], news: list[Version], now: int
) -> None:
    """Whatever comes to be known after `now`, rows up to then stay bit for bit."""
    later = [Version(v.close, max(v.known, 4 * now + 1), v.symbol, v.price + 5) for v in news]
    before, after = built(rows, -3, 10), built(rows + later, -3, 10)
    assert_same(after.slice(0, now + 4), before.slice(0, now + 4))


@given(unique_versions, st.integers(0, 4))
def test_a_panel_that_begins_later_holds_the_same_rows(rows: list[Version], cut: int) -> None:
    assert_same(built(rows, cut, 6 - cut), built(rows, 0, 6).slice(cut, 6))


@given(unique_versions)
def test_earlier_rows_may_be_narrowed_to_the_latest_trade(rows: list[Version]) -> None:
    frame = frame_of(rows)
    earlier = pl.col("open_time").to_physical() < ROW_0 - 2 * DAY + 1
    query = latest_traded(D1, ROW_0)
    narrowed = pl.concat([query(frame.filter(earlier).lazy()).collect(), frame.filter(~earlier)])
    assert narrowed.filter(earlier).group_by("symbol").len()["len"].sum() <= 2 * 4
    assert_same(panel_of([narrowed], D1, INSTRUMENTS, ROW_0, 6), built(rows, 0, 6))


def test_a_bar_that_closes_at_half_past_reaches_the_next_row() -> None:
    found = built([Version(6, 6, "STOCK", 2.0)], 0, 4)
    assert_array_equal(found.close[:, 1], [np.nan, np.nan, 20.0, np.nan])


def test_a_correction_made_before_the_row_counts_and_one_made_after_does_not() -> None:
    first, in_time, late = (
        Version(6, 6, "STOCK", 1.0),
        Version(6, 8, "STOCK", 2.0),
        Version(6, 9, "STOCK", 7.0),
    )
    assert built([first, in_time, late], 2, 1).close[0, 1] == 20.0
    assert built([first, late], 2, 1).close[0, 1] == 10.0


def test_a_candle_known_only_after_its_row_never_enters() -> None:
    found = built([Version(8, 9, "COIN", 1.0)], 0, 9)
    assert np.isnan(found.close).all()


def test_a_panel_without_symbols_or_rows_is_empty() -> None:
    assert panel_of([frame_of([])], D1, (), ROW_0, 3).close.shape == (3, 0)
    assert panel_of([frame_of([Version(0, 0, "COIN", 1.0)])], D1, (), ROW_0, 3).close.shape == (
        3,
        0,
    )
    assert built([], 0, 0).close.shape == (0, 2)


# The hot panel

DEPTH = 6


def copy_of(panel: Candles) -> dict[str, object]:
    return {name: getattr(panel, name).copy() for name in COMPARED}


class HotPanelGrows(RuleBasedStateMachine):
    """A hot panel is extended in every way; the panel of all rows so far says what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Version] = []
        self.given: list[tuple[Candles, dict[str, object]]] = []
        self.last_given: int | None = None

    @initialize(rows=unique_versions)
    def warm_up(self, rows: list[Version]) -> None:
        self.rows = rows
        self._build(DEPTH - 1)

    def _build(self, last: int) -> None:
        self.hot = HotPanel(D1, INSTRUMENTS, ROW_0 + (last - DEPTH + 1) * DAY, DEPTH)
        assert self.hot.extend(frame_of(self.rows), ROW_0 + last * DAY)
        self.last_given = None

    @property
    def first(self) -> int:
        return (self.hot.first_close - ROW_0) // DAY

    @property
    def last(self) -> int:
        return (self.hot.last_close - ROW_0) // DAY

    @rule(count=st.integers(0, 12), back=st.integers(0, 4))
    def give_out(self, count: int, back: int) -> None:
        found = self.hot.candles(ROW_0 + (self.last - back) * DAY, count)
        held = self.last - back - count + 1 >= self.first
        assert (found is not None) == held
        if found is None:
            return
        assert found.generation == self.hot.generation
        assert_same(found, built(self.rows, self.last - back - count + 1, count))
        self.given.append((found, copy_of(found)))
        self.last_given = max(self.last - back, self.last_given or self.first)

    def _extend(self, batch: list[Version], last: int) -> None:
        known = {(v.symbol, v.close, v.known) for v in self.rows}
        batch = [v for v in batch if (v.symbol, v.close, v.known) not in known]
        before, first, given = self.rows, self.first, self.last_given
        generation, old_last = self.hot.generation, self.last
        self.rows = [*before, *batch]
        taken = self.hot.extend(frame_of(batch), ROW_0 + last * DAY)
        clashes = any(
            held is not None and v.row >= first and v.known <= 4 * v.row and v.price != held.price
            for v in batch
            if v.symbol in SYMBOLS
            for held in [cell(before, v.symbol, v.row)]
        )
        if not taken:
            assert clashes
            self._build(max(last, old_last))
            return
        assert self.last >= max(last, old_last)
        kept = None if given is None else given - self.first + 1
        changed = False
        if kept is not None and kept > 0:
            now, then = built(self.rows, self.first, kept), built(before, self.first, kept)
            changed = any(
                not np.array_equal(getattr(now, n), getattr(then, n), equal_nan=True)
                for n in COMPARED
            )
        assert (self.hot.generation != generation) == changed
        if changed:
            self.last_given = None

    @rule(data=st.data(), ahead=st.integers(0, 3))
    def extend_in_order(self, data: st.DataObject, ahead: int) -> None:
        newest = st.integers(self.last, self.last + 1 + ahead)
        batch = data.draw(st.lists(versions(newest), max_size=6))
        self._extend(unique(batch), self.last + ahead)

    @rule(data=st.data())
    def extend_with_late_rows(self, data: st.DataObject) -> None:
        late = st.integers(self.first - 16, self.last)
        self._extend(unique(data.draw(st.lists(versions(late), max_size=4))), self.last)

    @rule(data=st.data(), ahead=st.integers(4, 40))
    def extend_far_ahead(self, data: st.DataObject, ahead: int) -> None:
        anywhere = st.integers(self.last - 3, self.last + ahead)
        batch = data.draw(st.lists(versions(anywhere), max_size=4))
        self._extend(unique(batch), self.last + ahead)

    @precondition(lambda self: self.rows)
    @rule(data=st.data())
    def extend_with_what_is_there(self, data: st.DataObject) -> None:
        again = data.draw(st.lists(st.sampled_from(self.rows), max_size=3))
        generation = self.hot.generation
        winners = [v for v in again if v == cell(self.rows, v.symbol, v.row)]
        assert self.hot.extend(frame_of(winners), self.hot.last_close)
        assert self.hot.generation == generation

    @invariant()
    def holds_the_panel_of_all_rows(self) -> None:
        if not hasattr(self, "hot"):
            return
        count = self.last - self.first + 1
        assert count >= DEPTH
        held = self.hot._shared_rows
        found = self.hot.candles(self.hot.last_close, count)
        self.hot._shared_rows = held  # looking is not giving out
        assert found is not None
        assert_same(found, built(self.rows, self.first, count))

    @invariant()
    def arrays_shared_rows_never_change(self) -> None:
        for panel, copy in self.given:
            for name, array in copy.items():
                assert_array_equal(getattr(panel, name), array, err_msg=name)


def unique(rows: list[Version]) -> list[Version]:
    return list({(v.symbol, v.close, v.known): v for v in rows}.values())


TestHotPanelGrows = HotPanelGrows.TestCase
TestHotPanelGrows.settings = settings(max_examples=120, stateful_step_count=12, deadline=None)


def test_rows_shared_rows_refuse_to_be_written_to() -> None:
    hot = HotPanel(D1, INSTRUMENTS, ROW_0, 4)
    hot.extend(frame_of([Version(0, 0, "COIN", 1.0)]), ROW_0 + 3 * DAY)
    found = hot.candles(ROW_0 + DAY, 2)
    assert found is not None
    for name in (*COMPARED, "closable"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[0] = 0


def test_a_hot_panel_keeps_its_size_however_long_it_runs() -> None:
    hot = HotPanel(D1, INSTRUMENTS, ROW_0, 8)
    sizes = set()
    for row in range(200):
        hot.extend(frame_of([Version(4 * row, 4 * row, "COIN", 1.0)]), ROW_0 + row * DAY)
        sizes.add(len(hot._panels["close"]))
    assert len(sizes) == 1
    assert hot.last_close == ROW_0 + 199 * DAY


def test_readers_in_other_threads_see_whole_rows_only() -> None:
    hot = HotPanel(D1, INSTRUMENTS, ROW_0, 8)
    frames = [
        frame_of([Version(4 * row, 4 * row, symbol, 2.0) for symbol in SYMBOLS])
        for row in range(120)
    ]
    hot.extend(frames[0], ROW_0)
    torn: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found = hot.candles(hot.last_close, 1)
            if found is not None and not (found.volume == 200.0).all():
                torn.append(int(found.times[0]))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for row, frame in enumerate(frames):
        hot.extend(frame, ROW_0 + row * DAY)
    done.set()
    for reader in readers:
        reader.join()
    assert torn == []


def test_a_symbol_is_remembered_to_have_traded_for_twelve_days() -> None:
    assert remembered_rows(D1) == 12
    assert built([Version(-48, -48, "STOCK", 1.0)], 0, 2).rows_since_traded[:, 1].tolist() == [
        12,
        NEVER,
    ]


def test_minutes_of_a_closed_half_hour_belong_to_no_other_row() -> None:
    """The rule holds for any offset: a bar of 09:30 to 10:30 is the row of 11:00."""
    hour = Interval.parse("1h")
    frame = frame_of([Version(0, 0, "STOCK", 1.0)]).with_columns(
        open_time=pl.lit(ROW_0 - HOUR // 2).cast(pl.Datetime("us", "UTC")),
        known_at=pl.lit(ROW_0 + HOUR // 2).cast(pl.Datetime("us", "UTC")),
    )
    found = panel_of([frame], hour, INSTRUMENTS, ROW_0, 3)
    assert_array_equal(found.close[:, 1], [np.nan, 10.0, np.nan])
