"""The store under two processes at once."""

import subprocess
import sys
from pathlib import Path

import polars as pl
from polars.testing import assert_frame_equal

from tests.core.store.rows import H1, NOW
from weft.foundation.clock import SimulatedClock
from weft.store.lake import Lake
from weft.store.store import Store

WRITER = """
import sys, time
from pathlib import Path
import polars as pl
from weft.foundation.clock import SystemClock
from weft.collect.checks.clean import CANDLE_SCHEMA
from weft.store import lake
from weft.store.lake import Lake
from weft.store.store import Store
from weft.foundation.times import HOUR, Interval

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
