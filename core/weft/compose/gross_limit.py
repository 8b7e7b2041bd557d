"""Exposure limits: one position per asset, and a bound on the sum of all sizes of a row."""

from collections.abc import Sequence

import numpy as np

from weft.components.risk import Sizes
from weft.domain.instruments import Instrument
from weft.foundation.arrays import BoolPanel, IntPanel, ordered_sum

UNLIMITED = "unlimited"
"""Name of the evidence with each size before the limit."""

SAME_ASSET = "same_asset_share"
"""Name of the evidence with the share of a size left beside others of the same asset."""


def once_per_asset(
    sizes: Sizes, acts: BoolPanel, direction: IntPanel, instruments: Sequence[Instrument]
) -> Sizes:
    """Return sizes in which symbols of the same asset share one position.

    XRPUSDT and XRP-USD are the same coin: sizes in the same direction are scaled down alike until
    they add up to the largest of them. Sizes in the other direction are a hedge, and stay.

    Args:
        sizes: of each signal, as fractions of equity.
        acts: which signals have a direction and an entry (steps, symbol); others count as 0.
        direction: +1 long, -1 short, 0 neutral (steps, symbol).
        instruments: one per column.
    """
    sized = np.where(acts, np.nan_to_num(sizes.fraction), 0.0)
    share = np.ones_like(sized)
    for columns in _same_asset(instruments):
        for side in (1, -1):
            same = np.where(direction[:, columns] == side, sized[:, columns], 0.0)
            total, largest = (
                ordered_sum(same, axis=1)[:, None],
                same.max(axis=1, keepdims=True),
            )
            left = np.divide(largest, total, out=np.ones_like(total), where=total > 0.0)
            share[:, columns] *= np.where(same > 0.0, left, 1.0)
    return Sizes(
        sizes.fraction * share, {**sizes.evidence, SAME_ASSET: share}, sizes.unreduced * share
    )


def _same_asset(instruments: Sequence[Instrument]) -> list[list[int]]:
    """Return the columns of each asset with several symbols."""
    columns = dict[tuple[str, bool], list[int]]()
    for column, instrument in enumerate(instruments):
        # A stock may share its name with a coin, which never closes.
        columns.setdefault((instrument.base.upper(), instrument.always_open), []).append(column)
    return [each for each in columns.values() if len(each) > 1]


def within_gross(sizes: Sizes, acts: BoolPanel, most: float) -> Sizes:
    """Return sizes scaled down so that the full sizes of a row add up to no more than a limit.

    All sizes of a row are scaled alike: which signal deserves more than another is the sizer's to
    say. Long and short add up; they do not cancel out. The limit acts on the sizes before the
    regime and the sizer reduced them. On the reduced sizes, it would undo the reduction: symbols
    together ask for several times the limit, so that half of it still fills the limit.

    Args:
        sizes: of each signal, as fractions of equity.
        acts: which signals have a direction and an entry (steps, symbol); others count as 0.
        most: largest sum, as a fraction of equity.
    """
    full = np.where(acts, np.nan_to_num(sizes.unreduced), 0.0)
    gross = ordered_sum(full, axis=1)[:, None]
    share = np.divide(most, gross, out=np.ones_like(gross), where=gross > most)
    evidence = {**sizes.evidence, UNLIMITED: sizes.fraction}
    return Sizes(sizes.fraction * share, evidence, sizes.unreduced * share)
