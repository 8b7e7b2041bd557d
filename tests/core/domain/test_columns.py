"""Columns from outside are read as what they claim to be, or refused by name."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.domain.columns import Columns, instant, read_times
from weft.foundation.errors import SchemaError
from weft.foundation.times import DAY, HOUR, SECOND, iso, parse_time

START = parse_time("2024-01-01T00:00:00Z")


def column(values: Any, dtype: Any = None) -> pl.Series:
    return pl.Series("open_time", values, dtype=dtype)


def times(values: Any, dtype: Any = None) -> list[int | None]:
    micros, _ = read_times(column(values, dtype), "test")
    return micros.to_list()


def note(values: Any) -> str | None:
    return read_times(column(values), "test")[1]


def numbers(values: Any) -> pl.Series:
    return Columns(pl.DataFrame({"close": values}), "test").number("close")


# Integers


@pytest.mark.parametrize(
    ("unit", "scale"),
    [("seconds", 1), (None, 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)],
)
@pytest.mark.parametrize("write", [int, str])
def test_the_unit_of_integers_is_told_by_their_size(
    unit: str | None, scale: int, write: Any
) -> None:
    counts = [write((START // SECOND + i * 3600) * scale) for i in range(3)]
    assert times(counts) == [START, START + HOUR, START + 2 * HOUR]
    said = None if unit is None else f"open_time holds integers: read as {unit} since 1970"
    assert note(counts) == said


@settings(max_examples=60, deadline=None)
@given(
    at=st.datetimes(datetime(1973, 4, 1), datetime(2261, 1, 1)),  # noqa: DTZ001  # drawn as UTC
    scale=st.sampled_from([1, 10**3, 10**6, 10**9]),
)
def test_no_instant_is_mistaken_for_one_in_another_unit(at: datetime, scale: int) -> None:
    seconds = int(at.replace(tzinfo=UTC).timestamp())
    assert times([seconds * scale]) == [seconds * SECOND]


@pytest.mark.parametrize("changed", [1, 3, 5])
def test_each_count_is_read_in_its_own_unit(changed: int) -> None:
    counts = [(START + i * HOUR) // 1000 for i in range(6)]
    counts[changed:] = [count * 1000 for count in counts[changed:]]
    counts[0] //= 1000
    assert times(counts) == [START + i * HOUR for i in range(6)]
    told = note(counts)
    assert told is not None
    assert told.startswith("open_time mixes seconds and ")
    assert told.endswith("microseconds since 1970: each value is read by its magnitude")


@settings(max_examples=60, deadline=None)
@given(scales=st.lists(st.sampled_from([1, 10**3, 10**6, 10**9]), min_size=1, max_size=12))
def test_no_mixture_of_units_moves_a_time(scales: list[int]) -> None:
    counts = [(START // SECOND + i * 3600) * scale for i, scale in enumerate(scales)]
    assert times(counts) == [START + i * HOUR for i in range(len(scales))]


def test_whole_floats_count_like_integers() -> None:
    assert times([f"{START // SECOND}.0", None]) == [START, None]
    assert times([START / SECOND, START / SECOND + 3600, float("nan")]) == [
        START,
        START + HOUR,
        None,
    ]


@pytest.mark.parametrize("values", [[20240101, 20240102], [0, 1, 2], [45292, 45293]])
def test_integers_that_count_no_unit_are_refused(values: list[int]) -> None:
    with pytest.raises(SchemaError, match=r"'open_time' holds '\d+', expected seconds, milli"):
        times(values)


# Timestamps, dates and texts


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_any_unit_and_zone_of_a_timestamp_is_converted(unit: str) -> None:
    zone = timezone(timedelta(hours=5, minutes=30))
    local = datetime(2024, 1, 1, 5, 30, tzinfo=zone)
    given_times = column([local]).dt.convert_time_zone("Asia/Kolkata")
    assert times(given_times.dt.cast_time_unit("ms")) == [START]
    assert times(given_times.cast(pl.Datetime(unit, "Asia/Kolkata"))) == [START]  # type: ignore[arg-type]  # a literal
    assert note(given_times) is None


def test_a_time_without_zone_is_utc_and_says_so() -> None:
    plain = column([datetime(2024, 1, 1)])  # noqa: DTZ001  # the matter of the test
    assert times(plain) == [START]
    assert note(plain) == "open_time has no time zone: read as UTC"


def test_dates_are_midnights_and_say_so() -> None:
    days = [date(2024, 1, 1), date(2024, 1, 2)]
    assert times(days) == [START, START + DAY]
    assert note(days) == "open_time holds dates: read as midnight UTC"


@pytest.mark.parametrize(
    ("text", "zoned"),
    [
        ("2024-01-01T05:00:00Z", True),
        ("2024-01-01 05:00:00+00:00", True),
        ("2024-01-01 07:00:00 +02", True),
        ("2024-01-01T10:30:00.000000+0530", True),
        ("2024-01-01 00:00:00-05:00", True),
        ("2024-01-01 05:00 UTC", True),
        (" 2024-01-01 05:00 ", False),
        ("2024-01-01T05:00:00.000", False),
    ],
)
def test_iso_8601_texts_are_times(text: str, *, zoned: bool) -> None:
    assert times([text, None]) == [START + 5 * HOUR, None]
    assert (note([text]) is None) is zoned


def test_plain_days_as_text_are_midnights() -> None:
    assert times(["2024-01-01", "2024-01-02"]) == [START, START + DAY]


@pytest.mark.parametrize("text", ["yesterday", "01/02/2024", "2024-13-01", "2024-01-01T25:00:00Z"])
def test_text_that_is_no_time_is_shown(text: str) -> None:
    with pytest.raises(SchemaError, match=f"holds '{text}', expected times like 2025-03-01T"):
        times(["2024-01-01T00:00:00Z", text])


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (START // SECOND, "before 1971, the first at 1970-01-20.*seconds read as milliseconds"),
        (START * 1000, "after 2200.*read as seconds"),
        (START, "after 2200.*milliseconds read as seconds"),
    ],
)
def test_timestamps_read_in_the_wrong_unit_are_named_as_such(count: int, said: str) -> None:
    wrong = column([count, count + 3600]).cast(pl.Datetime("ms", "UTC"))
    with pytest.raises(SchemaError, match=f"test: every value of column 'open_time' lies {said}"):
        times(wrong)


def test_share_prices_may_go_back_to_1971() -> None:
    assert len(times([date(1970, 12, 31), date(1971, 1, 4)])) == 2


def test_a_single_absurd_time_does_not_stop_the_rest() -> None:
    some = column([START // 1000, 2**62, None]).cast(pl.Datetime("ms", "UTC"))
    assert times(some) == [START, None, None]


@pytest.mark.parametrize("values", [[True], [1.5], [[1]], [timedelta(hours=1)]])
def test_other_types_hold_no_times(values: list[Any]) -> None:
    with pytest.raises(SchemaError, match=r"test: column 'open_time' is .*, expected times"):
        times(values)


def test_empty_columns_are_fine() -> None:
    for kind in (pl.Null, pl.String, pl.Int64, pl.Float64, pl.Date, pl.Datetime("ns")):
        assert times([], kind) == []
        assert times([None], kind) == [None]


# Numbers and texts


def test_numbers_as_text_are_read_exactly() -> None:
    assert numbers(["101.10000000000001", " 102e0 ", "-.5", "", "nan"]).to_list()[:4] == [
        101.10000000000001,
        102.0,
        -0.5,
        None,
    ]


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_text_and_number_give_the_same_bits(values: list[float]) -> None:
    assert numbers([repr(value) for value in values]).to_list() == values


@pytest.mark.parametrize("odd", ["1,000.5", "0x10", "1 0", "--1", "$5", "1.2.3", "e5"])
def test_text_that_is_no_number_is_shown(odd: str) -> None:
    with pytest.raises(SchemaError, match=r"'close' holds .*, expected decimal numbers") as e:
        numbers(["1.0", odd])
    assert repr(odd) in str(e.value)


@pytest.mark.parametrize("values", [[True], [date(2024, 1, 1)], [[1.0]], [b"1"]])
def test_other_types_are_no_numbers(values: list[Any]) -> None:
    with pytest.raises(SchemaError, match=r"test: column 'close' is .*, expected numbers"):
        numbers(values)


def test_whole_numbers_and_decimals_are_numbers() -> None:
    for kind in (pl.Int8, pl.UInt64, pl.Float32, pl.Decimal(12, 2)):
        assert numbers(pl.Series([1, 2]).cast(kind)).to_list() == [1.0, 2.0]


def test_text_must_be_text() -> None:
    columns = Columns(pl.DataFrame({"symbol": ["A"], "id": [1]}), "test")
    assert columns.text("symbol").to_list() == ["A"]
    with pytest.raises(SchemaError, match="column 'id' is Int64, expected text"):
        columns.text("id")


def test_the_nearest_column_is_suggested() -> None:
    columns = Columns(pl.DataFrame({"Close": [1.0], "x": [1.0]}), "test")
    with pytest.raises(SchemaError, match=r"'close' is missing; found 'Close', 'x'. Did you mean"):
        columns.number("close")


def test_instants_beyond_all_calendars_are_counts() -> None:
    assert instant(START) == iso(START)
    assert instant(2**62) == f"{2**62} microseconds"
    assert instant(-(2**62)) == f"{-(2**62)} microseconds"
