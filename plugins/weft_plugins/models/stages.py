"""A training in stages: how far it has come, and where it goes on if it was stopped."""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from weft.components.trained import Training

_KEPT: np.dtype[np.float32] = np.dtype("<f4")


def digest_of(content: bytes) -> str:
    """Return what a file is known by."""
    return hashlib.sha256(content).hexdigest()


class Stages:
    """Stages of boosting, each of the same number of rounds.

    Args:
        training: told of the progress; keeps checkpoints.
        rounds: of each stage.
        count: of stages.
        every: rounds between two checkpoints.
        samples: of which the stages tell the chance of a rise.

    Attributes:
        up: chance of a rise that a stage found for samples it had not seen; NaN where none did
            (sample,).
        figures: what there is to say of the last stage that was closed.
    """

    def __init__(
        self, training: Training, rounds: int, count: int, every: int, samples: int = 0
    ) -> None:
        self.every = every
        self.up = np.full(samples, np.nan, dtype=_KEPT)
        self.figures: Mapping[str, Any] | None = None
        self._training = training
        self._rounds = rounds
        self._count = count
        self._stage = 0
        self._trees: bytes | None = None
        self._resume()

    def finished(self, stage: int) -> bool:
        """Whether a stage was finished before the training was stopped."""
        return self._stage > stage

    def begun(self, stage: int) -> bytes | None:
        """Return the trees a stage had when it was stopped; None where it begins anew."""
        return self._trees if self._stage == stage else None

    def tell(self, stage: int, done: int, loss: float) -> None:
        """Tell that a stage has done so many rounds."""
        self._training.progress(stage * self._rounds + done, self._count * self._rounds, loss=loss)

    def keep(self, stage: int, trees: bytes) -> None:
        """Keep a stage's trees."""
        self._save(stage, trees)

    def close(self, stage: int, figures: Mapping[str, Any] | None) -> None:
        """Keep what came of a stage; the next one begins anew."""
        self.figures = figures
        self._stage, self._trees = stage + 1, None
        self._save(stage + 1, b"")

    def _save(self, stage: int, trees: bytes) -> None:
        state = {
            "stage": stage,
            "figures": self.figures,
            "digest": digest_of(trees),
            "up": base64.b64encode(self.up.tobytes()).decode(),
        }
        self._training.checkpoints.save(
            {"state.json": json.dumps(state).encode(), "trees.ubj": trees}
        )

    def _resume(self) -> None:
        files = self._training.checkpoints.load()
        if files is None:
            return
        try:
            state, trees = json.loads(files["state.json"]), files["trees.ubj"]
            whole = state["digest"] == digest_of(trees)
            stage, figures = int(state["stage"]), state["figures"]
            up = np.frombuffer(base64.b64decode(state["up"], validate=True), dtype=_KEPT)
        except (KeyError, TypeError, ValueError):
            return
        # A checkpoint that was damaged is as good as none: the training begins anew.
        if whole and len(up) == len(self.up):
            self.up = up.copy()
            self._stage, self._trees, self.figures = stage, trees or None, figures
