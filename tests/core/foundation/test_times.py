"""Instants and intervals, against the calendar of the standard library."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.foundation.errors import WeftError
from weft.foundation.times import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    WEEK,
    Interval,
    TimeError,
    iso,
    parse_time,
    to_datetime,
    to_micros,
)

NAMES = ["1s", "5m", "90m", "1h", "4h", "7h", "1d", "3d", "1w", "2w"]
intervals = st.sampled_from([Interval.parse(name) for name in NAMES])
# From the year 1 to the year 9999.
instants = st.integers(-62_135_596_800 * SECOND, 253_402_300_799 * SECOND)


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_datetime_survives_the_way_through_micros(instant: datetime) -> None:
    assert to_datetime(to_micros(instant)) == instant


@given(instants)
def test_micros_survive_the_way_through_text(micros: int) -> None:
    assert parse_time(iso(micros)) == micros


@given(instants, st.integers(-14 * 60, 14 * 60))
def test_a_zone_moves_the_text_and_not_the_instant(micros: int, offset_minutes: int) -> None:
    zone = timezone(timedelta(minutes=offset_minutes))
    micros = min(max(micros, -62_135_500_000 * SECOND), 253_402_200_000 * SECOND)
    assert to_micros(to_datetime(micros).astimezone(zone)) == micros
    assert parse_time(to_datetime(micros).astimezone(zone).isoformat()) == micros


def test_micros_are_exact_where_a_float_of_seconds_is_not() -> None:
    assert to_micros(datetime(2285, 3, 1, 0, 0, 0, 1, UTC)) % SECOND == 1


def test_numpy_integers_are_instants_too() -> None:
    assert iso(np.int64(1_700_000_000_000_001)) == "2023-11-14T22:13:20.000001Z"  # type: ignore[arg-type] # what arrays hold


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-03-01",
        "2025-03-01T00:00:00",
        "2025-02-30T00:00:00Z",
        "2025-03-01T24:00:01Z",
        "2025-03-01T23:59:60Z",
        "1740787200",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_what_names_no_instant_is_refused(text: str) -> None:
    with pytest.raises(TimeError) as caught:
        parse_time(text)
    assert repr(text) in str(caught.value)
    assert isinstance(caught.value, WeftError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("micros", [2**62, -(2**62)])
def test_an_instant_beyond_the_calendar_is_told_and_not_overflown(micros: int) -> None:
    with pytest.raises(TimeError, match="years 1 to 9999"):
        iso(micros)


@pytest.mark.parametrize(
    ("text", "micros", "name"),
    [
        ("1s", SECOND, "1s"),
        ("5m", 5 * MINUTE, "5m"),
        ("60m", HOUR, "1h"),
        ("90m", 90 * MINUTE, "90m"),
        ("3600s", HOUR, "1h"),
        ("24h", DAY, "1d"),
        ("36h", 36 * HOUR, "36h"),
        ("7d", WEEK, "1w"),
        ("2w", 2 * WEEK, "2w"),
    ],
)
def test_intervals_of_one_length_are_one_interval(text: str, micros: int, name: str) -> None:
    interval = Interval.parse(text)
    assert (interval.micros, interval.name, str(interval)) == (micros, name, name)
    assert interval == Interval.parse(name)
    assert hash(interval) == hash(Interval.parse(name))
    assert Interval.parse(interval) is interval


NO_INTERVALS = [
    "h",
    "1",
    "0h",
    "01h",
    "-1h",
    "1.5h",
    "1H",
    "1M",
    "1y",
    "1hh",
    "1٣h",
    "53w",
    "366d",
    "999999999w",
]


@pytest.mark.parametrize("text", ["", "1 h", " 1h", "1h ", "1h\n", "9" * 5000 + "h", *NO_INTERVALS])
def test_what_is_no_interval_is_refused(text: str) -> None:
    with pytest.raises(TimeError):
        Interval.parse(text)


def test_intervals_sort_by_length() -> None:
    shuffled = [Interval.parse(n) for n in ("1d", "5m", "1w", "1h", "4h")]
    assert [i.name for i in sorted(shuffled)] == ["5m", "1h", "4h", "1d", "1w"]


@given(intervals, instants)
def test_floor_is_the_last_boundary_and_ceil_the_first(interval: Interval, micros: int) -> None:
    floor, ceil = interval.floor(micros), interval.ceil(micros)
    assert floor <= micros <= ceil
    assert micros - floor < interval.micros
    assert ceil - micros < interval.micros
    assert interval.floor(floor) == interval.ceil(floor) == floor
    assert ceil - floor == (0 if micros == floor else interval.micros)


@given(intervals, instants)
def test_boundaries_are_numbered_without_gaps(interval: Interval, micros: int) -> None:
    floor = interval.floor(micros)
    assert interval.index(floor + interval.micros) == interval.index(floor) + 1
    assert interval.index(micros) == interval.index(floor)


@given(instants)
def test_weeks_begin_on_monday_and_days_at_midnight(micros: int) -> None:
    micros = max(micros, to_micros(datetime(1, 1, 8, tzinfo=UTC)))
    monday = to_datetime(Interval.parse("1w").floor(micros))
    assert (monday.weekday(), monday.hour, monday.minute, monday.microsecond) == (0, 0, 0, 0)
    midnight = to_datetime(Interval.parse("1d").floor(micros))
    assert midnight == to_datetime(micros).replace(hour=0, minute=0, second=0, microsecond=0)


def test_boundaries_before_1970_follow_on_from_those_after() -> None:
    hour, week = Interval.parse("1h"), Interval.parse("1w")
    assert [hour.floor(m) for m in (-1, 0, 1)] == [-HOUR, 0, 0]
    assert [hour.ceil(m) for m in (-1, 0, 1)] == [0, 0, HOUR]
    assert iso(week.floor(0)) == "1969-12-29T00:00:00Z"
    assert iso(week.ceil(0)) == "1970-01-05T00:00:00Z"


@given(intervals, intervals, instants)
def test_an_interval_holds_a_finer_one_when_all_its_boundaries_are_shared(
    long: Interval, finer: Interval, micros: int
) -> None:
    shared = all(
        finer.floor(boundary) == boundary
        for boundary in (long.floor(micros) + i * long.micros for i in range(3))
    )
    assert long.holds(finer) == shared


def test_three_weeks_from_monday_are_not_made_of_three_day_candles() -> None:
    assert Interval.parse("3w").micros % Interval.parse("3d").micros == 0
    assert not Interval.parse("3w").holds(Interval.parse("3d"))
