"""Markets that close: what a candle returns over the hours before it, and how many are to come."""

import numpy as np

from weft.domain.candles import Candles, Presence
from weft.foundation.arrays import BoolPanel, FloatPanel
from weft.foundation.times import WEEK

_WEEKS = 3


def log_returns(candles: Candles) -> FloatPanel:
    """Return each close over the one before it, as a logarithm (time, symbol).

    Over the last one before a market closed, so that what it does overnight is part of its next
    candle. NaN on the first row, on rows on which a market is closed, and at holes.
    """
    found = np.full(candles.close.shape, np.nan)
    found[1:] = np.log(candles.close[1:] / candles.marked_close()[:-1])
    return found


def closed(candles: Candles) -> BoolPanel:
    """Return on which rows a market is closed (time, symbol)."""
    found: BoolPanel = candles.presence == Presence.CLOSED
    return found


def paces(candles: Candles, steps: int, horizon: int, reach: int) -> FloatPanel:
    """Return how fast the candles of a market follow each other (steps, symbol).

    The root of the share of the `horizon` rows after each decision row on which there will be a
    candle: what the deviation of one candle has to be multiplied by, so that as many steps as there
    are rows go as far. 1 for a market that never closes. Otherwise it is the largest that there was
    on the same rows of one of the three weeks before, as one of them may have had a holiday; where
    the horizon ends while the market is closed, the candle counts at which one could get out.

    Args:
        candles: decision rows last.
        steps: decision rows.
        horizon: rows ahead.
        reach: rows that every panel has before the decision rows. What lies further back is left
            alone, so that a row follows from the same weeks among many rows as among few.

    Returns:
        NaN where `reach` holds not even one week and the horizon.
    """
    found = np.ones((steps, len(candles.symbols)))
    sessions = candles.closable > 0
    if not sessions.any():
        return found
    week = max(1, WEEK // candles.interval.micros)
    nearest = -(-horizon // week)
    traded = ~closed(candles)[:, sessions]
    so_far = np.concatenate([np.zeros((1, traded.shape[1])), np.cumsum(traded, axis=0)])
    counted = np.full((steps, traded.shape[1]), np.nan)
    for weeks in range(nearest, nearest + _WEEKS):
        begun = np.arange(len(candles) - steps, len(candles)) + 1 - weeks * week
        if weeks * week > reach + 1 or begun[0] < 0:
            break
        ended = begun + horizon
        out = ~traded[ended - 1]
        counted = np.fmax(counted, so_far[ended] - so_far[begun] + out)
    found[:, sessions] = np.sqrt(counted / horizon)
    return found
