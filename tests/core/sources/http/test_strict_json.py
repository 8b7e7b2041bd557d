"""H6, H8: JSON as the standard has it, and no crash on what is not."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.sources.http.strict_json import is_markup, parse_json

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
def test_what_is_json_comes_through_as_it_is(value: object, mark: bool) -> None:
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
def test_no_body_crashes(body: bytes) -> None:
    try:
        value = parse_json(body)
    except ValueError:
        return
    assert not isinstance(value, float) or math.isfinite(value)


def test_of_a_key_that_stands_twice_the_last_value_holds() -> None:
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


def test_numbers_keep_their_digits_as_far_as_64_bits_go() -> None:
    assert parse_json(b"[9007199254740993]") == [2**53 + 1]
    assert math.copysign(1, parse_json(b"-0.0")) == -1


def test_a_page_is_told_from_data() -> None:
    assert is_markup(b"\xef\xbb\xbf \n<!doctype html>")
    assert not is_markup(b'{"a": "<b>"}')
