"""The engine: fixed starts, kept state that changes nothing, threads, and memory."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from tests.core.features.steps import (
    BLOCK_START,
    HOUR,
    Echo,
    Mean,
    columns,
    compute_all,
    live_panel,
    panel,
)
from weft.domain import calendar as blocks
from weft.domain.candles import FIELDS
from weft.features import history, live
from weft.features.engine import BLOCK, FeatureEngine, first_row_needed
from weft.features.jobs import run_jobs
from weft.features.kernels import Kernel
from weft.foundation.times import Interval


def test_a_step_is_given_each_candle_once_and_in_order() -> None:
    values = columns(50, symbols=4)
    candles = panel(values)
    found = FeatureEngine(1).panels(Echo(), candles, 50)
    for name in FIELDS:
        np.testing.assert_array_equal(found[name], values[name])
    np.testing.assert_array_equal(found["time"], np.tile(candles.times[:, None], (1, 4)))
    np.testing.assert_array_equal(found["calls"][:, 0], np.arange(1, 51))


# Starts


def test_first_row_needed_is_the_same_for_a_whole_block() -> None:
    rows = {first_row_needed(index, 30) for index in range(BLOCK_START, BLOCK_START + BLOCK)}
    assert rows == {BLOCK_START - 30}
    assert first_row_needed(BLOCK_START - 1, 30) == BLOCK_START - BLOCK - 30


@pytest.mark.parametrize(
    ("interval", "rows"),
    [("1m", 10 * 50 + 12 * 1440), ("1h", 10 * 50 + 12 * 24), ("1d", 75 + 12), ("1w", 50)],
)
def test_markets_with_sessions_start_earlier(interval: str, rows: int) -> None:
    assert first_row_needed(BLOCK_START, 50, Interval.parse(interval)) == BLOCK_START - rows


def test_each_block_starts_from_nothing_a_warm_up_earlier() -> None:
    values = columns(2 * BLOCK + 100)
    feature = Mean()
    found = FeatureEngine(1).panels(feature, panel(values, BLOCK_START - 50), 2 * BLOCK)
    begin = BLOCK_START - 50
    for index in (BLOCK_START + 50, BLOCK_START + BLOCK - 1, BLOCK_START + BLOCK):
        start = index // BLOCK * BLOCK - feature.warmup
        expected = np.zeros(3)
        for row in range(start - begin, index - begin + 1):
            expected += (values["close"][row] - expected) / 8.0
        row = index - begin - 100
        np.testing.assert_array_equal(found["mean"][row], expected)
        np.testing.assert_array_equal(found["seen"][row], index - start + 1)


def test_history_that_begins_late_begins_where_it_begins() -> None:
    values = columns(40)
    seen = FeatureEngine(1).panels(Mean(), panel(values, BLOCK_START + 7), 40)["seen"]
    np.testing.assert_array_equal(seen[:, 0], np.arange(1, 41))


def test_rows_do_not_depend_on_how_many_are_asked_for() -> None:
    candles = panel(columns(2 * BLOCK), BLOCK_START - 300)
    whole = compute_all(Mean(), candles, 2 * BLOCK - 100)
    for rows in (1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK - 300):
        np.testing.assert_array_equal(compute_all(Mean(), candles, rows), whole[:, -rows:])


def test_a_market_with_sessions_is_warm_when_a_block_begins() -> None:
    # Six candles a day: the warm-up of eight candles reaches into the day before.
    values = columns(600)
    begin = BLOCK_START - 400
    closed = (begin + np.arange(600)) % 24 >= 6
    for panel_ in values.values():
        panel_[closed, 0] = np.nan
    candles = panel(values, begin, calendars=("sessions", "open", "open"))
    found = FeatureEngine(1).panels(Mean(), candles, 200)
    needed = first_row_needed(BLOCK_START, 8, HOUR) - begin
    traded = np.count_nonzero(~closed[max(0, needed) : 400])
    assert traded > 8
    first = int(np.flatnonzero(~closed[400:])[0])
    assert found["seen"][first, 0] == traded + 1
    # Its neighbours start where they would without it.
    alone = panel({n: v[:, 1:] for n, v in values.items()}, begin)
    for output, expected in FeatureEngine(1).panels(Mean(), alone, 200).items():
        np.testing.assert_array_equal(found[output][:, 1:], expected)


# From one candle to the next


class _Counter:
    """Counts the rows that kernels run over."""

    rows = 0

    def run_jobs(self, kernels: list[Kernel], *arguments: Any) -> None:
        *_, (first, last, _, _), _ = arguments
        self.rows += (last - first) * len(kernels)
        run_jobs(kernels, *arguments)


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> _Counter:
    found = _Counter()
    for module in (history, live):
        monkeypatch.setattr(module, "run_jobs", found.run_jobs)
    return found


def test_a_new_candle_costs_one_row(counter: _Counter) -> None:
    candles = panel(columns(300), BLOCK_START - 100)
    engine = FeatureEngine(1)
    engine.panels(Mean(), live_panel(candles, 200), 1)
    counter.rows = 0
    for end in range(201, 300):
        engine.panels(Mean(), live_panel(candles, end), 1)
        engine.panels(Mean(), live_panel(candles, end), 1)
    assert counter.rows == 99


def test_missed_candles_are_made_up_for(counter: _Counter) -> None:
    candles = panel(columns(400), BLOCK_START - 50)
    whole = compute_all(Mean(), candles, 350)[0]
    engine = FeatureEngine(1)
    engine.panels(Mean(), live_panel(candles, 100), 2)
    counter.rows = 0
    for end in (101, 107, 108, 190, 400):
        found = engine.panels(Mean(), live_panel(candles, end), 2)["mean"]
        np.testing.assert_array_equal(found, whole[end - 52 : end - 50])
    assert counter.rows == 300


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_kept_state_changes_no_bit_across_blocks(rows: int) -> None:
    with patch.object(blocks, "BLOCK", 64):
        candles = panel(columns(400, symbols=2), 64 * 1000 - 100)
        whole = compute_all(Mean(), candles, 300)
        engine = FeatureEngine(1)
        for end in range(150, 401):
            found = engine.panels(Mean(), live_panel(candles, end), rows)["mean"]
            np.testing.assert_array_equal(found, whole[0][end - 100 - rows : end - 100])
            if end % 97 == 0:
                engine.forget()


def test_asking_for_more_or_fewer_rows_than_before() -> None:
    candles = panel(columns(300), BLOCK_START - 50)
    engine = FeatureEngine(1)
    random = np.random.default_rng(0)
    end = 120
    while end <= 300:
        rows = int(random.integers(1, 60))
        found = engine.panels(Mean(), live_panel(candles, end), rows)["mean"]
        np.testing.assert_array_equal(found, compute_all(Mean(), live_panel(candles, end), rows)[0])
        end += int(random.integers(0, 4))


def test_looking_back_at_an_earlier_candle() -> None:
    candles = panel(columns(300), BLOCK_START - 50)
    engine = FeatureEngine(1)
    for end in (200, 150, 151, 200, 60, 201):
        found = engine.panels(Mean(), live_panel(candles, end), 5)["mean"]
        np.testing.assert_array_equal(found, compute_all(Mean(), live_panel(candles, end), 5)[0])


def test_rows_given_out_never_change() -> None:
    candles = panel(columns(300), BLOCK_START - 50)
    engine = FeatureEngine(1)
    given = []
    for end in range(100, 300):
        found = engine.panels(Mean(), live_panel(candles, end), 3)["mean"]
        given.append((found, found.copy()))
        assert not found.flags.writeable
    for found, then in given:
        np.testing.assert_array_equal(found, then)


def test_a_panel_that_slides_without_reaching_the_start_is_computed_anew() -> None:
    # Its own first row is where history begins, so every candle moves the start.
    candles = panel(columns(300), BLOCK_START + 10)
    engine = FeatureEngine(1)
    for end in range(100, 200):
        newest = live_panel(candles, end, first=end - 90)
        found = engine.panels(Mean(), newest, 2)["seen"]
        np.testing.assert_array_equal(found[:, 0], [89, 90])


def test_a_panel_that_slides_and_reaches_the_start_is_stepped(counter: _Counter) -> None:
    candles = panel(columns(500), BLOCK_START - 200)
    whole = compute_all(Mean(), candles, 300)[0]
    engine = FeatureEngine(1)
    engine.panels(Mean(), live_panel(candles, 300), 1)
    counter.rows = 0
    for end in range(301, 400):
        newest = live_panel(candles, end, first=end - 300)
        found = engine.panels(Mean(), newest, 1)["mean"]
        np.testing.assert_array_equal(found, whole[end - 201 : end - 200])
    assert counter.rows == 99


def test_a_feature_nobody_asks_for_is_let_go_and_comes_back(counter: _Counter) -> None:
    candles = panel(columns(300), BLOCK_START - 50)
    whole = compute_all(Mean(), candles, 250)[0]
    engine = FeatureEngine(1)
    engine.panels(Mean(), live_panel(candles, 100), 1)
    counter.rows = 0
    for end in range(101, 201):
        engine.panels(Echo(), live_panel(candles, end), 1)
    idle = counter.rows - (101 - 47) - 99
    assert 0 < idle < 20
    found = engine.panels(Mean(), live_panel(candles, 200), 1)["mean"]
    np.testing.assert_array_equal(found, whole[149:150])


def test_candles_of_two_lengths_are_followed_side_by_side(counter: _Counter) -> None:
    hours = panel(columns(300), BLOCK_START - 50)
    days = panel(columns(300, seed=9), BLOCK_START - 50, interval=Interval.parse("1d"))
    expected = {p.interval: compute_all(Mean(), p, 250)[0] for p in (hours, days)}
    engine = FeatureEngine(1)
    for candles in (hours, days):
        engine.panels(Mean(), live_panel(candles, 100), 1)
    counter.rows = 0
    for end in range(101, 200):
        for candles in (hours, days):
            found = engine.panels(Mean(), live_panel(candles, end), 1)["mean"]
            np.testing.assert_array_equal(found, expected[candles.interval][end - 51 : end - 50])
    assert counter.rows == 2 * 99


def test_another_generation_is_another_history() -> None:
    first, second = panel(columns(200, seed=1)), panel(columns(200, seed=2))
    engine = FeatureEngine(1)
    for end in range(100, 200):
        for generation, candles in enumerate((first, second), start=1):
            newest = live_panel(candles, end, generation)
            found = engine.panels(Mean(), newest, 1)["mean"]
            np.testing.assert_array_equal(found, compute_all(Mean(), newest, 1)[0])


def test_old_generations_are_let_go() -> None:
    engine = FeatureEngine(1)
    candles = panel(columns(20))
    for generation in range(1, 100):
        engine.panels(Mean(), live_panel(candles, 20, generation), 1)
    assert len(engine._followed) <= 16


def test_features_of_other_options_do_not_mix() -> None:
    candles = panel(columns(200), BLOCK_START - 50)
    engine = FeatureEngine(1)
    features = [Mean(Mean.Config(window=w, notes=n)) for w in (3, 8, 30) for n in ([], ["a"])]
    for end in range(100, 130):
        for feature in (*features, Echo()):
            newest = live_panel(candles, end)
            found = engine.panels(feature, newest, 2)
            np.testing.assert_array_equal(
                np.array(list(found.values())), compute_all(feature, newest, 2)
            )


# Threads


def test_any_number_of_threads_gives_the_same() -> None:
    values = columns(900, symbols=700)
    values["close"][values["close"] > 5] = np.nan
    candles = panel(values, BLOCK_START - 300)
    for feature in (Mean(), Echo()):
        expected = compute_all(feature, candles, 600, threads=1)
        for threads in (2, 3, 7):
            np.testing.assert_array_equal(compute_all(feature, candles, 600, threads), expected)


@pytest.mark.parametrize("columns", [0, 1, 64, 130, 700, 1000, 5000])
@pytest.mark.parametrize("threads", [2, 3, 7])
def test_threads_share_all_columns_about_evenly(columns: int, threads: int) -> None:
    edges = history.edges(columns, threads)
    assert edges[0] == 0
    assert edges[-1] == columns
    widths = np.diff(edges)
    assert len(widths) <= threads
    assert (widths >= min(columns, 56)).all()
    assert widths.max() <= 1.3 * columns / len(widths) + 8


def test_one_engine_may_be_used_from_many_threads() -> None:
    candles = panel(columns(400, symbols=50), BLOCK_START - 100)
    whole = {f.name: compute_all(f, candles, 300) for f in (Mean(), Echo())}
    engine = FeatureEngine(2)
    barrier = threading.Barrier(4)

    def work(worker: int) -> None:
        barrier.wait()
        for end in range(150, 400):
            for feature in (Mean(), Echo()):
                newest = replace(live_panel(candles, end), generation=1 if worker % 2 else None)
                found = engine.panels(feature, newest, 3)
                for k, values in enumerate(found.values()):
                    expected = whole[feature.name][k][end - 103 : end - 100]
                    np.testing.assert_array_equal(values, expected)
            if worker == 0 and end % 50 == 0:
                engine.forget()

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, k) for k in range(4)]:
            done.result()


# Memory


def test_memory_is_used_again_only_when_nobody_holds_it() -> None:
    candles = panel(columns(400, symbols=700), BLOCK_START)
    engine = FeatureEngine(1)
    held = engine.panels(Mean(), candles, 400)
    row = held["mean"][7]
    copy = row.copy()
    del held
    address = row.ctypes.data
    for _ in range(3):
        other = engine.panels(Echo(), candles, 400)
        other = engine.panels(Mean(), candles, 400)
    np.testing.assert_array_equal(row, copy)
    del row
    gc.collect()
    again = engine.panels(Mean(), candles, 400)
    blocks = {values.ctypes.data for values in (*other.values(), *again.values())}
    assert address - 7 * 700 * 8 in blocks
    engine.forget()
    np.testing.assert_array_equal(again["mean"][7], copy)


def test_a_panel_larger_than_the_cache_is_written_whole() -> None:
    # Past the cache, line by line: any number of symbols, and memory that begins anywhere.
    for symbols in (255, 256, 257, 701):
        values = columns(700, symbols=symbols)
        candles = panel(values)
        engine = FeatureEngine(1)
        found = [engine.panels(Echo(), candles, 700 - k)["close"] for k in range(3)]
        for k, closes in enumerate(found):
            np.testing.assert_array_equal(closes, values["close"][k:])


def test_equal_features_share_what_is_kept(counter: _Counter) -> None:
    candles = panel(columns(200), BLOCK_START - 50)
    engine = FeatureEngine(1)
    engine.panels(Mean(), live_panel(candles, 100), 1)
    counter.rows = 0
    for end in range(101, 150):
        newest = live_panel(candles, end)
        first = engine.panels(Mean(), newest, 1)
        again = engine.panels(Mean(), newest, 1)
        np.testing.assert_array_equal(first["mean"], again["mean"])
    assert counter.rows == 49
