"""Market regimes by a hidden Markov model: fitted on history, filtered forward."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self, TypeAlias

import numpy as np
from pydantic import Field, model_validator

from weft.components.base import ComponentConfig
from weft.components.model import Regime, RegimeState
from weft.components.needs import FeatureNeed, Need, candles, feature
from weft.components.trained import Artifact, Evaluation, Training
from weft.domain.calendar import BLOCK, block_end
from weft.foundation.arrays import FloatPanel
from weft.foundation.dependencies import require
from weft.foundation.errors import ArtifactError
from weft.market.view import View
from weft_plugins.checkpoints import sealed, sealed_file
from weft_plugins.regimes.hmm.filter import ForwardFilter
from weft_plugins.regimes.hmm.market import (
    RETURN,
    RSI,
    VOLATILITY,
    VOLUME,
    Observations,
    observe,
)
from weft_plugins.regimes.hmm.naming import BEAR, BULL, VOLATILE, state_names
from weft_plugins.regimes.hmm.parameters import FILE, Parameters, stationary
from weft_plugins.regimes.hmm.stateless import log_mixture

_WHERE = "regime hmm"

Observed: TypeAlias = Literal["log_return", "log_volatility", "log_volume_ratio", "rsi"]
"""Observations that states can be inferred from."""

_LIKELIHOOD_RATIO: Final = 100.0
"""Factor by which the states must raise the likelihood of the judged returns before they gain.

The ratio of two densities of the same rows, each row given those before it, has mean 1 where the
denominator is the true density. It exceeds 100 with a probability of at most 1 % (Markov's
inequality; at any row of the sequence: Ville 1939), so luck alone passes no more often.
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """A fitted model, ready for use.

    Attributes:
        parameters: fitted parameters.
        model: forward filter over standardised features.
    """

    parameters: Parameters
    model: ForwardFilter


class HiddenMarkov(Regime):
    """Hidden Markov model with the states bull trend, bear trend, sideways and high volatility.

    Observations are the log return and, where `observed` names them, the logarithms of volatility
    and of relative volume, and the RSI; each is standardised by the training rows. They are those
    of the reference asset from its first known row on; before that row, or without the asset, the
    median over all markets that never close. On a row with an unknown observation, the
    probabilities move on by the transition matrix.

    Fitting: expectation-maximisation with hmmlearn from several seeds. The spread and the mean of
    returns name the states. A refit takes the names of the previous fit (`Training.previous`), by
    the pairing of states with the smallest divergence (Kullback-Leibler). Where the pairing is
    poor, or a name would be false, the card raises an alarm and the statistics name the states.

    Inference: a forward filter, which uses no later row; hmmlearn's posteriors do. The filter
    starts from the stationary distribution `warmup` rows before each calendar block. The model
    treats each row as new evidence. That holds for returns; volatility, volume and RSI look back
    over many candles, so with them probabilities are too close to 0 and 1, and states come late.

    Judging: the likelihood of each row's return, against a model without states that has the same
    trailing volatility (`Stateless`). Only returns count, which no two rows share.
    """

    name = "hmm"
    seconds_per_row = 0.004

    class Config(ComponentConfig):
        """Options."""

        reference: str = Field(default="BTC", description="base asset that represents the market")
        states: tuple[Annotated[int, Field(ge=2, le=8)], ...] = Field(
            default=(4,),
            min_length=1,
            description="numbers of states to try; the best on the last fifth of the training rows "
            "is used, or fewer where a few jumps would form a state",
        )
        observed: tuple[Observed, ...] = Field(
            default=("log_return",),
            min_length=1,
            description="observations that states are inferred from, the log return first",
        )
        covariance: Literal["full", "diag"] = Field(
            default="full",
            description="full or diag: with or without correlation within a state",
        )
        volatility_window: int = Field(default=24, ge=2, description="returns in the volatility")
        volume_window: int = Field(default=20, ge=2, description="candles in the mean volume")
        rsi_window: int = Field(default=48, ge=2, description="candles in the RSI")
        warmup: int = Field(
            default=512,
            ge=1,
            description="rows the filter runs over before a calendar block",
        )
        restarts: int = Field(default=5, ge=1, description="fits from different seeds")
        iterations: int = Field(default=100, ge=2, description="iterations of each fit, at most")
        tolerance: float = Field(
            default=1e-5, gt=0, description="gain in log likelihood per row below which a fit ends"
        )
        variance_floor: float = Field(
            default=1e-3,
            gt=0,
            description="smallest share of the total variance in a state",
        )
        least_share: float = Field(
            default=0.005,
            ge=0,
            lt=1,
            description="smallest share of the rows in a state",
        )
        alarm_cost: float = Field(
            default=3.0,
            gt=0,
            description="divergence between fits, in nats, that raises an alarm",
        )
        bull_trend: float = Field(default=1.0, ge=0, le=1, description="multiplier of positions")
        bear_trend: float = Field(default=0.6, ge=0, le=1, description="multiplier of positions")
        sideways: float = Field(default=0.8, ge=0, le=1, description="multiplier of positions")
        high_volatility: float = Field(
            default=0.3, ge=0, le=1, description="multiplier of positions"
        )

        @model_validator(mode="after")
        def _observe_returns_first(self) -> Self:
            if self.observed[0] != RETURN:
                raise ValueError(f"observed begins with {self.observed[0]}, expected {RETURN}")
            if len(set(self.observed)) < len(self.observed):
                raise ValueError("observed names an observation twice")
            return self

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Candles and features from the start of the filter of the first row's block."""
        # A return needs the candle before it.
        return [candles(warmup=self._lookback + 1), *self._features.values()]

    @property
    def _lookback(self) -> int:
        return BLOCK - 1 + self.config.warmup

    @property
    def _features(self) -> Mapping[str, FeatureNeed]:
        """Features observed besides the log return, by name."""
        config, lookback = self.config, self._lookback
        needs = {
            VOLATILITY: feature("volatility", lookback=lookback, window=config.volatility_window),
            VOLUME: feature("volume_ratio", lookback=lookback, window=config.volume_window),
            RSI: feature("rsi", lookback=lookback, window=config.rsi_window),
        }
        return {name: needs[name] for name in config.observed[1:]}

    def fit(self, view: View, training: Training) -> Artifact:
        """Fit the model to the market on the decision rows.

        The states take their names from the fit in `training.previous`, where there is one.

        Raises:
            TrainingError: too few rows are known, a feature is constant, a fit diverged, or every
                fit has a degenerate state.
            MissingDependencyError: hmmlearn is not installed.
        """
        require("hmmlearn.hmm", extra="ml", where=_WHERE)
        from weft_plugins.regimes.hmm.training import train  # noqa: PLC0415  # imports hmmlearn

        observations = self._observations(view)
        rows = len(observations.values)
        observed = observations.series(rows - view.steps, rows)
        parameters, card = train(observed, self.config, training)
        return sealed({FILE: parameters.to_json()}, card)

    def load(self, artifact: Artifact) -> Ready:
        """Return the parameters with their filter.

        Raises:
            ArtifactError: the artifact is damaged, or of another version, other observations or
                other states.
        """
        parameters = Parameters.from_json(sealed_file(artifact, FILE, _WHERE), _WHERE)
        if parameters.features != self.config.observed:
            raise ArtifactError(
                f"was trained on {', '.join(parameters.features)}, expected "
                f"{', '.join(self.config.observed)}",
                where=_WHERE,
                hint="Train it again with `weft train`",
            )
        return ready(parameters)

    def detect(self, view: View) -> RegimeState:
        """Return the filtered probability of each state; NaN before the first known row."""
        learned: Ready = view.learned
        probability = np.concatenate([p[-n:] for _, p, n in self._runs(view, learned)])
        names = learned.parameters.names
        return RegimeState(
            names=names,
            probability=probability,
            transition=learned.parameters.transition,
            multipliers=np.array([self._multiplier(name) for name in names]),
        )

    def evaluate(self, view: View, training: Training) -> Evaluation:
        """Return minus the log density of each row's return given the rows before it.

        The density is a mixture of the states' normals; its shares are the state probabilities of
        the row before, times the transition matrix. The baseline is `Parameters.stateless`. The
        loss includes the logarithm of `_LIKELIHOOD_RATIO`, spread over all rows.
        """
        learned: Ready = view.learned
        parameters, model = learned.parameters, learned.model
        means, variances = parameters.raw_means[:, 0], parameters.raw_covariances[:, 0, 0]
        states, stateless = [], []
        for observed, probability, count in self._runs(view, learned):
            ahead = _one_row_ahead(model, probability)
            density = log_mixture(observed[:, 0], ahead, means, variances)
            states.append(density[-count:])
            stateless.append(parameters.stateless.log_density(observed[:, 0])[-count:])
        loss, baseline = -np.concatenate(states), -np.concatenate(stateless)
        penalty = np.log(_LIKELIHOOD_RATIO) / max(np.count_nonzero(np.isfinite(loss)), 1)
        return Evaluation(loss=loss + penalty, baseline=baseline)

    def _observations(self, view: View) -> Observations:
        return observe(view, self._features, self.config.reference)

    def _multiplier(self, name: str) -> float:
        return {
            BULL: self.config.bull_trend,
            BEAR: self.config.bear_trend,
            VOLATILE: self.config.high_volatility,
        }.get(name, self.config.sideways)

    def _runs(self, view: View, learned: Ready) -> Iterator[tuple[FloatPanel, FloatPanel, int]]:
        """Yield observations, state probabilities and decision rows of each calendar block.

        The number says how many of the last rows are decision rows; earlier ones are warm-up.
        """
        observations = self._observations(view)
        rows, index = len(observations.values), view.interval.index(view.as_of)
        for first, last in _blocks(index - view.steps + 1, index):
            start = max(0, rows - 1 - (index - (first // BLOCK * BLOCK - self.config.warmup)))
            observed = observations.series(start, rows - (index - last))
            probability, _ = learned.model.run(learned.parameters.standardised(observed))
            yield observed, probability, last - first + 1


def ready(parameters: Parameters) -> Ready:
    """Return parameters with their filter.

    Raises:
        ArtifactError: the parameters name other states than this version.
    """
    if parameters.names != state_names(len(parameters.names)):
        raise ArtifactError(
            f"was trained for the states {', '.join(parameters.names)}",
            where=_WHERE,
            hint="Train it again with `weft train`",
        )
    model = ForwardFilter.of(
        stationary(parameters.transition),
        parameters.transition,
        parameters.means,
        parameters.covariances,
    )
    return Ready(parameters, model)


def _one_row_ahead(model: ForwardFilter, probability: FloatPanel) -> FloatPanel:
    """Return the probability of each state given the rows before (time, state)."""
    before = np.vstack([model.start, probability[:-1]])
    # Before the first known row the filter is at its start.
    ahead: FloatPanel = np.einsum("ti,ij->tj", before, model.transition)
    ahead[0] = model.start
    return np.where(np.isnan(ahead), model.start, ahead)


def _blocks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield the first and last index of each run of rows in one calendar block."""
    while first <= last:
        end = min(block_end(first) - 1, last)
        yield first, end
        first = end + 1
