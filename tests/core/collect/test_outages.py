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


def test_each_begin_and_each_end_of_a_kind_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(logging.getLogger("weft.test"))
    for poll in range(3):
        outages.update("layer", {"on_chain": "overran its deadline"}, poll * SECOND)
        outages.update("sink", {"mail": "no connection", "web": "HTTP 503"}, poll * SECOND)
    outages.update("sink", {"web": "HTTP 502"}, MINUTE)
    for poll in range(2):
        outages.update("layer", {}, 2 * MINUTE + poll * SECOND)
        outages.update("sink", {}, 2 * MINUTE + poll * SECOND)
    assert [record.getMessage() for record in caplog.records] == [
        "layer on_chain: down: overran its deadline",
        "sink mail: down: no connection",
        "sink web: down: HTTP 503",
        "sink mail: back after 0:01:00",
        "layer on_chain: back after 0:02:00",
        "sink web: back after 0:02:00",
    ]
