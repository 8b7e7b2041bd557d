"""Which state is which: by fixed statistics, or by the states of the fit before."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel
from weft_plugins.regimes.hmm.parameters import Parameters

BULL, BEAR, SIDEWAYS, VOLATILE = "bull_trend", "bear_trend", "sideways", "high_volatility"
_LEAST_OF_HIGHEST = 0.9


@dataclass(frozen=True, slots=True)
class Match:
    """How the states of two fits belong together.

    Attributes:
        order: for each state of the fit before, the state that takes its name (state,).
        costs: symmetric Kullback-Leibler divergence of each pair, nats (state,).
    """

    order: NDArray[np.int64]
    costs: NDArray[np.float64]

    @property
    def cost(self) -> float:
        """Mean over the pairs, nats."""
        return float(self.costs.mean())


def state_names(count: int) -> tuple[str, ...]:
    """Return the names of so many states; several sideways ones are numbered by mean return."""
    if count == 2:
        return (SIDEWAYS, VOLATILE)
    if count == 3:
        return (BULL, BEAR, VOLATILE)
    if count == 4:
        return (BULL, BEAR, SIDEWAYS, VOLATILE)
    return (BULL, BEAR, *(f"{SIDEWAYS}_{n}" for n in range(1, count - 2)), VOLATILE)


def named_by_statistics(fitted: Parameters) -> Parameters:
    """Name states by how returns vary in them, and by their mean.

    The first feature is the log return. The state in which it varies most is high volatility; of
    the others that of the highest mean is the bull trend, that of the lowest the bear trend, and
    what lies between is sideways.
    """
    volatile = int(np.argmax(fitted.covariances[:, 0, 0]))
    rest = [int(s) for s in np.argsort(-fitted.means[:, 0], kind="stable") if s != volatile]
    trends = [rest[0], rest[-1], *rest[1:-1]] if len(rest) > 1 else rest
    order = np.array([*trends, volatile])
    return replace(reordered(fitted, order), names=state_names(len(order)))


def untrue_name(named: Parameters) -> str:
    """Return which name says something that is not so; empty where each is true.

    Between fits sideways may change places with a trend that is no stronger. A bull trend that
    falls faster than the bear trend, or a high volatility well below another, is none.
    """
    mean = dict(zip(named.names, named.means[:, 0], strict=True))
    if BULL in mean and mean[BULL] <= mean[BEAR]:
        return f"{BULL} would have a lower mean return than {BEAR}"
    deviation = np.sqrt(named.covariances[:, 0, 0])
    if deviation[named.names.index(VOLATILE)] < _LEAST_OF_HIGHEST * deviation.max():
        return f"returns would vary less in {VOLATILE} than elsewhere"
    return ""


def reordered(fitted: Parameters, order: NDArray[np.int64]) -> Parameters:
    """Return a model whose first state is state `order[0]` of this one, and so on."""
    return replace(
        fitted,
        transition=fitted.transition[np.ix_(order, order)],
        means=fitted.means[order],
        covariances=fitted.covariances[order],
    )


def match(previous: Parameters, fitted: Parameters) -> Match:
    """Return the pairing of states with the least sum of divergences (Kuhn 1955)."""
    from scipy import optimize  # noqa: PLC0415  # heavy, and for training alone

    costs = _divergences(previous, fitted)
    rows, columns = optimize.linear_sum_assignment(costs)
    return Match(np.asarray(columns), costs[rows, columns])


def _divergences(one: Parameters, other: Parameters) -> FloatPanel:
    """Return the symmetric divergence of each state of one from each of the other, nats.

    Half the sum of the Kullback-Leibler divergences in both directions, in the features' own
    units, so that it does not matter what either was standardised by.
    """
    means, covariances = one.raw_means, one.raw_covariances
    precisions = np.linalg.inv(covariances)
    other_means, other_covariances = other.raw_means, other.raw_covariances
    other_precisions = np.linalg.inv(other_covariances)
    found = np.empty((len(means), len(other_means)))
    features = means.shape[1]
    for i, j in np.ndindex(*found.shape):
        apart = means[i] - other_means[j]
        # The determinants of the two directions cancel.
        spread = np.trace(other_precisions[j] @ covariances[i])
        spread += np.trace(precisions[i] @ other_covariances[j])
        shift = apart @ (precisions[i] + other_precisions[j]) @ apart
        found[i, j] = 0.25 * (spread - 2.0 * features + shift)
    return np.maximum(found, 0.0)
