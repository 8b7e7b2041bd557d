"""Names of states: by statistics, or by the states of the previous fit."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel
from weft_plugins.regimes.hmm.parameters import Parameters

BULL, BEAR, SIDEWAYS, VOLATILE = "bull_trend", "bear_trend", "sideways", "high_volatility"
_LEAST_OF_HIGHEST = 0.9


@dataclass(frozen=True, slots=True)
class Match:
    """Pairing of the states of two fits.

    Attributes:
        order: for each state of the previous fit, the state that takes its name (state,).
        costs: symmetric Kullback-Leibler divergence of each pair, nats (state,).
    """

    order: NDArray[np.int64]
    costs: NDArray[np.float64]

    @property
    def cost(self) -> float:
        """Mean over the pairs, nats."""
        return float(self.costs.mean())


def state_names(count: int) -> tuple[str, ...]:
    """Return the names of `count` states; several sideways ones are numbered by mean return."""
    if count == 2:
        return (SIDEWAYS, VOLATILE)
    if count == 3:
        return (BULL, BEAR, VOLATILE)
    if count == 4:
        return (BULL, BEAR, SIDEWAYS, VOLATILE)
    return (BULL, BEAR, *(f"{SIDEWAYS}_{n}" for n in range(1, count - 2)), VOLATILE)


def named_by_statistics(fitted: Parameters) -> Parameters:
    """Return parameters with states named by variance and mean of their log returns.

    The state with the largest variance is high volatility. Among the others, the highest mean is
    the bull trend, the lowest mean the bear trend, and the rest are sideways.
    """
    volatile = int(np.argmax(fitted.covariances[:, 0, 0]))
    rest = [int(s) for s in np.argsort(-fitted.means[:, 0], kind="stable") if s != volatile]
    trends = [rest[0], rest[-1], *rest[1:-1]] if len(rest) > 1 else rest
    order = np.array([*trends, volatile])
    return replace(reordered(fitted, order), names=state_names(len(order)))


def false_name(named: Parameters) -> str:
    """Return why a name is false; empty where every name is true.

    A bull trend must have a higher mean than the bear trend, and high volatility about the largest
    deviation. Sideways and a weak trend may swap names between fits.
    """
    mean = dict(zip(named.names, named.means[:, 0], strict=True))
    if BULL in mean and mean[BULL] <= mean[BEAR]:
        return f"{BULL} would have a lower mean return than {BEAR}"
    deviation = np.sqrt(named.covariances[:, 0, 0])
    if deviation[named.names.index(VOLATILE)] < _LEAST_OF_HIGHEST * deviation.max():
        return f"returns would vary less in {VOLATILE} than elsewhere"
    return ""


def reordered(fitted: Parameters, order: NDArray[np.int64]) -> Parameters:
    """Return parameters with states in another order: the first is state `order[0]`."""
    return replace(
        fitted,
        transition=fitted.transition[np.ix_(order, order)],
        means=fitted.means[order],
        covariances=fitted.covariances[order],
    )


def match(previous: Parameters, fitted: Parameters) -> Match:
    """Return the pairing of states with the smallest sum of divergences (Kuhn 1955)."""
    from scipy import optimize  # noqa: PLC0415  # slow to import, for training only

    costs = _divergences(previous, fitted)
    rows, columns = optimize.linear_sum_assignment(costs)
    return Match(np.asarray(columns), costs[rows, columns])


def _divergences(first: Parameters, second: Parameters) -> FloatPanel:
    """Return the divergence between each state of two fits, in nats (state, state).

    Half the sum of the Kullback-Leibler divergences in both directions (Jeffreys 1946), in the
    units of the features, so it does not depend on the standardisation of either fit.
    """
    means, covariances = first.raw_means, first.raw_covariances
    precisions = np.linalg.inv(covariances)
    other_means, other_covariances = second.raw_means, second.raw_covariances
    other_precisions = np.linalg.inv(other_covariances)
    divergences = np.empty((len(means), len(other_means)))
    features = means.shape[1]
    for i, j in np.ndindex(*divergences.shape):
        apart = means[i] - other_means[j]
        # The log determinants of the two directions cancel.
        spread = np.trace(other_precisions[j] @ covariances[i])
        spread += np.trace(precisions[i] @ other_covariances[j])
        shift = apart @ (precisions[i] + other_precisions[j]) @ apart
        divergences[i, j] = 0.25 * (spread - 2.0 * features + shift)
    return np.maximum(divergences, 0.0)
