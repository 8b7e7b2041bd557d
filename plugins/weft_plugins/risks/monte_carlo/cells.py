"""Figures of each cell, read from the shared paths scaled by its volatility."""

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
    """Return the chances that the stop and the target are reached first (cell,).

    Where one candle reaches both, the stop counts. Where the market's candles reach further than
    those of the paths, levels count as nearer (`continuity_shift`).

    Args:
        table: the paths of the cells' shape.
        side: +1 long, -1 short (cell,).
        deviation: of the log return of a candle (cell,).
        uncertainty: deviation of the logarithm of that deviation (cell,).
        stop: absolute log of stop over entry (cell,).
        target: absolute log of target over entry (cell,).
        wicks_above: see `Wicks.above`; NaN where unknown (cell,).
        wicks_below: see `Wicks.below`; NaN where unknown (cell,).
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
    """Return the losses of a long or a short position, as fractions of its value (cell,).

    Args:
        table: the paths of the cells' shape.
        long: whether the position is long.
        deviation: of the log return of a candle (cell,).
        uncertainty: deviation of the logarithm of that deviation (cell,).
    """
    # Losses rise as ends fall for a long position, and as they rise for a short one.
    worst = -table.worst if long else table.best[:, ::-1]
    figures = {}
    for percent in (95, 99):
        level = percent / 100.0
        at = table.paths - 1 - quantile_index(table.paths, level)
        figures[f"var_{percent}"] = _loss(_between(worst[:, at], uncertainty), long, deviation)
        tail_size = (1.0 - level) * table.paths
        tail = np.ascontiguousarray(worst[:, : at + 1])
        figures[f"cvar_{percent}"] = _shortfall(tail, tail_size, long, deviation, uncertainty)
    at = table.paths - 1 - quantile_index(table.paths, 0.99)
    depth = _between(worst[:, at], uncertainty)
    for times in STRESSES:
        figures[f"stress_{times}x_var_99"] = _loss(depth, long, times * deviation)
    depths = table.falls if long else table.rises
    figures["drawdown_median"] = _loss(_between(depths[:, 0], uncertainty), long, deviation)
    figures["drawdown_95"] = _loss(_between(depths[:, 1], uncertainty), long, deviation)
    return figures


def _between(depths: Floats, uncertainty: Floats) -> Floats:
    return np.interp(uncertainty, UNCERTAINTIES, depths)


def _loss(depth: Floats, long: bool, deviation: Floats) -> Floats:  # noqa: FBT001  # one of two sides
    """Return the loss where prices move `depth` deviations against a position."""
    moved = np.minimum(depth * deviation, _WIDEST_LOG)
    return -np.expm1(-moved) if long else np.expm1(moved)


@njit(cache=True, nogil=True, error_model="numpy")
def _shortfall(
    tail: FloatPanel,
    tail_size: float,
    long: bool,  # noqa: FBT001  # numba passes no keywords
    deviation: Floats,
    uncertainty: Floats,
) -> Floats:
    shortfalls = np.empty(len(deviation))
    edge = tail.shape[1] - 1
    for i in range(len(deviation)):
        which, part = place(uncertainty[i], len(tail))
        lower, upper = tail[which], tail[which + 1]
        total = 0.0
        for k in range(edge + 1):
            depth = lower[k] + part * (upper[k] - lower[k])
            moved = min(depth * deviation[i], _WIDEST_LOG)
            loss = -np.expm1(-moved) if long else np.expm1(moved)
            # The loss at the edge counts with its fraction in the tail (Acerbi and Tasche 2002).
            total += loss if k < edge else loss * (tail_size - edge)
        shortfalls[i] = total / tail_size
    return shortfalls
