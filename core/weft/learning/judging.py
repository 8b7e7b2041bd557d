"""Judging of artifacts on rows after their training: gains in loss, and trust."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from weft.components.trained import Evaluation
from weft.foundation.arrays import Floats

FEWEST_SPANS: Final = 12
"""Fewest spans for a judgement: the mean of fewer is too far from normal."""

_OVERLAP: Final = 1.5
"""Factor on the variance of a mean of spans, for outcomes that neighbouring spans share.

Outcomes of a span's rows reach into the next span. For a lasting forecast the means of
neighbouring spans then have a correlation of 1/4, so the variance is 1 + 2/4 times as large
(Hansen and Hodrick 1980).
"""

_FULL_TRUST: Final = 3.0
_NO_TRUST: Final = 1.0
_LARGEST_T: Final = 1000.0
_LARGEST_SURENESS: Final = 37.0


@dataclass(frozen=True, slots=True)
class Comparison:
    """Gain of one loss over another on the same rows.

    Attributes:
        gain: mean difference; above 0 where the first loss is smaller.
        standard_error: standard error of that mean.
        blocks: number of spans of the mean, which do not overlap.
    """

    gain: float
    standard_error: float
    blocks: int

    @property
    def t(self) -> float:
        """The gain in standard errors, at most 1000; 0 for fewer than two spans."""
        if self.blocks < 2 or self.gain == 0.0:
            return 0.0
        least = abs(self.gain) / _LARGEST_T
        return self.gain / max(self.standard_error, least)

    @property
    def sureness(self) -> float:
        """The gain in standard deviations of a normal distribution with the same p-value as `t`.

        The standard error comes from the same few spans, so a large `t` is more likely by chance:
        with four spans 3.3 is as likely as 2.0 with many (Student 1908). 0 for fewer than
        `FEWEST_SPANS`.
        """
        from scipy.special import ndtri, stdtr  # noqa: PLC0415  # slow to import

        if self.blocks < FEWEST_SPANS:
            return 0.0
        beyond = float(-ndtri(stdtr(self.blocks - 1, -abs(self.t))))
        return float(np.copysign(min(beyond, _LARGEST_SURENESS), self.t))


def compare(better: Floats, worse: Floats, horizon: int) -> Comparison:
    """Return the gain of the losses `better` over the losses `worse`.

    Outcomes of neighbouring rows overlap and are correlated. The differences are therefore averaged
    over spans of `horizon` rows, and the standard error is that of the span means, widened for the
    outcomes that neighbouring spans share. Rows where either loss is NaN are left out.

    Args:
        better: loss on each row (rows,).
        worse: another loss on the same rows (rows,).
        horizon: rows that an outcome spans.
    """
    gain = worse - better
    count = len(gain) // horizon
    if count:
        spans = gain[len(gain) - count * horizon :].reshape(count, horizon)
        known = ~np.isnan(spans)
        judged = known.any(axis=1)
        spans, known = spans[judged], known[judged]
    if not count or not len(spans):
        return Comparison(0.0, 0.0, 0)
    means = np.where(known, spans, 0.0).sum(axis=1) / known.sum(axis=1)
    few = len(means) < 2
    error = 0.0 if few else float(np.sqrt(_OVERLAP * np.var(means, ddof=1) / len(means)))
    return Comparison(float(np.mean(means)), error, len(means))


def trust_in(skill: Comparison) -> float:
    """Return the trust in an artifact by its gain over the baseline, 0 to 1.

    Trust is 0 up to one standard error, which pure noise exceeds in one of six trainings, and 1
    from three standard errors on; between them it is linear. Standard errors are those of
    `Comparison.sureness`.
    """
    return float(np.clip((skill.sureness - _NO_TRUST) / (_FULL_TRUST - _NO_TRUST), 0.0, 1.0))


def skill_of(evaluation: Evaluation, horizon: int) -> Comparison:
    """Return the gain of an artifact over its baseline."""
    return compare(evaluation.loss, evaluation.baseline, horizon)
