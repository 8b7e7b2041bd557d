"""Baseline sizes: the Kelly fractions of a bet and of a forecast."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from weft.components.ensemble import Fusion
from weft.components.model import Forecast, TrustedForecast
from weft.components.risk import Levels
from weft.foundation.arrays import FloatPanel


def kelly_of_bet(probability: FloatPanel, gain: FloatPanel, loss: FloatPanel) -> FloatPanel:
    """Return the growth-optimal fraction of wealth for bets that win or lose.

    probability / loss - (1 - probability) / gain, at least 0; with gain = loss = 1 the fraction is
    2 * probability - 1 (Kelly 1956, A New Interpretation of Information Rate). NaN where an
    argument is unknown, or a gain or loss is not positive.

    Args:
        probability: probability of a win, 0 to 1.
        gain: gain per unit staked.
        loss: loss per unit staked.
    """
    valid = (gain > 0.0) & (loss > 0.0)
    safe_gain, safe_loss = np.where(valid, gain, 1.0), np.where(valid, loss, 1.0)
    fraction = np.maximum(probability / safe_loss - (1.0 - probability) / safe_gain, 0.0)
    return np.where(valid, fraction, np.nan)


def kelly_of_return(mean: FloatPanel, variance: FloatPanel) -> FloatPanel:
    """Return mean / variance, at least 0: the growth-optimal fraction for normal returns.

    Merton (1969), Lifetime Portfolio Selection, with logarithmic utility. NaN where an argument is
    unknown, or the variance is not positive.
    """
    valid = variance > 0.0
    fraction = np.maximum(mean / np.where(valid, variance, 1.0), 0.0)
    return np.where(valid, fraction, np.nan)


@dataclass(frozen=True, slots=True)
class Expected:
    """Combined expectation of the models (steps, symbol); NaN where no trusted model has one.

    Attributes:
        mean: log return over the horizon, weighted by trust. Where trust adds up to less than 1,
            the missing trust counts as an expected return of 0.
        variance: variance of that return, from the models that give quantiles.
    """

    mean: FloatPanel
    variance: FloatPanel


def expected_return(forecasts: Mapping[str, TrustedForecast], shape: tuple[int, int]) -> Expected:
    """Return the combined expectation of the models.

    Args:
        forecasts: forecast of each model, by name.
        shape: shape of the panels (steps, symbol).
    """
    weighted, variances, trust, spread_trust = (np.zeros(shape) for _ in range(4))
    for name in sorted(forecasts):
        trusted = forecasts[name]
        mean, variance = trusted.forecast.mean, _variance(trusted.forecast)
        known, spread = np.isfinite(mean), np.isfinite(variance)
        weighted += np.where(known, trusted.trust * mean, 0.0)
        trust += np.where(known, trusted.trust, 0.0)
        variances += np.where(spread, trusted.trust * variance, 0.0)
        spread_trust += np.where(spread, trusted.trust, 0.0)
    return Expected(
        mean=np.where(trust > 0.0, weighted / np.maximum(trust, 1.0), np.nan),
        variance=_divided(variances, spread_trust),
    )


def fractional_kelly(
    expected: Expected,
    fusion: Fusion,
    levels: Levels,
    *,
    share: float,
    cost: float,
    largest: float,
) -> FloatPanel:
    """Return `share` of the Kelly fraction of each signal (steps, symbol); 0 where unknown.

    The fraction follows from the models' mean and variance where both are known; otherwise, where
    confidence is calibrated, from the bet between stop and target.

    Args:
        expected: combined expectation of the models.
        fusion: direction, and confidence as the probability of a win where it is calibrated.
        levels: entry, stop and target.
        share: share of the Kelly fraction, 0 to 1.
        cost: cost of opening and closing, as a fraction of the position.
        largest: largest fraction.
    """
    by_forecast = kelly_of_return(fusion.direction * expected.mean - cost, expected.variance)
    gain = fusion.direction * (levels.take_profit / levels.entry - 1.0) - cost
    loss = fusion.direction * (1.0 - levels.stop_loss / levels.entry) + cost
    by_bet = kelly_of_bet(fusion.confidence, gain, loss)
    if not fusion.calibrated:
        by_bet = np.full_like(by_bet, np.nan)
    fraction = share * np.where(np.isfinite(by_forecast), by_forecast, by_bet)
    known = np.isfinite(fraction) & (fusion.direction != 0)
    return np.where(known, np.minimum(fraction, largest), 0.0)


def _variance(forecast: Forecast) -> FloatPanel:
    """Return the variance of a normal return with the forecast's outermost quantiles."""
    low, high = min(forecast.quantiles, default=0.5), max(forecast.quantiles, default=0.5)
    normal = NormalDist()
    if not 0.0 < low < high < 1.0:
        return np.full_like(forecast.mean, np.nan)
    apart = normal.inv_cdf(high) - normal.inv_cdf(low)
    deviation = (forecast.quantiles[high] - forecast.quantiles[low]) / apart
    return np.where(deviation > 0.0, deviation**2, np.nan)


def _divided(total: FloatPanel, by: FloatPanel) -> FloatPanel:
    return np.divide(total, by, out=np.full_like(total, np.nan), where=by > 0.0)
