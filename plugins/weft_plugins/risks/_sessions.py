"""Markets that close: what a candle returns over the hours before it, and how many are to come."""

import numpy as np

from weft.arrays import BoolPanel, FloatPanel
from weft.market.candles import Candles, Presence
from weft.times import WEEK


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


def paces(candles: Candles, steps: int, horizon: int) -> FloatPanel:
    """Return how fast the candles of a market follow each other (steps, symbol).

    The root of the share of the `horizon` rows after each decision row on which there will be a
    candle: what the deviation of one candle has to be multiplied by, so that as many steps as there
    are rows go as far. 1 for a market that never closes. Otherwise it is what there was on the same
    rows of the week before, but for one candle at least; NaN where that is not known.

    Args:
        candles: decision rows last.
        steps: decision rows.
        horizon: rows ahead.
    """
    found = np.ones((steps, len(candles.symbols)))
    sessions = candles.closable > 0
    if not sessions.any():
        return found
    week = max(1, WEEK // candles.interval.micros)
    back = -(-horizon // week) * week
    traded = ~closed(candles)[:, sessions]
    so_far = np.concatenate([np.zeros((1, traded.shape[1])), np.cumsum(traded, axis=0)])
    first = np.arange(len(candles) - steps, len(candles)) + 1 - back
    begun = np.maximum(first, 0)
    counted = so_far[begun + horizon] - so_far[begun]
    share = np.maximum(counted, 1.0) / horizon
    found[:, sessions] = np.where(first[:, None] < 0, np.nan, np.sqrt(share))
    return found
