"""Forward filter of a hidden Markov model with Gaussian states, in log space."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats


@dataclass(frozen=True, slots=True)
class ForwardFilter:
    """Filter for the probability of each state given all rows up to a row, and none after it.

    Hamilton, Time Series Analysis (1994), section 22.4.

    Attributes:
        start: probability of each state at the first row (state,).
        transition: probability of a move from a state (row) to another (column) (state, state).
        means: mean observation in each state (state, feature).
        whitening: inverse of the lower Cholesky factor of each covariance (state, feature,
            feature).
        log_peak: log density of each state at its mean (state,).
    """

    start: Floats
    transition: FloatPanel
    means: FloatPanel
    whitening: Floats
    log_peak: Floats

    @classmethod
    def of(
        cls, start: Floats, transition: FloatPanel, means: FloatPanel, covariances: Floats
    ) -> "ForwardFilter":
        """Return the filter of a model's parameters.

        Raises:
            numpy.linalg.LinAlgError: a covariance is not positive definite.
        """
        # Once for each artifact, independent of the rows: LAPACK may choose its order of sums.
        factors = np.linalg.cholesky(covariances)
        log_scale = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        log_peak = -0.5 * means.shape[1] * np.log(2.0 * np.pi) - log_scale
        arrays = (start, transition, means, np.linalg.inv(factors), log_peak)
        return cls(*(np.ascontiguousarray(array, dtype=np.float64) for array in arrays))

    def run(self, observed: FloatPanel) -> tuple[FloatPanel, Floats]:
        """Return the filtered probability of each state, and the log density of each row.

        On a row with an unknown feature the probabilities move on by the transition matrix.

        Args:
            observed: observations (time, feature), NaN where unknown.

        Returns:
            Probability (time, state), NaN before the first known row; and the log density of
            each row given the rows before it (time,), NaN where the row is unknown. The log
            densities add up to the log likelihood.
        """
        rows = len(observed)
        probability, log_density = np.empty((rows, len(self.start))), np.empty(rows)
        _forward(
            np.ascontiguousarray(observed, dtype=np.float64),
            self.start,
            self.transition,
            self.means,
            self.whitening,
            self.log_peak,
            probability,
            log_density,
        )
        return probability, log_density


@njit(cache=True, nogil=True, error_model="numpy")
def _forward(  # noqa: C901  # numba passes no objects, and calls cost time
    observed: FloatPanel,
    start: Floats,
    transition: FloatPanel,
    means: FloatPanel,
    whitening: Floats,
    log_peak: Floats,
    probability: FloatPanel,
    log_density: Floats,
) -> None:
    states, features = means.shape
    belief, ahead, logs = start.copy(), start.copy(), np.empty(states)
    apart = np.empty(features)
    started = False
    for row in range(len(observed)):
        # Before the first known row the start does not move, so unknown rows change no bit.
        if started:
            for j in range(states):
                total = 0.0
                for i in range(states):
                    total += belief[i] * transition[i, j]
                ahead[j] = total
        highest = -np.inf
        for j in range(states):
            squared = 0.0
            for f in range(features):
                apart[f] = observed[row, f] - means[j, f]
                whitened = 0.0
                for g in range(f + 1):
                    whitened += whitening[j, f, g] * apart[g]
                squared += whitened * whitened
            logs[j] = np.log(ahead[j]) + log_peak[j] - 0.5 * squared
            if logs[j] > highest:  # noqa: PLR1730  # false for NaN, so `highest` stays -inf
                highest = logs[j]
        if highest == -np.inf:
            log_density[row] = np.nan
            for j in range(states):
                belief[j] = ahead[j]
                probability[row, j] = ahead[j] if started else np.nan
            continue
        started = True
        total = 0.0
        for j in range(states):
            belief[j] = np.exp(logs[j] - highest)
            total += belief[j]
        log_density[row] = highest + np.log(total)
        for j in range(states):
            belief[j] /= total
            probability[row, j] = belief[j]
