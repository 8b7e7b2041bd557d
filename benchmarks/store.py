"""A day of five-minute cycles of 1,000 symbols: commits, reads from memory and from the lake."""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import track
from rich.table import Table

from weft.domain.candles import FIELDS
from weft.domain.columns import UTC_MICROS
from weft.domain.instruments import describe
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import MINUTE, Interval
from weft.market.panels import HotPanel, panel_of
from weft.store.lake import Lake
from weft.store.store import Store

SYMBOLS, CYCLES, KEPT = 1_000, 288, 2_000
M5 = Interval.parse("5m")
START = 5_600_000 * M5.micros
ROUNDS = 15
NAMES = [f"S{k:04}USDT" for k in range(SYMBOLS)]


def main() -> None:
    """Measure and print."""
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory(prefix="weft-bench-") as folder:
        _measure(console, Path(folder))


def _measure(console: Console, folder: Path) -> None:
    clock = SimulatedClock(START + (KEPT + CYCLES + 2) * M5.micros)
    store = Store(Lake(folder / "lake"), clock)
    history = pl.concat([_cycle(k) for k in range(KEPT - CYCLES)])
    store.append_candles("s", history)
    plain = folder / "plain"
    plain.mkdir()
    commits, writes = [], []
    cycles = range(KEPT - CYCLES, KEPT)
    for number in track(cycles, "Committing a day of cycles", console=console, transient=True):
        rows = _cycle(number)
        commits.append(_timed(partial(store.append_candles, "s", rows)))
        writes.append(_timed(partial(rows.write_parquet, plain / f"{number}.parquet")))
    table = Table("", "milliseconds", "per symbol")
    table.title = f"{SYMBOLS:,} symbols, {CYCLES} cycles of five minutes"
    for label, seconds in (
        ("commit of a cycle, first hour", statistics.median(commits[:12])),
        ("commit of a cycle, last hour", statistics.median(commits[-12:])),
        ("slowest commit (it compacts)", max(commits)),
        ("the same rows as a bare Parquet file", statistics.median(writes)),
    ):
        table.add_row(label, f"{seconds * 1e3:,.1f}", "")
    size_before = _size(folder / "lake")
    read = f"last {KEPT:,} candles"
    before = _median(lambda: _from_lake(store))
    store.lake.compact()
    after = _median(lambda: _from_lake(store))
    hot = _hot(store)
    held = _median(lambda: hot.candles(hot.last_close, KEPT))
    for label, seconds in (
        (f"{read}, from memory", held),
        (f"{read}, from the lake", before),
        (f"{read}, from the lake compacted", after),
    ):
        table.add_row(label, f"{seconds * 1e3:,.3f}", f"{seconds / SYMBOLS * 1e6:,.2f} us")
    expected = _from_lake(store)
    panel = hot.candles(hot.last_close, KEPT)
    if panel is None or not np.array_equal(panel.close, expected, equal_nan=True):
        raise SystemExit("memory and lake differ")
    console.print(table)
    console.print(
        f"Memory is {after / held:,.0f}x as fast as the compacted lake. On disk "
        f"{size_before / 1e6:.1f} MB before and {_size(folder / 'lake') / 1e6:.1f} MB after "
        f"compaction (replaced files stay for a day); bare Parquet {_size(plain) / 1e6:.1f} MB "
        f"for the {CYCLES} cycles only.\n"
    )


def _cycle(number: int) -> pl.DataFrame:
    rng = np.random.default_rng(number)
    close = 100.0 * np.exp(rng.normal(0, 0.01, SYMBOLS))
    opened = START + number * M5.micros
    return pl.DataFrame(
        {
            "symbol": NAMES,
            "interval": [M5.name] * SYMBOLS,
            "open_time": pl.Series([opened] * SYMBOLS).cast(UTC_MICROS),
            "open": close,
            "high": close * 1.001,
            "low": close * 0.999,
            "close": close,
            "volume": rng.lognormal(3, 1, SYMBOLS),
            "known_at": pl.Series([opened + 5 * MINUTE] * SYMBOLS).cast(UTC_MICROS),
        }
    )


def _rows(store: Store) -> pl.DataFrame:
    return store.candles({"s": NAMES}, M5, START, START + KEPT * M5.micros)


def _from_lake(store: Store) -> np.ndarray:
    instruments = [describe(name) for name in NAMES]
    return panel_of([_rows(store)], M5, instruments, START + M5.micros, KEPT).close


def _hot(store: Store) -> HotPanel:
    hot = HotPanel(M5, [describe(name) for name in NAMES], START + M5.micros, KEPT)
    hot.extend(_rows(store).select("symbol", "open_time", "known_at", *FIELDS), 0)
    return hot


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _timed(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _median(work: Callable[[], object]) -> float:
    return statistics.median(_timed(work) for _ in range(ROUNDS))


if __name__ == "__main__":
    main()
