"""The forward filter of a hidden Markov model with Gaussian states, in log space."""

from dataclasses import dataclass

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats


@dataclass(frozen=True, slots=True)
class ForwardFilter:
    """A hidden Markov model made ready to be run forwards.

    Hamilton, Time Series Analysis (1994), section 22.4: the chance of each state given everything
    up to a row, and nothing after it.

    Attributes:
        start: chance of each state at the first row (state,).
        transition: chance of going from a state (row) to another (column) (state, state).
        means: of the observations in each state (state, feature).
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
        """Make a filter from a model's parameters.

        Raises:
            numpy.linalg.LinAlgError: a covariance is not positive definite.
        """
        # Once for an artifact, whatever rows are asked about: LAPACK may choose its order here.
        factors = np.linalg.cholesky(covariances)
        log_scale = np.log(np.diagonal(factors, axis1=1, axis2=2)).sum(axis=1)
        log_peak = -0.5 * means.shape[1] * np.log(2.0 * np.pi) - log_scale
        arrays = (start, transition, means, np.linalg.inv(factors), log_peak)
        return cls(*(np.ascontiguousarray(array, dtype=np.float64) for array in arrays))

    def run(self, observed: FloatPanel) -> tuple[FloatPanel, Floats]:
        """Return the filtered probability of each state, and what each row was worth.

        A row with an unknown feature is stepped over: the state moves on, nothing is learnt.

        Args:
            observed: (time, feature), NaN where unknown.

        Returns:
            Probability (time, state), NaN before the first known row; and the log density of
            each row given those before it (time,), NaN where the row is unknown. The sum of the
            latter is the log likelihood.
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
    begun = False
    for row in range(len(observed)):
        # Until something is known the start stands as it is: rows of nothing change no bit.
        if begun:
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
            if logs[j] > highest:  # noqa: PLR1730  # false for NaN, so that it stays -inf
                highest = logs[j]
        if highest == -np.inf:
            log_density[row] = np.nan
            for j in range(states):
                belief[j] = ahead[j]
                probability[row, j] = ahead[j] if begun else np.nan
            continue
        begun = True
        total = 0.0
        for j in range(states):
            belief[j] = np.exp(logs[j] - highest)
            total += belief[j]
        log_density[row] = highest + np.log(total)
        for j in range(states):
            belief[j] /= total
            probability[row, j] = belief[j]
