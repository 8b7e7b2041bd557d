"""Market regimes by a hidden Markov model, fitted on history and filtered forwards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from weft.arrays import FloatPanel, Floats
from weft.components.base import ComponentConfig
from weft.components.model import Regime, RegimeState
from weft.components.needs import FeatureNeed, Need, candles, feature
from weft.components.trained import Artifact, Evaluation, Training
from weft.errors import ArtifactError, MissingDependencyError
from weft.features.blocks import BLOCK, block_end
from weft.market.view import View
from weft_plugins.regimes._filter import ForwardFilter
from weft_plugins.regimes._market import FEATURES, Observations, observe
from weft_plugins.regimes._naming import BEAR, BULL, VOLATILE, state_names
from weft_plugins.regimes._parameters import FILE, Parameters, stationary

_WHERE = "regime hmm"


@dataclass(frozen=True, slots=True)
class Ready:
    """A fitted model made ready for use.

    Attributes:
        parameters: what it was fitted to.
        model: its filter, over standardised features.
        single: the filter of one Gaussian over all training rows, to be compared with.
    """

    parameters: Parameters
    model: ForwardFilter
    single: ForwardFilter


class HiddenMarkov(Regime):
    """Tells bull trend, bear trend, sideways and high volatility by a hidden Markov model.

    Observed are the log return, the logarithms of volatility and of volume against its mean, and
    the RSI, each standardised by the training rows. They are those of the reference asset, from
    the first row on at which it is known; where it is not among the symbols, the median over all
    markets that never close. A row at which something is unknown is stepped over: the chances move
    on by the transition matrix.

    Fitted by expectation-maximisation with hmmlearn from several seeds. What the states are
    called follows from how returns vary in them and from their mean; a refit takes the names over
    from the fit before, which `Training.previous` hands in, by the pairing of states
    that are closest (Kullback-Leibler). Where the closest are far apart, or a name would no longer
    be true, the card raises an alarm, and the names follow from the statistics again.

    Inferred by a forward filter, which uses no later row; hmmlearn's own posteriors do. It starts
    from the stationary distribution `warmup` rows before each block of the calendar. Volatility and
    RSI look back over many candles, while the model takes each row for new evidence: its
    probabilities are closer to 0 and 1 than they should be.
    """

    name = "hmm"
    seconds_per_row = 0.004

    class Config(ComponentConfig):
        """Options."""

        reference: str = Field(default="BTC", description="base asset that stands for the market")
        states: tuple[Annotated[int, Field(ge=2, le=8)], ...] = Field(
            default=(4,),
            min_length=1,
            description="numbers of states, of which the one that is best on the last fifth of "
            "the training rows, unseen, is taken",
        )
        covariance: Literal["full", "diag"] = Field(
            default="full", description="whether features may vary together within a state"
        )
        volatility_window: int = Field(default=24, ge=2, description="returns in the volatility")
        volume_window: int = Field(default=20, ge=2, description="candles in the mean volume")
        # On hourly BTC the best fit splits volatility into four where the volatility is slower and
        # the RSI faster than this; with these two its states differ in trend.
        rsi_window: int = Field(default=48, ge=2, description="candles in the RSI")
        warmup: int = Field(
            default=512,
            ge=1,
            description="rows the filter runs over before a block of the calendar",
        )
        restarts: int = Field(default=5, ge=1, description="fits from different seeds")
        iterations: int = Field(default=100, ge=2, description="steps of each fit, at most")
        tolerance: float = Field(
            default=1e-5, gt=0, description="gain in log likelihood per row that ends a fit"
        )
        variance_floor: float = Field(
            default=1e-3, gt=0, description="least variance within a state, in units of the whole"
        )
        least_share: float = Field(
            default=0.005, ge=0, lt=1, description="share of the rows below which a state is none"
        )
        alarm_cost: float = Field(
            default=3.0, gt=0, description="nats between a state and the one it was before"
        )
        bull_trend: float = Field(default=1.0, ge=0, le=1, description="multiplier of positions")
        bear_trend: float = Field(default=0.6, ge=0, le=1, description="multiplier of positions")
        sideways: float = Field(default=0.8, ge=0, le=1, description="multiplier of positions")
        high_volatility: float = Field(
            default=0.3, ge=0, le=1, description="multiplier of positions"
        )

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Candles and features back to where the filter of the first row's block starts."""
        # A return needs the candle before it.
        return [candles(warmup=self._lookback + 1), *self._features]

    @property
    def _lookback(self) -> int:
        return BLOCK - 1 + self.config.warmup

    @property
    def _features(self) -> list[FeatureNeed]:
        config, lookback = self.config, self._lookback
        return [
            feature("volatility", lookback=lookback, window=config.volatility_window),
            feature("volume_ratio", lookback=lookback, window=config.volume_window),
            feature("rsi", lookback=lookback, window=config.rsi_window),
        ]

    def fit(self, view: View, training: Training) -> Artifact:
        """Fit to the market on the decision rows.

        An earlier fit, where `training.previous` has one, gives the states their names.

        Raises:
            TrainingError: too few rows are known, a feature never changes, the fit diverged, or
                some state is degenerate whichever way it is fitted.
        """
        try:
            from weft_plugins.regimes._training import train  # noqa: PLC0415  # imports hmmlearn
        except ModuleNotFoundError as error:
            raise MissingDependencyError(
                f"needs the package {error.name} to be trained",
                where=_WHERE,
                hint="pip install 'weft[ml]'",
            ) from error
        seen = self._seen(view)
        rows = len(seen.values)
        observed = seen.series(rows - view.steps, rows)
        parameters, card = train(observed, self.config, training)
        return Artifact({FILE: parameters.to_json()}, card)

    def load(self, artifact: Artifact) -> Ready:
        """Return the model with its filter.

        Raises:
            ArtifactError: it is damaged, of another version, or for other features or states.
        """
        if FILE not in artifact.files:
            raise ArtifactError(f"{FILE} is missing", where=_WHERE, hint="Train it again")
        parameters = Parameters.from_json(artifact.files[FILE], _WHERE)
        return ready(parameters)

    def detect(self, view: View) -> RegimeState:
        """Return the filtered probability of each state; NaN before anything is known."""
        learned: Ready = view.learned
        probability, _ = self._run(view, learned, learned.model)
        names = learned.parameters.names
        return RegimeState(
            names=names,
            probability=probability,
            transition=learned.parameters.transition,
            multipliers=np.array([self._multiplier(name) for name in names]),
        )

    def evaluate(self, view: View, training: Training) -> Evaluation:
        """Return minus the log density of each row given those before it, per row.

        The baseline is that of one Gaussian over all training rows. Both are of the features as
        they are: in units of its own training rows, the fit to the wilder ones would be the better.
        """
        learned: Ready = view.learned
        _, model = self._run(view, learned, learned.model)
        _, single = self._run(view, learned, learned.single)
        unit = np.log(learned.parameters.scale).sum()
        return Evaluation(loss=unit - model, baseline=unit - single)

    def _seen(self, view: View) -> Observations:
        return observe(view, self._features, self.config.reference)

    def _multiplier(self, name: str) -> float:
        return {
            BULL: self.config.bull_trend,
            BEAR: self.config.bear_trend,
            VOLATILE: self.config.high_volatility,
        }.get(name, self.config.sideways)

    def _run(self, view: View, learned: Ready, model: ForwardFilter) -> tuple[FloatPanel, Floats]:
        """Return probability and log density on the decision rows."""
        seen = self._seen(view)
        rows, index = len(seen.values), view.interval.index(view.as_of)
        probability = np.empty((view.steps, len(model.start)))
        log_density = np.empty(view.steps)
        for first, last in _blocks(index - view.steps + 1, index):
            start = max(0, rows - 1 - (index - (first // BLOCK * BLOCK - self.config.warmup)))
            stop = rows - (index - last)
            observed = learned.parameters.standardised(seen.series(start, stop))
            chances, density = model.run(observed)
            count, end = last - first + 1, view.steps - (index - last)
            probability[end - count : end] = chances[-count:]
            log_density[end - count : end] = density[-count:]
        return probability, log_density


def ready(parameters: Parameters) -> Ready:
    """Return parameters with their filters.

    Raises:
        ArtifactError: they are for other features or states than this version knows.
    """
    if parameters.features != FEATURES:
        raise ArtifactError(
            f"was made for the features {', '.join(parameters.features)}, expected "
            f"{', '.join(FEATURES)}",
            where=_WHERE,
            hint="Train it again",
        )
    if parameters.names != state_names(len(parameters.names)):
        raise ArtifactError(
            f"was made for the states {', '.join(parameters.names)}",
            where=_WHERE,
            hint="Train it again",
        )
    model = ForwardFilter.of(
        stationary(parameters.transition),
        parameters.transition,
        parameters.means,
        parameters.covariances,
    )
    one = np.ones((1, 1))
    nowhere = np.zeros((1, len(FEATURES)))
    single = ForwardFilter.of(one[0], one, nowhere, parameters.overall[None])
    return Ready(parameters, model, single)


def _blocks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield first and last index of the rows that share a block of the calendar."""
    while first <= last:
        end = min(block_end(first) - 1, last)
        yield first, end
        first = end + 1
