"""Candle panels: presence against a plain loop, joining against polars' dynamic groups."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_allclose, assert_array_equal

from weft.domain.candles import (
    FIELDS,
    NEVER,
    Candles,
    Presence,
    aggregate,
    candles_from_arrays,
    closable_rows,
    find_presence,
    remembered_rows,
)
from weft.domain.instruments import ALWAYS_OPEN, SESSIONS, Instrument
from weft.foundation.arrays import BoolPanel, FloatPanel, RowCounts
from weft.foundation.times import DAY, HOUR, MINUTE, Interval, parse_time

H1, H4, D1, W1 = (Interval.parse(name) for name in ("1h", "4h", "1d", "1w"))
MONDAY = parse_time("2024-01-01T00:00:00Z")
COIN = Instrument(symbol="COIN", base="COIN", quote="USDT", calendar=ALWAYS_OPEN)
STOCK = Instrument(symbol="STOCK", base="STOCK", quote="USD", calendar=SESSIONS)


def panel(
    close: FloatPanel,
    interval: Interval = H1,
    first_close: int = MONDAY + HOUR,
    instruments: tuple[Instrument, ...] = (COIN, STOCK),
    before: RowCounts | None = None,
) -> Candles:
    """A panel in which every price tells its row and column apart."""
    rng = np.random.default_rng(5)
    spread = rng.uniform(0.1, 1.0, (4, *close.shape))
    columns = {
        "open": close + spread[0] - spread[1],
        "high": close + 2 + spread[2],
        "low": close - 2 - spread[3],
        "close": close,
        "volume": close * 3 + spread[0],
    }
    times = first_close + np.arange(len(close), dtype=np.int64) * interval.micros
    return candles_from_arrays(interval, times, instruments, columns, before)


def prices(absent: BoolPanel) -> FloatPanel:
    rising = 100.0 + np.arange(absent.size, dtype=np.float64).reshape(absent.shape)
    return np.where(absent, np.nan, rising)


absences = st.integers(0, 80).flatmap(lambda rows: arrays(np.bool_, (rows, 2)))


def presence_by_hand(
    close: FloatPanel, closable: RowCounts, remembered: int
) -> tuple[list[list[int]], list[list[int]]]:
    presence: list[list[int]] = []
    since: list[list[int]] = []
    gaps = [10**9] * close.shape[1]
    for absent in np.isnan(close).tolist():
        gaps = [gap + 1 if gone else 0 for gone, gap in zip(absent, gaps, strict=True)]
        since.append([gap if gap <= remembered else NEVER for gap in gaps])
        presence.append(
            [
                int(Presence.CLOSED if 0 < gap <= limit else Presence.HOLE if gap else 0)
                for gap, limit in zip(gaps, closable.tolist(), strict=True)
            ]
        )
    return presence, since


@given(absences, st.integers(1, 9), st.integers(0, 9))
def test_presence_is_what_counting_by_hand_finds(
    absent: BoolPanel, remembered: int, limit: int
) -> None:
    closable = np.array([0, min(limit, remembered)], dtype=np.int32)
    presence, since = find_presence(prices(absent), closable, remembered)
    expected = presence_by_hand(prices(absent), closable, remembered)
    assert (presence.tolist(), since.tolist()) == expected
    assert (str(presence.dtype), str(since.dtype)) == ("int8", "int32")


@given(absences, st.integers(1, 9), st.data())
def test_presence_found_piece_by_piece_is_presence_found_at_once(
    absent: BoolPanel, remembered: int, data: st.DataObject
) -> None:
    close, closable = prices(absent), np.array([0, remembered], dtype=np.int32)
    cut = data.draw(st.integers(0, len(close)))
    whole, whole_since = find_presence(close, closable, remembered)
    head, head_since = find_presence(close[:cut], closable, remembered)
    before = head_since[-1] if cut else None
    tail, tail_since = find_presence(close[cut:], closable, remembered, before)
    assert_array_equal(np.concatenate([head, tail]), whole)
    assert_array_equal(np.concatenate([head_since, tail_since]), whole_since)


def test_finding_presence_leaves_what_it_was_given_alone() -> None:
    before = np.array([3, NEVER], dtype=np.int32)
    find_presence(np.full((2, 2), np.nan), np.array([0, 5], dtype=np.int32), 5, before)
    assert before.tolist() == [3, NEVER]


def test_a_missing_hour_is_a_hole_for_a_coin_and_a_closed_market_for_a_stock() -> None:
    close = np.array([[1.0, 1.0], [np.nan, np.nan], [2.0, 2.0]])
    found = panel(close)
    assert found.presence[1].tolist() == [Presence.HOLE, Presence.CLOSED]
    assert found.rows_since_traded[1].tolist() == [1, 1]


def test_a_stock_away_for_more_than_twelve_days_has_a_hole() -> None:
    close = np.full((12 * 24 + 3, 1), np.nan)
    close[0] = 7.0
    found = panel(close, instruments=(STOCK,))
    assert found.presence[12 * 24, 0] == Presence.CLOSED
    assert found.presence[12 * 24 + 1, 0] == Presence.HOLE
    assert found.rows_since_traded[12 * 24 :, 0].tolist() == [12 * 24, NEVER, NEVER]
    assert found.age_seconds[12 * 24, 0] == 12 * 86_400
    assert np.isnan(found.age_seconds[12 * 24 + 1, 0])


@pytest.mark.parametrize(
    ("name", "closable", "remembered"),
    [("1m", 17_280, 17_280), ("1h", 288, 288), ("1d", 12, 12), ("1w", 1, 12), ("4w", 0, 12)],
)
def test_closures_and_memory_are_counted_in_rows(name: str, closable: int, remembered: int) -> None:
    interval = Interval.parse(name)
    assert closable_rows([COIN, STOCK], interval).tolist() == [0, closable]
    assert remembered_rows(interval) == remembered


@given(absences, st.integers(0, 60))
def test_ages_do_not_depend_on_where_a_panel_begins(absent: BoolPanel, cut: int) -> None:
    whole = panel(prices(absent))
    cut = min(cut, len(whole))
    before = whole.rows_since_traded[cut - 1] if cut else None
    part = panel(prices(absent)[cut:], first_close=MONDAY + HOUR + cut * HOUR, before=before)
    assert_array_equal(part.rows_since_traded, whole.rows_since_traded[cut:])
    assert_array_equal(part.presence, whole.presence[cut:])
    assert_array_equal(part.age_seconds, whole.age_seconds[cut:])


def test_a_panel_refuses_to_be_written_to() -> None:
    found = panel(np.ones((3, 2)))
    for name in (*FIELDS, "times", "presence", "rows_since_traded", "closable"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(found, name)[0] = 1
        with pytest.raises(ValueError, match="read-only"):
            getattr(found.slice(1, 3), name)[0] = 1


def test_a_slice_holds_the_rows_asked_for_and_shares_their_memory() -> None:
    whole = panel(prices(np.zeros((6, 2), dtype=np.bool_)))
    part = whole.slice(2, 5)
    assert len(part) == 3
    assert part.generation is None
    for name in (*FIELDS, "times", "presence", "rows_since_traded"):
        assert_array_equal(getattr(part, name), getattr(whole, name)[2:5])
        assert np.shares_memory(getattr(part, name), getattr(whole, name))


# Joining


def joined_by_polars(fine: Candles, interval: Interval, column: int) -> pl.DataFrame:
    """One symbol's long candles, and how many parts traded, by polars."""
    frame = pl.DataFrame(
        {
            "open_time": pl.Series(fine.times - fine.interval.micros).cast(
                pl.Datetime("us", "UTC")
            ),
            **{name: getattr(fine, name)[:, column] for name in FIELDS},
        }
    )
    traded = pl.col("close").is_not_nan()
    every = {HOUR: "1h", 4 * HOUR: "4h", DAY: "1d", 7 * DAY: "1w"}[interval.micros]
    return (
        frame.group_by_dynamic("open_time", every=every)
        .agg(
            pl.len().alias("rows"),
            traded.sum().alias("traded"),
            pl.col("open").filter(traded).first(),
            pl.col("high").filter(traded).max(),
            pl.col("low").filter(traded).min(),
            pl.col("close").filter(traded).last(),
            pl.col("volume").filter(traded).sum(),
        )
        .with_columns(pl.col("open_time").to_physical() + interval.micros)
    )


@given(
    absent=st.integers(1, 400).flatmap(
        lambda rows: arrays(np.bool_, (rows, 2), fill=st.just(False))
    ),
    offset=st.integers(-200, 200),
    interval=st.sampled_from([H1, H4, D1, W1]),
)
def test_long_candles_are_those_polars_makes(
    absent: BoolPanel, offset: int, interval: Interval
) -> None:
    fine = panel(prices(absent), first_close=MONDAY + offset * HOUR)
    long = aggregate(fine, interval)
    ratio = interval.micros // HOUR
    for column, sessions in enumerate((False, True)):
        expected = joined_by_polars(fine, interval, column).filter(pl.col("rows") == ratio)
        assert long.times.tolist() == expected["open_time"].to_list()
        enough = pl.col("traded") > 0 if sessions else pl.col("traded") == ratio
        for name in FIELDS:
            values = expected.select(pl.when(enough).then(name)).to_series().to_numpy()
            assert_allclose(getattr(long, name)[:, column], values, rtol=1e-13)
    assert long.interval == interval
    assert long.generation is None


def ages_by_hand(fine: Candles, long: Candles) -> list[list[int]]:
    """Rows since any trade, at least 1 where the long candle is missing."""
    ratio = long.interval.micros // fine.interval.micros
    ages = fine.rows_since_traded[np.searchsorted(fine.times, long.times)]
    return [
        [
            (NEVER if age == NEVER else max(1, age // ratio)) if gone else 0
            for gone, age in zip(absent, row, strict=True)
        ]
        for absent, row in zip(np.isnan(long.close).tolist(), ages.tolist(), strict=True)
    ]


@given(
    arrays(np.bool_, (130, 2), fill=st.just(True)),
    st.sampled_from([H4, D1]),
    st.integers(0, 100),
)
def test_ages_of_long_candles_do_not_depend_on_where_the_short_ones_begin(
    absent: BoolPanel, interval: Interval, cut: int
) -> None:
    whole = panel(prices(absent))
    long = aggregate(whole, interval)
    assert long.rows_since_traded.tolist() == ages_by_hand(whole, long)
    part = aggregate(whole.slice(cut, len(whole)), interval)
    for name in (*FIELDS, "times", "presence", "rows_since_traded"):
        assert_array_equal(getattr(part, name), getattr(long, name)[len(long) - len(part) :])


def test_a_coin_with_one_missing_hour_has_no_day_and_a_stock_has_one() -> None:
    close = np.ones((24, 2))
    close[7] = np.nan
    day = aggregate(panel(close), D1)
    assert np.isnan(day.close[0, 0])
    assert day.close[0, 1] == 1.0
    assert day.presence.tolist() == [[Presence.HOLE, Presence.TRADED]]


def minutes(gone: list[int], minute: str = "1m") -> Candles:
    """An hour of candles of a coin and a stock, some of them missing in both."""
    interval = Interval.parse(minute)
    rows = 60 * MINUTE // interval.micros
    close = np.arange(1.0, rows + 1)[:, None].repeat(2, axis=1)
    close[gone] = np.nan
    return panel(close, interval=interval, first_close=MONDAY + interval.micros)


@pytest.mark.parametrize(
    ("gone", "whole"),
    [
        ([7], True),
        ([0], True),
        ([59], True),
        ([*range(20, 30)], True),
        ([*range(20, 31)], False),
        ([*range(49, 60)], False),
        ([*range(1, 60, 2)], True),
        ([*range(1, 60, 2), 10], False),
    ],
)
def test_minutes_without_a_trade_leave_the_hour_whole_where_the_source_was_there(
    gone: list[int], whole: bool
) -> None:
    fine = minutes(gone)
    hour = aggregate(fine, H1)
    there = [minute for minute in range(60) if minute not in gone]
    assert np.isnan(hour.close[0]).tolist() == [not whole, False]
    assert hour.close[0, 1] == there[-1] + 1
    if whole:
        assert (hour.open[0, 0], hour.close[0, 0]) == (fine.open[there[0], 0], there[-1] + 1)
        assert_allclose(hour.volume[0, 0], np.nansum(fine.volume[:, 0]))


def test_a_quarter_of_an_hour_without_a_candle_is_a_hole() -> None:
    assert np.isnan(aggregate(minutes([1], "15m"), H1).close[0, 0])


def test_a_stock_that_rests_over_the_weekend_is_closed_and_not_broken() -> None:
    close = np.full((24 * 7, 1), np.nan)
    for day in range(5):
        close[day * 24 + 14 : day * 24 + 21] = 100.0 + day
    days = aggregate(panel(close, instruments=(STOCK,)), D1)
    assert days.close[:, 0].tolist()[:5] == [100.0, 101.0, 102.0, 103.0, 104.0]
    assert days.presence[:, 0].tolist() == [Presence.TRADED] * 5 + [Presence.CLOSED] * 2
    assert days.rows_since_traded[:, 0].tolist() == [0] * 5 + [1, 2]
    week = aggregate(panel(close, instruments=(STOCK,)), W1)
    assert (week.open[0, 0], week.close[0, 0]) == (
        aggregate(panel(close, instruments=(STOCK,)), D1).open[0, 0],
        104.0,
    )


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_too_few_short_candles_make_no_long_one(rows: int) -> None:
    day = aggregate(panel(np.ones((rows, 2))), D1)
    assert len(day) == 0
    assert day.close.shape == day.presence.shape == day.rows_since_traded.shape == (0, 2)
    assert day.times.dtype == np.int64


def test_a_long_candle_has_the_same_volume_alone_and_among_others() -> None:
    rng = np.random.default_rng(0)
    absent = np.zeros((24 * 60, 3), dtype=np.bool_)
    instruments = tuple(
        Instrument(symbol=s, base=s, quote="USDT", calendar=ALWAYS_OPEN) for s in "ABC"
    )
    minute = Interval.parse("1m")
    columns = {name: rng.lognormal(0, 1, absent.shape) for name in FIELDS}
    times = MONDAY + np.arange(1, 24 * 60 + 1, dtype=np.int64) * MINUTE

    def day(count: int) -> Any:
        kept = {n: np.ascontiguousarray(c[:, :count]) for n, c in columns.items()}
        return aggregate(candles_from_arrays(minute, times, instruments[:count], kept), D1)

    assert day(1).volume[0, 0] == day(2).volume[0, 0] == day(3).volume[0, 0]


@pytest.mark.parametrize(("fine", "long"), [("1h", "90m"), ("4h", "1h"), ("3d", "3w")])
def test_candles_that_do_not_fit_are_not_joined(fine: str, long: str) -> None:
    short = panel(np.ones((9, 2)), interval=Interval.parse(fine), first_close=0)
    with pytest.raises(ValueError, match="cannot be made"):
        aggregate(short, Interval.parse(long))


@given(absences, st.integers(0, 80))
def test_what_a_holding_is_worth_is_the_last_close_while_the_market_is_closed(
    absent: BoolPanel, start: int
) -> None:
    """As polars carries closes forward, but for holes; of a part, what its own closes tell."""
    whole = panel(prices(absent))
    start = min(start, len(whole))
    for part in (whole, whole.slice(start, len(whole))):
        filled = pl.DataFrame(part.close).fill_nan(None).fill_null(strategy="forward").to_numpy()
        expected = np.where(part.presence == Presence.HOLE, np.nan, filled)
        assert_array_equal(part.marked_close(), expected)
