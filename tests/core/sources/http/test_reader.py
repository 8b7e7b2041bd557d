"""Strict JSON: parsing of bodies and fields."""

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weft.foundation.times import SECOND, iso
from weft.sources.http.errors import SchemaChangedError
from weft.sources.http.reader import Reader, is_markup, parse_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=12,
)


@given(value=JSON, mark=st.booleans())
def test_json_is_parsed_unchanged(value: object, mark: bool) -> None:
    text = json.dumps(value, allow_nan=False)
    assert parse_json((b"\xef\xbb\xbf" if mark else b"") + text.encode()) == value


@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b"[Infinity]",
        b'{"a": -Infinity}',
        b"1e400",
        b"[-1e400]",
        b'{"a": 1',
        b"[1,]",
        b"[1] 2",
        b"{'a': 1}",
        b'"\xff"',
        "[1]".encode("utf-16"),
        b"",
        b"1,234.5",
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b"[" * 100_000 + b"]" * 100_000,
    ],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(body)


@given(body=st.binary(max_size=64))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    try:
        value = parse_json(body)
    except ValueError:
        return
    assert not isinstance(value, float) or math.isfinite(value)


def test_the_last_of_two_equal_keys_wins() -> None:
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


def test_integers_are_exact_up_to_64_bits() -> None:
    assert parse_json(b"[9007199254740993]") == [2**53 + 1]
    assert math.copysign(1, parse_json(b"-0.0")) == -1


def test_an_html_page_is_recognised() -> None:
    assert is_markup(b"\xef\xbb\xbf \n<!doctype html>")
    assert not is_markup(b'{"a": "<b>"}')


DATA = {"data": [{"p": "1.5", "q": 2, "n": None, "t": 1_700_000_000, "name": "x", "ok": True}]}


def reader(value: Any = DATA) -> Reader:
    return Reader(value, "vendor", "GET /x")


def test_fields_are_read_by_path() -> None:
    row = reader().rows("data")[0]
    assert (row.number("p"), row.number("q"), row.integer("q")) == (1.5, 2.0, 2)
    assert math.isnan(row.number("n", null=math.nan))
    assert row.text("name") == "x"
    assert row.instant("t", unit="s") == 1_700_000_000 * SECOND
    assert row.has("p")
    assert not row.has("n")
    assert not row.has("gone", 3)
    assert list(reader().fields("data", 0)) == ["p", "q", "n", "t", "name", "ok"]


_TEXTS = ("1.5", "-2", "+.5", "3.", "1e3", "nan", "inf", "1_0", " 1", "", ".", "1\n2", "9" * 400)

_CELLS = st.one_of(st.sampled_from(_TEXTS), st.floats(allow_nan=True), st.none(), st.booleans())


@given(rows=st.lists(st.lists(_CELLS, min_size=1, max_size=4), max_size=4))
def test_a_table_equals_its_numbers_read_singly(rows: list[list[Any]]) -> None:
    place = reader({"t": rows})

    def one_by_one() -> list[tuple[float, ...]]:
        return [(row.number(0), row.number(1)) for row in place.rows("t")]

    def reported(read: Callable[[], list[tuple[float, ...]]]) -> object:
        try:
            return read()
        except SchemaChangedError as error:
            return str(error)

    assert reported(lambda: place.table("t", width=2)) == reported(one_by_one)


def test_a_table_of_texts_is_parsed() -> None:
    rows = [["1.5", "2", "more"], ["-0.25", "+3.", 7]]
    assert reader({"t": rows}).table("t", width=2) == [(1.5, 2.0), (-0.25, 3.0)]
    assert reader({"t": []}).table("t", width=2) == []
    with pytest.raises(SchemaChangedError, match="should be a list"):
        reader({"t": {}}).table("t", width=2)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("1,234.5", None),
        ("1_000", None),
        (" 1", None),
        ("nan", None),
        ("inf", None),
        ("1e999", None),
        ("\u0661", None),
        (True, None),
        ([], None),
        ({}, None),
        (10**400, None),
        (None, None),
        ("-.5e-3", -0.0005),
        (2**53 + 1, float(2**53 + 1)),
    ],
)
def test_number_accepts_numbers_and_decimal_text_only(value: Any, number: float | None) -> None:
    place = reader({"v": value})
    if number is not None:
        assert place.number("v") == number
        return
    with pytest.raises(SchemaChangedError, match=r"\$\.v should be a number"):
        place.number("v")


@pytest.mark.parametrize(
    ("way", "message"),
    [
        (("data", 0, "price"), "no .price in $.data[0], which is an object of 6; there are p, q"),
        (("data", 1), "no [1] in $.data, which is a list of 1"),
        (("data", "p"), "no .p in $.data, which is a list of 1"),
        (("data", 0, "p", "x"), "no .x in $.data[0].p, which is the text '1.5'"),
    ],
)
def test_a_missing_field_is_named_with_the_existing_ones(
    way: tuple[Any, ...], message: str
) -> None:
    with pytest.raises(SchemaChangedError) as caught:
        reader().number(*way)
    assert message in str(caught.value)
    assert str(caught.value).startswith("vendor: GET /x: ")
    assert not caught.value.worth_retrying


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        (1_700_000_000, "ms"),
        (1_700_000_000_000, "s"),
        (1_700_000_000_000, "us"),
        ("2024-01-01T00:00:00", "iso"),
        ("yesterday", "iso"),
        (-1, "s"),
    ],
)
def test_a_time_in_another_unit_is_refused(value: Any, unit: Any) -> None:
    with pytest.raises(SchemaChangedError, match=r"\$\.t should be"):
        reader({"t": value}).instant("t", unit=unit)


def test_iso_times_are_parsed() -> None:
    assert iso(reader(["2024-01-01T01:00:00+01:00"]).instant(0, unit="iso")).startswith(
        "2024-01-01T00"
    )


@pytest.mark.parametrize("method", ["rows", "fields", "text", "integer"])
@pytest.mark.parametrize("value", [None, True, 1.5])
def test_a_field_of_another_type_is_named(method: str, value: Any) -> None:
    with pytest.raises(SchemaChangedError, match=r"\$ should be"):
        getattr(reader(value), method)()


def test_errors_of_custom_parsing_name_the_position() -> None:
    with (
        pytest.raises(
            SchemaChangedError, match=r"\$\.data has another form, ValueError: invalid literal"
        ) as caught,
        reader().at("data").parsing(),
    ):
        int("canary")
    assert caught.value.__suppress_context__


@settings(max_examples=50)
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.text() | st.integers() | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    ),
    way=st.lists(st.text(max_size=2) | st.integers(-4, 4), max_size=3),
)
def test_any_value_is_read_or_named(value: Any, way: list[str | int]) -> None:
    place = reader(value)
    place.has(*way)
    for method in (place.number, place.integer, place.text, place.rows, place.fields):
        try:
            read: Any = method(*way)
        except SchemaChangedError:
            continue
        assert not isinstance(read, float) or math.isfinite(read)


def collected(rows: list[Any]) -> tuple[list[float], list[str]]:
    lines: list[str] = []
    reader = Reader({"data": rows}, "vendor", "GET /x")

    def read(row: Reader) -> float | None:
        return None if row.value is None else row.number()

    return reader.collect("data", read=read, lost=lines.append), lines


def test_an_unexpected_row_is_left_out_and_reported() -> None:
    assert collected([1, None, 2]) == ([1.0, 2.0], [])
    assert collected([]) == ([], [])
    assert collected([None]) == ([], [])
    numbers, lines = collected([1, "x", 2, []])
    assert numbers == [1.0, 2.0]
    assert lines == [
        "2 of 4 rows left out, the first: GET /x: $.data[1] should be a number, and is the text 'x'"
    ]


@pytest.mark.parametrize("rows", [["x"], ["x", []], ["x", None]])
def test_only_unexpected_rows_mean_a_changed_schema(rows: list[Any]) -> None:
    with pytest.raises(SchemaChangedError, match="should be a number"):
        collected(rows)
