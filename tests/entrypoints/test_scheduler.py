"""Processes that train while serving: none begins, or goes on, once they are to stop."""

import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest

from tests.support import PATIENCE_SECONDS
from weft_app.scheduler import Retrainer


class Late(subprocess.Popen[str]):
    """A process that takes its time to begin."""

    begun: ClassVar[threading.Event] = threading.Event()
    stopping: ClassVar[threading.Event] = threading.Event()
    started: ClassVar[list["Late"]] = []

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.begun.set()
        self.stopping.wait(PATIENCE_SECONDS)
        # The other thread needs a moment from saying so to doing so.
        time.sleep(0.2)
        super().__init__(*arguments, **options)
        self.started.append(self)


def test_a_training_that_is_just_beginning_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", Late)
    retrainer = Retrainer(None, [])
    with ThreadPoolExecutor() as threads:
        training = threads.submit(retrainer.train, "models.trees")
        assert Late.begun.wait(PATIENCE_SECONDS)
        Late.stopping.set()
        retrainer.stop()
        assert not training.result(PATIENCE_SECONDS)
    (process,) = Late.started
    assert process.returncode == -signal.SIGTERM


def test_no_training_begins_after_the_end() -> None:
    retrainer = Retrainer(None, [])
    retrainer.stop()
    assert not retrainer.train("models.trees")
