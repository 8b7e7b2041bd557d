"""Judging artifacts on rows that came after their training: who is better, and by how much."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from weft.components.trained import Evaluation
from weft.foundation.arrays import Floats

FEWEST_SPANS: Final = 12
"""Spans below which nothing is said: the mean of a few is far from normal, whatever its error."""

_OVERLAP: Final = 1.5
"""Variance of a mean of spans over what it would be if they had no outcome in common.

The outcomes of a span's rows reach into the next one; where a forecast lasts, neighbouring means
so have a correlation of a quarter, and the variance is 1 + 2/4 times as large.
"""

_FULL_TRUST: Final = 3.0
_NO_TRUST: Final = 1.0
_MOST_ERRORS: Final = 1000.0
_SUREST: Final = 37.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """How much smaller one loss is than another, on the same rows.

    Attributes:
        gain: mean of the differences; above 0 where the first is better.
        standard_error: of that mean.
        blocks: spans of time it was measured over, which do not overlap.
    """

    gain: float
    standard_error: float
    blocks: int

    @property
    def t(self) -> float:
        """The gain in standard errors, a thousand at most; 0 where nothing can be said."""
        if self.blocks < 2 or self.gain == 0.0:
            return 0.0
        least = abs(self.gain) / _MOST_ERRORS
        return self.gain / max(self.standard_error, least)

    @property
    def sureness(self) -> float:
        """How unlikely the gain is by chance, as standard deviations of a normal distribution.

        The error was estimated from the same few spans, so that `t` is more easily large by
        chance: of four spans 3.3 is as likely as 2.0 is of many (Student 1908). 0 where there are
        fewer than `FEWEST_SPANS`.
        """
        from scipy.special import ndtri, stdtr  # noqa: PLC0415  # takes long to import

        if self.blocks < FEWEST_SPANS:
            return 0.0
        beyond = float(-ndtri(stdtr(self.blocks - 1, -abs(self.t))))
        return float(np.copysign(min(beyond, _SUREST), self.t))


def compare(better: Floats, worse: Floats, horizon: int) -> Comparison:
    """Return how much smaller the losses `better` are than `worse`.

    Outcomes of neighbouring rows overlap and move together. So the differences are averaged over
    spans of `horizon` rows first, and the standard error is that of the spans' means, widened for
    the outcomes that a span shares with the next. Rows where either loss is NaN are left out.

    Args:
        better: a loss for each row (rows,).
        worse: another loss for the same rows (rows,).
        horizon: rows an outcome spans.
    """
    gain = worse - better
    count = len(gain) // horizon
    if count:
        spans = gain[len(gain) - count * horizon :].reshape(count, horizon)
        known = ~np.isnan(spans)
        there = known.any(axis=1)
        spans, known = spans[there], known[there]
    if not count or not len(spans):
        return Comparison(0.0, 0.0, 0)
    means = np.where(known, spans, 0.0).sum(axis=1) / known.sum(axis=1)
    few = len(means) < 2
    error = 0.0 if few else float(np.sqrt(_OVERLAP * np.var(means, ddof=1) / len(means)))
    return Comparison(float(np.mean(means)), error, len(means))


def trust_in(skill: Comparison) -> float:
    """Return how far an artifact is to be listened to, by its gain over the baseline: 0 to 1.

    Gains of up to one standard error, which pure noise shows in one of six trainings, earn
    nothing; three standard errors earn full trust; between them it grows evenly. What counts is
    `Comparison.sureness`.
    """
    return float(np.clip((skill.sureness - _NO_TRUST) / (_FULL_TRUST - _NO_TRUST), 0.0, 1.0))


def skill_of(evaluation: Evaluation, horizon: int) -> Comparison:
    """Return how much better an artifact is than its baseline."""
    return compare(evaluation.loss, evaluation.baseline, horizon)
