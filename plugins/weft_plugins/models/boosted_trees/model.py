"""Boosted trees that forecast whether a price falls, stays or rises by more than a threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from weft.components.model import Forecast, Model
from weft.components.needs import Need
from weft.components.outcomes import outcomes, uniqueness
from weft.components.trained import Artifact, Training
from weft.foundation.arrays import BoolPanel, FloatPanel, Floats
from weft.foundation.dependencies import require
from weft.foundation.errors import ArtifactError, TrainingError
from weft.market.view import View
from weft_plugins.checkpoints import sealed, sealed_file
from weft_plugins.models.boosted_trees import groups as _groups
from weft_plugins.models.boosted_trees import inputs as _features
from weft_plugins.models.boosted_trees.options import Options
from weft_plugins.models.boosted_trees.outcome_table import LEVELS, VOLATILITY, OutcomeTable

if TYPE_CHECKING:
    import xgboost

    from weft_plugins.models.boosted_trees.boosting import Growth, Samples, Stages

_FORMAT = 3
_TREES = "model.ubj"
_HINT = "Train it again with `weft train`"


class XGBoost(Model):
    """Gradient-boosted trees (Chen and Guestrin 2016, arXiv 1603.02754) over groups of features.

    The class of a row is whether its log return over the horizon lies below minus the threshold,
    between minus and plus the threshold, or above. Overlapping outcomes share their weight by
    uniqueness (López de Prado 2018, section 4.4), so `least_leaf` and `penalty` count outcomes
    that overlap with no other. The share of each class that rose on the training rows turns the
    three class probabilities into the probability of a rise.

    Mean and quantiles follow from that probability and from the volatility of the row (see
    `OutcomeTable`); out-of-fold forecasts correct the quantiles. Where volatility is unknown (the
    first week of a symbol) or 0, quantiles are NaN and the mean is that of the classes.

    Specialists for a group of symbols are this class with other options. Each symbol belongs to
    exactly one group at each row (see `members`); a specialist trains on and forecasts its group.
    All of its symbols and rows are forecast in one call.

    Columns of metrics that no provider brings are NaN, which trees treat as missing.
    """

    name = "xgboost"

    class Config(Options):
        """Options: symbols, features, threshold, and the growth of the trees."""

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Inputs of the columns, the quantiles and the group rule."""
        wanted = (*_features.needs(self.config.features), VOLATILITY, _groups.VOLATILITY)
        return tuple(dict.fromkeys(wanted))

    # Training

    def fit(self, view: View, training: Training) -> Artifact:
        """Train on every row with a known outcome.

        Raises:
            MissingDependencyError: XGBoost or safetensors is not installed.
            TrainingError: there are too few rows, a class is absent, no feature varies, no
                volatility is known, or the loss is no longer finite.
        """
        require("xgboost", "safetensors", extra="ml", where=self.title())
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # imports XGBoost

        seed = int(training.rng.integers(2**31))
        outcome = self._thinned(self._outcomes(view, training.horizon))
        weight = uniqueness(outcome, training.horizon)
        known = ~np.isnan(outcome)
        returns, weights = outcome[known], weight[known]
        classes = np.digitize(returns, (-self.config.threshold, self.config.threshold))
        self._expect_every_class(classes)
        samples = _boosting.Samples(
            features=_features.matrix(view, self.config.features, known),
            names=self._columns,
            classes=classes,
            weights=weights,
            starts=np.nonzero(known)[0],
        )
        idle = self._expect_varying(samples)
        volatility = view.feature(VOLATILITY)[known]
        table = self._table(returns, samples, volatility)
        growth = _boosting.Growth(self.config.trees, self.config.for_xgboost(seed), self.title())
        trees, stages = self._grown(samples, growth, training, table)
        table = table.corrected(returns, weights, volatility, stages.up.astype(np.float64))
        counts = np.bincount(classes, minlength=len(_boosting.CLASSES))
        return sealed(
            {_TREES: trees},
            {
                "format": _FORMAT,
                "xgboost": _version(),
                "group": self.config.group,
                "features": list(self._columns),
                "idle_features": idle,
                "horizon": training.horizon,
                "threshold": self.config.threshold,
                "classes": dict(zip(_boosting.CLASSES, counts.tolist(), strict=True)),
                "effective_samples": float(weights.sum()),
                "returns": table.to_json(),
                "hold_out": stages.figures,
                "unseen_outcomes": int((~np.isnan(stages.up)).sum()),
                "seed": seed,
            },
        )

    def _outcomes(self, view: View, horizon: int) -> FloatPanel:
        """Return the outcome of each row to train on; NaN for other rows (steps, symbol)."""
        outcome = np.where(self._cells(view), outcomes(view, horizon), np.nan)
        count = int((~np.isnan(outcome)).sum())
        missing = self.least_rows - count
        if missing > 0:
            raise TrainingError(
                f"{count:,} rows of {self._members} have an outcome, but {self.least_rows:,} are "
                f"required: {missing:,} are missing",
                where=self.title(),
                hint="Backfill a longer history, or add symbols of the group",
            )
        return outcome

    def _thinned(self, outcome: FloatPanel) -> FloatPanel:
        """Return the outcomes of every n-th row from the last, so that `most_samples` are left."""
        stride = -(-int((~np.isnan(outcome)).sum()) // self.config.most_samples)
        age = np.arange(len(outcome))[::-1, None]
        return np.where(age % stride == 0, outcome, np.nan)

    def _expect_every_class(self, classes: NDArray[np.int64]) -> None:
        counts = dict(zip(("down", "flat", "up"), np.bincount(classes, minlength=3), strict=True))
        absent = [name for name, count in counts.items() if not count]
        if absent:
            raise TrainingError(
                f"no row has the class {' or '.join(absent)} among "
                + ", ".join(f"{count} {name}" for name, count in counts.items()),
                where=self.title(),
                hint=f"Lower its threshold of {self.config.threshold:g}, or train on more rows",
            )

    def _expect_varying(self, samples: "Samples") -> list[str]:
        """Return the names of the columns that never vary."""
        low, high = (f.reduce(samples.features, axis=0) for f in (np.fmin, np.fmax))
        # An all-NaN column has NaN bounds, so it counts as constant.
        varies = low < high
        if not varies.any():
            raise TrainingError(
                "none of its features varies",
                where=self.title(),
                hint="Check the candles, and whether providers bring the metrics",
            )
        return [name for name, moves in zip(samples.names, varies, strict=True) if not moves]

    def _table(self, returns: Floats, samples: "Samples", volatility: Floats) -> OutcomeTable:
        try:
            return OutcomeTable.measured(returns, samples.classes, samples.weights, volatility)
        except ValueError as error:
            raise TrainingError(
                f"returns cannot be divided by volatility: {error}",
                where=self.title(),
                hint="Volatility is known after a week of candles without a gap",
            ) from error

    def _grown(
        self, samples: "Samples", growth: "Growth", training: Training, table: OutcomeTable
    ) -> "tuple[bytes, Stages]":
        """Return trees of all samples, and stages with out-of-fold probabilities of a rise."""
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # imports XGBoost

        splits = _boosting.folds(samples.starts, training.horizon) if self.config.hold_out else []
        every = self.config.checkpoint_rounds
        stages = _boosting.Stages(
            training, growth.rounds, len(splits) + 1, every, len(samples.starts), growth.where
        )
        for number, split in enumerate(splits):
            if stages.finished(number):
                continue
            forecast = _boosting.out_of_fold(samples, split, growth, stages, number)
            if forecast is not None:
                stages.up[split.test] = table.probability_up(forecast[0])
            stages.close(number, forecast and forecast[1])
        return _boosting.grow(samples, growth, stages, len(splits)), stages

    # Forecasting

    def load(self, artifact: Artifact) -> "Specialist":
        """Return the trees and the table of outcomes, for `View.learned`.

        Raises:
            MissingDependencyError: XGBoost is not installed.
            ArtifactError: the artifact is damaged, of other features or another group, or written
                by a version of XGBoost that the installed one cannot load.
        """
        require("xgboost", extra="ml", where=self.title())
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # imports XGBoost

        card = artifact.card
        self._expect_same_options(card)
        trees = sealed_file(artifact, _TREES, self.title())
        try:
            table = OutcomeTable.from_json(card["returns"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(
                f"the card's returns are damaged: {error}", where=self.title(), hint=_HINT
            ) from error
        booster = _boosting.load_booster(
            trees, self.config.threads, card.get("xgboost"), self.title()
        )
        if tuple(booster.feature_names or ()) != self._columns:
            raise ArtifactError(
                "its trees use other features than its card names", where=self.title(), hint=_HINT
            )
        return Specialist(booster, table)

    def _expect_same_options(self, card: Mapping[str, Any]) -> None:
        for key, expected in (
            ("format", _FORMAT),
            ("group", self.config.group),
            ("threshold", self.config.threshold),
        ):
            if card.get(key) != expected:
                raise ArtifactError(
                    f"was trained with {key} {card.get(key)!r}, expected {expected!r}",
                    where=self.title(),
                    hint=_HINT,
                )
        names = card.get("features")
        trained = tuple(names) if isinstance(names, list | tuple) else ()
        if trained != self._columns:
            missing = [name for name in self._columns if name not in trained]
            surplus = [name for name in trained if name not in self._columns]
            difference = "".join(
                f", {word} {', '.join(map(str, columns))}"
                for word, columns in (("without", missing), ("and also", surplus))
                if columns
            )
            raise ArtifactError(
                f"was trained on other features{difference or ', in another order'}",
                where=self.title(),
                hint=_HINT,
            )

    def predict(self, view: View) -> Forecast:
        """Return the forecast for every row and symbol of the group; NaN for other symbols."""
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # imports XGBoost

        learned: Specialist = view.learned
        cells = self._cells(view)
        features = _features.matrix(view, self.config.features, cells)
        if not len(features):
            probability = np.empty((0, len(_boosting.CLASSES)))
        else:
            probability = _boosting.probabilities(learned.booster, features)
        up = learned.table.probability_up(probability)
        volatility = view.feature(VOLATILITY)[cells]
        quantiles = learned.table.quantiles(up, volatility)
        return Forecast(
            mean=_spread(learned.table.mean(probability, volatility), cells),
            probability_up=_spread(up, cells),
            quantiles={level: _spread(quantiles[:, k], cells) for k, level in enumerate(LEVELS)},
            evidence={
                f"probability_{name}": _spread(probability[:, k], cells)
                for k, name in enumerate(_boosting.CLASSES)
            },
        )

    def contributions(self, view: View) -> Mapping[str, FloatPanel]:
        """Return what each feature adds to the log-odds of up over down (steps, symbol).

        Exact Shapley values of the trees (Lundberg et al. 2020). ``baseline`` is the model's
        output before any feature; all columns together are the log-odds. NaN outside the group.
        """
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # imports XGBoost

        learned: Specialist = view.learned
        cells = self._cells(view)
        features = _features.matrix(view, self.config.features, cells)
        named = (*self._columns, "baseline")
        if not len(features):
            return {name: np.full(cells.shape, np.nan) for name in named}
        parts = _boosting.contributions(learned.booster, features)
        return {name: _spread(parts[:, k], cells) for k, name in enumerate(named)}

    def _cells(self, view: View) -> BoolPanel:
        """Return the rows and symbols of its group that are in the universe and have a close."""
        cells = view.universe & ~np.isnan(view.candles().close[-view.steps :])
        if self.config.group == "all":
            return cells
        config = self.config
        return cells & _groups.members(view, self.config.group, config.named, config.wild)

    @property
    def _columns(self) -> tuple[str, ...]:
        return _features.names(self.config.features)

    @property
    def _members(self) -> str:
        return "any symbol" if self.config.group == "all" else f"the {self.config.group}"


@dataclass(frozen=True, slots=True)
class Specialist:
    """A trained model: its trees, and the table that turns class probabilities into returns."""

    booster: "xgboost.Booster"
    table: OutcomeTable


def _spread(values: Floats, cells: BoolPanel) -> FloatPanel:
    """Return a panel with values in the cells that are set, and NaN elsewhere."""
    panel = np.full(cells.shape, np.nan)
    panel[cells] = values
    return panel


def _version() -> str:
    import xgboost  # noqa: PLC0415  # an optional package

    return xgboost.__version__
