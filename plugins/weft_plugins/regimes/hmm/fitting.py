"""Fits by expectation-maximisation with hmmlearn: restarts, variance floors, degenerate states."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from hmmlearn.hmm import GaussianHMM  # type: ignore[import-untyped]  # hmmlearn ships no types

from weft.foundation.arrays import FloatPanel, Floats
from weft.foundation.errors import TrainingError

_PSEUDO_MOVES = 0.1  # added to the count of every transition, so that none is impossible
_SEEDING_ROUNDS = 5
_STAYING = 0.9


@dataclass(frozen=True, slots=True)
class Effort:
    """Number and precision of fits.

    Attributes:
        restarts: fits from different seeds.
        iterations: iterations of each fit, at most.
        tolerance: gain in log likelihood per row below which a fit has converged.
        variance_floor: smallest variance of a state in any direction, as a share of the total.
        least_share: smallest share of the rows in a state.
    """

    restarts: int
    iterations: int
    tolerance: float
    variance_floor: float
    least_share: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """One fit.

    Attributes:
        transition: probability of each move (state, state).
        means: mean observation in each state (state, feature).
        covariances: covariance in each state (state, feature, feature).
        shares: smoothed share of the rows in each state (state,).
        log_likelihood: log likelihood per row.
        converged: whether the fit ended before its last iteration.
        degenerate: why a state is degenerate; empty where none is.
    """

    transition: FloatPanel
    means: FloatPanel
    covariances: Floats
    shares: Floats
    log_likelihood: float
    converged: bool
    degenerate: str


class _Floored(GaussianHMM):  # type: ignore[misc]  # its parent publishes no types
    """GaussianHMM whose variances stay above a floor at every iteration.

    hmmlearn applies `min_covar` only before the first iteration.
    """

    variance_floor = 0.0

    def _do_mstep(self, stats: dict[str, Floats]) -> None:
        super()._do_mstep(stats)
        if self.covariance_type == "diag":
            self._covars_: Floats = np.maximum(self._covars_, self.variance_floor)
        else:
            self._covars_ = _floored(self._covars_, self.variance_floor)


def _floored(covariances: Floats, floor: float) -> Floats:
    """Return covariances with eigenvalues raised to at least a floor (state, feature, feature)."""
    values, vectors = np.linalg.eigh(covariances)
    if (values >= floor).all():
        return covariances
    lifted = (vectors * np.maximum(values, floor)[:, None, :]) @ np.swapaxes(vectors, 1, 2)
    symmetric: Floats = 0.5 * (lifted + np.swapaxes(lifted, 1, 2))
    return symmetric


class _Monitor:
    """Convergence monitor; replaces hmmlearn's, which logs each small fall of the likelihood.

    The variance floor causes such falls. A likelihood that is not finite ends the training.
    """

    def __init__(self, gain: float, iterations: int) -> None:
        self._gain = gain
        self._iterations = iterations
        self.history: deque[float] = deque()
        self.iter = 0

    def _reset(self) -> None:
        self.history.clear()
        self.iter = 0

    def report(self, log_probability: float) -> None:
        """Record the log likelihood of one iteration."""
        if not np.isfinite(log_probability):
            raise TrainingError(
                f"diverged: the log likelihood is {log_probability}",
                where="regime hmm",
                hint="Raise variance_floor",
            )
        self.history.append(log_probability)
        self.iter += 1

    @property
    def settled(self) -> bool:
        """Whether the last iteration gained less than the tolerance."""
        return len(self.history) > 1 and self.history[-1] - self.history[-2] < self._gain

    @property
    def converged(self) -> bool:
        """Whether to end the fit."""
        return self.settled or self.iter >= self._iterations


def fit_restarts(
    observed: FloatPanel,
    states: int,
    kind: str,
    effort: Effort,
    rng: np.random.Generator,
    done: Callable[[float], None],
) -> list[Fitted]:
    """Return one fit for each restart: sound ones before degenerate ones, the likeliest first.

    Args:
        observed: standardised features (time, feature), NaN where a row is unknown.
        states: number of states.
        kind: kind of covariance, ``full`` or ``diag``.
        effort: number and precision of fits.
        rng: draws the first means of each restart.
        done: called with the loss of each restart, minus the log likelihood per row.

    Raises:
        TrainingError: a fit diverged.
    """
    rows, lengths = _segments(observed)
    fits = []
    for _ in range(effort.restarts):
        fitted = _fit(rows, lengths, _seeds(rows, states, rng), kind, effort)
        done(-fitted.log_likelihood)
        fits.append(fitted)
    return sorted(fits, key=lambda f: (bool(f.degenerate), -f.log_likelihood))


def _segments(observed: FloatPanel) -> tuple[FloatPanel, list[int]]:
    """Return the known rows, and the lengths of their runs without a gap."""
    known = np.isfinite(observed).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], known, [False]]).astype(np.int8)))
    return observed[known], (edges[1::2] - edges[::2]).tolist()


def _seeds(rows: FloatPanel, states: int, rng: np.random.Generator) -> FloatPanel:
    """Return first means that are far apart, by k-means++ (Arthur and Vassilvitskii 2007)."""
    means = rows[rng.integers(len(rows), size=1)]
    while len(means) < states:
        distance = _squared(rows, means).min(axis=1)
        total = distance.sum()
        weights = distance / total if total > 0.0 else None
        means = np.vstack([means, rows[rng.choice(len(rows), p=weights)]])
    for _ in range(_SEEDING_ROUNDS):
        nearest = _squared(rows, means).argmin(axis=1)
        groups = [rows[nearest == s] for s in range(states)]
        means = np.stack(
            [g.mean(axis=0) if len(g) else m for g, m in zip(groups, means, strict=True)]
        )
    return means


def _squared(rows: FloatPanel, means: FloatPanel) -> FloatPanel:
    distances: FloatPanel = np.square(rows[:, None, :] - means[None]).sum(axis=2)
    return distances


def _fit(
    rows: FloatPanel, lengths: Sequence[int], means: FloatPanel, kind: str, effort: Effort
) -> Fitted:
    states, features = means.shape
    model = _Floored(
        states,
        covariance_type=kind,
        covars_prior=0.0,
        transmat_prior=1.0 + _PSEUDO_MOVES,
        n_iter=effort.iterations,
        init_params="",
        implementation="log",
    )
    model.variance_floor = effort.variance_floor
    monitor = _Monitor(effort.tolerance * len(rows), effort.iterations)
    model.monitor_ = monitor
    model.startprob_ = np.full(states, 1.0 / states)
    moving = (1.0 - _STAYING) / (states - 1)
    model.transmat_ = np.full((states, states), moving) + (_STAYING - moving) * np.eye(states)
    model.means_ = means
    spread = np.maximum(rows.var(axis=0), effort.variance_floor)
    model.covars_ = np.tile(spread if kind == "diag" else np.diag(spread), (states, 1, 1)).reshape(
        (states, features) if kind == "diag" else (states, features, features)
    )
    model.fit(rows, lengths)
    log_likelihood, posterior = model.score_samples(rows, lengths)
    shares: Floats = posterior.mean(axis=0)
    covariances: Floats = np.array(model.covars_)
    return Fitted(
        transition=model.transmat_ / model.transmat_.sum(axis=1, keepdims=True),
        means=model.means_,
        covariances=covariances,
        shares=shares,
        log_likelihood=float(log_likelihood) / len(rows),
        converged=monitor.settled,
        degenerate=_degeneracy(shares, covariances, effort),
    )


def _degeneracy(shares: Floats, covariances: Floats, effort: Effort) -> str:
    if (shares < effort.least_share).any():
        return f"a state has {shares.min():.2%} of the rows, below {effort.least_share:.2%}"
    # A state whose variance is at the floor in every direction has collapsed to a point.
    widest = np.linalg.eigvalsh(covariances)[:, -1]
    if (widest <= effort.variance_floor * (1.0 + 1e-6)).any():
        return "a state has collapsed to a point"
    return ""
