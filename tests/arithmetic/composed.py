"""A composition with every trained component: trained and recorded, then replayed.

``python -m tests.arithmetic.composed FOLDER`` replays the signals recorded in a folder, under the
arithmetic that the environment selects, and prints the differences as JSON.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tests.support import fetch, make_engine
from weft.compose.composing import Composed
from weft.engine.engine import Engine
from weft.engine.replay import replay
from weft.foundation.arrays import FloatPanel
from weft.foundation.clock import SimulatedClock
from weft.foundation.times import HOUR, parse_time

NOW = parse_time("2026-04-01T00:00:00Z")
ROWS = 6
"""Decision rows to record; training does not see them."""

OVERRIDES = (
    "history_days=90",
    "universe.symbols=[BTCUSDT, ETHUSDT, SOLUSDT, DOGEUSDT, ADAUSDT]",
    "layers.on_chain.enabled=false",
    "layers.sentiment.enabled=false",
    "models.xgboost_majors.trees=20",
    "models.xgboost_majors.hold_out=false",
    "models.xgboost_alts.enabled=false",
    "models.xgboost_memes.enabled=false",
    "models.transformer.window=24",
    "models.transformer.width=16",
    "models.transformer.layers=2",
    "models.transformer.heads=4",
    "models.transformer.feed_forward=32",
    "models.transformer.passes=8",
    "models.transformer.epochs=1",
    "models.transformer.windows_per_epoch=1024",
    "models.transformer.validation_windows=256",
    "models.transformer.learning_rate=0.002",
    "models.transformer.device=cpu",
    "models.transformer.threads=1",
    "regime.restarts=1",
    "sizer.steps=400",
    "sizer.epsilon_steps=200",
    "risk.paths=2000",
    "runtime.deadline_seconds=300",
)


def engine_in(folder: Path) -> Engine:
    """Return the engine with its stores in a folder."""
    return make_engine(folder, *OVERRIDES, clock=SimulatedClock(NOW))


def train_and_record(folder: Path) -> int:
    """Collect a history, train every component, record signals, and return their number."""
    engine = fetch(engine_in(folder))
    for key in engine.composition.trained:
        engine.trainer.train(key, NOW - ROWS * HOUR)
    recorded = 0
    for row in _rows():
        view = engine.view(row)
        recorded += engine.record(engine.report(engine.compose(view)), view)
    engine.close()
    return recorded


def compare(folder: Path) -> dict[str, object]:
    """Return how the recorded signals compare with a replay under this arithmetic."""
    engine = engine_in(folder)
    replayed = list(replay(engine, engine.ledger.entries()))
    many = engine.compose(engine.view(NOW, ROWS))
    apart = [
        f"{name} of row {place}"
        for place, row in enumerate(_rows())
        for name in _different_panels(engine.compose(engine.view(row)), many, place)
    ]
    engine.close()
    return {
        "outcomes": Counter(entry.outcome for entry in replayed),
        "different": sorted({path for entry in replayed for path in entry.differences}),
        "largest": max((d.gap or 0.0 for entry in replayed for d in entry.fields), default=0.0),
        "apart": apart,
    }


def _rows() -> range:
    return range(NOW - (ROWS - 1) * HOUR, NOW + 1, HOUR)


def _different_panels(single: Composed, many: Composed, place: int) -> Iterator[str]:
    """Yield the names of panels whose single row differs in any bit from the row among many."""
    panels = _panels(many)
    for name, panel in _panels(single).items():
        if not np.array_equal(panel[0], panels[name][place], equal_nan=True):
            yield name


def _panels(composed: Composed) -> Mapping[str, FloatPanel]:
    """Return the panels of figures by name, before rounding."""
    panels = {"score": composed.fusion.score, "confidence": composed.fusion.confidence}
    panels |= {"stop_loss": composed.levels.stop_loss, "take_profit": composed.levels.take_profit}
    panels |= {"size": composed.sizes.fraction}
    parts: dict[str, Mapping[str, FloatPanel]] = {
        "risk": composed.levels.figures,
        "sizing": composed.sizes.evidence,
    }
    parts |= {f"layer {name}": scores.evidence for name, scores in composed.scores.items()}
    for name, outlook in composed.forecasts.items():
        forecast = outlook.forecast
        quantiles = {f"{level:g}": panel for level, panel in forecast.quantiles.items()}
        middle = {"mean": forecast.mean, "up": forecast.probability_up}
        parts[name] = {**middle, **quantiles, **forecast.evidence}
    if composed.regime is not None:
        parts["regime"] = {"probability": composed.regime.probability}
    for part, named in parts.items():
        panels |= {f"{part} {name}": panel for name, panel in named.items()}
    return panels


if __name__ == "__main__":
    sys.stdout.write(json.dumps(compare(Path(sys.argv[1]))))
