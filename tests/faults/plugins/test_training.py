"""A component that fails while it is trained or judged ends that training only, and is named."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from tests.core.learning.leaning import NOW, Leaning
from tests.support import ALONE, fetch, make_engine
from weft import Artifact, Evaluation, Training, View
from weft.engine.engine import Engine
from weft.foundation.clock import SimulatedClock
from weft.foundation.errors import TrainingError


class Panic(BaseException):
    """Stands for a fault in a library's Rust code: no Exception."""


def panic() -> None:
    raise Panic("in Rust")


class Faulty(Leaning):
    """Trains and judges as a test says."""

    name = "faulty"
    fits: ClassVar[Callable[[], Any] | None] = None
    judges: ClassVar[Callable[[], Any] | None] = None

    def fit(self, view: View, training: Training) -> Artifact:
        return super().fit(view, training) if Faulty.fits is None else Faulty.fits()

    def evaluate(self, view: View, training: Training) -> Evaluation:
        return super().evaluate(view, training) if Faulty.judges is None else Faulty.judges()


FITS = {
    "raised SystemExit: 3": lambda: sys.exit(3),
    "raised Panic: in Rust": panic,
    "returned None, expected Artifact": lambda: None,
    "returned a dict, expected Artifact": dict,
    "a file 'a.json' that is a str, expected bytes": lambda: Artifact({"a.json": "{}"}, {}),  # type: ignore[dict-item]  # the mistake
    "a card with the key 1, expected a text": lambda: Artifact({}, {1: 2}),  # type: ignore[dict-item]  # the mistake
}
JUDGES = {
    "raised SystemExit: 3": lambda: sys.exit(3),
    "returned None, expected Evaluation": lambda: None,
    "returned loss as a panel of": lambda: Evaluation(np.zeros(3), np.zeros(3)),
    "returned a list as loss": lambda: Evaluation([0.0], [0.0]),  # type: ignore[arg-type]  # the mistake
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    options = [*ALONE, "models.faulty.on_error=degrade", "history_days=60"]
    options += ["models.leaning.on_error=degrade"]
    extra = [Faulty, Leaning]
    clock = SimulatedClock(NOW)
    return fetch(make_engine(tmp_path_factory.mktemp("faulty"), *options, extra=extra, clock=clock))


@pytest.mark.parametrize(
    ("method", "answer", "expected"),
    [
        *(("fits", answer, expected) for expected, answer in FITS.items()),
        *(("judges", answer, expected) for expected, answer in JUDGES.items()),
    ],
)
def test_a_faulty_training_is_refused_with_its_name_and_the_next_one_goes_on(
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    answer: Callable[[], Any],
    expected: str,
) -> None:
    monkeypatch.setattr(Faulty, method, staticmethod(answer))
    with pytest.raises(TrainingError) as caught:
        engine.trainer.train("models.faulty", NOW)
    assert str(caught.value).startswith("model faulty: ")
    assert expected in str(caught.value)
    assert engine.trainer.under_way() == {}


def test_another_component_is_trained_after_one_that_failed(tmp_path: Path, engine: Engine) -> None:
    assert engine.trainer.train("models.leaning", NOW).digest
