"""What a store keeps beside facts: where sources go on, and what they said of instruments."""

from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from tests.core.store.rows import H1, H4, NOW
from weft.domain.instruments import Instrument, Kind, describe
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import StorageError
from weft.foundation.times import HOUR
from weft.store.lake import Lake
from weft.store.store import Store
from weft.store.tables import CURSORS, INSTRUMENTS


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
