"""Composing 100 symbols with every layer and trained models: time a symbol, and peak memory.

The data is made up: 400 days of hourly candles, daily values of the metrics that the layers need,
and headlines. The models are really trained on it, the transformer for one epoch only, which does
not change the time of a forecast.
"""

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from weft.compose.composing import compose
from weft.config.loading import load_settings
from weft.domain.columns import UTC_MICROS
from weft.domain.instruments import describe
from weft.domain.vocabulary import METRICS
from weft.engine.assembly import assemble
from weft.engine.engine import Engine
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import DAY, HOUR, parse_time
from weft.plugins.discovery import discover
from weft.plugins.registry import Registry
from weft_app.memory import return_freed_memory
from weft_sandbox.market.coins import COINS
from weft_sandbox.market.more_coins import MORE_COINS

SYMBOLS = [coin.symbol for coin in (*COINS, *MORE_COINS)]
DAYS = 400
ROWS = 24 * DAYS
CLOSES = 8
NEWS_A_DAY = 60
START = parse_time("2025-01-01T00:00:00Z")


def main() -> None:
    """Fill and train, then measure in new processes, so that their memory is that of composing."""
    with TemporaryDirectory() as folder:
        for part in ("prepare", "measure", "weigh"):
            subprocess.run([sys.executable, "-m", "benchmarks.whole", part, folder], check=True)


def prepare(folder: Path) -> None:
    """Store a history, and train on it."""
    engine, _ = _engine(folder)
    source = _source(engine)
    engine.store.describe_instruments(source, [describe(symbol) for symbol in SYMBOLS])
    engine.store.append_candles(source, _candles(0, ROWS))
    engine.store.append_observations(source, _facts())
    engine.store.append_texts(source, _news())
    engine.market.refresh()
    engine.features.compile(engine.step_features())
    for key in engine.composition.trained:
        began = time.perf_counter()
        trial = engine.trainer.train(key, START + ROWS * HOUR)
        took = time.perf_counter() - began
        Console(highlight=False).print(f"{key} trained in {took:.0f} s, trust {trial.trust:.2f}")
    engine.close()


def measure(folder: Path) -> None:
    """Measure and print."""
    engine, clock = _engine(folder)
    engine.features.compile(engine.step_features())
    as_of = START + ROWS * HOUR
    engine.market.warm_up_to(as_of)
    began = time.perf_counter()
    first = engine.compose(engine.view(as_of))
    cold = time.perf_counter() - began
    frame, live, source = _candles(ROWS, CLOSES), [], _source(engine)
    for step in range(CLOSES):
        now = as_of + (step + 1) * HOUR
        clock.advance_to(now)
        rows = frame[len(SYMBOLS) * step : len(SYMBOLS) * (step + 1)]
        engine.market.absorb(source, [engine.store.append_candles(source, rows).rows])
        began = time.perf_counter()
        composed = engine.compose(engine.view(now))
        live.append(time.perf_counter() - began)
    spoke = sorted(n for n, s in composed.scores.items() if not np.isnan(s.score[-1]).all())
    table = Table("stage", "ms", "ms a symbol", title=f"Compose, {len(SYMBOLS)} symbols")
    for stage, seconds in (("first", cold), ("at each close", statistics.median(live))):
        table.add_row(stage, f"{1e3 * seconds:,.0f}", f"{1e3 * seconds / len(SYMBOLS):.2f}")
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Layers that spoke: {', '.join(spoke)}. Models: {', '.join(first.forecasts)}; regime "
        f"{'known' if first.regime else 'unknown'}.\nPeak memory {_peak_mib():,.0f} MiB.\n"
    )
    engine.close()


def weigh(folder: Path) -> None:
    """Print the memory of composing without models, and the addition of each loaded model."""
    engine, _ = _engine(folder)
    engine.features.compile(engine.step_features())
    as_of = START + ROWS * HOUR
    engine.market.warm_up_to(as_of)
    compose(engine.composition, engine.view(as_of))
    table = Table("loaded", "more MiB", "peak MiB", title=f"Memory, {len(SYMBOLS)} symbols")
    table.add_row("nothing", "", f"{_peak_mib():,.0f}")
    learned = dict(engine.champions.active_artifacts({}, as_of).learned)
    for key, component in engine.composition.trained.items():
        before = _resident_mib()
        learned |= engine.champions.active_artifacts({key: component}, as_of).learned
        added = _resident_mib() - before
        compose(engine.composition, engine.view(as_of), learned)
        table.add_row(key, f"{added:,.0f}", f"{_peak_mib():,.0f}")
    Console(highlight=False).print(table)
    engine.close()


def _engine(folder: Path) -> tuple[Engine, SimulatedClock]:
    clock = SimulatedClock(START + ROWS * HOUR)
    places = [f"storage.{place}={folder}/{place}" for place in ("lake", "models")]
    overrides = [
        *places,
        f"storage.ledger=sqlite:///{folder}/ledger.db",
        "models.transformer.epochs=1",
        "models.transformer.threads=2",
        "sizer.steps=2000",
        "runtime.deadline_seconds=300",
    ]
    loaded = load_settings(overrides=overrides, environ={})
    return assemble(loaded, Registry(discover()), clock), clock


def _source(engine: Engine) -> str:
    return engine.composition.providers[0].component.source


def _candles(first: int, rows: int) -> pl.DataFrame:
    """Return random walks in order of time: all symbols of an hour, then the next hour."""
    rng = np.random.default_rng(first)
    shape = (rows, len(SYMBOLS))
    shocks = rng.normal(0, 0.006, shape) + rng.normal(0, 0.006, (rows, 1))
    close = 100 * np.exp(np.cumsum(shocks, axis=0))
    opened = np.vstack([close[:1], close[:-1]])
    times = np.repeat(START + (first + np.arange(rows)) * HOUR, len(SYMBOLS))
    return pl.DataFrame(
        {
            "interval": pl.repeat("1h", rows * len(SYMBOLS), eager=True),
            "symbol": SYMBOLS * rows,
            "open_time": pl.Series(times).cast(UTC_MICROS),
            "open": opened.ravel(),
            "high": (np.maximum(opened, close) * 1.002).ravel(),
            "low": (np.minimum(opened, close) * 0.998).ravel(),
            "close": close.ravel(),
            "volume": rng.lognormal(5, 1, shape).ravel(),
            "known_at": pl.Series(times + HOUR).cast(UTC_MICROS),
        }
    )


def _facts() -> pl.DataFrame:
    """Return every metric of every asset once a day."""
    rng = np.random.default_rng(1)
    times = START + np.arange(DAYS) * DAY
    parts = []
    for metric in METRICS.values():
        entities = {
            "asset": [describe(symbol).base for symbol in SYMBOLS],
            "instrument": SYMBOLS,
            "market": [""],
        }[metric.scope.value]
        values = np.abs(1.0 + np.cumsum(rng.normal(0, 0.02, (DAYS, len(entities))), axis=0))
        parts.append(
            pl.DataFrame(
                {
                    "metric": metric.name,
                    "scope": metric.scope.value,
                    "entity": entities * DAYS,
                    "event_time": pl.Series(np.repeat(times, len(entities))).cast(UTC_MICROS),
                    "known_at": pl.Series(np.repeat(times, len(entities))).cast(UTC_MICROS),
                    "value": values.ravel(),
                }
            )
        )
    return pl.concat(parts)


def _news() -> pl.DataFrame:
    """Return headlines about random coins at random times."""
    rng = np.random.default_rng(2)
    count = DAYS * NEWS_A_DAY
    known = np.sort(START + rng.integers(0, DAYS * DAY, count))
    titles = [coin.title for coin in (*COINS, *MORE_COINS)]
    verbs = ("surges to a record", "plunges after a hack", "wins approval", "faces a lawsuit")
    names = [titles[i] for i in rng.integers(0, len(titles), count)]
    phrases = [verbs[i] for i in rng.integers(0, len(verbs), count)]
    return pl.DataFrame(
        {
            "id": [str(i) for i in range(count)],
            "event_time": pl.Series(known).cast(UTC_MICROS),
            "known_at": pl.Series(known).cast(UTC_MICROS),
            "title": [f"{name} {verb}" for name, verb in zip(names, phrases, strict=True)],
            "summary": [""] * count,
            "url": [""] * count,
            "feed": [f"feed{i}" for i in rng.integers(0, 12, count)],
            "assets": [[] for _ in range(count)],
            "credibility": rng.uniform(0.4, 1.0, count),
        },
        schema_overrides={"assets": pl.List(pl.String)},
    )


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    # The first process sets the environment for the others, which import polars.
    return_freed_memory()
    if len(sys.argv) > 2:
        parts = {"prepare": prepare, "measure": measure, "weigh": weigh}
        parts[sys.argv[1]](Path(sys.argv[2]))
    else:
        main()
