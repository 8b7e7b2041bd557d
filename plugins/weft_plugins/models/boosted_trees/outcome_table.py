"""Table of outcomes: turns class probabilities and volatility into a distribution of the return.

The spread of a return follows the volatility of its row far more than any forecast of the trees.
Returns are therefore divided by volatility before their distribution is measured, and quantiles
are multiplied by it: locally weighted conformal prediction (Lei et al. 2018, Journal of the
American Statistical Association 113, section 5.2). Falls and rises have a distribution each; the
probability of a rise mixes them. Out-of-fold outcomes then correct the levels: distributional
conformal prediction (Chernozhukov, Wüthrich and Zhu 2021, PNAS 118).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from weft.components.needs import FeatureNeed, feature
from weft.foundation.arrays import FloatPanel, Floats

LEVELS: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of a forecast."""

VOLATILITY: Final[FeatureNeed] = feature("volatility", window=168)
"""Volatility that returns are divided by: over a week of hourly candles.

Volatility reverts to its mean, so a shorter window predicts the next hours less well. With the
last 48 candles, returns of real hourly markets fall below the 5 % quantile in 9 % of calm rows and
in 2 % of turbulent ones.
"""

_SHARES = np.linspace(0.0, 1.0, 51)


@dataclass(frozen=True, slots=True)
class OutcomeTable:
    """Distribution of returns over the training rows.

    Attributes:
        means: mean return of each class (class,).
        moves: mean fall and mean rise in units of the volatility of the row (2,).
        rose: share of each class that rose (class,).
        falls: quantiles, at even levels from 0 to 1, of returns of 0 or less in units of
            volatility; ascending, none above 0 (point,).
        rises: quantiles of returns above 0 likewise; ascending, none below 0 (point,).
        places: corrected level at which the forecast distribution gives the quantile of each of
            `LEVELS`, 0 to 1 and ascending; equal to `LEVELS` without a correction (level,).
    """

    means: Floats
    moves: Floats
    rose: Floats
    falls: Floats
    rises: Floats
    places: Floats

    @classmethod
    def measured(
        cls,
        returns: Floats,
        classes: NDArray[np.int64],
        weights: Floats,
        volatility: Floats,
    ) -> Self:
        """Return the table of weighted training rows.

        Args:
            returns: log returns over the horizon (sample,).
            classes: class numbers from 0; none is absent (sample,).
            weights: uniqueness of each outcome (sample,).
            volatility: volatility of one candle at each row (sample,). A row where it is 0 or
                unknown counts for the classes only.

        Raises:
            ValueError: no fall, or no rise, has a volatility.
        """
        parts = [
            (returns[classes == k], weights[classes == k]) for k in range(1 + int(classes.max()))
        ]
        known = volatility > 0.0
        moves, counts = returns[known] / volatility[known], weights[known]
        rising = moves > 0.0
        if rising.all() or not rising.any():
            raise ValueError(
                f"{len(moves)} of {len(returns)} rows have a volatility, all falls or all rises"
            )
        return cls(
            np.array([np.average(values, weights=weight) for values, weight in parts]),
            np.array([np.average(moves[side], weights=counts[side]) for side in (~rising, rising)]),
            np.array([np.average(values > 0.0, weights=weight) for values, weight in parts]),
            _quantiles(moves[~rising], counts[~rising], _SHARES),
            _quantiles(moves[rising], counts[rising], _SHARES),
            np.array(LEVELS),
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Parse the values of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: the values are damaged.
        """
        names = ("means", "moves", "rose", "falls", "rises", "places")
        arrays = {name: np.array(document[name], dtype=np.float64) for name in names}
        if not all(np.isfinite(values).all() for values in arrays.values()):
            raise ValueError("a number is not finite")
        if arrays["means"].ndim != 1 or arrays["rose"].shape != arrays["means"].shape:
            raise ValueError(
                f"means {arrays['means'].shape} and rose {arrays['rose'].shape} differ"
            )
        for name, size in (("falls", len(_SHARES)), ("rises", len(_SHARES)), ("places", 5)):
            if arrays[name].shape != (size,) or not (np.diff(arrays[name]) >= 0.0).all():
                raise ValueError(f"{name} are not {size} ascending numbers")
        if arrays["moves"].shape != (2,) or not arrays["moves"][0] <= 0.0 < arrays["moves"][1]:
            raise ValueError("the mean fall is above 0, or the mean rise is not")
        if arrays["falls"][-1] > 0.0 or arrays["rises"][0] < 0.0:
            raise ValueError("a fall is above 0, or a rise below 0")
        for name in ("rose", "places"):
            if not ((arrays[name] >= 0.0) & (arrays[name] <= 1.0)).all():
                raise ValueError(f"{name} are not between 0 and 1")
        return cls(**arrays)

    def to_json(self) -> dict[str, Any]:
        """Return the table as JSON values."""
        return {
            "means": self.means.tolist(),
            "moves": self.moves.tolist(),
            "rose": self.rose.tolist(),
            "falls": self.falls.tolist(),
            "rises": self.rises.tolist(),
            "places": self.places.tolist(),
        }

    def mean(self, probability: FloatPanel, volatility: Floats) -> Floats:
        """Return the expected log return (sample,).

        This is the mean of the distribution of `quantiles`; where volatility is 0 or unknown, the
        mean over the classes.

        Args:
            probability: probability of each class (sample, class).
            volatility: volatility of one candle (sample,).
        """
        up = self.probability_up(probability)
        move = up * self.moves[1] + (1.0 - up) * self.moves[0]
        return np.where(volatility > 0.0, move * volatility, _weighted(probability, self.means))

    def probability_up(self, probability: FloatPanel) -> Floats:
        """Return the probability that the return is above 0 (sample,).

        Args:
            probability: probability of each class (sample, class).
        """
        return np.clip(_weighted(probability, self.rose), 0.0, 1.0)

    def quantiles(self, up: Floats, volatility: Floats) -> FloatPanel:
        """Return the quantiles at `LEVELS` (sample, level), which never cross.

        A quantile is below 0 exactly where its level is below ``1 - up``.

        Args:
            up: probability that the return is above 0 (sample,).
            volatility: volatility of one candle (sample,). Quantiles are NaN where it is 0 or
                unknown.
        """
        down = 1.0 - up[:, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            fall, rise = self.places / down, (self.places - down) / up[:, None]
        falling = np.asarray(LEVELS) < down
        move = np.where(
            falling,
            np.interp(fall, _SHARES, self.falls),
            np.interp(rise, _SHARES, self.rises),
        )
        unit = np.where(volatility > 0.0, volatility, np.nan)
        quantiles: FloatPanel = move * unit[:, None]
        return quantiles

    def corrected(
        self, returns: Floats, weights: Floats, volatility: Floats, up: Floats
    ) -> "OutcomeTable":
        """Return the table with levels corrected by out-of-fold outcomes.

        Each level is replaced by the forecast level that its share of the outcomes fell below.

        Args:
            returns: log returns over the horizon (sample,).
            weights: uniqueness of each outcome (sample,).
            volatility: volatility of one candle at each row; rows with 0 or NaN are left out
                (sample,).
            up: out-of-fold probability of a rise; NaN where there is none (sample,).
        """
        known = (volatility > 0.0) & ~np.isnan(up)
        if not known.any():
            return self
        move, up = returns[known] / volatility[known], up[known]
        fall = np.interp(move, self.falls, _SHARES) * (1.0 - up)
        rise = 1.0 - up + np.interp(move, self.rises, _SHARES) * up
        passed = np.where(move > 0.0, rise, fall)
        return replace(self, places=_quantiles(passed, weights[known], np.array(LEVELS)))


def _weighted(probability: FloatPanel, values: Floats) -> Floats:
    """Return the mean of the classes' values under their probabilities (sample,)."""
    # Class by class: a matrix product has other last bits for one sample than for many.
    total = np.zeros(len(probability))
    for each, value in zip(probability.T, values, strict=True):
        total = total + each * value
    return total


def _quantiles(values: Floats, weights: Floats, levels: Floats) -> Floats:
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[order])
    middle = (passed - 0.5 * weights[order]) / passed[-1]
    quantiles: Floats = np.interp(levels, middle, values[order])
    return quantiles
