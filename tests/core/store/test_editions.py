"""A source that is started over: its earlier rows stay, and are read as of an earlier instant."""

import polars as pl
import pytest

from tests.core.store import rows
from tests.core.store.rows import H1
from weft.components.provider import FactKey
from weft.domain.instruments import describe
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR
from weft.store.lake import Lake
from weft.store.store import Store


def candles(close: float) -> pl.DataFrame:
    return rows.candles(*(("A", i * HOUR, close, (i + 1) * HOUR) for i in range(3)))


def facts(value: float) -> pl.DataFrame:
    return rows.observations(("sopr", "BTC", 0, value, 0))


@pytest.fixture(autouse=True)
def _two_sources(store: Store) -> None:
    for source in ("x", "y"):
        store.append_candles(source, candles(1.0))
        store.append_observations(source, facts(1.0))
        store.describe_instruments(source, [describe("AUSDT")])
        store.save_cursor(source, H1, "here")


def closes(store: Store, source: str) -> list[float]:
    read = store.candles({source: ["A"]}, H1)
    assert set(read["source"]) <= {source}
    return read["close"].to_list()


def test_nothing_of_a_source_started_over_is_read(store: Store) -> None:
    assert store.start_over("x") == 2
    assert closes(store, "x") == []
    assert closes(store, "y") == [1.0] * 3
    assert store.spans(H1)["source"].to_list() == ["y"]
    assert store.known_facts("x") == {}
    assert store.observations("sopr", ["x", "y"])["source"].to_list() == ["y"]
    assert store.instruments("x") == []
    assert (store.cursor("x", H1), store.cursor("y", H1)) == (None, "here")


def test_what_it_brings_then_is_new(store: Store) -> None:
    store.start_over("x")
    added = store.append_candles("x", candles(2.0))
    assert (added.new, added.restated) == (3, 0)
    assert set(added.rows["source"]) == {"x"}
    store.append_observations("x", facts(2.0))
    store.save_cursor("x", H1, "there")
    assert closes(store, "x") == [2.0] * 3
    assert store.spans(H1)["source"].to_list() == ["x", "y"]
    assert list(store.known_facts("x")) == [FactKey("sopr", "asset", "BTC")]
    assert store.cursor("x", H1) == "there"
    assert store.append_candles("x", candles(2.0)).unchanged == 3


def test_an_earlier_instant_sees_the_earlier_edition(store: Store, clock: SimulatedClock) -> None:
    marks = [store.mark()]
    for number in (2, 3):
        clock.advance_to(clock.now() + HOUR)
        assert store.start_over("x") == number
        store.append_candles("x", candles(float(number)))
        marks.append(store.mark())
    seen = [closes(store.as_recorded(mark), "x")[0] for mark in marks]
    assert seen == [1.0, 2.0, 3.0]


def test_another_process_sees_the_edition(store: Store, clock: SimulatedClock) -> None:
    store.start_over("x")
    store.append_candles("x", candles(2.0))
    assert closes(Store(Lake(store.lake.url), clock), "x") == [2.0] * 3
