"""Retraining while serving, in child processes, so that composing never waits."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from weft.config.settings import Settings, TrainedSlot
from weft.foundation.dependencies import require
from weft.foundation.times import SECOND, Interval

log = logging.getLogger("weft.training")

_NICENESS = 10
_PATIENCE_SECONDS = 5.0
_LOGGED_LINES = 5


def retrained(settings: Settings, trained: Sequence[str]) -> dict[str, Interval]:
    """Return the retraining interval of each component, by its key in config.

    Args:
        settings: settings of the composition.
        trained: keys of the components that can be trained.
    """
    if not settings.training.scheduled:
        return {}
    slots = {key: settings.slot(key) for key in trained}
    return {
        key: Interval.parse(slot.retrain)
        for key, slot in slots.items()
        if isinstance(slot, TrainedSlot) and slot.retrain is not None
    }


class Retrainer:
    """Trains components one at a time, each in a child process of low priority.

    The child opens the same lake and ledger; the next composition uses the artifact it promotes.

    Args:
        config: config file of the serving engine; None for the default one.
        overrides: overrides of the serving engine.
    """

    def __init__(self, config: Path | None, overrides: Sequence[str]) -> None:
        self._common = ["--config", str(config)] if config is not None else []
        for override in overrides:
            self._common += ["--set", override]
        self._turn = threading.Lock()
        # Without this lock, a training could start while `stop` runs, and outlive it.
        self._guard = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False

    def train(self, key: str) -> bool:
        """Train a component, wait for the end, and return whether it succeeded."""
        with self._turn:
            running = self._start(key)
            if running is None:
                return False
            results, messages = running.communicate()
            code = running.returncode
            with self._guard:
                self._running = None
        # Without a result, the last messages name the reason.
        lines = [line for line in (results or messages).splitlines() if line.strip()]
        lines = lines[-_LOGGED_LINES:]
        if code and not self._stopped:
            log.warning("training %s ended with %s: %s", key, code, " | ".join(lines))
        else:
            log.info("trained %s: %s", key, " | ".join(lines))
        return code == 0

    def _start(self, key: str) -> "subprocess.Popen[str] | None":
        """Start a training process; return None after `stop`."""
        command = [sys.executable, "-m", "weft_app.cli", "train", key, "--no-fetch"]
        with self._guard:
            if self._stopped:
                return None
            self._running = subprocess.Popen(  # noqa: S603  # this interpreter, our module
                [*command, *self._common],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            _lower_priority(self._running.pid)
            return self._running

    def stop(self) -> None:
        """End a running training; its checkpoint stays."""
        with self._guard:
            self._stopped = True
            running = self._running
        if running is None:
            return
        running.terminate()
        try:
            running.wait(_PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()


@contextmanager
def scheduled(
    every: Mapping[str, Interval], retrainer: Retrainer, untrained: Sequence[str] = ()
) -> Iterator[None]:
    """Train components at intervals while the block runs.

    A training that is due while another runs waits for it. A training that is due while the same
    component is still being trained is skipped.

    Args:
        every: interval of each component, by its key in config.
        retrainer: trains the components.
        untrained: keys of components to train now, in this order; all others are trained first
            after one interval.

    Raises:
        MissingDependencyError: the packages of the `ml` extra are not installed.
    """
    if not every:
        yield
        return
    require(
        "apscheduler",
        extra="ml",
        where="training.scheduled",
        otherwise="set training.scheduled to false",
    )
    from apscheduler.schedulers.background import (  # noqa: PLC0415  # an optional dependency
        BackgroundScheduler,
    )

    scheduler = BackgroundScheduler(timezone="UTC")
    now = datetime.now(UTC)
    turns = [key for key in untrained if key in every]
    for key, interval in every.items():
        wait = timedelta(microseconds=interval.micros)
        if key in turns:
            wait = timedelta(seconds=turns.index(key))
        scheduler.add_job(
            retrainer.train,
            "interval",
            args=[key],
            id=key,
            next_run_time=now + wait,
            seconds=interval.micros / SECOND,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,
        )
    scheduler.start()
    try:
        yield
    finally:
        scheduler.shutdown(wait=False)
        retrainer.stop()


def _lower_priority(process: int) -> None:
    if sys.platform == "win32":
        return
    # The process may have ended already.
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process, _NICENESS)
