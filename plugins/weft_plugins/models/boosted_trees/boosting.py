"""Growing trees with XGBoost, round by round: loaded only once something is trained or used."""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import xgboost
from numpy.typing import NDArray

from weft.components.trained import Training
from weft.foundation.arrays import FloatPanel, Floats, ordered_sum
from weft.foundation.errors import ArtifactError, TrainingError
from weft.learning.splits import Split, purged_folds, walk_forward
from weft_plugins.models.boosted_trees.inputs import Matrix

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


CLASSES: Final = ("down", "flat", "up")
"""What may come of a row, in the order the model numbers it."""

_FOLDS = 5
_SURE = 1e-6


@dataclass(frozen=True, slots=True)
class Samples:
    """What is learnt from, one entry per row and symbol.

    Attributes:
        features: columns by name (sample, column).
        names: of the columns.
        classes: 0 down, 1 flat, 2 up (sample,).
        weights: how many outcomes each counts for, 0 to 1 (sample,).
        starts: decision row of each (sample,).
    """

    features: Matrix
    names: tuple[str, ...]
    classes: NDArray[np.int64]
    weights: Floats
    starts: NDArray[np.int64]

    def part(self, at: NDArray[np.int64]) -> "Samples":
        """Return the samples at these positions."""
        return Samples(
            self.features[at], self.names, self.classes[at], self.weights[at], self.starts[at]
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """How trees are grown.

    Attributes:
        rounds: of boosting; each grows one tree per class.
        options: XGBoost's own.
        where: the component, for error messages.
    """

    rounds: int
    options: Mapping[str, Any]
    where: str


def grow(samples: Samples, growth: Growth, stages: Stages, stage: int = 0) -> bytes:
    """Return the trees of all rounds as UBJ, going on where a training was stopped.

    XGBoost's random numbers within a booster depend on how long it has lived. So each booster
    lives for the rounds between two checkpoints, and the next one starts from what it wrote:
    whether the training was stopped in between or not, the trees are the same.

    Raises:
        TrainingError: the loss is no longer a number, or XGBoost refuses.
    """
    try:
        data = xgboost.QuantileDMatrix(
            samples.features,
            samples.classes,
            weight=samples.weights,
            feature_names=list(samples.names),
            nthread=growth.options["nthread"],
        )
        trees = stages.begun(stage)
        while True:
            begun = bytearray(trees) if trees else None
            booster = xgboost.Booster(dict(growth.options), [data], model_file=begun)
            done = booster.num_boosted_rounds()
            if done >= growth.rounds:
                return trees or b""
            for number in range(done, min(done + stages.every, growth.rounds)):
                booster.update(data, number)
                loss = float(booster.eval(data).rpartition(":")[2])
                _expect_number(loss, number, growth)
                stages.tell(stage, number + 1, loss)
            trees = bytes(booster.save_raw("ubj"))
            stages.keep(stage, trees)
    except xgboost.core.XGBoostError as error:
        raise TrainingError(f"XGBoost refused: {error}", where=growth.where) from error


def read(trees: bytes, threads: int, version: object, where: str) -> xgboost.Booster:
    """Return trees ready for use.

    The bytes must be known to be whole: XGBoost's reader takes all memory there is when they
    end too soon.

    Args:
        trees: as `grow` returned them.
        threads: processor threads; 0 for all.
        version: of the XGBoost that wrote them, for the error message.
        where: the component, for the error message.

    Raises:
        ArtifactError: this XGBoost cannot read them.
    """
    try:
        return xgboost.Booster({"nthread": threads}, model_file=bytearray(trees))
    except xgboost.core.XGBoostError as error:
        raise ArtifactError(
            f"XGBoost {xgboost.__version__} cannot read what XGBoost {version} wrote: {error}",
            where=where,
            hint="Train it anew, or install that version",
        ) from error


def folds(starts: NDArray[np.int64], horizon: int) -> list[Split]:
    """Return splits that test each fifth of time once, by samples that share nothing with it.

    The last fifth is tested by what came before it alone. None where there is too little time.
    """
    if len(np.unique(starts)) < _FOLDS:
        return []
    ends = starts + horizon
    *earlier, _ = purged_folds(starts, ends, _FOLDS, embargo=horizon)
    *_, last = walk_forward(starts, ends, _FOLDS - 1, embargo=horizon)
    return [*earlier, last]


def out_of_fold(
    samples: Samples, split: Split, growth: Growth, stages: Stages, stage: int
) -> tuple[FloatPanel, dict[str, float]] | None:
    """Return the chances of the samples to test, and how trees grown on the others do on them.

    None where a class is absent from the others. The losses are mean log losses over the classes,
    weighted by uniqueness; `base_rate` is that of saying how often each class came.
    """
    known, later = samples.part(split.train), samples.part(split.test)
    if len(np.unique(known.classes)) < len(CLASSES):
        return None
    trees = grow(known, growth, stages, stage)
    booster = read(trees, growth.options["nthread"], xgboost.__version__, growth.where)
    usual = np.bincount(known.classes, known.weights, len(CLASSES)) / known.weights.sum()
    chance = probabilities(booster, later.features)
    return chance, {
        "in_sample": _log_loss(probabilities(booster, known.features), known),
        "out_of_sample": _log_loss(chance, later),
        "base_rate": _log_loss(np.tile(usual, (len(later.classes), 1)), later),
        "samples_known": float(len(known.classes)),
        "samples_later": float(len(later.classes)),
        "effective_later": float(later.weights.sum()),
    }


def probabilities(booster: xgboost.Booster, features: Matrix) -> FloatPanel:
    """Return the chance of each class (sample, class); the three add up to 1.

    XGBoost walks the trees sample by sample and adds their leaves in the order of the trees, so
    that no sample's chances depend on the others. Its own softmax is in single precision, of which
    the last bits that a processor chooses are among the digits of a signal.
    """
    leaves = booster.inplace_predict(features, predict_type="margin")
    scores = np.asarray(leaves, dtype=np.float64)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: FloatPanel = odds / ordered_sum(odds, axis=1)[:, None]
    return shares


def contributions(booster: xgboost.Booster, features: Matrix) -> FloatPanel:
    """Return what each column adds to the log-odds of up over down (sample, column + 1).

    Exact Shapley values of the trees (Lundberg et al. 2020, Nature Machine Intelligence 2). The
    last column is what the model says before it has looked at anything.
    """
    data = xgboost.DMatrix(features, feature_names=booster.feature_names)
    parts = booster.predict(data, pred_contribs=True, strict_shape=True).astype(np.float64)
    difference: FloatPanel = parts[:, CLASSES.index("up")] - parts[:, CLASSES.index("down")]
    return difference


def _expect_number(loss: float, number: int, growth: Growth) -> None:
    if not np.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in round {number + 1} of {growth.rounds}",
            where=growth.where,
            hint="Lower its rate, and look for absurd prices in the history",
        )


def _log_loss(chance: FloatPanel, samples: Samples) -> float:
    said = chance[np.arange(len(chance)), samples.classes]
    return float(np.average(-np.log(np.maximum(said, _SURE)), weights=samples.weights))
