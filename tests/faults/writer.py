"""Writes without end until it is killed; tells when it begins, and of each commit it has finished.

Run as ``python -m tests.faults.writer store|ledger FOLDER ROUND``.
"""

import os
import sys
from pathlib import Path

import numpy as np
import polars as pl

from tests.faults.fakes import BATCH, HOUR_MICROS, a_signal
from weft.domain.columns import UTC_MICROS
from weft.domain.instruments import describe
from weft.foundation.clock import SystemClock
from weft.foundation.times import Interval
from weft.ledger.ledger import Ledger
from weft.store.lake import Lake
from weft.store.store import Store


def candles(batch: int) -> pl.DataFrame:
    """Return one batch of candles, each of which says which batch it belongs to."""
    opened = (np.arange(BATCH) + batch * BATCH) * HOUR_MICROS
    number = np.full(BATCH, float(batch + 1))
    return pl.DataFrame(
        {
            "interval": "1h",
            "symbol": "BTCUSDT",
            "open_time": pl.Series(opened).cast(UTC_MICROS),
            **dict.fromkeys(("open", "high", "low", "close", "volume"), number),
            "known_at": pl.Series(opened + HOUR_MICROS).cast(UTC_MICROS),
        }
    )


def write_store(folder: Path, first: int) -> None:
    """Append batches of candles, a description and a cursor, again and again."""
    store = Store(Lake(folder / "lake"), SystemClock())
    store.describe_instruments("source", [describe("BTCUSDT")])
    batch = first
    while True:
        store.append_candles("source", candles(batch))
        tell(batch)
        store.save_cursor("source", Interval.parse("1h"), str(batch))
        if batch % 7 == 6:
            store.lake.compact()
        batch += 1


def write_ledger(folder: Path, first: int) -> None:
    """Record batches of signals, again and again."""
    ledger = Ledger(f"sqlite:///{folder}/ledger.db", SystemClock())
    batch = first
    while True:
        ledger.record([a_signal(f"S{batch}N{n}", batch) for n in range(BATCH)], known_by=0)
        tell(batch)
        batch += 1


def tell(batch: int) -> None:
    """Say that a batch is committed, with nothing in between that could hold it back."""
    os.write(1, f"{batch}\n".encode())


if __name__ == "__main__":
    what, where, start = sys.argv[1:]
    os.write(1, b"ready\n")
    {"store": write_store, "ledger": write_ledger}[what](Path(where), int(start))
