"""Exposure: what all signals of a row hold together stays within what the user allows."""

from collections.abc import Sequence

import numpy as np

from weft.components.risk import Sizes
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, IntPanel, ordered_sum

UNLIMITED = "unlimited"
"""Name of the evidence that tells what the sizer would have held of each signal."""

SAME_ASSET = "same_asset_share"
"""Name of the evidence that says how much of a size is left beside others of the same asset."""


def once_per_asset(
    sizes: Sizes, acts: BoolPanel, direction: IntPanel, instruments: Sequence[Instrument]
) -> Sizes:
    """Return sizes of which one asset is held once, under however many names it trades.

    XRPUSDT and XRP-USD are one coin: what points the same way adds up to no more than the largest
    of them alone, and all of them are scaled down alike. What points the other way is a hedge, and
    stays.

    Args:
        sizes: of each signal, as fractions of the equity.
        acts: which of them can be acted on (steps, symbol); others hold nothing.
        direction: +1 long, -1 short, 0 neutral (steps, symbol).
        instruments: one per column.
    """
    held = np.where(acts, np.nan_to_num(sizes.fraction), 0.0)
    share = np.ones_like(held)
    for columns in _same_asset(instruments):
        for side in (1, -1):
            ours = np.where(direction[:, columns] == side, held[:, columns], 0.0)
            total, largest = ordered_sum(ours, axis=1)[:, None], ours.max(axis=1, keepdims=True)
            kept = np.divide(largest, total, out=np.ones_like(total), where=total > 0.0)
            share[:, columns] *= np.where(ours > 0.0, kept, 1.0)
    return Sizes(
        sizes.fraction * share, {**sizes.evidence, SAME_ASSET: share}, sizes.unreduced * share
    )


def _same_asset(instruments: Sequence[Instrument]) -> list[list[int]]:
    """Return the columns of each asset that has several; a stock may be called like a coin."""
    columns = dict[tuple[str, bool], list[int]]()
    for column, one in enumerate(instruments):
        columns.setdefault((one.base.upper(), one.always_open), []).append(column)
    return [each for each in columns.values() if len(each) > 1]


def within_gross(sizes: Sizes, acts: BoolPanel, most: float) -> Sizes:
    """Return sizes scaled down so that the full sizes of a row add up to no more than a limit.

    All sizes of a row are scaled alike: which signal deserves more than another is the sizer's to
    say. Long and short add up; they do not cancel out. The limit acts on the sizes before the
    regime and the sizer reduced them. On the reduced sizes, it would undo the reduction: symbols
    together ask for several times the limit, so that half of it still fills the limit.

    Args:
        sizes: of each signal, as fractions of the equity.
        acts: which of them can be acted on (steps, symbol); others hold nothing.
        most: largest sum, as a fraction of the equity.
    """
    full = np.where(acts, np.nan_to_num(sizes.unreduced), 0.0)
    gross = ordered_sum(full, axis=1)[:, None]
    share = np.divide(most, gross, out=np.ones_like(gross), where=gross > most)
    evidence = {**sizes.evidence, UNLIMITED: sizes.fraction}
    return Sizes(sizes.fraction * share, evidence, sizes.unreduced * share)
