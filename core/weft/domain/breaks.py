"""Breaks: candles that do not continue their series, and candles of a market that does not trade.

A price that is elsewhere without a trade between is a split, a redenomination or another unit, and
no return. In a market that never closes the next candle opens about where the last one closed: in
three million real hours none lay a fifth off, the great crashes included, for a crash trades all
the way down. Stocks do gap overnight; there a gap is taken for a split where it is near a ratio
that splits have, or larger than news make it. `weft.domain.breaks_kernel` has the figures.

Whether a candle counts follows from itself and the candles before it alone, so that a row is the
same live and in history.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from weft.foundation.arrays import FloatPanel, Floats, IntPanel, RowCounts
from weft.foundation.times import DAY, HOUR, Interval

IDLE_SPAN: Final = 6 * HOUR
"""Time without a trade after which a market counts as halted; two candles at least."""

_FEWEST_IDLE: Final = 2
_LONGEST_REST: Final = 4 * DAY


class Aside(IntEnum):
    """Why a candle that came does not count."""

    COUNTS = 0
    """It does count, or none came."""
    LEAP = 1
    """The price leapt without a trade between: the series starts afresh after it."""
    IDLE = 2
    """One price and no volume, as in all candles before it for a while: the market is halted."""


@dataclass(frozen=True, slots=True)
class BreakRules:
    """How candles of one interval are judged.

    Attributes:
        idle: candles without a trade that make a halt.
        lead: rows before a row that its judgement may depend on.
        reach: rows back to the candle that a candle is compared with (symbol,).
        closes: whether each symbol's market closes (symbol,).
    """

    idle: int
    lead: int
    reach: RowCounts
    closes: NDArray[np.bool_]


def break_rules(interval: Interval, closable: RowCounts) -> BreakRules:
    """Return how candles are judged.

    Args:
        interval: of the candles.
        closable: rows each symbol's market may stay closed, 0 for one that never does (symbol,).
    """
    closes = closable > 0
    nearest = max(1, HOUR // interval.micros)
    reach = np.where(closes, closable + 1, nearest).astype(np.int32)
    sessions = bool(closes.any())
    return BreakRules(idle_candles(interval), lead_rows(interval, sessions=sessions), reach, closes)


def idle_candles(interval: Interval) -> int:
    """Return how many candles without a trade make a halt."""
    return max(_FEWEST_IDLE, int(IDLE_SPAN // interval.micros))


def lead_rows(interval: Interval, *, sessions: bool) -> int:
    """Return how many rows before a row its judgement may depend on.

    Args:
        interval: of the candles.
        sessions: whether some market closes, so that its candles lie further apart.
    """
    rest = int(_LONGEST_REST // interval.micros) if sessions else 0
    return 2 * idle_candles(interval) + rest


def judge(
    panels: dict[str, FloatPanel], rules: BreakRules, before: Floats, before_row: RowCounts
) -> IntPanel:
    """Return which candles do not count, as values of `Aside` (time, symbol).

    Args:
        panels: open, high, low, close and volume, each (time, symbol).
        rules: see `break_rules`.
        before: the close before the panel, NaN where there is none (symbol,).
        before_row: its row, counting down from -1 (symbol,).
    """
    from weft.domain.breaks_kernel import judge_candles  # noqa: PLC0415  # numba takes long

    found = np.zeros(panels["close"].shape, dtype=np.int8)
    judge_candles(
        (panels["open"], panels["high"], panels["low"], panels["close"], panels["volume"]),
        rules.idle,
        rules.lead,
        rules.reach,
        rules.closes,
        before,
        before_row.astype(np.int64),
        found,
    )
    return found
