"""What returns each class stands for, and the distribution that a mixture of classes makes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from weft.arrays import FloatPanel, Floats

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of a forecast."""

_POINTS = 51

# Where a class ends on a scale on which the next one begins at the next whole number.
_INSIDE = 1.0 - 1e-12


@dataclass(frozen=True, slots=True)
class OutcomeTable:
    """How the returns of each class were distributed over the training rows.

    The classes are ranges of the return, one above the other. So a chance of each class, and the
    distribution within each, make one distribution whose quantiles can be read off.

    Attributes:
        quantiles: at `_POINTS` even levels from 0 to 1 (class, point), rising throughout.
        means: mean return of each class (class,).
        rose: share of each class that rose (class,).
    """

    quantiles: FloatPanel
    means: Floats
    rose: Floats

    @classmethod
    def measured(
        cls, returns: Floats, classes: NDArray[np.int64], weights: Floats, count: int
    ) -> Self:
        """Return the distribution of weighted returns in each of `count` classes."""
        parts = [(returns[classes == k], weights[classes == k]) for k in range(count)]
        quantiles = np.stack([_quantiles(values, weight) for values, weight in parts])
        return cls(
            np.maximum.accumulate(quantiles.ravel()).reshape(quantiles.shape),
            np.array([np.average(values, weights=weight) for values, weight in parts]),
            np.array([np.average(values > 0.0, weights=weight) for values, weight in parts]),
        )

    @classmethod
    def from_json(cls, written: Mapping[str, Any]) -> Self:
        """Return what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        quantiles = np.array(written["quantiles"], dtype=np.float64)
        means = np.array(written["means"], dtype=np.float64)
        rose = np.array(written["rose"], dtype=np.float64)
        if quantiles.shape != (len(means), _POINTS) or rose.shape != means.shape:
            raise ValueError(f"the returns have shape {quantiles.shape}")
        if not (np.diff(quantiles.ravel()) >= 0.0).all() or not np.isfinite(means).all():
            raise ValueError("the returns do not rise from class to class")
        if not ((rose >= 0.0) & (rose <= 1.0)).all():
            raise ValueError("a share of what rose lies beyond 0 to 1")
        return cls(quantiles, means, rose)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {
            "quantiles": self.quantiles.tolist(),
            "means": self.means.tolist(),
            "rose": self.rose.tolist(),
        }

    def mean(self, chance: FloatPanel) -> Floats:
        """Return the expected return, given the chance of each class (sample, class)."""
        expected: Floats = chance @ self.means
        return expected

    def probability_up(self, chance: FloatPanel) -> Floats:
        """Return the chance that the return is above 0, given that of each class."""
        return np.clip(chance @ self.rose, 0.0, 1.0)

    def mixed(self, chance: FloatPanel, levels: Sequence[float] = LEVELS) -> FloatPanel:
        """Return the quantiles of the mixture (sample, level), which never cross."""
        count = chance.shape[1]
        wanted = np.asarray(levels)
        place = np.zeros((len(chance), len(wanted)))
        reached = np.cumsum(chance[:, :-1], axis=1)
        for k in range(count):
            last = k == count - 1
            end = np.ones(len(chance)) if last else reached[:, k]
            start = reached[:, k - 1] if k else np.zeros(len(chance))
            width = np.maximum(end - start, 1e-300)[:, None]
            inside = (wanted >= start[:, None]) & ((wanted < end[:, None]) | last)
            share = np.clip((wanted - start[:, None]) / width, 0.0, 1.0)
            place = np.where(inside, k + share * _INSIDE, place)
        grid = (np.arange(count)[:, None] + np.linspace(0.0, _INSIDE, _POINTS)).ravel()
        found = np.interp(place, grid, self.quantiles.ravel())
        return np.maximum.accumulate(found, axis=1)


def _quantiles(values: Floats, weights: Floats) -> Floats:
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[order])
    middle = (passed - 0.5 * weights[order]) / passed[-1]
    found: Floats = np.interp(np.linspace(0.0, 1.0, _POINTS), middle, values[order])
    return found
