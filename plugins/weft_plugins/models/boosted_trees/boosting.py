"""Boosting with XGBoost, round by round; imported only for training and forecasting."""

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
from weft_plugins.checkpoints import Checkpoint, load_checkpoint, pack_tensors, unpack_tensors
from weft_plugins.models.boosted_trees.inputs import Matrix

CLASSES: Final = ("down", "flat", "up")
"""Classes of an outcome, in the order of the model's class numbers."""

_FOLDS = 5
_LEAST_PROBABILITY = 1e-6
_TREES, _UNSEEN = "trees.ubj", "unseen.safetensors"


class Stages:
    """Progress of a training in stages, each of the same number of boosting rounds.

    The first stages train on four fifths of time each, the last one on all rows. A stopped
    training continues in the stage and round of its last checkpoint.

    Args:
        training: receives progress and saves checkpoints.
        rounds: boosting rounds of each stage.
        count: number of stages.
        every: rounds between two checkpoints.
        samples: number of samples that the stages forecast out of fold.
        where: component, for messages.

    Attributes:
        up: out-of-fold probability of a rise; NaN where no stage forecast one (sample,).
        figures: losses of the last finished stage, for the card.
    """

    def __init__(
        self,
        training: Training,
        rounds: int,
        count: int,
        every: int,
        samples: int = 0,
        where: str = "model xgboost",
    ) -> None:
        self.every = every
        self.up: NDArray[np.float32] = np.full(samples, np.nan, dtype=np.float32)
        self.figures: Mapping[str, Any] | None = None
        self._training = training
        self._rounds = rounds
        self._count = count
        self._where = where
        self._stage = 0
        self._trees: bytes | None = None
        self._resume()

    def finished(self, stage: int) -> bool:
        """Whether a stage was finished before the training was stopped."""
        return self._stage > stage

    def trees_of(self, stage: int) -> bytes | None:
        """Return the trees a stage had when the training was stopped; None for a fresh stage."""
        return self._trees if self._stage == stage else None

    def report(self, stage: int, done: int, loss: float) -> None:
        """Report the rounds a stage has done, and its loss."""
        self._training.progress(stage * self._rounds + done, self._count * self._rounds, loss=loss)

    def save(self, stage: int, trees: bytes | None) -> None:
        """Save a checkpoint with the trees of a stage."""
        state = {"stage": stage, "figures": self.figures}
        files = {_UNSEEN: pack_tensors({"up": self.up})}
        if trees is not None:
            files[_TREES] = trees
        self._training.checkpoints.save(Checkpoint(state, files).to_files())

    def close(self, stage: int, figures: Mapping[str, Any] | None) -> None:
        """Save the figures of a finished stage; the next stage starts without trees."""
        self.figures = figures
        self._stage, self._trees = stage + 1, None
        self.save(stage + 1, None)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self._training.checkpoints, self._where)
        if checkpoint is None or _UNSEEN not in checkpoint.files:
            return
        up = unpack_tensors(checkpoint.files[_UNSEEN], _UNSEEN, self._where)["up"]
        # A checkpoint of other rows is useless.
        if up.shape != self.up.shape:
            return
        self.up = up.copy()
        self._stage, self.figures = checkpoint.state["stage"], checkpoint.state["figures"]
        self._trees = checkpoint.files.get(_TREES)


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples to train on: one for each row and symbol with an outcome.

    Attributes:
        features: columns by name (sample, column).
        names: names of the columns.
        classes: 0 down, 1 flat, 2 up (sample,).
        weights: uniqueness of each outcome, 0 to 1 (sample,).
        starts: decision row of each sample (sample,).
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
    """Settings of the boosting.

    Attributes:
        rounds: boosting rounds; each grows one tree per class.
        options: options of XGBoost.
        where: component, for error messages.
    """

    rounds: int
    options: Mapping[str, Any]
    where: str


def grow(samples: Samples, growth: Growth, stages: Stages, stage: int = 0) -> bytes:
    """Return the trees of all rounds as UBJ, continuing a stopped training.

    XGBoost's random numbers depend on how many rounds a booster object has lived. Each booster
    therefore lives for the rounds between two checkpoints, and the next one starts from the saved
    trees. So a training that was stopped grows the same trees as one that was not.

    Raises:
        TrainingError: the loss is no longer finite, or XGBoost refuses the data.
    """
    try:
        data = xgboost.QuantileDMatrix(
            samples.features,
            samples.classes,
            weight=samples.weights,
            feature_names=list(samples.names),
            nthread=growth.options["nthread"],
        )
        trees = stages.trees_of(stage)
        while True:
            start = bytearray(trees) if trees else None
            booster = xgboost.Booster(dict(growth.options), [data], model_file=start)
            done = booster.num_boosted_rounds()
            if done >= growth.rounds:
                return trees or b""
            for number in range(done, min(done + stages.every, growth.rounds)):
                booster.update(data, number)
                loss = float(booster.eval(data).rpartition(":")[2])
                _expect_finite(loss, number, growth)
                stages.report(stage, number + 1, loss)
            trees = bytes(booster.save_raw("ubj"))
            stages.save(stage, trees)
    except xgboost.core.XGBoostError as error:
        raise TrainingError(f"XGBoost failed: {error}", where=growth.where) from error


def load_booster(trees: bytes, threads: int, version: object, where: str) -> xgboost.Booster:
    """Return trees as a booster.

    Check the digest of the bytes first: XGBoost's parser allocates all memory for a truncated file.

    Args:
        trees: bytes that `grow` returned.
        threads: processor threads; 0 for all.
        version: version of XGBoost that wrote the trees, for the error message.
        where: component, for the error message.

    Raises:
        ArtifactError: this version of XGBoost cannot load the trees.
    """
    try:
        return xgboost.Booster({"nthread": threads}, model_file=bytearray(trees))
    except xgboost.core.XGBoostError as error:
        raise ArtifactError(
            f"XGBoost {xgboost.__version__} cannot load trees of XGBoost {version}: {error}",
            where=where,
            hint="Train it again with `weft train`, or install that version",
        ) from error


def folds(starts: NDArray[np.int64], horizon: int) -> list[Split]:
    """Return five splits, which test each fifth of time once with purged training samples.

    The last fifth is tested with earlier samples only. Empty where there are fewer rows than
    folds.
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
    """Return class probabilities of the test samples, and losses of trees of the other samples.

    None where a class is absent from the training samples. Losses are mean log losses, weighted
    by uniqueness; `base_rate` is the loss of the class frequencies of the training samples.
    """
    train, test = samples.part(split.train), samples.part(split.test)
    if len(np.unique(train.classes)) < len(CLASSES):
        return None
    trees = grow(train, growth, stages, stage)
    booster = load_booster(trees, growth.options["nthread"], xgboost.__version__, growth.where)
    frequencies = np.bincount(train.classes, train.weights, len(CLASSES)) / train.weights.sum()
    probability = probabilities(booster, test.features)
    return probability, {
        "in_sample": _log_loss(probabilities(booster, train.features), train),
        "out_of_sample": _log_loss(probability, test),
        "base_rate": _log_loss(np.tile(frequencies, (len(test.classes), 1)), test),
        "samples_known": float(len(train.classes)),
        "samples_later": float(len(test.classes)),
        "effective_later": float(test.weights.sum()),
    }


def probabilities(booster: xgboost.Booster, features: Matrix) -> FloatPanel:
    """Return the probability of each class (sample, class); rows add up to 1.

    XGBoost adds the leaves of each sample in the order of the trees, so no sample's probabilities
    depend on the other samples. The softmax is computed here in double precision: XGBoost's own is
    in single precision, whose last bits depend on the processor and would show in signals.
    """
    leaves = booster.inplace_predict(features, predict_type="margin")
    scores = np.asarray(leaves, dtype=np.float64)
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: FloatPanel = odds / ordered_sum(odds, axis=1)[:, None]
    return shares


def contributions(booster: xgboost.Booster, features: Matrix) -> FloatPanel:
    """Return what each column adds to the log-odds of up over down (sample, column + 1).

    Exact Shapley values of the trees (Lundberg et al. 2020, Nature Machine Intelligence 2). The
    last column is the model's output before any feature.
    """
    data = xgboost.DMatrix(features, feature_names=booster.feature_names)
    parts = booster.predict(data, pred_contribs=True, strict_shape=True).astype(np.float64)
    difference: FloatPanel = parts[:, CLASSES.index("up")] - parts[:, CLASSES.index("down")]
    return difference


def _expect_finite(loss: float, number: int, growth: Growth) -> None:
    if not np.isfinite(loss):
        raise TrainingError(
            f"the loss became {loss} in round {number + 1} of {growth.rounds}",
            where=growth.where,
            hint="Lower its rate, and look for extreme prices in the history",
        )


def _log_loss(probability: FloatPanel, samples: Samples) -> float:
    realised = probability[np.arange(len(probability)), samples.classes]
    losses = -np.log(np.maximum(realised, _LEAST_PROBABILITY))
    return float(np.average(losses, weights=samples.weights))
