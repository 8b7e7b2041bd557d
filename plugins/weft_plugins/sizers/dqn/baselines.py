"""What simpler rules would hold: the Kelly fraction of a bet, and of a forecast."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from weft.components.ensemble import Fusion
from weft.components.model import Forecast, TrustedForecast
from weft.components.risk import Levels
from weft.foundation.arrays import FloatPanel


def kelly_of_bet(chance: FloatPanel, gain: FloatPanel, loss: FloatPanel) -> FloatPanel:
    """Return the fraction of wealth that makes it grow fastest over bets that win or lose.

    chance / loss - (1 - chance) / gain, not below 0; with gain = loss = 1 it is 2 * chance - 1.
    Kelly, A New Interpretation of Information Rate (1956). NaN where something is not known or
    a gain or loss is not positive.

    Args:
        chance: of winning, 0 to 1.
        gain: won per unit staked.
        loss: lost per unit staked.
    """
    sound = (gain > 0.0) & (loss > 0.0)
    safe_gain, safe_loss = np.where(sound, gain, 1.0), np.where(sound, loss, 1.0)
    found = np.maximum(chance / safe_loss - (1.0 - chance) / safe_gain, 0.0)
    return np.where(sound, found, np.nan)


def kelly_of_return(mean: FloatPanel, variance: FloatPanel) -> FloatPanel:
    """Return mean / variance, not below 0: the growth-optimal fraction for normal returns.

    Merton, Lifetime Portfolio Selection (1969), with logarithmic utility. NaN where something is
    not known or the variance is not positive.
    """
    sound = variance > 0.0
    found = np.maximum(mean / np.where(sound, variance, 1.0), 0.0)
    return np.where(sound, found, np.nan)


@dataclass(frozen=True, slots=True)
class Expected:
    """What the models expect together (steps, symbol); NaN where none that is trusted says.

    Attributes:
        mean: log return over the horizon; models count by their trust, and where the trust adds
            up to less than 1, the rest of it expects nothing.
        variance: of that return, from the quantiles of the models that give them.
    """

    mean: FloatPanel
    variance: FloatPanel


def expect(outlooks: Mapping[str, TrustedForecast], shape: tuple[int, int]) -> Expected:
    """Return what the models expect together."""
    said = [outlooks[name] for name in sorted(outlooks)]
    weighted, variances, trust, spread_trust = (np.zeros(shape) for _ in range(4))
    for outlook in said:
        mean, variance = outlook.forecast.mean, _variance(outlook.forecast)
        known, spread = np.isfinite(mean), np.isfinite(variance)
        weighted += np.where(known, outlook.trust * mean, 0.0)
        trust += np.where(known, outlook.trust, 0.0)
        variances += np.where(spread, outlook.trust * variance, 0.0)
        spread_trust += np.where(spread, outlook.trust, 0.0)
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

    By the models' mean and variance where they give both; else, where confidence was fitted to
    outcomes, by the bet between stop and target.

    Args:
        expected: what the models expect.
        fusion: direction, and the chance of being right where it is calibrated.
        levels: what is won and lost.
        share: of the Kelly fraction, 0 to 1.
        cost: of opening and closing, as a fraction of the position.
        largest: where the fraction is cut off.
    """
    by_forecast = kelly_of_return(fusion.direction * expected.mean - cost, expected.variance)
    gain = fusion.direction * (levels.take_profit / levels.entry - 1.0) - cost
    loss = fusion.direction * (1.0 - levels.stop_loss / levels.entry) + cost
    by_bet = kelly_of_bet(fusion.confidence, gain, loss)
    if not fusion.calibrated:
        by_bet = np.full_like(by_bet, np.nan)
    found = share * np.where(np.isfinite(by_forecast), by_forecast, by_bet)
    known = np.isfinite(found) & (fusion.direction != 0)
    return np.where(known, np.minimum(found, largest), 0.0)


def _variance(forecast: Forecast) -> FloatPanel:
    """Return the variance of the normal return whose outermost quantiles these are."""
    low, high = min(forecast.quantiles, default=0.5), max(forecast.quantiles, default=0.5)
    normal = NormalDist()
    if not 0.0 < low < high < 1.0:
        return np.full_like(forecast.mean, np.nan)
    apart = normal.inv_cdf(high) - normal.inv_cdf(low)
    deviation = (forecast.quantiles[high] - forecast.quantiles[low]) / apart
    return np.where(deviation > 0.0, deviation**2, np.nan)


def _divided(total: FloatPanel, by: FloatPanel) -> FloatPanel:
    return np.divide(total, by, out=np.full_like(total, np.nan), where=by > 0.0)
