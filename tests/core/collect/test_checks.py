"""Checks of candles: sound rows pass; each refusal is counted and located."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from weft.collect.checks.clean import (
    CANDLE_SCHEMA,
    CheckedCandles,
    clean_candles,
)
from weft.foundation.errors import SchemaError
from weft.foundation.times import DAY, HOUR, MINUTE, SECOND, Interval, iso, parse_time

H1, H4, D1, W1 = (Interval.parse(name) for name in ("1h", "4h", "1d", "1w"))
START = parse_time("2024-01-01T00:00:00Z")
NOW = parse_time("2024-03-01T00:00:00Z")
CLASH = "refused, same open_time with different values"


def candles(hours: int = 6, symbol: str = "BTCUSDT", **columns: Any) -> pl.DataFrame:
    """A frame of sound hourly candles; `columns` replaces some of them."""
    times = [START + i * HOUR for i in range(hours)]
    plain: dict[str, Any] = {
        "symbol": [symbol] * hours,
        "interval": ["1h"] * hours,
        "open_time": pl.Series(times).cast(pl.Datetime("us", "UTC")),
        "open": [100.0 + i for i in range(hours)],
        "high": [102.0 + i for i in range(hours)],
        "low": [99.0 + i for i in range(hours)],
        "close": [101.0 + i for i in range(hours)],
        "volume": [10.0] * hours,
    }
    return pl.DataFrame(plain | columns)


def at(frame: pl.DataFrame, row: int, **values: Any) -> pl.DataFrame:
    """The frame with some values of one row replaced."""
    return frame.with_columns(
        pl.when(pl.int_range(pl.len()) == row)
        .then(value if isinstance(value, pl.Expr) else pl.lit(value))
        .otherwise(pl.col(name))
        .alias(name)
        for name, value in values.items()
    )


def clean(frame: pl.DataFrame, interval: Interval = H1, now: int = NOW) -> CheckedCandles:
    return clean_candles(frame, interval, now, "test")


def opens(checked: CheckedCandles) -> list[int]:
    return checked.frame["open_time"].to_physical().to_list()


# Results


def test_sound_candles_pass_unchanged_on_the_fixed_schema() -> None:
    checked = clean(candles())
    assert checked.problems == ()
    assert checked.early == 0
    assert checked.frame.schema == CANDLE_SCHEMA
    assert_frame_equal(checked.frame.drop("known_at"), candles())


def test_candle_is_known_at_its_close_or_at_a_later_stated_time() -> None:
    known = clean(candles(2)).frame["known_at"].to_physical().to_list()
    assert known == [START + HOUR, START + 2 * HOUR]
    stated = [datetime(2024, 1, 1, 1, 5, tzinfo=UTC), datetime(2024, 1, 1, 2, 0, tzinfo=UTC)]
    known = clean(candles(2, known_at=stated)).frame["known_at"].to_physical().to_list()
    assert known == [START + HOUR + 5 * MINUTE, START + 2 * HOUR]


def test_empty_frame_gives_an_empty_frame() -> None:
    checked = clean(candles().clear())
    assert checked.frame.schema == CANDLE_SCHEMA
    assert checked.frame.is_empty()
    assert checked.problems == ()


def test_unknown_columns_are_ignored() -> None:
    checked = clean(candles(trades=[1] * 6, source=["x"] * 6))
    assert checked.frame.columns == list(CANDLE_SCHEMA)


def test_missing_interval_is_filled_in() -> None:
    assert clean(candles().drop("interval")).frame["interval"].unique().to_list() == ["1h"]


# Columns and times; test_columns.py has the rest


@pytest.mark.parametrize(
    "column", ["symbol", "open_time", "open", "high", "low", "close", "volume"]
)
def test_a_missing_column_is_named(column: str) -> None:
    with pytest.raises(SchemaError, match=f"test: column '{column}' is missing; found ") as caught:
        clean(candles().drop(column))
    assert "'interval'" in str(caught.value)


def test_empty_text_or_nan_refuses_only_its_row() -> None:
    checked = clean(candles(3, close=["101", "", "NaN"]))
    assert opens(checked) == [START]
    assert checked.problems == (
        "BTCUSDT: 2 candles refused, price missing or not finite, first at 2024-01-01T01:00:00Z",
    )


def test_assumed_unit_of_times_is_reported() -> None:
    seconds = [START // SECOND + i * 3600 for i in range(3)]
    checked = clean(candles(3, open_time=seconds))
    assert opens(checked) == [START, START + HOUR, START + 2 * HOUR]
    assert checked.problems == ("open_time holds integers: read as seconds since 1970",)


def test_missing_time_refuses_only_its_row() -> None:
    counts: list[int | None] = [(START + i * HOUR) // 1000 for i in range(5)]
    counts[3] = None
    checked = clean(candles(5, open_time=counts))
    assert len(checked.frame) == 4
    assert checked.problems == ("BTCUSDT: 1 candle refused, no usable open_time",)


def test_timestamps_in_the_wrong_unit_raise() -> None:
    times = pl.Series([START // SECOND, START // SECOND + 3600]).cast(pl.Datetime("ms", "UTC"))
    with pytest.raises(SchemaError, match="column 'open_time' lies before 1971"):
        clean(candles(2, open_time=times))


# Refused rows


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"close": None}, "price missing or not finite"),
        ({"open": float("nan")}, "price missing or not finite"),
        ({"high": float("inf")}, "price missing or not finite"),
        ({"low": 0.0}, "price not above zero"),
        ({"open": -1.0, "low": -2.0}, "price not above zero"),
        ({"high": 98.0, "low": 99.0}, "high below low"),
        ({"high": 103.5}, "high below open or close"),
        ({"open": 105.5}, "high below open or close"),
        ({"low": 103.5}, "low above open or close"),
        ({"close": 101.5}, "low above open or close"),
        ({"low": 104.5, "high": 110.0}, "low above open or close"),
        ({"volume": -0.1}, "volume below zero"),
        ({"volume": float("nan")}, "volume missing or not finite"),
        ({"volume": None}, "volume missing or not finite"),
        ({"interval": "4h"}, "interval is not 1h"),
        ({"interval": None}, "interval is not 1h"),
    ],
)
def test_impossible_row_is_refused_counted_and_located(values: dict[str, Any], reason: str) -> None:
    checked = clean(at(candles(), 3, **values))
    assert opens(checked) == [START + i * HOUR for i in (0, 1, 2, 4, 5)]
    assert checked.problems == (
        f"BTCUSDT: 1 candle refused, {reason}, first at 2024-01-01T03:00:00Z",
    )


def test_refusals_are_reported_for_each_symbol() -> None:
    frame = pl.concat([candles(), candles(symbol="ETHUSDT")]).with_columns(
        high=pl.when(pl.col("open") > 102).then(1.0).otherwise("high")
    )
    assert clean(frame).problems == (
        "BTCUSDT: 3 candles refused, high below low, first at 2024-01-01T03:00:00Z",
        "ETHUSDT: 3 candles refused, high below low, first at 2024-01-01T03:00:00Z",
    )


def test_one_fault_of_many_symbols_is_summarised() -> None:
    frame = pl.concat([candles(2, symbol=f"C{i:03}USDT", volume=[-1.0, 1.0]) for i in range(50)])
    problems = clean(frame).problems
    assert len(problems) == 21
    assert problems[-1] == (
        "and 30 more like these: 30 candles refused, volume below zero, "
        "first at 2024-01-01T00:00:00Z"
    )


def test_a_row_without_symbol_is_refused() -> None:
    checked = clean(at(candles(), 0, symbol=None))
    assert len(checked.frame) == 5
    assert checked.problems[0].startswith("(unnamed): 1 candle refused, no symbol")


def test_open_candles_are_refused_and_counted_as_early() -> None:
    now = START + 3 * HOUR + 30 * MINUTE
    checked = clean(candles(), now=now)
    assert opens(checked) == [START, START + HOUR, START + 2 * HOUR]
    assert checked.problems == (
        "BTCUSDT: 2 candles refused, in the future, first at 2024-01-01T04:00:00Z",
        "BTCUSDT: 1 candle refused, not closed yet, first at 2024-01-01T03:00:00Z",
    )
    assert checked.early == 3
    assert len(clean(candles(), now=START + 6 * HOUR).frame) == 6


@pytest.mark.parametrize(
    ("known_at", "reason"),
    [
        (datetime(2024, 1, 1, 0, 59, 59, tzinfo=UTC), "known_at before its close"),
        (datetime(2025, 1, 1, tzinfo=UTC), "known_at in the future"),
        (None, "no usable known_at"),
    ],
)
def test_known_at_must_be_possible(known_at: datetime | None, reason: str) -> None:
    sound = datetime(2024, 1, 1, 2, tzinfo=UTC)
    checked = clean(candles(2, known_at=[known_at, sound]))
    assert opens(checked) == [START + HOUR]
    assert checked.problems == (
        f"BTCUSDT: 1 candle refused, {reason}, first at 2024-01-01T00:00:00Z",
    )


# Grid


def shifted(frame: pl.DataFrame, row: int, by: int) -> pl.DataFrame:
    return at(frame, row, open_time=pl.col("open_time") + timedelta(microseconds=by))


@pytest.mark.parametrize("by", [7 * SECOND, 30 * MINUTE, -1])
def test_candle_off_the_grid_of_its_symbol_is_refused(by: int) -> None:
    checked = clean(shifted(candles(), 2, by))
    assert len(checked.frame) == 5
    where = iso(START + 2 * HOUR + by)
    assert checked.problems == (f"BTCUSDT: 1 candle refused, off the 1h grid, first at {where}",)


def test_stock_candles_may_open_at_half_past() -> None:
    frame = candles().with_columns(pl.col("open_time") + timedelta(minutes=30))
    assert clean(frame).problems == ()
    mixed = pl.concat([frame.with_columns(symbol=pl.lit("AAPL")), candles()])
    assert clean(mixed).problems == ()
    checked = clean(shifted(frame, 2, 30 * MINUTE))
    assert checked.problems == (
        "BTCUSDT: 1 candle refused, off the 1h grid, first at 2024-01-01T03:00:00Z",
    )


def test_no_market_opens_at_odd_minutes() -> None:
    frame = candles().with_columns(pl.col("open_time") + timedelta(minutes=7))
    assert clean(frame).frame.is_empty()


def session_bars(first: date, days: int, hour: Any) -> pl.DataFrame:
    """Four-hour bars of a market that rests at weekends, opening at `hour(day)` UTC."""
    times = [
        datetime(d.year, d.month, d.day, 14, 30, tzinfo=UTC) + timedelta(hours=hour(d) + part)
        for d in (first + timedelta(days=n) for n in range(days))
        for part in (0, 4)
        if d.weekday() < 5
    ]
    return candles(len(times), open_time=times, interval=["4h"] * len(times))


def test_daylight_saving_shifts_all_candles_of_a_day() -> None:
    frame = session_bars(date(2024, 1, 1), 40, lambda d: -1 if d >= date(2024, 2, 1) else 0)
    assert clean(frame, H4).problems == ()


def test_single_shifted_candle_is_no_daylight_saving() -> None:
    frame = session_bars(date(2024, 1, 1), 10, lambda d: 0)
    checked = clean(shifted(frame, 3, -HOUR), H4)
    assert checked.problems == (
        "BTCUSDT: 1 candle refused, off the 4h grid, first at 2024-01-02T17:30:00Z",
    )


def test_market_without_weekends_has_no_daylight_saving() -> None:
    times = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(14)]
    times[8] += timedelta(hours=1)
    checked = clean(candles(14, open_time=times, interval=["1d"] * 14), D1)
    assert checked.problems == (
        "BTCUSDT: 1 candle refused, off the 1d grid, first at 2024-01-09T01:00:00Z",
    )


def test_weeks_open_on_monday() -> None:
    times = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 8, 15)]
    weeks = candles(3, open_time=times, interval=["1w"] * 3)
    assert clean(weeks, W1).problems == ()
    assert opens(clean(shifted(weeks, 2, DAY), W1)) == [START, START + 7 * DAY]
    # Two candles lie on different grids; the one on the grid of the interval is right.
    assert opens(clean(shifted(weeks[:2], 1, 3 * DAY), W1)) == [START]


# Order and duplicates


def test_candles_out_of_order_are_sorted_and_reported() -> None:
    checked = clean(candles()[[0, 2, 1, 3, 4, 5]])
    assert_frame_equal(checked.frame, clean(candles()).frame)
    assert checked.problems == (
        "BTCUSDT: 1 candle out of order, sorted, first at 2024-01-01T01:00:00Z",
    )


def test_interleaved_symbols_count_as_ordered() -> None:
    frame = pl.concat([candles(), candles(symbol="ETHUSDT")]).sort("open_time", "symbol")
    checked = clean(frame)
    assert checked.problems == ()
    assert checked.frame["symbol"].is_sorted()


def test_identical_rows_leave_a_single_row() -> None:
    checked = clean(pl.concat([candles(), candles()[2:4], candles()[2:3]]))
    assert_frame_equal(checked.frame, clean(candles()).frame)
    assert checked.problems[1:] == (
        "BTCUSDT: 3 candles repeated, one of each kept, first at 2024-01-01T02:00:00Z",
    )


def test_contradicting_candles_are_both_refused() -> None:
    other = candles()[2:3].with_columns(volume=pl.lit(11.0))
    checked = clean(pl.concat([candles()[:3], other, candles()[3:]]))
    assert opens(checked) == [START + i * HOUR for i in (0, 1, 3, 4, 5)]
    assert checked.problems == (f"BTCUSDT: 2 candles {CLASH}, first at 2024-01-01T02:00:00Z",)


def test_correction_with_another_known_at_stays() -> None:
    first = candles(1, known_at=[datetime(2024, 1, 1, 1, tzinfo=UTC)])
    later = candles(1, known_at=[datetime(2024, 1, 2, tzinfo=UTC)], volume=[11.0])
    checked = clean(pl.concat([later, first]))
    assert checked.frame["volume"].to_list() == [10.0, 11.0]


def test_impossible_duplicate_does_not_cost_the_sound_row() -> None:
    twin = at(candles(), 2, close=None)[2:3]
    checked = clean(pl.concat([candles()[:3], twin, candles()[3:]]))
    assert len(checked.frame) == 6


# Properties

ODD = st.sampled_from([0.0, -1.0, None, float("nan"), float("inf")])
PRICES = st.sampled_from([1.0, 1.25, 1.5, 1.75, 2.0]) | st.sampled_from([1.0, 2.0]) | ODD
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "symbol": st.sampled_from(["A", "B", None]),
            "open_time": st.one_of(
                st.integers(0, 8).map(lambda i: START + i * HOUR),
                st.integers(0, 8).map(lambda i: START + i * HOUR + 30 * MINUTE),
                st.sampled_from([None, NOW, START + 7]),
            ),
            "open": PRICES,
            "high": st.one_of(PRICES, st.just(3.0)),
            "low": st.one_of(PRICES, st.just(0.5)),
            "close": PRICES,
            "volume": st.sampled_from([0.0, 1.0, -1.0, None]),
        }
    ),
    max_size=25,
)


def as_frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume"), pl.Float64)
    schema: dict[str, Any] = {"symbol": pl.String, "open_time": pl.Int64, **numbers}
    return pl.DataFrame(rows, schema=schema).with_columns(
        pl.col("open_time").cast(pl.Datetime("us", "UTC"))
    )


@settings(max_examples=80, deadline=None)
@given(rows=ROWS, data=st.data())
def test_the_order_of_rows_changes_nothing(rows: list[dict[str, Any]], data: st.DataObject) -> None:
    shuffled = data.draw(st.permutations(rows))
    first, second = clean(as_frame(rows)), clean(as_frame(shuffled))
    assert_frame_equal(first.frame, second.frame)
    assert first.early == second.early


@settings(max_examples=80, deadline=None)
@given(rows=ROWS)
def test_result_keeps_every_rule_and_passes_again(rows: list[dict[str, Any]]) -> None:
    checked = clean(as_frame(rows))
    frame = checked.frame
    assert frame.schema == CANDLE_SCHEMA
    assert len(frame) + len(checked.refused) == len(rows)
    assert checked.refused["reason"].null_count() == 0
    prices = frame.select("open", "high", "low", "close").to_numpy()
    assert ((prices > 0) & (prices < float("inf"))).all()
    assert (frame["high"] >= frame.select(pl.max_horizontal("open", "close")).to_series()).all()
    assert (frame["low"] <= frame.select(pl.min_horizontal("open", "close")).to_series()).all()
    assert (frame["volume"] >= 0).all()
    assert (frame["known_at"].to_physical() <= NOW).all()
    assert not frame.select("symbol", "open_time").is_duplicated().any()
    assert frame.equals(frame.sort("symbol", "open_time"))
    assert frame.is_empty() or checked.problems or len(frame) == len(rows)
    again = clean(frame)
    assert again.problems == ()
    assert_frame_equal(again.frame, frame)


# Real data


def test_real_perpetuals_pass_completely(real_data: Path) -> None:
    frame = pl.read_parquet(real_data / "crypto_perp_1h" / "*.parquet", columns=candles().columns)
    checked = clean(frame, now=parse_time("2026-01-01T00:00:00Z"))
    assert len(checked.frame) == len(frame) > 600_000
    assert checked.problems == ()


def test_real_stock_bars_at_half_past_pass(real_data: Path) -> None:
    frame = pl.read_parquet(real_data / "equities_1h" / "equities_1h.parquet")
    checked = clean(frame, now=parse_time("2026-01-01T00:00:00Z"))
    assert checked.problems == ()
    assert len(checked.frame) == len(frame)
