"""Merton's jump diffusion: its cumulants, its option price, and its fit to returns."""

from dataclasses import dataclass
from math import exp, lgamma, log, sqrt

import numpy as np
from numba import njit
from scipy.special import ndtr

from weft.foundation.arrays import Floats
from weft.foundation.errors import ComponentError

_TERMS = 60
_FEWEST_RETURNS = 50
_THRESHOLD = 4.0
_FEWEST_JUMPS = 3
_MOST_AT_ONCE = 3
_ROUNDS = 15
_HIGHEST_INTENSITY = 0.25


@dataclass(frozen=True, slots=True)
class Merton:
    """Jump diffusion (Merton 1976): a normal return each step, and now and then a jump.

    Attributes:
        mean: of the log return without jumps, per step.
        deviation: of the log return without jumps, per step.
        intensity: expected number of jumps per step.
        jump_mean: of a jump's log return.
        jump_deviation: of a jump's log return.
    """

    mean: float
    deviation: float
    intensity: float = 0.0
    jump_mean: float = 0.0
    jump_deviation: float = 0.0

    def __post_init__(self) -> None:
        values = (self.mean, self.deviation, self.intensity, self.jump_mean, self.jump_deviation)
        if not np.isfinite(values).all() or min(self.deviation, self.intensity) < 0.0:
            raise ComponentError(
                f"expected finite numbers, a deviation and an intensity of 0 or more, got {self}",
                where="risk monte_carlo",
            )

    @classmethod
    def martingale(
        cls, deviation: float, intensity: float, jump_mean: float, jump_deviation: float
    ) -> "Merton":
        """Return the jump diffusion whose expected price stays constant."""
        growth = exp(jump_mean + 0.5 * jump_deviation**2) - 1.0
        mean = -0.5 * deviation**2 - intensity * growth
        return cls(mean, deviation, intensity, jump_mean, jump_deviation)

    @property
    def cumulants(self) -> tuple[float, float, float, float]:
        """The first four cumulants of the log return of one step."""
        rate, m, v = self.intensity, self.jump_mean, self.jump_deviation
        return (
            self.mean + rate * m,
            self.deviation**2 + rate * (m**2 + v**2),
            rate * (m**3 + 3 * m * v**2),
            rate * (m**4 + 6 * m**2 * v**2 + 3 * v**4),
        )


def call_price(price: float, strike: float, years: float, rate: float, model: Merton) -> float:
    """Return the price of a European call (Merton 1976, equation 19).

    Args:
        price: of the underlying now.
        strike: price the call is exercised at.
        years: until expiry.
        rate: of interest, per year.
        model: jump diffusion per year; its mean does not matter.
    """
    m, v = model.jump_mean, model.jump_deviation
    growth = exp(m + 0.5 * v * v) - 1.0
    expected = model.intensity * (1.0 + growth) * years
    total = 0.0
    for jumps in range(_TERMS):
        if jumps and expected == 0.0:
            break
        weight = exp(-expected + (jumps * log(expected) if jumps else 0.0) - lgamma(jumps + 1))
        deviation = sqrt(model.deviation**2 + jumps * v * v / years)
        drift = rate - model.intensity * growth + jumps * log(1.0 + growth) / years
        total += weight * _black_scholes(price, strike, years, drift, deviation)
    return total


def _black_scholes(
    price: float, strike: float, years: float, rate: float, deviation: float
) -> float:
    spread = deviation * sqrt(years)
    above = (log(price / strike) + (rate + 0.5 * deviation**2) * years) / spread
    return float(price * ndtr(above) - strike * exp(-rate * years) * ndtr(above - spread))


def fit_merton(returns: Floats) -> Merton:
    """Fit a jump diffusion to log returns of single steps.

    The fit starts from returns beyond four deviations, with the deviation from bipower variation
    (Barndorff-Nielsen and Shephard 2004), which jumps hardly change; with fewer than three such
    returns there are no jumps. Expectation-maximisation over the number of jumps in each step (at
    most three) follows. Jumps vary at least as much as the rest, which keeps the likelihood
    bounded: a jump component without width would make it infinite.

    Args:
        returns: log returns; NaN are skipped (step,).

    Raises:
        ComponentError: fewer than 50 returns are known.
    """
    known = returns[np.isfinite(returns)].astype(np.float64)
    if len(known) < _FEWEST_RETURNS:
        raise ComponentError(
            f"{len(known)} returns are known, expected at least {_FEWEST_RETURNS}",
            where="risk monte_carlo",
        )
    fitted = np.empty(5)
    fit_into(known, fitted)
    return Merton(*fitted.tolist())


@njit(cache=True, nogil=True, error_model="numpy")
def fit_into(returns: Floats, fitted: Floats) -> None:  # noqa: C901, PLR0915  # one pass over the data
    """Fill mean, deviation, intensity, jump mean and jump deviation; see `fit_merton`."""
    count = len(returns)
    mean = returns.mean()
    deviation = returns.std()
    fitted[:] = 0.0
    fitted[0], fitted[1] = mean, deviation
    if not deviation > 0.0:
        return
    products = 0.0
    for i in range(1, count):
        products += abs(returns[i] - mean) * abs(returns[i - 1] - mean)
    calm = np.sqrt(0.5 * np.pi * products / (count - 1))
    far, total, squares = 0, 0.0, 0.0
    for i in range(count):
        if abs(returns[i] - mean) > _THRESHOLD * calm:
            far += 1
            total += returns[i] - mean
            squares += (returns[i] - mean) ** 2
    if far < _FEWEST_JUMPS or not calm > 0.0:
        return
    jump_mean = total / far
    jump_variance = max(squares / far - jump_mean**2, calm**2)
    variance = calm**2
    intensity = min(far / count, _HIGHEST_INTENSITY)
    weight = np.empty(_MOST_AT_ONCE + 1)
    for _ in range(_ROUNDS):
        jumps, sizes, spread, jumped, rest, rest_squares = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(count):
            highest = -np.inf
            for n in range(_MOST_AT_ONCE + 1):
                wide = variance + n * jump_variance
                apart = returns[i] - mean - n * jump_mean
                # ln(n!) of 0, 1, 2 and 3.
                ways = 0.0 if n < 2 else (np.log(2.0) if n == 2 else np.log(6.0))
                weight[n] = n * np.log(intensity) - ways
                weight[n] -= 0.5 * (np.log(wide) + apart * apart / wide)
                highest = max(highest, weight[n])
            total_weight = 0.0
            for n in range(_MOST_AT_ONCE + 1):
                weight[n] = np.exp(weight[n] - highest)
                total_weight += weight[n]
            for n in range(_MOST_AT_ONCE + 1):
                share = weight[n] / total_weight
                wide = variance + n * jump_variance
                apart = returns[i] - mean - n * jump_mean
                # Mean and variance of the sum of n jumps, given the return.
                beyond = n * jump_variance / wide * apart
                unsure = n * jump_variance * variance / wide
                left = returns[i] - n * jump_mean - beyond
                rest += share * left
                rest_squares += share * (left * left + unsure)
                if n > 0:
                    jumps += share * n
                    jumped += share
                    sizes += share * (n * jump_mean + beyond)
                    spread += share * (beyond * beyond + unsure) / n
        mean = rest / count
        variance = max(rest_squares / count - mean * mean, 1e-4 * calm**2)
        intensity = min(max(jumps / count, 1e-12), _HIGHEST_INTENSITY)
        jump_mean = sizes / jumps
        jump_variance = max(spread / jumped, variance)
    if intensity * count < 1.0:
        return
    fitted[0], fitted[1], fitted[2] = mean, np.sqrt(variance), intensity
    fitted[3], fitted[4] = jump_mean, np.sqrt(jump_variance)
