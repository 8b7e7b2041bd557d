"""The store: nothing known is ever changed, and what is handed in twice is stored once."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.core.store.rows import H1, H4, NOW, candles, observations, stored, version
from weft.domain.candles import FIELDS
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import SchemaError, StorageError
from weft.foundation.times import HOUR, SECOND
from weft.store.lake import Lake
from weft.store.store import Store
from weft.store.tables import CANDLES, OBSERVATIONS

# New, restated, unchanged


def test_new_facts_are_known_when_they_say(store: Store) -> None:
    facts = [("A", 0, 1.0, HOUR), ("A", HOUR, 2.0, 2 * HOUR), ("B", 0, 3.0, 5 * HOUR)]
    added = store.append_candles("x", candles(*facts))
    assert (added.new, added.restated, added.unchanged) == (3, 0, 0)
    assert sorted(stored(store, "x")) == sorted(facts)
    assert added.rows.schema == CANDLES.schema
    assert added.rows["source"].unique().to_list() == ["x"]


def test_handing_the_same_in_again_writes_nothing(store: Store, clock: SimulatedClock) -> None:
    frame = candles(("A", 0, 1.0, HOUR), ("A", HOUR, 2.0, 2 * HOUR))
    store.append_candles("x", frame)
    before = version(store)
    clock.advance_to(NOW + SECOND)
    added = store.append_candles("x", frame.with_columns(pl.col("known_at").dt.offset_by("2h")))
    assert (added.new, added.restated, added.unchanged) == (0, 0, 2)
    assert (len(added.rows), added.rows.schema) == (0, CANDLES.schema)
    assert version(store) == before


def test_a_correction_stands_beside_what_it_corrects_and_is_known_from_the_next_instant(
    store: Store, clock: SimulatedClock
) -> None:
    store.append_candles("x", candles(("A", 0, 1.0, HOUR), ("B", 0, 1.0, HOUR)))
    clock.advance_to(NOW + SECOND)
    added = store.append_candles("x", candles(("A", 0, 2.0, HOUR), ("B", 0, 1.0, HOUR)))
    assert (added.new, added.restated, added.unchanged) == (0, 1, 1)
    assert stored(store, "x", symbols=("A",)) == [
        ("A", 0, 1.0, HOUR),
        ("A", 0, 2.0, NOW + SECOND + 1),
    ]


def test_a_correction_taken_back_is_a_correction(store: Store, clock: SimulatedClock) -> None:
    for price in (1.0, 2.0, 1.0):
        store.append_candles("x", candles(("A", 0, price, HOUR)))
        clock.advance_to(clock.now() + SECOND)
    assert [price for _, _, price, _ in stored(store, "x")] == [1.0, 2.0, 1.0]


def test_corrections_stay_in_order_when_the_clock_does_not(tmp_path: Path) -> None:
    for now in (NOW, NOW - HOUR, NOW - HOUR):
        behind = Store(Lake(tmp_path), SimulatedClock(now))
        price = float(len(stored(behind, "x")))
        behind.append_candles("x", candles(("A", 0, price, HOUR)))
    known = [(price, at) for _, _, price, at in stored(behind, "x")]
    assert known == [(0.0, HOUR), (1.0, NOW - HOUR + 1), (2.0, NOW - HOUR + 2)]


def test_all_versions_of_a_new_fact_are_kept_and_bring_nothing_the_second_time(
    store: Store,
) -> None:
    history = candles(("A", 0, 1.0, HOUR), ("A", 0, 2.0, 3 * HOUR), ("A", 0, 3.0, 2 * HOUR))
    added = store.append_candles("x", history)
    assert (added.new, added.restated) == (3, 0)
    assert [price for _, _, price, _ in stored(store, "x")] == [1.0, 3.0, 2.0]
    again = store.append_candles("x", history)
    assert (again.new, again.restated, again.unchanged) == (0, 0, 3)


def test_of_several_versions_of_a_known_fact_the_latest_counts(store: Store) -> None:
    store.append_candles("x", candles(("A", 0, 1.0, HOUR)))
    added = store.append_candles(
        "x", candles(("A", 0, 5.0, 3 * HOUR), ("A", 0, 4.0, 2 * HOUR), ("A", 0, 1.0, HOUR))
    )
    assert (added.new, added.restated, added.unchanged) == (0, 1, 2)
    assert [price for _, _, price, _ in stored(store, "x")] == [1.0, 5.0]


def test_a_version_handed_in_twice_at_once_is_stored_once(store: Store) -> None:
    store.append_candles("x", candles(("A", 0, 1.0, HOUR), ("A", 0, 1.0, HOUR)))
    assert stored(store, "x") == [("A", 0, 1.0, HOUR)]


def test_any_field_of_a_candle_can_be_corrected(store: Store) -> None:
    frame = candles(("A", 0, 1.0, HOUR))
    store.append_candles("x", frame)
    for name in FIELDS:
        changed = frame.with_columns(pl.lit(7.0).alias(name))
        assert store.append_candles("x", changed).restated == 1
        assert store.append_candles("x", frame).restated == 1


def test_sources_are_kept_apart(store: Store) -> None:
    store.append_candles("x", candles(("A", 0, 1.0, HOUR)))
    added = store.append_candles("y", candles(("A", 0, 2.0, HOUR)))
    assert (added.new, added.restated) == (1, 0)
    assert stored(store, "x") == [("A", 0, 1.0, HOUR)]
    assert stored(store, "y") == [("A", 0, 2.0, HOUR)]
    picked = store.candles({"x": ["A"], "y": ["B"]}, H1)
    assert picked["close"].to_list() == [1.0]
    assert stored(store, "z") == []


def test_intervals_are_kept_apart(store: Store) -> None:
    store.append_candles("x", candles(("A", 0, 1.0, HOUR)))
    added = store.append_candles("x", candles(("A", 0, 2.0, 4 * HOUR), interval="4h"))
    assert (added.new, added.restated) == (1, 0)
    assert stored(store, "x") == [("A", 0, 1.0, HOUR)]
    assert store.candles({"x": ["A"]}, H4)["close"].to_list() == [2.0]


def test_candles_of_two_intervals_at_once_are_refused(store: Store) -> None:
    mixed = pl.concat([candles(("A", 0, 1.0, HOUR)), candles(("A", 0, 1.0, HOUR), interval="4h")])
    with pytest.raises(SchemaError, match="one interval at a time"):
        store.append_candles("x", mixed)
    assert version(store) == -1


@pytest.mark.parametrize("column", ["symbol", "open_time", "volume", "known_at"])
def test_candles_without_one_of_their_columns_are_refused(store: Store, column: str) -> None:
    with pytest.raises(SchemaError, match=f"column '{column}' is missing"):
        store.append_candles("x", candles(("A", 0, 1.0, HOUR)).drop(column))


def test_no_rows_are_no_news(store: Store) -> None:
    for added in (
        store.append_candles("x", candles()),
        store.append_candles("x", pl.DataFrame()),
    ):
        assert (added.new, added.restated, added.unchanged) == (0, 0, 0)
        assert added.rows.schema == CANDLES.schema
    assert store.append_observations("x", observations()).rows.schema == OBSERVATIONS.schema


def test_a_lake_that_fails_leaves_the_store_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.append_candles("x", candles(("A", 0, 1.0, HOUR)))

    def fail(*_: Any, **__: Any) -> bool:
        raise StorageError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(store.lake, "append", fail)
        with pytest.raises(StorageError, match="no space left"):
            store.append_candles("x", candles(("A", HOUR, 2.0, 2 * HOUR)))
    assert stored(store, "x") == [("A", 0, 1.0, HOUR)]
    assert store.append_candles("x", candles(("A", HOUR, 2.0, 2 * HOUR))).new == 1


def test_a_writer_that_never_gets_its_turn_is_told(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.lake, "append", lambda *_, **__: False)
    with pytest.raises(StorageError, match="other processes write rows of x"):
        store.append_candles("x", candles(("A", 0, 1.0, HOUR)))


def test_what_another_process_stored_meanwhile_is_taken_into_account(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one comes between reading what is known and writing what is news."""
    other = Store(store.lake, SimulatedClock(NOW + SECOND))
    append, came = store.lake.append, list[int]()

    def interrupted(*rows: Any, **options: Any) -> bool:
        if not came:
            came.append(1)
            other.append_candles("x", candles(("A", 0, 1.0, HOUR), ("A", HOUR, 9.0, 2 * HOUR)))
        return append(*rows, **options)

    monkeypatch.setattr(store.lake, "append", interrupted)
    added = store.append_candles("x", candles(("A", 0, 1.0, HOUR), ("A", HOUR, 2.0, 2 * HOUR)))
    assert (added.new, added.restated, added.unchanged) == (0, 1, 1)
    assert stored(store, "x") == [
        ("A", 0, 1.0, HOUR),
        ("A", HOUR, 9.0, 2 * HOUR),
        ("A", HOUR, 2.0, NOW + 1),
    ]


# Reading


def test_candles_are_read_by_open_time_both_ends_included(store: Store) -> None:
    store.append_candles(
        "x", candles(*(("A", k * HOUR, float(k), (k + 1) * HOUR) for k in range(9)))
    )
    read = store.candles({"x": ["A"]}, H1, 3 * HOUR, 5 * HOUR)
    assert read["close"].to_list() == [3.0, 4.0, 5.0]
    assert store.candles({"x": ["A"]}, H1, until=0)["close"].to_list() == [0.0]
    assert store.candles({"x": ["A"]}, H1, since=8 * HOUR + 1).is_empty()
    assert store.candles({}, H1).is_empty()


def test_spans_tell_the_first_and_last_open_time_of_each_symbol(store: Store) -> None:
    assert store.spans(H1).is_empty()
    store.append_candles("x", candles(("A", 0, 1.0, HOUR), ("A", 3 * HOUR, 1.0, 4 * HOUR)))
    store.append_candles("x", candles(("B", HOUR, 1.0, 2 * HOUR)))
    store.append_candles("y", candles(("A", 9 * HOUR, 1.0, 10 * HOUR)))
    store.append_candles("y", candles(("C", 0, 1.0, 4 * HOUR), interval="4h"))
    spans = store.spans(H1).with_columns(pl.col("first", "last").to_physical())
    assert spans.rows() == [
        ("x", "A", 0, 3 * HOUR),
        ("x", "B", HOUR, HOUR),
        ("y", "A", 9 * HOUR, 9 * HOUR),
    ]


def test_observations_are_read_by_metric_source_and_when_they_became_known(store: Store) -> None:
    store.append_observations(
        "x", observations(("mvrv", "BTC", 0, 1.0, 10), ("mvrv", "ETH", 0, 2.0, 30))
    )
    store.append_observations("x", observations(("nvt", "BTC", 0, 3.0, 10)))
    store.append_observations("y", observations(("mvrv", "BTC", 0, 4.0, 20)))
    assert store.observations("mvrv", ["x"], 29)["value"].to_list() == [1.0]
    assert store.observations("mvrv", ["x", "y"], 30)["value"].to_list() == [1.0, 4.0, 2.0]
    assert store.observations("mvrv", [], 30).is_empty()
    assert store.observations("none", ["x"], 30).is_empty()


def test_observations_of_several_metrics_are_told_apart(store: Store) -> None:
    facts = observations(("mvrv", "BTC", 0, 1.0, 10), ("nvt", "BTC", 0, 1.0, 10))
    assert store.append_observations("x", facts).new == 2
    assert store.append_observations("x", facts).unchanged == 2
    changed = observations(("mvrv", "BTC", 0, 2.0, 10), ("nvt", "BTC", 0, 1.0, 10))
    added = store.append_observations("x", changed)
    assert (added.restated, added.unchanged) == (1, 1)
    assert store.observations("mvrv", ["x"], NOW)["value"].to_list() == [1.0]
    assert store.observations("mvrv", ["x"], NOW + 1)["value"].to_list() == [1.0, 2.0]
