"""Market regimes by a hidden Markov model, fitted on history and filtered forwards."""

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
"""What states can be inferred from."""

_LUCK: Final = 100.0
"""How much likelier than without states the judged returns have to be, before states gain.

The ratio of two densities of the same rows, each row given those before it, is 1 on average where
the lower one is the truth. So it exceeds 100 in at most one of 100 cases (Markov's inequality; of
all instants by one of 100 martingales, Ville 1939), and states are believed by luck no more often.
"""


@dataclass(frozen=True, slots=True)
class Ready:
    """A fitted model made ready for use.

    Attributes:
        parameters: what it was fitted to.
        model: its filter, over standardised features.
    """

    parameters: Parameters
    model: ForwardFilter


class HiddenMarkov(Regime):
    """Tells bull trend, bear trend, sideways and high volatility by a hidden Markov model.

    Observed is the log return, and where `observed` says so the logarithms of volatility and of
    volume against its mean, and the RSI, each standardised by the training rows. They are those of
    the reference asset, from the first row on at which it is known; where it is not among the
    symbols, the median over all markets that never close. A row at which something is unknown is
    stepped over: the chances move on by the transition matrix.

    Fitted by expectation-maximisation with hmmlearn from several seeds. What the states are
    called follows from how returns vary in them and from their mean; a refit takes the names over
    from the fit before, which `Training.previous` hands in, by the pairing of states
    that are closest (Kullback-Leibler). Where the closest are far apart, or a name would no longer
    be true, the card raises an alarm, and the names follow from the statistics again.

    Inferred by a forward filter, which uses no later row; hmmlearn's own posteriors do. It starts
    from the stationary distribution `warmup` rows before each block of the calendar. The model
    takes each row for new evidence. Returns are; volatility, volume and RSI look back over many
    candles, so that with them probabilities are closer to 0 and 1 than they should be, and states
    come late.

    Judged by returns alone, which no two rows share: how likely the chances of the states make each
    row's return, against a model without states that knows the trailing volatility as well
    (`Stateless`).
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
            "the training rows, unseen, is taken; fewer where a few jumps would be a state",
        )
        observed: tuple[Observed, ...] = Field(
            default=("log_return",),
            min_length=1,
            description="what states are inferred from, the log return first",
        )
        covariance: Literal["full", "diag"] = Field(
            default="full", description="whether features may vary together within a state"
        )
        volatility_window: int = Field(default=24, ge=2, description="returns in the volatility")
        volume_window: int = Field(default=20, ge=2, description="candles in the mean volume")
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

        @model_validator(mode="after")
        def _observe_returns_first(self) -> Self:
            if self.observed[0] != RETURN:
                raise ValueError(f"observed begins with {self.observed[0]}, expected {RETURN}")
            if len(set(self.observed)) < len(self.observed):
                raise ValueError("observed names something twice")
            return self

    config: Config

    @property
    def needs(self) -> Sequence[Need]:
        """Candles and features back to where the filter of the first row's block starts."""
        # A return needs the candle before it.
        return [candles(warmup=self._lookback + 1), *self._features.values()]

    @property
    def _lookback(self) -> int:
        return BLOCK - 1 + self.config.warmup

    @property
    def _features(self) -> Mapping[str, FeatureNeed]:
        """Return what is observed besides the log return, by name."""
        config, lookback = self.config, self._lookback
        every = {
            VOLATILITY: feature("volatility", lookback=lookback, window=config.volatility_window),
            VOLUME: feature("volume_ratio", lookback=lookback, window=config.volume_window),
            RSI: feature("rsi", lookback=lookback, window=config.rsi_window),
        }
        return {name: every[name] for name in config.observed[1:]}

    def fit(self, view: View, training: Training) -> Artifact:
        """Fit to the market on the decision rows.

        An earlier fit, where `training.previous` has one, gives the states their names.

        Raises:
            TrainingError: too few rows are known, a feature never changes, the fit diverged, or
                some state is degenerate whichever way it is fitted.
        """
        require("hmmlearn.hmm", extra="ml", where=_WHERE)
        from weft_plugins.regimes.hmm.training import train  # noqa: PLC0415  # imports hmmlearn

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
        if parameters.features != self.config.observed:
            raise ArtifactError(
                f"was made for the features {', '.join(parameters.features)}, expected "
                f"{', '.join(self.config.observed)}",
                where=_WHERE,
                hint="Train it again",
            )
        return ready(parameters)

    def detect(self, view: View) -> RegimeState:
        """Return the filtered probability of each state; NaN before anything is known."""
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

        The chances of the states on the row before, moved on by the transition matrix, make it a
        mixture of the states' returns. The baseline is `Parameters.stateless`. The states pay the
        logarithm of `_LUCK` once, spread over all rows.
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
        price = np.log(_LUCK) / max(np.count_nonzero(np.isfinite(loss)), 1)
        return Evaluation(loss=loss + price, baseline=baseline)

    def _seen(self, view: View) -> Observations:
        return observe(view, self._features, self.config.reference)

    def _multiplier(self, name: str) -> float:
        return {
            BULL: self.config.bull_trend,
            BEAR: self.config.bear_trend,
            VOLATILE: self.config.high_volatility,
        }.get(name, self.config.sideways)

    def _runs(self, view: View, learned: Ready) -> Iterator[tuple[FloatPanel, FloatPanel, int]]:
        """Yield what is observed and the states' chances for each block of the calendar.

        The last of its rows are decision rows, as many as the number beside them; those before
        are the warm-up.
        """
        seen = self._seen(view)
        rows, index = len(seen.values), view.interval.index(view.as_of)
        for first, last in _blocks(index - view.steps + 1, index):
            start = max(0, rows - 1 - (index - (first // BLOCK * BLOCK - self.config.warmup)))
            observed = seen.series(start, rows - (index - last))
            probability, _ = learned.model.run(learned.parameters.standardised(observed))
            yield observed, probability, last - first + 1


def ready(parameters: Parameters) -> Ready:
    """Return parameters with their filters.

    Raises:
        ArtifactError: they are for other states than this version knows.
    """
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
    return Ready(parameters, model)


def _one_row_ahead(model: ForwardFilter, probability: FloatPanel) -> FloatPanel:
    """Return the chance of each state on each row, given the rows before it (time, state)."""
    before = np.vstack([model.start, probability[:-1]])
    # Until something is known the filter stands at its start.
    ahead: FloatPanel = np.einsum("ti,ij->tj", before, model.transition)
    ahead[0] = model.start
    return np.where(np.isnan(ahead), model.start, ahead)


def _blocks(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield first and last index of the rows that share a block of the calendar."""
    while first <= last:
        end = min(block_end(first) - 1, last)
        yield first, end
        first = end + 1
