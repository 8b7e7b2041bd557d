"""Outages in the log: one line when something goes down, one when it is back."""

import logging

import pytest

from weft.collect.outages import Outages
from weft.foundation.times import MINUTE, SECOND


def test_only_changes_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(logging.getLogger("weft.test"))
    assert not outages.note("provider a", None, 0)
    assert outages.note("provider a", "provider a: HTTP 503", MINUTE)
    for poll in range(1, 10):
        assert not outages.note("provider a", f"HTTP 503, attempt {poll}", MINUTE + poll * SECOND)
        assert not outages.note("provider b", None, MINUTE + poll * SECOND)
    assert outages.note("provider b", "no answer", 2 * MINUTE)
    assert not outages.note("provider a", None, 6 * MINUTE)
    assert not outages.note("provider a", None, 7 * MINUTE)
    assert outages.note("provider a", "HTTP 503", 8 * MINUTE)
    assert [record.getMessage() for record in caplog.records] == [
        "provider a: down: HTTP 503",
        "provider b: down: no answer",
        "provider a: back after 0:05:00",
        "provider a: down: HTTP 503",
    ]
