"""A model whose skill a test chooses, and an engine over it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from tests.support import ALONE, fetch, make_engine
from weft import Artifact, Evaluation, Forecast, Model, Training, View, candles
from weft.components.base import ComponentConfig
from weft.components.needs import Need
from weft.engine.engine import Engine
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import ArtifactError, TrainingError
from weft.foundation.times import HOUR, parse_time

NOW = parse_time("2026-04-01T00:00:00Z")
KEY = "models.leaning"


class Leaning(Model):
    """Model that gives every symbol the same probability of a rise, chosen by the test."""

    name = "leaning"
    chance: ClassVar[float] = 0.6
    quality: ClassVar[float] = 0.1
    seen: ClassVar[list[tuple[int, int, int]]] = []
    previous: ClassVar[list[Artifact | None]] = []
    fails: ClassVar[bool] = False
    stops: ClassVar[bool] = False
    resumed: ClassVar[list[Mapping[str, bytes] | None]] = []

    class Config(ComponentConfig):
        """Options."""

        depth: int = 3

    @property
    def needs(self) -> Sequence[Need]:
        return [candles(warmup=0)]

    @property
    def least_rows(self) -> int:
        return 500

    @property
    def most_rows(self) -> int:
        return 2000

    def fit(self, view: View, training: Training) -> Artifact:
        Leaning.seen.append((int(view.times[0]), int(view.times[-1]), training.horizon))
        Leaning.previous.append(training.previous)
        training.progress(1, 1, loss=0.5)
        Leaning.resumed.append(training.checkpoints.load())
        training.checkpoints.save({"half.json": b"{}"})
        if Leaning.stops:
            raise KeyboardInterrupt
        if Leaning.fails:
            raise TrainingError("diverged", where="model leaning")
        trained_artifact = {"chance": Leaning.chance, "quality": Leaning.quality}
        return Artifact({"learnt.json": json.dumps(trained_artifact).encode()}, {"epochs": 1})

    def load(self, artifact: Artifact) -> dict[str, float]:
        trained_artifact: dict[str, float] = json.loads(artifact.files["learnt.json"])
        if "chance" not in trained_artifact:
            raise ArtifactError("has no chance", where="model leaning")
        return trained_artifact

    def predict(self, view: View) -> Forecast:
        chance = np.full((view.steps, len(view.symbols)), view.learned["chance"])
        return Forecast(np.zeros_like(chance), chance, {})

    def evaluate(self, view: View, training: Training) -> Evaluation:
        noise = np.random.default_rng(view.times).normal(0.0, 0.05, view.steps)
        return Evaluation(0.7 - view.learned["quality"] + noise, np.full(view.steps, 0.7))


def engine_at(folder: Path, now: int = NOW, *overrides: str) -> Engine:
    options = [*ALONE, "layers.ml.enabled=true", "models.leaning.on_error=degrade"]
    options += ["history_days=120"]
    return fetch(
        make_engine(folder, *options, *overrides, extra=[Leaning], clock=SimulatedClock(now))
    )


def advance(engine: Engine, hours: int) -> int:
    assert isinstance(engine.clock, SimulatedClock)
    engine.clock.advance_to(engine.clock.now() + hours * HOUR)
    fetch(engine)
    return engine.latest_close()


def artifact_at(engine: Engine, as_of: int) -> str | None:
    return engine.compose(engine.view(as_of)).artifacts.get(KEY)
