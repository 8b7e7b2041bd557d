"""Composing 1,000 symbols with only the technical layer: time of each stage, peak memory."""

import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from weft.config.loading import load_settings
from weft.domain.columns import UTC_MICROS
from weft.domain.instruments import describe
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, parse_time
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry

SYMBOLS = 1_000
ROWS = 3_000
LIVE_STEPS = 20
T = TypeVar("T")
START = parse_time("2025-01-01T00:00:00Z")


def main() -> None:
    """Fill a lake, then measure in a new process, so that the peak memory is that of composing."""
    with TemporaryDirectory() as folder:
        for part in ("fill", "measure"):
            subprocess.run([sys.executable, "-m", "benchmarks.compose", part, folder], check=True)


def fill(folder: Path) -> None:
    """Store the history to compose from."""
    engine, _ = _engine(folder)
    history = _candles(0, ROWS)
    started = time.perf_counter()
    _store(engine, history)
    took = time.perf_counter() - started
    Console(highlight=False).print(f"{len(history):,} candles stored in {took:.1f} s.")
    engine.close()


def measure(folder: Path) -> None:
    """Measure and print."""
    base = _peak_mb()
    engine, clock = _engine(folder)
    timings: dict[str, float] = {}
    engine.features.compile(engine.step_features())
    as_of = START + ROWS * HOUR
    cold = _timed(timings, "view from the lake", lambda: engine.view(as_of))
    composed = _timed(timings, "compose, history from the lake", lambda: engine.compose(cold))
    report = _timed(timings, "1,000 signal objects", lambda: engine.report(composed))
    _timed(timings, "serialise", report.to_json)
    _timed(timings, "record in the ledger", lambda: engine.record(report, composed.view))
    from_lake = _peak_mb()
    _timed(timings, "load the hot panel", lambda: engine.market.warm_up_to(as_of))
    engine.compose(engine.view(as_of))
    timings |= _live(engine, clock)
    # Repeat the last live composition without cached features.
    last = START + (ROWS + LIVE_STEPS) * HOUR
    warm = engine.report(engine.compose(engine.view(last)))
    engine.features.forget()
    again = engine.report(engine.compose(engine.view(last)))
    assert warm.to_json() == again.to_json(), "live and history differ"
    engine.close()
    table = Table("stage", "ms", title=f"Compose, {SYMBOLS} symbols, technical layer")
    for stage, seconds in timings.items():
        table.add_row(stage, f"{1e3 * seconds:,.1f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Peak memory: imports {base:,.0f} MB, composing from the lake {from_lake:,.0f} MB, "
        f"live {_peak_mb():,.0f} MB.\n"
        "A live composition equals the same one from history, byte for byte.\n"
    )


def _live(engine: Engine, clock: SimulatedClock) -> dict[str, float]:
    """Return the median times of some closes: store, then view and compose."""
    stored, composed = [], []
    frame = _candles(ROWS, LIVE_STEPS)
    for step in range(LIVE_STEPS):
        now = START + (ROWS + step + 1) * HOUR
        clock.advance_to(now)
        rows = frame[SYMBOLS * step : SYMBOLS * (step + 1)]
        started = time.perf_counter()
        _store(engine, rows)
        stored.append(time.perf_counter() - started)
        started = time.perf_counter()
        engine.compose(engine.view(now))
        composed.append(time.perf_counter() - started)
    return {
        "live: store 1,000 new candles": statistics.median(stored),
        "live: view and compose": statistics.median(composed),
    }


def _engine(folder: Path) -> tuple[Engine, SimulatedClock]:
    clock = SimulatedClock(START + ROWS * HOUR)
    loaded = load_settings(
        overrides=[f"storage.lake={folder}/lake", f"storage.ledger=sqlite:///{folder}/ledger.db"],
        environ={},
    )
    return assemble(loaded, Registry(discover()), clock), clock


def _store(engine: Engine, rows: pl.DataFrame) -> None:
    source = engine.composition.providers[0].component.source
    added = engine.store.append_candles(source, rows)
    if not engine.market.listings:
        symbols = [f"COIN{n:04d}USDT" for n in range(SYMBOLS)]
        engine.store.describe_instruments(source, [describe(s) for s in symbols])
    engine.market.absorb(source, [added.rows])


def _candles(first: int, rows: int) -> pl.DataFrame:
    """Return random walks in order of time: all symbols of an hour, then the next hour."""
    rng = np.random.default_rng(first)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (rows, SYMBOLS)), axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    times = np.repeat(START + (first + np.arange(rows)) * HOUR, SYMBOLS)
    return pl.DataFrame(
        {
            "interval": pl.repeat("1h", rows * SYMBOLS, eager=True),
            "symbol": [f"COIN{n:04d}USDT" for n in range(SYMBOLS)] * rows,
            "open_time": pl.Series(times).cast(UTC_MICROS),
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * 1.002).ravel(),
            "low": (np.minimum(opened, close) * 0.998).ravel(),
            "close": close.ravel(),
            "volume": rng.lognormal(4, 1, rows * SYMBOLS),
            "known_at": pl.Series(times + HOUR).cast(UTC_MICROS),
        }
    )


def _timed(timings: dict[str, float], stage: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    result = work()
    timings[stage] = time.perf_counter() - started
    return result


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    {"fill": fill, "measure": measure}[sys.argv[1]](Path(sys.argv[2]))
