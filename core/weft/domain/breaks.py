"""Breaks in a series of candles: price jumps without a trade, and halted markets.

A price jump without a trade in between is a split, a redenomination or a change of unit, not a
return. In a market that never closes, each candle opens near the previous close: among three
million real hours no gap reached 20 %, crashes included, because a crash trades all the way down.
Stocks gap overnight; a gap of a stock counts as a split where it is near a usual split ratio, or
larger than news explain. The limits are in `weft.domain.breaks_kernel`.

The judgement of a candle uses only that candle and earlier ones, so a row is the same live and in
history.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, Floats, IntPanel, RowCounts
from weft.foundation.times import DAY, HOUR, Interval

IDLE_SPAN: Final = 6 * HOUR
"""Time without a trade after which a market counts as halted, at least two candles."""

_FEWEST_IDLE: Final = 2
_LONGEST_REST: Final = 4 * DAY


class Aside(IntEnum):
    """Why a candle is ignored."""

    COUNTS = 0
    """Not ignored, or there is no candle."""
    LEAP = 1
    """The price jumped without a trade in between: the series restarts after this candle."""
    IDLE = 2
    """One price and no volume, as in the candles before it: the market is halted."""


@dataclass(frozen=True, slots=True)
class BreakRules:
    """Rules by which candles of one interval are judged.

    Attributes:
        idle: number of candles without a trade that make a halt.
        lead: number of earlier rows that the judgement of a row may use.
        reach: largest distance in rows to the candle compared with (symbol,).
        closes: whether each symbol's market has closing hours (symbol,).
    """

    idle: int
    lead: int
    reach: RowCounts
    closes: NDArray[np.bool_]


def break_rules(interval: Interval, closable: RowCounts) -> BreakRules:
    """Return the rules for candles of an interval.

    Args:
        interval: length of a candle.
        closable: rows each symbol's market may stay closed, 0 for one that never does (symbol,).
    """
    closes = closable > 0
    nearest = max(1, HOUR // interval.micros)
    reach = np.where(closes, closable + 1, nearest).astype(np.int32)
    sessions = bool(closes.any())
    return BreakRules(idle_candles(interval), lead_rows(interval, sessions=sessions), reach, closes)


def idle_candles(interval: Interval) -> int:
    """Return the number of candles without a trade that make a halt."""
    return max(_FEWEST_IDLE, int(IDLE_SPAN // interval.micros))


def lead_rows(interval: Interval, *, sessions: bool) -> int:
    """Return the number of earlier rows that the judgement of a row may use.

    Args:
        interval: length of a candle.
        sessions: whether some market has closing hours, so that its candles lie further apart.
    """
    rest = int(_LONGEST_REST // interval.micros) if sessions else 0
    return 2 * idle_candles(interval) + rest


def judge(
    panels: dict[str, FloatPanel], rules: BreakRules, before: Floats, before_row: RowCounts
) -> IntPanel:
    """Return the reason to ignore each candle, as values of `Aside` (time, symbol).

    Args:
        panels: open, high, low, close and volume, each (time, symbol).
        rules: see `break_rules`.
        before: last close before the panel, NaN where there is none (symbol,).
        before_row: row of that close, counting down from -1 (symbol,).
    """
    from weft.domain.breaks_kernel import judge_candles  # noqa: PLC0415  # importing numba is slow

    reasons = np.zeros(panels["close"].shape, dtype=np.int8)
    judge_candles(
        (panels["open"], panels["high"], panels["low"], panels["close"], panels["volume"]),
        rules.idle,
        rules.lead,
        rules.reach,
        rules.closes,
        before,
        before_row.astype(np.int64),
        reasons,
    )
    return reasons
