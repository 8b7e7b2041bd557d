"""Exposure: what all signals of a row hold together stays within what the user allows."""

import numpy as np

from weft.arrays import BoolPanel, ordered_sum
from weft.components.risk import Sizes

UNLIMITED = "unlimited"
"""Name of the evidence that tells what the sizer would have held of each signal."""


def within_gross(sizes: Sizes, acts: BoolPanel, most: float) -> Sizes:
    """Return sizes of which those of one row add up to no more than a limit.

    Where they would, all of that row are scaled down alike: which signal deserves more than
    another is the sizer's to say. Long and short add up; they do not cancel out.

    Args:
        sizes: of each signal, as fractions of the equity.
        acts: which of them can be acted on (steps, symbol); others hold nothing.
        most: largest sum, as a fraction of the equity.
    """
    held = np.where(acts, np.nan_to_num(sizes.fraction), 0.0)
    gross = ordered_sum(held, axis=1)[:, None]
    share = np.divide(most, gross, out=np.ones_like(gross), where=gross > most)
    return Sizes(sizes.fraction * share, {**sizes.evidence, UNLIMITED: sizes.fraction})
