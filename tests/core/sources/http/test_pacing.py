"""H1, H13: what Retry-After and reset headers mean, whatever they say and whoever's clock errs."""

from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.sources.http.server import NOW
from weft.foundation.times import MINUTE, SECOND, to_datetime
from weft.sources.http.api import RateLimit
from weft.sources.http.pacing import INSTEAD_SECONDS, age_seconds, follow, retry_after_seconds
from weft.sources.http.sliding_window import SlidingWindow


def date(micros: int) -> str:
    return format_datetime(to_datetime(micros), usegmt=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 2.5 ", 2.5),
        ("0", None),
        ("-5", None),
        ("", None),
        ("soon", None),
        ("1e3", None),
        ("\u0663", None),
        ("1000000000", INSTEAD_SECONDS),
        ("9" * 400, None),
        (date(NOW + 90 * SECOND), 90.0),
        (date(NOW - 90 * SECOND), None),
        ("Fri, 31 Dec 9999 23:59:59 GMT", INSTEAD_SECONDS),
        ("Wed, 99 Foo 2025 99:99:99 GMT", None),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": text}, NOW) == seconds


@pytest.mark.parametrize("skew", [-5 * MINUTE, 5 * MINUTE])
def test_a_date_is_measured_by_the_servers_clock(skew: int) -> None:
    theirs = NOW + skew
    headers = {"retry-after": date(theirs + 40 * SECOND), "date": date(theirs)}
    assert retry_after_seconds(headers, NOW) == 40


@pytest.mark.parametrize("skew", [-5 * MINUTE, 0, 5 * MINUTE])
@pytest.mark.parametrize("scale", [None, 1, 1_000])
def test_a_reset_is_seconds_or_an_epoch_by_the_servers_clock(skew: int, scale: int | None) -> None:
    theirs = NOW + skew
    reset = 20 if scale is None else (theirs // SECOND + 20) * scale
    limit = RateLimit(10, 60, remaining="X-Left", reset="X-Reset")
    headers = {"x-left": "0", "x-reset": str(reset), "date": date(theirs)}
    window = SlidingWindow(10, 60 * SECOND)
    follow(limit, window, headers, NOW)
    assert window.earliest(1, NOW) == NOW + 20 * SECOND


@pytest.mark.parametrize("reset", ["", "-3", "0", "nonsense", "1"])
def test_a_reset_that_says_nothing_leaves_the_length_of_the_stretch(reset: str) -> None:
    limit = RateLimit(10, 60, used="X-MBX-USED-WEIGHT-1M", reset="x-reset")
    window = SlidingWindow(10, 60 * SECOND)
    follow(limit, window, {"x-mbx-used-weight-1m": "10", "x-reset": reset}, NOW)
    assert window.earliest(1, NOW) == NOW + (1 if reset == "1" else 60) * SECOND


@given(text=st.text(max_size=30), number=st.integers() | st.floats())
def test_no_header_breaks_anything(text: str, number: float) -> None:
    for value in (text, str(number)):
        headers = dict.fromkeys(("retry-after", "date", "age", "used", "left", "reset"), value)
        seconds = retry_after_seconds(headers, NOW)
        assert seconds is None or 0 < seconds <= 3 * 86_400
        assert age_seconds(headers) >= 0
        window = SlidingWindow(10, 60 * SECOND)
        limit = RateLimit(10, 60, used="used", remaining="left", reset="reset")
        follow(limit, window, headers, NOW)
        assert 0 <= window.used(NOW) <= 10
        assert NOW <= window.earliest(1, NOW) <= NOW + 60 * SECOND
