"""What the shared paths say of each cell, once they are as wide as its prices move."""

import numpy as np
from numba import njit

from weft.foundation.arrays import FloatPanel, Floats
from weft_plugins.risks.monte_carlo.barriers import Table
from weft_plugins.risks.monte_carlo.mixtures import UNCERTAINTIES, look_up, place
from weft_plugins.risks.monte_carlo.tails import quantile_index
from weft_plugins.risks.monte_carlo.wicks import continuity_shift

_WIDEST_LOG = 50.0

STRESSES = (2, 3, 5)


def first_passage(
    table: Table,
    side: Floats,
    deviation: Floats,
    uncertainty: Floats,
    stop: Floats,
    target: Floats,
    wicks_above: Floats,
    wicks_below: Floats,
) -> tuple[Floats, Floats]:
    """Return the chances that the stop, and that the target, is reached first (cell,).

    Where both are reached within one candle the stop counts. Where candles of the market go further
    than those of the paths, levels are nearer (`nearer`).

    Args:
        table: paths of the cells' shape.
        side: +1 long, -1 short (cell,).
        deviation: of the log return of a candle (cell,).
        uncertainty: deviation of the logarithm of that deviation (cell,).
        stop: log of the price's ratio between entry and stop, above 0 (cell,).
        target: log of the price's ratio between entry and target, above 0 (cell,).
        wicks_above: see `Wicks`; NaN where unknown (cell,).
        wicks_below: the same downwards (cell,).
    """
    stop, target = stop / deviation, target / deviation
    long = side > 0.0
    below = continuity_shift(np.where(long, stop, target), wicks_below, table.wick_below)
    above = continuity_shift(np.where(long, target, stop), wicks_above, table.wick_above)
    down, up, both = (
        look_up(panel, table.distances, below, above, uncertainty)
        for panel in (table.down_first, table.up_first, table.both)
    )
    return np.where(long, down, up) + both, np.where(long, up, down)


def losses(
    table: Table,
    long: bool,  # noqa: FBT001  # one of two sides
    deviation: Floats,
    uncertainty: Floats,
) -> dict[str, Floats]:
    """Return what a position of one side can lose by the end, as fractions of its value (cell,).

    Args:
        table: paths of the cells' shape.
        long: whether it gains where prices rise.
        deviation: of the log return of a candle (cell,).
        uncertainty: deviation of the logarithm of that deviation (cell,).
    """
    # Losses rise as ends fall for a long position, and as they rise for a short one.
    worst = -table.worst if long else table.best[:, ::-1]
    found = {}
    for percent in (95, 99):
        level = percent / 100.0
        at = table.paths - 1 - quantile_index(table.paths, level)
        found[f"var_{percent}"] = _loss(_between(worst[:, at], uncertainty), long, deviation)
        share = (1.0 - level) * table.paths
        tail = np.ascontiguousarray(worst[:, : at + 1])
        found[f"cvar_{percent}"] = _shortfall(tail, share, long, deviation, uncertainty)
    at = table.paths - 1 - quantile_index(table.paths, 0.99)
    depth = _between(worst[:, at], uncertainty)
    for times in STRESSES:
        found[f"stress_{times}x_var_99"] = _loss(depth, long, times * deviation)
    depths = table.falls if long else table.rises
    found["drawdown_median"] = _loss(_between(depths[:, 0], uncertainty), long, deviation)
    found["drawdown_95"] = _loss(_between(depths[:, 1], uncertainty), long, deviation)
    return found


def _between(depths: Floats, uncertainty: Floats) -> Floats:
    return np.interp(uncertainty, UNCERTAINTIES, depths)


def _loss(depth: Floats, long: bool, deviation: Floats) -> Floats:  # noqa: FBT001  # one of two sides
    """Return the loss where prices move so many deviations against a position."""
    moved = np.minimum(depth * deviation, _WIDEST_LOG)
    return -np.expm1(-moved) if long else np.expm1(moved)


@njit(cache=True, nogil=True, error_model="numpy")
def _shortfall(
    tail: FloatPanel,
    share: float,
    long: bool,  # noqa: FBT001  # numba passes no keywords
    deviation: Floats,
    uncertainty: Floats,
) -> Floats:
    found = np.empty(len(deviation))
    at = tail.shape[1] - 1
    for i in range(len(deviation)):
        which, part = place(uncertainty[i], len(tail))
        lower, upper = tail[which], tail[which + 1]
        total = 0.0
        for k in range(at + 1):
            depth = lower[k] + part * (upper[k] - lower[k])
            moved = min(depth * deviation[i], _WIDEST_LOG)
            loss = -np.expm1(-moved) if long else np.expm1(moved)
            # The loss at the edge counts with the fraction that belongs to the tail.
            total += loss if k < at else loss * (share - at)
        found[i] = total / share
    return found
