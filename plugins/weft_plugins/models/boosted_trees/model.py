"""Boosted trees that say whether a price will fall, stay or rise by more than a threshold."""

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
from weft_plugins.models.boosted_trees import groups as _groups
from weft_plugins.models.boosted_trees import inputs as _features
from weft_plugins.models.boosted_trees.options import Options
from weft_plugins.models.boosted_trees.outcome_table import LEVELS, VOLATILITY, OutcomeTable

if TYPE_CHECKING:
    import xgboost

    from weft_plugins.models.boosted_trees.boosting import Growth, Samples, Stages

_FORMAT = 2
_TREES = "model.ubj"


class XGBoost(Model):
    """Gradient-boosted trees (Chen and Guestrin 2016) over named groups of features.

    A row's class is whether the log return over the horizon lies below minus the threshold,
    between the two, or above. Outcomes that overlap share their weight by uniqueness, so that
    `least_leaf` and `penalty` are measured in outcomes that overlap with no other. How
    many of each class rose over the training rows turns the three chances into that of a rise.

    Mean and quantiles follow from that chance and from the volatility of the row: how far returns
    fell or rose in units of it, quantiles read where outcomes say that trees had not seen (see
    `OutcomeTable`). Where volatility is unknown, for instance in the first week of a symbol, and
    where the price stood still for that long, quantiles are NaN, and the mean is the classes'.

    Specialists for a group of symbols share this class and differ in options alone. Each symbol
    belongs to exactly one group at each row (see `members`); a specialist learns from, and speaks
    of, its own. All of its symbols and rows are predicted in one call.

    Where a group of features has metrics that no provider brings, those columns are unknown, and
    trees pass them over.
    """

    name = "xgboost"

    class Config(Options):
        """Options: which symbols, what they are judged by, and how the trees are grown."""

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """What columns, quantiles and the group follow from."""
        wanted = (*_features.needs(self.config.features), VOLATILITY, _groups.VOLATILITY)
        return tuple(dict.fromkeys(wanted))

    # Training

    def fit(self, view: View, training: Training) -> Artifact:
        """Grow the trees on every row whose outcome is known.

        Raises:
            MissingDependencyError: XGBoost is not installed.
            TrainingError: too few rows, a class is absent, no feature varies, no volatility is
                known, or the loss is no longer a number.
        """
        require("xgboost", extra="ml", where=self.title())
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # XGBoost takes long to import

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
        return Artifact(
            files={_TREES: trees},
            card={
                "format": _FORMAT,
                "xgboost": _version(),
                "digest": _boosting.digest_of(trees),
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
        """Return what came of each row to learn from; NaN for the others (steps, symbol)."""
        outcome = np.where(self._cells(view), outcomes(view, horizon), np.nan)
        found = int((~np.isnan(outcome)).sum())
        missing = self.least_rows - found
        if missing > 0:
            raise TrainingError(
                f"{found} rows of {self._whose} have an outcome, {self.least_rows} are needed: "
                f"{missing} are missing",
                where=self.title(),
                hint="Collect a longer history, or more symbols of the group",
            )
        return outcome

    def _thinned(self, outcome: FloatPanel) -> FloatPanel:
        """Return the outcomes of every n-th row, counted from the last, where there are many."""
        stride = -(-int((~np.isnan(outcome)).sum()) // self.config.most_samples)
        age = np.arange(len(outcome))[::-1, None]
        return np.where(age % stride == 0, outcome, np.nan)

    def _expect_every_class(self, classes: NDArray[np.int64]) -> None:
        counts = dict(zip(("down", "flat", "up"), np.bincount(classes, minlength=3), strict=True))
        absent = [name for name, count in counts.items() if not count]
        if absent:
            raise TrainingError(
                f"no row is {' or '.join(absent)} among "
                + ", ".join(f"{count} {name}" for name, count in counts.items()),
                where=self.title(),
                hint=f"Its threshold of {self.config.threshold:g} does not suit these markets",
            )

    def _expect_varying(self, samples: "Samples") -> list[str]:
        """Return the columns that never vary."""
        low, high = (f.reduce(samples.features, axis=0) for f in (np.fmin, np.fmax))
        # Of a column that is never known both are NaN.
        varies = low < high
        if not varies.any():
            raise TrainingError(
                "none of its features ever varies",
                where=self.title(),
                hint="Look at the candles, and whether providers bring the metrics",
            )
        return [name for name, moves in zip(samples.names, varies, strict=True) if not moves]

    def _table(self, returns: Floats, samples: "Samples", volatility: Floats) -> OutcomeTable:
        try:
            return OutcomeTable.measured(returns, samples.classes, samples.weights, volatility)
        except ValueError as error:
            raise TrainingError(
                f"returns cannot be measured by volatility: {error}",
                where=self.title(),
                hint="It is known after a week of candles without a hole",
            ) from error

    def _grown(
        self, samples: "Samples", growth: "Growth", training: Training, table: OutcomeTable
    ) -> "tuple[bytes, Stages]":
        """Return the trees, and what trees like them say of samples they have not seen."""
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # XGBoost takes long to import

        splits = _boosting.folds(samples.starts, training.horizon) if self.config.hold_out else []
        every = self.config.checkpoint_rounds
        stages = _boosting.Stages(
            training, growth.rounds, len(splits) + 1, every, len(samples.starts)
        )
        for number, split in enumerate(splits):
            if stages.finished(number):
                continue
            found = _boosting.out_of_fold(samples, split, growth, stages, number)
            if found is not None:
                stages.up[split.test] = table.probability_up(found[0])
            stages.close(number, found and found[1])
        return _boosting.grow(samples, growth, stages, len(splits)), stages

    # Use

    def load(self, artifact: Artifact) -> "Specialist":
        """Return the trees ready for use.

        Raises:
            MissingDependencyError: XGBoost is not installed.
            ArtifactError: it is damaged, or made for other features, another group or by a
                version of XGBoost that this one cannot read.
        """
        require("xgboost", extra="ml", where=self.title())
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # XGBoost takes long to import

        card, trees = artifact.card, artifact.files.get(_TREES)
        self._expect_ours(card)
        if trees is None:
            raise ArtifactError(f"{_TREES} is missing", where=self.title())
        if _boosting.digest_of(trees) != card.get("digest"):
            raise ArtifactError(
                f"{_TREES} is not what the card says: truncated or changed", where=self.title()
            )
        try:
            table = OutcomeTable.from_json(card["returns"])
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"the card's returns: {error}", where=self.title()) from error
        booster = _boosting.read(trees, self.config.threads, card.get("xgboost"), self.title())
        if tuple(booster.feature_names or ()) != self._columns:
            raise ArtifactError("its trees look at other features", where=self.title())
        return Specialist(booster, table)

    def _expect_ours(self, card: Mapping[str, Any]) -> None:
        for key, ours in (
            ("format", _FORMAT),
            ("group", self.config.group),
            ("threshold", self.config.threshold),
        ):
            if card.get(key) != ours:
                raise ArtifactError(
                    f"was made for {key} {card.get(key)!r}, expected {ours!r}",
                    where=self.title(),
                    hint="Train it anew",
                )
        written = card.get("features")
        theirs = tuple(written) if isinstance(written, list | tuple) else ()
        if theirs != self._columns:
            missing = [name for name in self._columns if name not in theirs]
            more = [name for name in theirs if name not in self._columns]
            what = "".join(
                f", {word} {', '.join(map(str, columns))}"
                for word, columns in (("lacks", missing), ("has besides", more))
                if columns
            )
            raise ArtifactError(
                f"was made for other features{what or ', in another order'}",
                where=self.title(),
                hint="Train it anew",
            )

    def predict(self, view: View) -> Forecast:
        """Return the distribution of the return for every symbol of the group, in one call."""
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # XGBoost takes long to import

        learned: Specialist = view.learned
        cells = self._cells(view)
        features = _features.matrix(view, self.config.features, cells)
        if not len(features):
            chance = np.empty((0, len(_boosting.CLASSES)))
        else:
            chance = _boosting.probabilities(learned.booster, features)
        up = learned.table.probability_up(chance)
        volatility = view.feature(VOLATILITY)[cells]
        quantiles = learned.table.quantiles(up, volatility)
        return Forecast(
            mean=_spread(learned.table.mean(chance, volatility), cells),
            probability_up=_spread(up, cells),
            quantiles={level: _spread(quantiles[:, k], cells) for k, level in enumerate(LEVELS)},
            evidence={
                f"probability_{name}": _spread(chance[:, k], cells)
                for k, name in enumerate(_boosting.CLASSES)
            },
        )

    def contributions(self, view: View) -> Mapping[str, FloatPanel]:
        """Return what each feature adds to the log-odds of up over down.

        Under ``baseline`` stands what the model says before it has looked at any feature; all
        together are the log-odds.
        """
        from weft_plugins.models.boosted_trees import boosting as _boosting  # noqa: PLC0415  # XGBoost takes long to import

        learned: Specialist = view.learned
        cells = self._cells(view)
        features = _features.matrix(view, self.config.features, cells)
        named = (*self._columns, "baseline")
        if not len(features):
            return {name: np.full(cells.shape, np.nan) for name in named}
        parts = _boosting.contributions(learned.booster, features)
        return {name: _spread(parts[:, k], cells) for k, name in enumerate(named)}

    def _cells(self, view: View) -> BoolPanel:
        """Return the rows and symbols it speaks of: its group's, chosen, and trading."""
        cells = view.universe & ~np.isnan(view.candles().close[-view.steps :])
        if self.config.group == "all":
            return cells
        config = self.config
        return cells & _groups.members(view, self.config.group, config.named, config.wild)

    @property
    def _columns(self) -> tuple[str, ...]:
        return _features.names(self.config.features)

    @property
    def _whose(self) -> str:
        return "any symbol" if self.config.group == "all" else f"the {self.config.group}"


@dataclass(frozen=True, slots=True)
class Specialist:
    """A trained model, ready for use."""

    booster: "xgboost.Booster"
    table: OutcomeTable


def _spread(values: Floats, cells: BoolPanel) -> FloatPanel:
    """Return values of the cells that are set as a panel, NaN elsewhere."""
    panel = np.full(cells.shape, np.nan)
    panel[cells] = values
    return panel


def _version() -> str:
    import xgboost  # noqa: PLC0415  # an extra, imported only once it is used

    return xgboost.__version__
