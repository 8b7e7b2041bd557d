"""A composition with every trained component, in a process of its own: train it, record, replay.

Run as ``python -m tests.arithmetic.composed (train|record) FOLDER``, under whatever arithmetic the
environment asks for.
"""

import sys
from pathlib import Path

from tests.support import fetch, make_engine
from weft.clock import SimulatedClock
from weft.engine import Engine
from weft.times import HOUR, iso, parse_time

NOW = parse_time("2026-04-01T00:00:00Z")
ROWS = 12
"""Decision rows that are recorded."""

OVERRIDES = (
    "history_days=90",
    "universe.symbols=[BTCUSDT, ETHUSDT, SOLUSDT, DOGEUSDT, ADAUSDT]",
    "layers.on_chain.enabled=false",
    "layers.sentiment.enabled=false",
    "models.xgboost_majors.enabled=true",
    "models.xgboost_majors.trees=20",
    "models.xgboost_alts.enabled=false",
    "models.xgboost_memes.enabled=false",
    "models.transformer.window=24",
    "models.transformer.width=16",
    "models.transformer.layers=2",
    "models.transformer.heads=4",
    "models.transformer.feed_forward=32",
    "models.transformer.passes=8",
    "models.transformer.epochs=2",
    "models.transformer.windows_per_epoch=1024",
    "models.transformer.validation_windows=256",
    "models.transformer.learning_rate=0.002",
    "regime.restarts=1",
    "sizer.steps=400",
    "sizer.epsilon_steps=200",
    "runtime.deadline_seconds=300",
)


def engine_in(folder: Path, *more: str) -> Engine:
    """Return the engine whose stores lie in a folder."""
    return make_engine(folder, *OVERRIDES, *more, clock=SimulatedClock(NOW))


def train(folder: Path) -> None:
    """Collect a history and train everything that is trained."""
    engine = fetch(engine_in(folder))
    for key in engine.composition.trained:
        engine.trainer.train(key, NOW - ROWS * HOUR)
    engine.close()


def record(folder: Path) -> None:
    """Record the signals of the last rows."""
    engine = engine_in(folder)
    for row in range(NOW - (ROWS - 1) * HOUR, NOW + 1, HOUR):
        view = engine.view(row)
        report = engine.report(engine.compose(view))
        assert report.signals, iso(row)
        engine.record(report, view)
    engine.close()


if __name__ == "__main__":
    {"train": train, "record": record}[sys.argv[1]](Path(sys.argv[2]))
