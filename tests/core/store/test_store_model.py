"""The store against a plain model: random histories of restatements."""

import tempfile

import polars as pl
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.core.store.rows import H1, NOW, Fact, candles
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, SECOND
from weft.store.lake import Lake
from weft.store.store import Store

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
