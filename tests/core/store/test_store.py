"""The store: nothing known is ever changed, and what is handed in twice is stored once."""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import polars as pl
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from polars.testing import assert_frame_equal

from weft.clock import SimulatedClock
from weft.errors import SchemaError, StorageError
from weft.market.candles import FIELDS
from weft.market.checks import CANDLE_SCHEMA, OBSERVATION_SCHEMA
from weft.market.instruments import Instrument, Kind, describe
from weft.store.lake import Lake
from weft.store.store import Store
from weft.store.tables import CANDLES, CURSORS, INSTRUMENTS, OBSERVATIONS
from weft.times import HOUR, SECOND, Interval

H1, H4 = Interval.parse("1h"), Interval.parse("4h")
NOW = 1_000_000 * HOUR

Fact: TypeAlias = tuple[str, int, float, int]
"""Symbol, open time, price, known at."""


def candles(*facts: Fact, interval: str = "1h") -> pl.DataFrame:
    return pl.DataFrame(
        {
            "symbol": [symbol for symbol, _, _, _ in facts],
            "interval": [interval] * len(facts),
            "open_time": [opened for _, opened, _, _ in facts],
            **{name: [price for _, _, price, _ in facts] for name in FIELDS},
            "known_at": [known for _, _, _, known in facts],
        },
        schema=CANDLE_SCHEMA,
    )


def observations(*facts: tuple[str, str, int, float, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(metric, "asset", entity, at, known, value) for metric, entity, at, value, known in facts],
        schema=OBSERVATION_SCHEMA,
        orient="row",
    )


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW)


@pytest.fixture
def store(tmp_path: Path, clock: SimulatedClock) -> Store:
    return Store(Lake(tmp_path / "lake"), clock)


def stored(store: Store, *sources: str, symbols: tuple[str, ...] = ("A", "B")) -> list[Fact]:
    rows = store.candles(dict.fromkeys(sources, symbols), H1)
    times = rows.select(pl.col("open_time", "known_at").to_physical())
    return list(
        zip(rows["symbol"], times["open_time"], rows["close"], times["known_at"], strict=True)
    )


def version(store: Store) -> int:
    return store.lake.snapshot(CANDLES).version


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
    with pytest.raises(StorageError, match="others kept writing rows of x"):
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


# Against a plain model

SYMBOLS = st.sampled_from(["A", "B"])
prices = st.sampled_from([1.0, 2.0, 3.0])


class StoreIsADictionaryOfVersions(RuleBasedStateMachine):
    """Random histories of restatements; the model keeps a list of versions for each fact."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[tuple[str, str, int], list[tuple[int, float]]] = {}
        self.reads: list[tuple[int, dict[tuple[str, str, int], float]]] = []

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.clock = SimulatedClock(NOW)
        self.store = Store(Lake(self.folder.name), self.clock)

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    @rule(
        source=st.sampled_from(["x", "y"]),
        facts=st.lists(
            st.tuples(SYMBOLS, st.integers(0, 3), prices, st.integers(0, 3)), max_size=6
        ),
    )
    def append(self, source: str, facts: list[tuple[str, int, float, int]]) -> None:
        rows = [(s, at * HOUR, p, (at + 1 + late) * HOUR) for s, at, p, late in facts]
        counts = self._append_to_model(source, rows)
        added = self.store.append_candles(source, candles(*rows))
        assert (added.new, added.restated, added.unchanged) == counts

    def _append_to_model(self, source: str, rows: list[Fact]) -> tuple[int, int, int]:
        new = restated = 0
        brought: dict[tuple[str, str, int], dict[int, float]] = {}
        for symbol, opened, price, known in rows:
            brought.setdefault((source, symbol, opened), {})[known] = price
        for key, versions in brought.items():
            there = self.model.setdefault(key, [])
            if not there:
                there += sorted(versions.items())
                new += len(versions)
            elif versions[max(versions)] != there[-1][1]:
                known = max(*versions, there[-1][0] + 1, self.clock.now() + 1)
                there.append((known, versions[max(versions)]))
                restated += 1
        return new, restated, len(rows) - new - restated

    @rule(seconds=st.sampled_from([0, 0, 1, 3600]))
    def wait(self, seconds: int) -> None:
        self.clock.advance_to(self.clock.now() + seconds * SECOND)

    @rule()
    def read_as_of_now(self) -> None:
        self.reads.append((self.clock.now(), self._as_of(self.clock.now())))

    @rule()
    def compact(self) -> None:
        self.store.lake.compact()

    def _rows(self) -> pl.DataFrame:
        return self.store.candles({"x": ["A", "B"], "y": ["A", "B"]}, H1)

    def _as_of(self, instant: int) -> dict[tuple[str, str, int], float]:
        """The version of every fact known last by an instant."""
        rows = self._rows().with_columns(pl.col("open_time", "known_at").to_physical())
        known = rows.filter(pl.col("known_at") <= instant).iter_rows(named=True)
        return {(r["source"], r["symbol"], r["open_time"]): r["close"] for r in known}

    @invariant()
    def holds_every_version(self) -> None:
        if not hasattr(self, "store"):
            return
        expected = [
            (opened, known, source, symbol, price)
            for (source, symbol, opened), versions in self.model.items()
            for known, price in versions
        ]
        rows = self._rows().with_columns(pl.col("open_time", "known_at").to_physical())
        found = rows.select("open_time", "known_at", "source", "symbol", "close").rows()
        assert found == sorted(expected)

    @invariant()
    def what_was_read_as_of_any_instant_reads_the_same_ever_after(self) -> None:
        for instant, seen in self.reads:
            now = self._as_of(instant)
            assert {key: now[key] for key in seen} == seen


TestStoreIsADictionaryOfVersions = StoreIsADictionaryOfVersions.TestCase
TestStoreIsADictionaryOfVersions.settings = settings(
    max_examples=40, stateful_step_count=8, deadline=None
)


# Cursors and instruments


def test_a_cursor_is_what_was_last_kept(store: Store, clock: SimulatedClock) -> None:
    assert store.cursor("x", H1) is None
    for cursor in ("a", "b", "c", "a"):  # the clock stands still
        store.save_cursor("x", H1, cursor)
        assert store.cursor("x", H1) == cursor
    store.save_cursor("x", H4, "four hours")
    store.save_cursor("y", H1, "another source")
    assert (store.cursor("x", H1), store.cursor("x", H4)) == ("a", "four hours")


def test_a_cursor_kept_again_is_not_written_again(store: Store) -> None:
    store.save_cursor("x", H1, "a")
    before = store.lake.snapshot(CURSORS).version
    store.save_cursor("x", H1, "a")
    assert store.lake.snapshot(CURSORS).version == before


def test_cursors_follow_each_other_even_when_the_clock_was_set_back(tmp_path: Path) -> None:
    Store(Lake(tmp_path), SimulatedClock(NOW)).save_cursor("x", H1, "first")
    behind = Store(Lake(tmp_path), SimulatedClock(NOW - HOUR))
    behind.save_cursor("x", H1, "second")
    assert behind.cursor("x", H1) == "second"


FULL_INSTRUMENT = Instrument(
    symbol="1000PEPE-PERP",
    base="PEPE",
    quote="USDT",
    kind=Kind.PERPETUAL,
    venue="binance",
    tick=1e-8,
    lot=0.1,
    multiplier=1000,
    listed=5,
    delisted=NOW,
    renamed_from=("PEPE1", "PEPE2"),
)


def test_instruments_are_read_back_as_they_were_described(store: Store) -> None:
    assert store.instruments("x") == []
    store.describe_instruments("x", [FULL_INSTRUMENT, describe("BTCUSDT"), describe("AAPL")])
    assert store.instruments("x") == [FULL_INSTRUMENT, describe("AAPL"), describe("BTCUSDT")]
    assert store.instruments("y") == []


def test_only_news_about_instruments_is_written(store: Store) -> None:
    btc = describe("BTCUSDT")
    store.describe_instruments("x", [btc, describe("ETHUSDT")])
    before = store.lake.snapshot(INSTRUMENTS).version
    store.describe_instruments("x", [btc])
    store.describe_instruments("x", [])
    assert store.lake.snapshot(INSTRUMENTS).version == before
    store.describe_instruments("x", [replace(btc, tick=0.5), replace(btc, tick=0.25)])
    assert store.instruments("x")[0].tick == 0.25
    store.describe_instruments("x", [btc])
    assert store.instruments("x") == [btc, describe("ETHUSDT")]
    assert len(store.lake.read(INSTRUMENTS, lambda rows: rows)) == 4


@pytest.mark.parametrize(
    "described", ['{"symbol": "A", "colour": "red"}', "{", "[]", '{"kind": "x"}']
)
def test_an_instrument_of_a_newer_weft_is_told_and_not_a_traceback(
    store: Store, described: str
) -> None:
    row = pl.DataFrame([("x", "A", described, 0)], INSTRUMENTS.schema, orient="row")
    store.lake.append(INSTRUMENTS, row)
    with pytest.raises(StorageError, match="Upgrade Weft"):
        store.instruments("x")


# Two processes at once

WRITER = """
import sys, time
from pathlib import Path
import polars as pl
from weft.clock import SystemClock
from weft.market.checks import CANDLE_SCHEMA
from weft.store import lake
from weft.store.lake import Lake
from weft.store.store import Store
from weft.times import HOUR, Interval

lake._COMMITS_BEFORE_COMPACTION = 3
folder, me, gate = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
store = Store(Lake(folder), SystemClock())
(gate / str(me)).touch()
while len(list(gate.iterdir())) < 2:
    time.sleep(0.005)
for k in range(8):
    row = lambda symbol, at, price: {
        "symbol": symbol, "interval": "1h", "open_time": at * HOUR, "open": price, "high": price,
        "low": price, "close": price, "volume": price, "known_at": (at + 1) * HOUR}
    rows = [row("BOTH", k, 1.0), row(f"OWN{me}", k, 1.0), row("FOUGHT", 0, 10.0 * k + me)]
    store.append_candles("x", pl.DataFrame(rows, CANDLE_SCHEMA))
    store.save_cursor("x", Interval.parse("1h"), f"{me}-{k}")
"""


def test_two_processes_storing_the_same_at_once_store_it_once(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    lake = str(tmp_path / "lake")
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, lake, str(me), str(gate)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(2)
    ]
    for child in children:
        _, errors = child.communicate(timeout=60)
        assert child.returncode == 0, errors
    store = Store(Lake(lake), SimulatedClock(NOW))
    rows = store.candles({"x": ["BOTH", "OWN0", "OWN1", "FOUGHT"]}, H1)
    counts = dict(rows["symbol"].value_counts().rows())
    assert (counts["BOTH"], counts["OWN0"], counts["OWN1"]) == (8, 8, 8)
    fought = rows.filter(pl.col("symbol") == "FOUGHT")
    assert len(fought) >= 9
    assert fought["known_at"].is_unique().all()
    assert store.cursor("x", H1) in {"0-7", "1-7"}
    assert_frame_equal(rows.unique(["symbol", "open_time", "known_at"], maintain_order=True), rows)
