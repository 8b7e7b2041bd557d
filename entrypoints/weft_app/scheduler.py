"""Training anew while serving: in processes of their own, so that composing never waits."""

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
_LINES_KEPT = 5


def retrained(settings: Settings, trained: Sequence[str]) -> dict[str, Interval]:
    """Return how often each component is to be trained anew, by its key in config.

    Args:
        settings: of the composition.
        trained: keys of the components that are trained.
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
    """Trains components one at a time, each in a process that is started for it.

    The process opens the same lake and ledger, and what it promotes counts from the next
    composition on. It runs at a low priority.

    Args:
        config: config file of the engine that serves; None for the default one.
        overrides: its overrides.
    """

    def __init__(self, config: Path | None, overrides: Sequence[str]) -> None:
        self._common = ["--config", str(config)] if config is not None else []
        for override in overrides:
            self._common += ["--set", override]
        self._turn = threading.Lock()
        # Else a training could begin between the two looks of `stop`, and outlive it.
        self._guard = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False

    def train(self, key: str) -> bool:
        """Train a component, wait until it is done, and return whether it was trained."""
        with self._turn:
            running = self._start(key)
            if running is None:
                return False
            results, messages = running.communicate()
            code = running.returncode
            with self._guard:
                self._running = None
        # Where it has failed before there was a result, the last message says why.
        lines = [line for line in (results or messages).splitlines() if line.strip()]
        lines = lines[-_LINES_KEPT:]
        if code and not self._stopped:
            log.warning("training %s ended with %s: %s", key, code, " | ".join(lines))
        else:
            log.info("trained %s: %s", key, " | ".join(lines))
        return code == 0

    def _start(self, key: str) -> "subprocess.Popen[str] | None":
        """Start a process that trains; None where no training is to begin any more."""
        command = [sys.executable, "-m", "weft_app.cli", "train", key, "--no-fetch"]
        with self._guard:
            if self._stopped:
                return None
            self._running = subprocess.Popen(  # noqa: S603  # our own interpreter and module
                [*command, *self._common],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            _lower_priority(self._running.pid)
            return self._running

    def stop(self) -> None:
        """End a training that is under way; its checkpoint is kept."""
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
    every: Mapping[str, Interval], retrainer: Retrainer, at_once: Sequence[str] = ()
) -> Iterator[None]:
    """Train components as often as is said, for as long as the block runs.

    A training that is due while another runs waits for it; one that is due while it still runs
    itself is left out.

    Args:
        every: how often, by the component's key in config.
        retrainer: trains them.
        at_once: keys of those whose first training is due now, in this order; that of all others
            is when the time between two has passed.

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
    turns = [key for key in at_once if key in every]
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
    # It may have ended already.
    with suppress(ProcessLookupError):
        os.setpriority(os.PRIO_PROCESS, process, _NICENESS)
